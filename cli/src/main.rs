//! The one binary: `heaptide run`, `attach`, `collect`, `record`, `report`, `export`, `diff`, `doctor`, `hub`,
//! `policy`, `alerts`.
//!
//! Only wiring lives here: arguments into configurations, events into sentences, endings into exit codes.

mod alerts;
mod api;
mod args;
mod assets;
mod collect;
mod doctor;
mod hub;
mod hub_data;
mod log;
mod policy;
mod record;
mod recording;
mod sentences;
mod settings;
mod token;
mod watch;

use clap::Parser as _;
use heaptide_collector::linux::{bpf, rate};
use std::process::ExitCode;

/// Something was wrong with the request or the surroundings; a sentence says what.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way, too. Not clap's own code 2, which means something else here.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILURE } else { 0 });
        }
    };
    let result = match args.command {
        args::Command::Hub(options) => hub::run(&options),
        args::Command::Alerts(command) => alerts::run(&command.command),
        args::Command::Policy(command) => policy::run(&command.command),
        args::Command::Run(options) => watch::run(&options),
        args::Command::Attach(options) => watch::attach(&options),
        args::Command::Collect(options) => collect::run(&options),
        args::Command::Record(options) => record::run(&options),
        args::Command::Report(options) => recording::report(&options),
        args::Command::Export(options) => recording::export(&options),
        args::Command::Diff(options) => recording::diff(&options),
        args::Command::Doctor(options) => doctor::run(&options),
        args::Command::RestoreGuard(options) => {
            ended(rate::guard(options.pid, options.start_ticks, options.address))
        }
        args::Command::AttachHelper(options) => ended(bpf::serve(options.pid, options.start_ticks)),
    };
    result.unwrap_or_else(|error| {
        sentences::error(&error);
        ExitCode::from(FAILURE)
    })
}

/// Of a process that works for another `heaptide`.
fn ended(result: std::io::Result<()>) -> anyhow::Result<ExitCode> {
    result?;
    Ok(ExitCode::SUCCESS)
}
