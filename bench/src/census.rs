//! What a census of 100,000 goroutines takes while the program runs: time, and CPU of the thread that reads.
//!
//! Most goroutines wait, as most do; a few never rest. Time depends on who else wants the processors; CPU says
//! what it would be on a machine of one's own.

use crate::process::Process;
use crate::report::{Figure, Goal, Report};
use crate::tools::go_program;
use anyhow::{Context as _, Result, anyhow, ensure};
use heaptide_collector::linux::goroutines::{Census, Plan};
use heaptide_collector::linux::{GoTarget, Process as Watched};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::process::Command;

const GOROUTINES: u64 = 100_000;
/// As the collector does it (`collector/src/watch/readers/goroutines.rs`).
const WALK_NS: u64 = 60_000_000;

pub(crate) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/tests/targets/goroutines");
    let target = go_program(&source, &folder.path().join("goroutines"))?;
    let mut program = Process::start(&mut Command::new(&target))?;
    program.prints("\"pid\"")?;
    for line in [format!("many {GOROUTINES}"), "busy".to_owned()] {
        program.say(&line)?;
        program.prints("\"pid\"")?;
    }
    let process = Watched::open(program.pid())?;
    let go = GoTarget::load(&process)?;
    let (allgs, offsets, _) = go.goroutines().map_err(|why| anyhow!(why))?;
    let plan = Plan {
        allgs,
        offsets,
        walk_ns: WALK_NS,
    };
    let (mut took_ms, mut cpu_ms, mut torn) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if quick { 5 } else { 50 } {
        let before_ns = cpu_ns();
        let census = Census::take(&process, &plan).context("can't take a census")?;
        cpu_ms.push((cpu_ns() - before_ns) as f64 / 1e6);
        took_ms.push(census.took_ns as f64 / 1e6);
        torn.push(census.torn as f64);
        ensure!(census.alive > GOROUTINES, "only {} goroutines", census.alive);
    }
    let method = "runtime.allgs read from a program with 100,000 goroutines that wait and 8 that never rest";
    report.add(Figure::new("census.time", "ms", &took_ms, method).goal(Goal::AtMost(100.0)));
    report.add(Figure::new(
        "census.cpu",
        "ms",
        &cpu_ms,
        "CPU of the thread that reads, same censuses",
    ));
    report.add(Figure::new(
        "census.torn",
        "goroutines",
        &torn,
        "changed while they were read, same censuses",
    ));
    Ok(())
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
