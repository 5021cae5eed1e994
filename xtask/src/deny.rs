//! The dependencies' licences, sources and advisories, by cargo-deny with `deny.toml`, for both lock files.
//!
//! Licences, bans and sources need nothing but the lock files and always run. Advisories need the RustSec
//! database, a git repository that a machine without the open network can't fetch. Then a kept copy is
//! used, and without one it is said loudly that advisories were not looked at. That is a notice and no
//! skip, so `--require-all` doesn't fail on it: the same commit must not pass and fail by who may reach
//! which host, and no installation on the machine can mend it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::children::Managed;
use crate::place::Place;
use crate::progress::shown;
use crate::setup::cargo_deny;
use crate::test::Ended;

/// How long the fetch of the advisory database may take before it counts as out of reach.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

const MANIFESTS: [&str; 2] = ["Cargo.toml", "ebpf/programs/Cargo.toml"];

pub(crate) fn check(place: &Place) -> Result<Ended> {
    let program = cargo_deny(place);
    if !program.is_file() {
        return Ok(Ended::Skipped(
            "no cargo-deny: `cargo xtask setup` installs it".into(),
        ));
    }
    for manifest in MANIFESTS {
        run(deny(place, manifest).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    }
    if !has_database(place) {
        eprintln!(
            "\n*** NOTICE: advisories were NOT checked: the RustSec database could not be fetched, and there is \
             no copy of it here\n"
        );
        return Ok(Ended::Passed);
    }
    for manifest in MANIFESTS {
        run(deny(place, manifest).args(["check", "--disable-fetch", "advisories"]))?;
    }
    Ok(Ended::Passed)
}

fn deny(place: &Place, manifest: &str) -> Command {
    let mut command = Command::new(cargo_deny(place));
    command
        .current_dir(&place.root)
        .args([
            "--log-level",
            "warn",
            "--locked",
            "--all-features",
            "--manifest-path",
            manifest,
        ])
        .arg("--config")
        .arg(place.root.join("deny.toml"))
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = Managed::spawn(command)?.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Fetches the advisory database; failing that, whether an earlier copy is there.
fn has_database(place: &Place) -> bool {
    let mut fetch = deny(place, MANIFESTS[0]);
    fetch
        .args(["fetch", "db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let fetched = Managed::spawn(&mut fetch).and_then(|mut child| {
        child.end_after(FETCH_LIMIT);
        Ok(child.wait()?.success())
    });
    if matches!(fetched, Ok(true)) {
        return true;
    }
    // `db-path` in deny.toml is left at its default, below cargo's home.
    let home = std::env::var_os("CARGO_HOME")
        .map(Into::into)
        .or_else(|| std::env::var_os("HOME").map(|home| std::path::PathBuf::from(home).join(".cargo")));
    let kept = home.map(|home| home.join("advisory-dbs"));
    kept.and_then(|folder| folder.read_dir().ok())
        .is_some_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().join("crates").is_dir())
        })
}
