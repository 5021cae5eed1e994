//! The two ways to the wasm32 and BPF targets, and the cargo commands that follow from each.
//!
//! *rustup* is the toolchain that runs this very cargo, which rustup can extend: a prebuilt wasm32
//! standard library, and for BPF `rust-src` with `-Zbuild-std=core`, of which the console that is downloaded
//! has its standard library, too. *distro* is Debian's `rustc-web`
//! beside it in `/usr`: prebuilt BPF libraries, and for wasm32 the standard library is built from
//! `rust-web-src`. Which of the two works is seen from the files of a toolchain, never from its name, so a
//! machine that has Debian's Rust alone works as well. Neither needs nightly: the few unstable cargo flags
//! are let through by `RUSTC_BOOTSTRAP=1`, for these two targets only.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::place::{Place, find_program};

/// The oldest Rust that builds the workspace (`rust-version` in Cargo.toml).
const OLDEST: (u32, u32) = (1, 95);

pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// What `--toolchain` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// What works, rustup's first.
    Auto,
    Rustup,
    Distro,
    /// Both, for the tests (setup only).
    Both,
}

impl Choice {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "rustup" => Self::Rustup,
            "distro" => Self::Distro,
            "both" => Self::Both,
            other => bail!("no toolchain '{other}': choose rustup, distro, both or auto"),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rustup,
    Distro,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Distro => "distro",
        }
    }
}

/// How a target's standard library comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Prebuilt,
    /// Built from source by cargo's `-Zbuild-std`.
    FromSource,
}

/// One Rust toolchain on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Rust {
    pub(crate) kind: Kind,
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Rust {
    /// The toolchain that runs this cargo.
    pub(crate) fn own() -> Result<Self> {
        let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        // Beside the cargo of one toolchain lies its rustc; asking that one saves rustup's detour.
        let beside = cargo
            .parent()
            .map(|folder| folder.join("rustc"))
            .filter(|file| file.is_file());
        let rustc = beside.unwrap_or_else(|| PathBuf::from("rustc"));
        let sysroot = ask(Command::new(&rustc).args(["--print", "sysroot"]))?;
        Ok(Self {
            kind: Kind::Rustup,
            cargo,
            rustc,
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    /// Debian's toolchain, if one is installed that is new enough.
    pub(crate) fn distro() -> Option<Self> {
        let usr = Path::new("/usr");
        let (cargo, rustc) = (usr.join("bin/cargo"), usr.join("bin/rustc"));
        if !cargo.is_file() {
            return None;
        }
        let version = ask(Command::new(&rustc).arg("-V").env_remove("RUSTUP_TOOLCHAIN")).ok()?;
        (version_of(&version)? >= OLDEST).then(|| Self {
            kind: Kind::Distro,
            cargo,
            rustc,
            sysroot: usr.to_path_buf(),
        })
    }

    /// The first toolchain among those that the choice allows which `fits`.
    pub(crate) fn choose(choice: Choice, fits: impl Fn(&Self) -> bool, what: &str) -> Result<Self> {
        let rustup = || Self::own().ok().filter(&fits);
        let distro = || Self::distro().filter(&fits);
        let (found, asked) = match choice {
            Choice::Auto | Choice::Both => (rustup().or_else(distro), "auto"),
            Choice::Rustup => (rustup(), "rustup"),
            Choice::Distro => (distro(), "distro"),
        };
        found.with_context(|| {
            format!("no toolchain for the {what} (asked for: {asked}): run `cargo xtask setup --toolchain {asked}`")
        })
    }

    pub(crate) fn wasm(&self) -> Option<Library> {
        if self.has_library(WASM_TARGET) {
            return Some(Library::Prebuilt);
        }
        (self.has_source() && self.wasm_linker().is_some()).then_some(Library::FromSource)
    }

    pub(crate) fn bpf(&self) -> Option<Library> {
        if self.has_library(BPF_TARGET) {
            return Some(Library::Prebuilt);
        }
        self.has_source().then_some(Library::FromSource)
    }

    /// A cargo command of this toolchain, in the workspace's root.
    pub(crate) fn cargo(&self, place: &Place) -> Command {
        let mut command = Command::new(&self.cargo);
        command
            .current_dir(&place.root)
            .env("PATH", place.path_variable());
        forget_outer_cargo(&mut command);
        match self.kind {
            Kind::Rustup => {
                command.env("CARGO_TARGET_DIR", &place.target);
            }
            // Its own folder: two compilers in one would push each other's last results out.
            Kind::Distro => {
                command
                    .env("CARGO_TARGET_DIR", self.target_dir(place))
                    .env("RUSTC", &self.rustc)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("LD_LIBRARY_PATH");
            }
        }
        command
    }

    /// Where this toolchain's results go.
    pub(crate) fn target_dir(&self, place: &Place) -> PathBuf {
        match self.kind {
            Kind::Rustup => place.target.clone(),
            Kind::Distro => place.target.join("distro"),
        }
    }

    /// Adds what a build for wasm32 needs.
    pub(crate) fn for_wasm(&self, command: &mut Command) {
        command.args(["--target", WASM_TARGET]);
        if self.wasm() == Some(Library::FromSource) {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=std,panic_abort");
            if let Some(linker) = self.wasm_linker() {
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
    }

    /// [`Self::for_wasm`] for what is downloaded: the standard library comes built for speed, which is 3 % of the
    /// console, so where its source is there it is built as small as the rest.
    pub(crate) fn for_small_wasm(&self, command: &mut Command) {
        self.for_wasm(command);
        if !self.has_source() {
            return;
        }
        if self.wasm() == Some(Library::Prebuilt) {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=std,panic_abort");
        }
        command.arg("-Zbuild-std-features=optimize_for_size");
    }

    /// Adds what a build for BPF needs; `bpf-linker` is found through `PATH`.
    pub(crate) fn for_bpf(&self, command: &mut Command) {
        command.env("RUSTC_BOOTSTRAP", "1").args(["--target", BPF_TARGET]);
        if self.bpf() == Some(Library::FromSource) {
            command.arg("-Zbuild-std=core");
        }
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }

    fn has_library(&self, target: &str) -> bool {
        let libraries = self.rustlib().join(target).join("lib");
        libraries.read_dir().is_ok_and(|mut files| files.next().is_some())
    }

    fn has_source(&self) -> bool {
        self.rustlib().join("src/rust/library/Cargo.lock").is_file()
    }

    /// rustup's toolchains carry their own `rust-lld`; Debian's needs `lld-22`.
    fn wasm_linker(&self) -> Option<PathBuf> {
        let bundled = self
            .rustlib()
            .join(format!("{}-unknown-linux-gnu/bin/rust-lld", env::consts::ARCH));
        bundled
            .is_file()
            .then_some(bundled)
            .or_else(|| find_program("wasm-ld-22"))
    }
}

/// A cargo inside `cargo run` must look like one that a person started, else build scripts that watch
/// these variables run again with every change of the way in.
fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let outer = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ];
        if outer.iter().any(|prefix| text.starts_with(prefix)) || text == "OUT_DIR" {
            command.env_remove(&name);
        }
    }
}

fn ask(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("can't start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Major and minor of `rustc 1.96.0 (…)`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_compilers_own_line() {
        let cases = [
            (
                "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)",
                Some((1, 96)),
            ),
            ("rustc 1.63.0", Some((1, 63))),
            ("rustc", None),
            ("rustc x.y", None),
        ];
        for (text, expect) in cases {
            assert_eq!(version_of(text), expect, "{text}");
        }
    }

    #[test]
    fn toolchain_choices_are_the_documented_ones() {
        for (text, expect) in [
            ("auto", Choice::Auto),
            ("rustup", Choice::Rustup),
            ("distro", Choice::Distro),
        ] {
            assert_eq!(Choice::parse(text).unwrap(), expect);
        }
        assert!(
            Choice::parse("nightly")
                .unwrap_err()
                .to_string()
                .contains("'nightly'")
        );
    }
}
