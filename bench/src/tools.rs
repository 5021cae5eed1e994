//! What `cargo xtask bench` puts into the environment: the binary, a Go toolchain; and the programs built
//! with it.

use crate::process::Process;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The release binary.
pub(crate) fn heaptide() -> Result<PathBuf> {
    variable("HEAPTIDE_BIN").context("run this as `cargo xtask bench`, which builds it")
}

pub(crate) fn variable(name: &str) -> Result<PathBuf> {
    let path = env::var_os(name).map(PathBuf::from);
    path.filter(|path| path.exists())
        .with_context(|| format!("{name} names no file"))
}

/// One of the programs in `e2e/targets`, built with the newest Go that setup has installed: optimised,
/// without symbols, without `runtime/pprof`, as services are shipped.
pub(crate) fn go_target(name: &str, folder: &Path) -> Result<PathBuf> {
    go_program(&format!("e2e/targets/{name}"), folder)
}

/// The same of any program in this repository.
pub(crate) fn go_program(source: &str, folder: &Path) -> Result<PathBuf> {
    let go = newest_go().context("no HEAPTIDE_GO_… names a Go: `cargo xtask setup` installs one")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(source);
    let target = folder.join(source.file_name().context("a folder has a name")?);
    let status = Command::new(go)
        .envs([
            ("GOFLAGS", "-mod=mod"),
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
            ("CGO_ENABLED", "0"),
        ])
        .current_dir(&source)
        .args(["build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&target)
        .arg(".")
        .status()
        .context("can't run go")?;
    if status.success() {
        Ok(target)
    } else {
        bail!("go build of {} ended with {status}", source.display())
    }
}

fn newest_go() -> Option<OsString> {
    let minor = |name: &str| name.strip_prefix("HEAPTIDE_GO_1_")?.parse::<u32>().ok();
    env::vars_os()
        .filter_map(|(name, value)| Some((minor(name.to_str()?)?, value)))
        .max()
        .map(|(_, go)| go)
}

/// A hub with a folder of its own, both gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Hub {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = Process::start(
            Command::new(heaptide()?)
                .args(["hub", "--listen", "127.0.0.1:0", "--data"])
                .arg(folder.path().join("hub")),
        )?;
        let line = process.prints("http://")?;
        let address = line
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .with_context(|| format!("the hub's address in {line:?}"))?;
        Ok(Self {
            process,
            address,
            folder,
        })
    }

    /// `heaptide SUBCOMMAND` as a collector of this hub; more arguments follow.
    pub(crate) fn collector(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(heaptide()?);
        command
            .arg(subcommand)
            .arg("--hub")
            .arg(format!("ws://{}", self.address))
            .arg("--spool")
            .arg(self.folder.path().join("spool"));
        Ok(command)
    }

    /// The folders of its sessions.
    pub(crate) fn sessions(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.path().join("hub/sessions");
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }
}

/// Lets time pass: a window of it is what is measured.
#[expect(
    clippy::disallowed_methods,
    reason = "every thread here is a thread of its own, and waits for time"
)]
pub(crate) fn pass(time: Duration) {
    std::thread::sleep(time);
}
