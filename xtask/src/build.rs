//! `cargo xtask build`: the eBPF object, the console, and the one binary with both inside.
//!
//! The parts meet in `dist/`, which the binary's build script embeds: `dist/heaptide.bpf.o` and
//! `dist/web/` with its manifest. The console is always built with the `wasm` profile, whatever the
//! binary's: an unoptimised one is many times its size and decodes many times slower.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::children::Managed;
use crate::place::Place;
use crate::progress::Steps;
use crate::toolchain::{BPF_TARGET, Choice, Rust, WASM_TARGET};

const HELP: &str = "\
Build the one binary `heaptide`, with the console and the eBPF programs inside.

Usage: cargo xtask build [OPTIONS]

  --release        optimise the binary (the console always is)
  --toolchain WAY  build the console and the eBPF programs with rustup, distro, or auto (default)

Leaves dist/heaptide, and beside it the parts: dist/heaptide.bpf.o and dist/web/.
";

/// The profile of the console (root Cargo.toml).
pub(crate) const WASM_PROFILE: &str = "wasm";

/// JavaScript and WASM together, compressed.
const BUDGET_BYTES: u64 = 250_000;

const SIZE_HELP: &str = "\
Print the console's compressed size, file by file; exit 1 when JavaScript and WASM are over 250 KB.

Usage: cargo xtask size [--toolchain rustup|distro|auto]
";

/// How many steps [`all`] takes.
pub(crate) const STEPS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) release: bool,
    pub(crate) choice: Choice,
}

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut options = Options {
        release: false,
        choice: Choice::Auto,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("release") => options.release = true,
            Long("toolchain") => options.choice = Choice::parse(&args.value()?.string()?)?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let place = Place::find()?;
    let mut steps = Steps::new(&place, STEPS);
    let binary = all(&place, &mut steps, options)?;
    println!("{}", binary.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds everything and returns the finished binary.
pub(crate) fn all(place: &Place, steps: &mut Steps<'_>, options: Options) -> Result<PathBuf> {
    bpf_object(place, steps, options.choice)?;
    console(place, steps, options.choice)?;
    binary(place, steps, options.release)
}

/// The eBPF object, at its place in `dist/`.
pub(crate) fn bpf_object(place: &Place, steps: &mut Steps<'_>, choice: Choice) -> Result<PathBuf> {
    let rust = Rust::choose(choice, |rust| rust.bpf().is_some(), "eBPF programs")?;
    let name = format!("eBPF programs ({})", rust.kind.name());
    steps.run(&name, &mut bpf_command(place, &rust, "build"))?;
    let object = place.dist().join("heaptide.bpf.o");
    put(&bpf_result(place, &rust), &object)?;
    Ok(object)
}

/// The cargo command that builds (or, with another verb, checks) the eBPF programs.
pub(crate) fn bpf_command(place: &Place, rust: &Rust, verb: &str) -> Command {
    let mut command = rust.cargo(place);
    command
        .current_dir(place.root.join("ebpf/programs"))
        .args([verb, "--locked", "--release"])
        .env("CARGO_TARGET_DIR", bpf_target(place, rust));
    rust.for_bpf(&mut command);
    // The third instruction set has the atomic operations that the counters need (kernel 5.12 and later).
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let flags = [arch.as_str(), "-Ctarget-cpu=v3", "-Clinker=bpf-linker"];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command
}

/// Where [`bpf_command`] leaves its result.
pub(crate) fn bpf_result(place: &Place, rust: &Rust) -> PathBuf {
    bpf_target(place, rust)
        .join(BPF_TARGET)
        .join("release/heaptide-ebpf")
}

fn bpf_target(place: &Place, rust: &Rust) -> PathBuf {
    rust.target_dir(place).join("bpf")
}

/// The console's folder in `dist/`.
pub(crate) fn console(place: &Place, steps: &mut Steps<'_>, choice: Choice) -> Result<PathBuf> {
    let rust = Rust::choose(choice, |rust| rust.wasm().is_some(), "console")?;
    steps.run(
        &format!("console ({})", rust.kind.name()),
        &mut wasm_command(place, &rust, WASM_PROFILE),
    )?;
    let wasm = wasm_result(place, &rust, WASM_PROFILE);
    if !wasm.is_file() {
        bail!(
            "the console's build left no {}: is `web` a cdylib?",
            wasm.display()
        );
    }
    let out = place.dist().join("web");
    let mut bundle = bundle(place);
    bundle.arg("console").arg("--wasm").arg(wasm);
    bundle.arg("--static").arg(place.root.join("web/static"));
    bundle
        .arg("--out")
        .arg(&out)
        .arg("--cache")
        .arg(place.cache.join("brotli"));
    steps.run_all("console, packed", &mut [bundle_build(place)?, bundle])?;
    Ok(out)
}

/// The cargo command that builds the console.
pub(crate) fn wasm_command(place: &Place, rust: &Rust, profile: &str) -> Command {
    let mut command = rust.cargo(place);
    command.args(["build", "--package", "heaptide-web", "--profile", profile]);
    if profile == WASM_PROFILE {
        rust.for_small_wasm(&mut command);
        // What is downloaded does without the places of panics (their report has the module's own offsets
        // from the browser) and without the text of `{:?}`. Both flags are unstable, as the building of a
        // library is. They stand in the place of those in .cargo/config.toml, hence the first two.
        let flags = [
            "--cfg=erase_components",
            "-Ctarget-feature=+simd128",
            "-Zlocation-detail=none",
            "-Zfmt-debug=none",
        ];
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    } else {
        rust.for_wasm(&mut command);
    }
    command
}

/// Where [`wasm_command`] leaves its result; cargo's folder for the profile `dev` is `debug`.
pub(crate) fn wasm_result(place: &Place, rust: &Rust, folder: &str) -> PathBuf {
    wasm_module(place, rust, folder, "heaptide-web")
}

/// The same for any package that is a module.
pub(crate) fn wasm_module(place: &Place, rust: &Rust, folder: &str, package: &str) -> PathBuf {
    rust.target_dir(place)
        .join(WASM_TARGET)
        .join(folder)
        .join(format!("{}.wasm", package.replace('-', "_")))
}

/// The cargo command that builds the program which needs wasm-bindgen and brotli.
///
/// `--workspace --bin`, not `--package`: its dependencies then get the features that they have in the
/// tests of the whole workspace, and are built once for both.
pub(crate) fn bundle_build(place: &Place) -> Result<Command> {
    let mut command = Rust::own()?.cargo(place);
    command.args(["build", "--quiet", "--workspace", "--bin", "heaptide-bundle"]);
    Ok(command)
}

/// That program; more arguments follow.
pub(crate) fn bundle(place: &Place) -> Command {
    Command::new(bundle_file(place))
}

pub(crate) fn bundle_file(place: &Place) -> PathBuf {
    place.target.join("debug/heaptide-bundle")
}

/// `cargo xtask size`: builds the console if it is not there as it should be, then measures.
pub(crate) fn size(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut choice = Choice::Auto;
    while let Some(arg) = args.next()? {
        match arg {
            Long("toolchain") => choice = Choice::parse(&args.value()?.string()?)?,
            Long("help") | Short('h') => {
                print!("{SIZE_HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let place = Place::find()?;
    console(&place, &mut Steps::new(&place, 2), choice)?;
    let status = Managed::spawn(&mut size_command(&place))?.wait()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures what is in `dist/web/`.
pub(crate) fn size_command(place: &Place) -> Command {
    let mut command = bundle(place);
    command.arg("size").arg("--out").arg(place.dist().join("web"));
    command.args(["--limit", &BUDGET_BYTES.to_string()]);
    command
}

/// The one binary, at its place in `dist/`.
pub(crate) fn binary(place: &Place, steps: &mut Steps<'_>, release: bool) -> Result<PathBuf> {
    let mut command = Rust::own()?.cargo(place);
    command
        .args(["build", "--package", "heaptide"])
        .env("HEAPTIDE_DIST_DIR", place.dist());
    if release {
        command.arg("--release");
    }
    let profile = if release { "release" } else { "debug" };
    steps.run(&format!("heaptide ({profile})"), &mut command)?;
    let binary = place.dist().join("heaptide");
    put(&place.target.join(profile).join("heaptide"), &binary)?;
    Ok(binary)
}

/// Copies a file whole or not at all, and leaves an equal one as it is: its time is what cargo looks at.
fn put(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = to.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
    let half = folder.join(format!(".half-{}", std::process::id()));
    // A copy keeps the permissions, and so a program stays one.
    fs::copy(from, &half).with_context(|| format!("can't copy to {}", half.display()))?;
    fs::rename(&half, to).with_context(|| format!("can't write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_file_keeps_its_time() {
        let folder = std::env::temp_dir().join(format!("heaptide-put-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("deep/to"));
        fs::write(&from, "one").unwrap();
        put(&from, &to).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        fs::File::options()
            .write(true)
            .open(&to)
            .unwrap()
            .set_modified(old)
            .unwrap();
        put(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().modified().unwrap(), old);
        fs::write(&from, "two").unwrap();
        put(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert_ne!(to.metadata().unwrap().modified().unwrap(), old);
        fs::remove_dir_all(&folder).unwrap();
    }
}
