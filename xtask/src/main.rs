//! The one door for development: everything that a developer or CI does starts as `cargo xtask COMMAND`.
//!
//! This file knows the commands' names and how a failure leaves the process: one sentence on standard
//! error, one exit code, no stack trace. What a command does is in the module of its name. The crate is
//! kept light (four small dependencies) because a fresh machine compiles it before anything else; what
//! needs heavy crates (wasm-bindgen, brotli) is in `xtask/bundle` and built only when it is used.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to a person"
)]

mod ability;
mod bench;
mod build;
mod children;
mod demo;
mod deny;
mod place;
mod progress;
mod sbom;
mod setup;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
The one door for development.

Usage: cargo xtask COMMAND [OPTIONS]      (cargo xtask COMMAND --help tells more)

  setup   install what is missing on this machine
  build   build the one binary `heaptide`, with the console and the eBPF programs inside
  demo    build all and watch a sample Go service in the browser
  test    run every test: native, wasm32, eBPF on the real kernel, browser
  e2e     run the end-to-end tests alone
  bench   run the benchmarks
  size    print the console's compressed size; fail when it is over its budget
  sbom    write which crates are in what is shipped, as CycloneDX
  tidy    check the house rules that no compiler knows
";

fn main() -> ExitCode {
    let outcome = children::watch_signals().and_then(|()| run());
    // After Ctrl-C the failing step is no news: the thread that got the signal ends the process.
    children::wait_if_stopping();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(Value(name)) => name.string()?,
        None | Some(Long("help") | Short('h')) => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "setup" => setup::command(args),
        "build" => build::command(args),
        "demo" => demo::command(args),
        "test" => test::command(args),
        "e2e" => test::e2e_command(args),
        "bench" => bench::command(args),
        "size" => build::size(args),
        "sbom" => sbom::command(args),
        "tidy" => tidy::command(args),
        "help" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => anyhow::bail!("no command '{other}'; `cargo xtask --help` lists them"),
    }
}
