//! `cargo xtask test`: every step runs, whatever became of the one before, and a table says what was what.
//!
//! A step that the machine can't do is named and skipped loudly; `--require-all` makes that a failure.
//! Single tests report what they had to skip through the file that `HEAPTIDE_SKIP_FILE` names, a line
//! each, because the test harness knows no such outcome. Which integration test belongs to which step is
//! seen from its file name (see [`steps::Kind`]).

mod counts;
mod run;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::build;
use crate::place::Place;
use crate::progress::Steps;
use crate::toolchain::Choice;
use counts::{Counts, Row, table};
pub(crate) use run::environment;
pub(crate) use steps::Ended;
use steps::Step;

const HELP: &str = "\
Run every test. A step goes on after another failed; a table at the end says what was what.

Usage: cargo xtask test [OPTIONS]

  --only STEPS     some steps alone, by comma: fmt,tidy,deny,clippy,native,wasm,distro,ebpf,e2e
  --require-all    what this machine can't do is a failure, not a skip (CI)
  --full           test with every Go release that is known, not two
  --toolchain WAY  build the console and the eBPF programs with rustup, distro, or auto (default)

What the machine lacks is installed by `cargo xtask setup --toolchain both`. Reports, screenshots and
recordings are left in test-output/.
";

const E2E_HELP: &str = "\
Run the end-to-end tests: real Go programs, the real kernel, a real browser.

Usage: cargo xtask e2e [FILTER] [--require-all] [--toolchain WAY]

  FILTER           only tests whose name contains it
";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    only: Vec<Step>,
    require_all: bool,
    full: bool,
    choice: Choice,
    filter: Option<String>,
}

impl Options {
    fn new() -> Self {
        Self {
            only: Vec::new(),
            require_all: false,
            full: false,
            choice: Choice::Auto,
            filter: None,
        }
    }
}

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut options = Options::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("only") => options.only.extend(Step::parse_list(&args.value()?.string()?)?),
            Long("require-all") => options.require_all = true,
            Long("full") => options.full = true,
            Long("toolchain") => options.choice = Choice::parse(&args.value()?.string()?)?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    run_all(&options)
}

pub(crate) fn e2e_command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut options = Options::new();
    options.only = vec![Step::E2e];
    while let Some(arg) = args.next()? {
        match arg {
            Value(filter) if options.filter.is_none() => options.filter = Some(filter.string()?),
            Long("require-all") => options.require_all = true,
            Long("toolchain") => options.choice = Choice::parse(&args.value()?.string()?)?,
            Long("help") | Short('h') => {
                print!("{E2E_HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    run_all(&options)
}

fn run_all(options: &Options) -> Result<ExitCode> {
    let place = Place::find()?;
    let wanted: Vec<Step> = Step::ALL
        .into_iter()
        .filter(|step| options.only.is_empty() || options.only.contains(step))
        .collect();
    let mut rows = Vec::new();
    let mut built = false;
    for (at, step) in wanted.iter().enumerate() {
        if step.needs_build() && !built {
            built = true;
            rows.push(one(&place, options, "build", || prepare(&place, options)));
        }
        eprintln!(
            "\n=== {} ({} of {}): {}",
            step.name(),
            at + 1,
            wanted.len(),
            step.purpose()
        );
        rows.push(one(&place, options, step.name(), || {
            steps::run(&place, options, *step)
        }));
    }
    println!("\n{}", table(&rows));
    let failed = rows.iter().any(|row| row.counts.failed > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Builds what the tests start: the release binary with everything inside, and the parts beside it.
fn prepare(place: &Place, options: &Options) -> Result<Ended> {
    eprintln!("\n=== build: what the tests start");
    let mut steps = Steps::new(place, build::STEPS);
    build::all(
        place,
        &mut steps,
        build::Options {
            release: true,
            choice: options.choice,
        },
    )?;
    Ok(Ended::Passed)
}

/// Runs one step and turns its end, and the skips of its single tests, into a row.
fn one(place: &Place, options: &Options, step: &'static str, work: impl FnOnce() -> Result<Ended>) -> Row {
    let started = Instant::now();
    let outcome = run::clear_skips(place)
        .context("before the step")
        .and_then(|()| work());
    crate::children::wait_if_stopping();
    let mut counts = Counts::default();
    let mut notes = Vec::new();
    let mut skips = run::read_skips(place);
    match outcome {
        Ok(Ended::Passed) => counts.passed = 1,
        Ok(Ended::Counted(all)) => counts = all,
        Ok(Ended::Skipped(why)) => skips.push(why),
        Err(error) => {
            eprintln!("error: {error:#}");
            counts.failed = 1;
            let text = format!("{error:#}");
            notes.push(format!("failed: {}", text.lines().next().unwrap_or("")));
        }
    }
    for skip in skips {
        let (word, count) = if options.require_all {
            (
                "not possible here, and --require-all was given",
                &mut counts.failed,
            )
        } else {
            ("skipped", &mut counts.skipped)
        };
        *count += 1;
        eprintln!("\n*** {step}: {word}: {skip}");
        notes.push(format!("{word}: {skip}"));
    }
    Row {
        step,
        counts,
        took: started.elapsed(),
        notes,
    }
}

impl Step {
    fn parse_list(text: &str) -> Result<Vec<Self>> {
        text.split(',')
            .map(
                |name| match Self::ALL.into_iter().find(|step| step.name() == name.trim()) {
                    Some(step) => Ok(step),
                    None => {
                        let names: Vec<&str> = Self::ALL.iter().map(|step| step.name()).collect();
                        bail!("no step '{name}'; there are {}", names.join(", "))
                    }
                },
            )
            .collect()
    }
}
