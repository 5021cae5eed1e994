//! The one binary: `heaptide run`, `attach`, `hub`.
//!
//! Only wiring lives here: arguments into configurations, events into sentences, endings into exit codes.

mod args;
mod assets;
mod hub;
mod sentences;
mod watch;

use clap::Parser as _;
use std::process::ExitCode;

/// Something was wrong with the request or the surroundings; a sentence says what.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = match args.command {
        args::Command::Hub(options) => hub::run(&options),
        args::Command::Run(options) => watch::run(&options),
        args::Command::Attach(options) => watch::attach(&options),
        args::Command::RestoreGuard(options) => heaptide_collector::linux::rate::guard(
            options.pid,
            options.start_ticks,
            options.address,
            options.original,
        )
        .map(|()| ExitCode::SUCCESS)
        .map_err(anyhow::Error::from),
    };
    result.unwrap_or_else(|error| {
        sentences::error(&error);
        ExitCode::from(FAILURE)
    })
}
