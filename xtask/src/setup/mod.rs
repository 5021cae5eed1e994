//! `cargo xtask setup`: install what is missing, say what was done, do nothing the second time.
//!
//! [`items`] knows what the project needs and how each thing is seen; [`install`] knows how it comes. This
//! file is the order: rustup first, because what it can't give Debian's packages must; then one run of
//! apt; then what is built or unpacked into the cache folder. Without the rights of root the commands that
//! need them are printed, ready to paste, and everything else is done all the same.

mod install;
mod items;
mod strangers;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::place::Place;
use crate::toolchain::Choice;

pub(crate) use items::{
    GO_ALL, GO_DEFAULT, cargo_deny, chromedriver, chromium, duckdb, go_versions, validators,
};

const HELP: &str = "\
Install what is missing on this machine to build, run and test Heaptide.

Usage: cargo xtask setup [OPTIONS]

  --toolchain WAY  how the wasm32 and BPF targets come: rustup, distro (Debian's rustc-web packages),
                   both (for the tests; rustup may fail then), or auto: rustup where it
                   works, else distro (default)
  --full           all eight Go releases and eight programs of others that the tests know, not two of each
  --check          change nothing; say what is missing and exit 1 if anything is
  --yes            don't ask first

Packages come from Debian (needs root), crates.io, PyPI and npm; everything that is not a Debian package or a
rustup component goes to the cache folder: $HEAPTIDE_CACHE, or ~/.cache/heaptide.
";

/// What a setup should bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) choice: Choice,
    pub(crate) extent: Extent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Building and watching the sample service.
    Demo,
    /// And the tests, with two Go releases and two programs of others.
    Tests,
    /// And all the other Go releases and programs.
    Full,
}

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut wanted = Wanted {
        choice: Choice::Auto,
        extent: Extent::Tests,
    };
    let (mut check, mut yes) = (false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("full") => wanted.extent = Extent::Full,
            Long("check") => check = true,
            Long("yes") | Short('y') => yes = true,
            Long("toolchain") => wanted.choice = Choice::parse(&args.value()?.string()?)?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let place = Place::find()?;
    let missing = items::missing(&place, wanted);
    if missing.is_empty() {
        eprintln!("everything is here");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("missing:");
    for item in &missing {
        eprintln!("  {:<22} {}", item.name(), item.purpose());
    }
    if check {
        return Ok(ExitCode::FAILURE);
    }
    if !yes && !confirmed()? {
        bail!("nothing was installed");
    }
    install::all(&place, wanted, missing)?;
    eprintln!("setup is complete");
    Ok(ExitCode::SUCCESS)
}

/// For commands that need a complete machine: installs what is missing without asking.
pub(crate) fn ensure(place: &Place, wanted: Wanted) -> Result<()> {
    let missing = items::missing(place, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("first use: installing {} missing things", missing.len());
    install::all(place, wanted, missing)
}

/// Asks on a terminal; elsewhere there is no one to ask, and the command's name said what it does.
fn confirmed() -> Result<bool> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(true);
    }
    eprint!("install? [Y/n] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}
