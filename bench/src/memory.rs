//! What a collector holds in memory at 10,000 samples a second under 50,000 different stacks.

use crate::process::Process;
use crate::report::{Figure, Goal, Report};
use crate::tools::{Hub, go_target, pass};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const STACKS: u64 = 50_000;
const SAMPLES_PER_S: u64 = 10_000;

pub(crate) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let seconds = if quick { 8 } else { 40 };
    let hub = Hub::start()?;
    let built = go_target("stacks", hub.folder.path())?;
    let stacks = Process::start(Command::new(built).args([
        "-stacks",
        &STACKS.to_string(),
        "-rate",
        &SAMPLES_PER_S.to_string(),
    ]))?;
    stacks.prints("\"pid\"")?;
    let collector = Process::start(hub.collector("attach")?.arg(stacks.pid().to_string()))?;
    collector.says("watching process")?;
    let at_first = resident_mb(collector.pid(), "VmRSS:")?;
    let before = allocated(&stacks)?;
    let mut resident = Vec::new();
    for _ in 0..seconds {
        pass(Duration::from_secs(1));
        resident.push(resident_mb(collector.pid(), "VmRSS:")?);
    }
    let peak = resident_mb(collector.pid(), "VmHWM:")?;
    let rate = (allocated(&stacks)? - before) as f64 / f64::from(seconds);
    collector.interrupt();
    collector.wait()?;
    ensure!(
        rate > SAMPLES_PER_S as f64 * 0.8,
        "the program came to {rate} allocations a second only"
    );
    report.add(
        Figure::new(
            "memory.resident",
            "MB",
            &resident,
            &format!(
                "RSS of the collector, once a second for {seconds} s, at {rate:.0} samples a second under {STACKS} \
                 stacks, 17 frames each; {at_first:.1} MB once attached"
            ),
        )
        .goal(Goal::AtMost(60.0)),
    );
    report.add(
        Figure::new(
            "memory.peak",
            "MB",
            &[peak],
            "VmHWM of the collector, from its start on",
        )
        .goal(Goal::AtMost(60.0)),
    );
    Ok(())
}

/// The newest count that the program has told.
fn allocated(stacks: &Process) -> Result<u64> {
    while stacks.out.try_recv().is_ok() {}
    let line = stacks.prints("\"allocated\"")?;
    let told: Value = serde_json::from_str(&line)?;
    told["allocated"]
        .as_u64()
        .with_context(|| format!("no count in {line:?}"))
}

pub(crate) fn resident_mb(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|word| word.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {field} of {pid}"))? * 1024.0 / 1e6)
}
