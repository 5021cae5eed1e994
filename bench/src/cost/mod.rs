//! What watching costs: CPU of the same process, for the same work, with a collector attached and without,
//! one window after the other.

mod load;
mod service;
mod storm;

use crate::process::Process;
use crate::report::Report;
use crate::sys::process_cpu_ns;
use crate::tools::{Hub, pass};
use anyhow::Result;
use std::time::Duration;

/// After attaching: probes are in place and the rate is written; the next windows are alike.
const SETTLE: Duration = Duration::from_millis(700);

pub(crate) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    service::measure(quick, report)?;
    storm::measure(quick, report)
}

/// One window with and one without, taken next to each other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    without: Window,
    with: Window,
}

/// CPU in nanoseconds over one window, and the work that was done in it.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    target_ns: f64,
    collector_ns: f64,
    hub_ns: f64,
    work: f64,
}

impl Pair {
    /// Target's CPU per unit of work, with against without.
    fn target_ratio(&self) -> f64 {
        (self.with.target_ns / self.with.work) / (self.without.target_ns / self.without.work)
    }

    /// The collector's CPU against the target's.
    fn collector_share(&self) -> f64 {
        self.with.collector_ns / self.with.target_ns
    }

    fn hub_share(&self) -> f64 {
        self.with.hub_ns / self.with.target_ns
    }
}

/// Pairs of windows on one process. Which comes first alternates, so that a slow drift cancels out.
fn pairs(
    count: usize,
    hub: &Hub,
    pid: u32,
    options: &[&str],
    mut window: impl FnMut(Option<&Process>) -> Result<Window>,
) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for number in 0..count {
        let attached = |window: &mut dyn FnMut(Option<&Process>) -> Result<Window>| {
            let mut command = hub.collector("attach")?;
            let collector = Process::start(command.args(options).arg(pid.to_string()))?;
            collector.says("watching process")?;
            pass(SETTLE);
            let result = window(Some(&collector))?;
            collector.interrupt();
            collector.wait()?;
            anyhow::Ok(result)
        };
        let (with, without) = if number % 2 == 0 {
            (attached(&mut window)?, window(None)?)
        } else {
            let without = window(None)?;
            (attached(&mut window)?, without)
        };
        eprint!(".");
        pairs.push(Pair { without, with });
    }
    eprintln!();
    Ok(pairs)
}

/// Reads the three CPU clocks around some work; `work` waits and says how much of it there was.
fn clocked(
    pid: u32,
    hub: &Hub,
    collector: Option<&Process>,
    work: impl FnOnce() -> Result<f64>,
) -> Result<Window> {
    let read = || -> Result<[u64; 3]> {
        Ok([
            process_cpu_ns(pid)?,
            collector.map_or(Ok(0), |collector| process_cpu_ns(collector.pid()))?,
            process_cpu_ns(hub.process.pid())?,
        ])
    };
    let before = read()?;
    let work = work()?;
    let after = read()?;
    let spent = |at: usize| (after[at] - before[at]) as f64;
    Ok(Window {
        target_ns: spent(0),
        collector_ns: spent(1),
        hub_ns: spent(2),
        work,
    })
}
