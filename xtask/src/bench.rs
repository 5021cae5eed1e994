//! `cargo xtask bench`: builds everything optimised and runs the benchmarks with what they need in their
//! environment. What is measured, and how, is the bench crate's.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::build;
use crate::children::Managed;
use crate::place::Place;
use crate::progress::Steps;
use crate::test::environment;
use crate::toolchain::{Choice, Rust};

/// The decoder alone, as a module that the benchmarks run in the browser.
const DECODER: &str = "heaptide-bench-decode";

const HELP: &str = "\
Run the benchmarks, on an optimised build. All arguments go to them; `-- --help` lists them.

Usage: cargo xtask bench [ARGS…]
";

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let rest: Vec<OsString> = args.raw_args()?.collect();
    if rest
        .first()
        .is_some_and(|first| first == "--help" || first == "-h")
    {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let rest = rest.strip_prefix(&[OsString::from("--")]).unwrap_or(&rest);
    let place = Place::find()?;
    let mut steps = Steps::new(&place, build::STEPS + 2);
    build::all(
        &place,
        &mut steps,
        build::Options {
            release: true,
            choice: Choice::Auto,
        },
    )?;
    let mut compile = Rust::own()?.cargo(&place);
    compile.args(["build", "--release", "--package", "heaptide-bench"]);
    steps.run("benchmarks", &mut compile)?;

    let rust = Rust::choose(Choice::Auto, |rust| rust.wasm().is_some(), "decoder in WASM")?;
    let mut decoder = rust.cargo(&place);
    decoder.args(["build", "--profile", build::WASM_PROFILE, "--package", DECODER]);
    rust.for_small_wasm(&mut decoder);
    steps.run("decoder in WASM", &mut decoder)?;
    let module = build::wasm_module(&place, &rust, build::WASM_PROFILE, DECODER);

    let mut bench = std::process::Command::new(place.target.join("release/heaptide-bench"));
    bench
        .current_dir(&place.root)
        .args(rest)
        .envs(environment(&place, false))
        .env("HEAPTIDE_BENCH_WASM", module);
    let status = Managed::spawn(&mut bench)?.wait()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
