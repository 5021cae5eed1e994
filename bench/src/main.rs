//! `heaptide-bench`: what Heaptide costs and how fast it is, as ratios and rates taken in one run.
//!
//! Every figure has a median, its spread over the rounds, what it was compared with, and the goal beside it.
//! Nothing here fails because a figure is bad: a benchmark on a shared machine is a measurement, no test.
//! How each is measured, and the latest figures: `README.md`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to a person"
)]

mod browser;
mod census;
mod claims;
mod cost;
mod decode;
mod exact;
mod hub;
mod load;
mod memory;
mod process;
mod range;
mod record;
mod report;
mod stats;
mod sys;
mod tools;
mod wire;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use record::Recordings;
use report::Report;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// CPU of a watched service, with and without
    Cost,
    /// Bytes an event takes on the wire
    Wire,
    /// Events decoded a second, natively and in the browser
    Decode,
    /// Frames that a hub makes durable a second
    Hub,
    /// A hub with a thousand collectors and two hundred browsers
    Load,
    /// How soon any range of a day is there
    Range,
    /// Time that a census of 100,000 goroutines takes
    Census,
    /// What a collector holds in memory, with many stacks
    Memory,
    /// Exact windows against bpftrace that counts the same
    Exact,
    /// Whether what is said of Go's memory is so
    Claims,
}

/// Measure what Heaptide costs and how fast it is.
#[derive(Debug, Parser)]
#[command(name = "heaptide-bench", version, max_term_width = 100)]
struct Args {
    /// Which to run; all if none is named
    names: Vec<Name>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// A tenth of the time: shows that everything runs; the figures are worth little
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let names = if args.names.is_empty() {
        Name::value_variants().to_vec()
    } else {
        args.names.clone()
    };
    let mut report = Report::new();
    let mut recordings = Recordings::new(Duration::from_secs(if args.quick { 3 } else { 12 }));
    let mut failed = false;
    for name in names {
        eprintln!("{name:?} …");
        if let Err(error) = measure(name, args.quick, &mut recordings, &mut report) {
            eprintln!("error: {name:?}: {error:#}");
            failed = true;
        }
    }
    if args.json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn measure(name: Name, quick: bool, recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    match name {
        Name::Cost => cost::measure(quick, report),
        Name::Wire => wire::measure(recordings, report),
        Name::Decode => decode::measure(quick, recordings, report),
        Name::Hub => hub::measure(quick, recordings, report),
        Name::Load => load::measure(quick, recordings, report),
        Name::Range => range::measure(quick, recordings, report),
        Name::Census => census::measure(quick, report),
        Name::Memory => memory::measure(quick, report),
        Name::Exact => exact::measure(quick, report),
        Name::Claims => claims::measure(report),
    }
}
