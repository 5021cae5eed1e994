//! The allocation storm: the target `sites` allocates as fast as it can, several gigabytes a second, which no
//! service does. CPU per allocated byte, attached against detached.
//!
//! The program has a processor to itself, so that what runs beside it takes none of its collector's idle time: only
//! then are a few percent more than the noise.

use super::{Pair, clocked, pairs};
use crate::process::Process;
use crate::report::{Figure, Goal, Report, short};
use crate::stats::median_interval;
use crate::tools::{Hub, go_target};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const WINDOW_BYTES: &str = "100000000";
const BYTES_PER_WINDOW: f64 = 1e8;

pub(super) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let (count, span) = if quick {
        (2, Duration::from_millis(500))
    } else {
        (24, Duration::from_secs(1))
    };
    let live = ["--allow-rate-write", "--sampling-rate", "524288"];
    let rate_written = one(
        "cost.storm.rate_written",
        "program without a profiler: the collector writes the rate 512 KiB, so Go's own sampling is part of it",
        &[],
        &live,
        (count, span),
    )?;
    report.add(rate_written.goal(Goal::AtMost(1.03)));
    let probes = one(
        "cost.storm.probes",
        "program that samples by itself (MemProfileRate 512 KiB, Go's default): the probes alone",
        &["-rate", "524288"],
        &[],
        (count, span),
    )?;
    report.add(probes.goal(Goal::AtMost(1.03)));
    report.add(one(
        "cost.storm.probe_free",
        "the same program, and no probe: only its memory and /proc are read",
        &["-rate", "524288"],
        &["--no-bpf"],
        (count, span),
    )?);
    Ok(())
}

fn one(
    name: &'static str,
    what: &str,
    flags: &[&str],
    options: &[&str],
    (count, span): (usize, Duration),
) -> Result<Figure> {
    let hub = Hub::start()?;
    let built = go_target("sites", hub.folder.path())?;
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", "0"])
        .arg(built)
        .args(["-windows", "0", "-workers", "1", "-window-bytes", WINDOW_BYTES])
        .args(flags);
    let mut sites = Process::start(&mut command)?;
    sites.prints("ready")?;
    sites.say("go")?;
    let pairs = pairs(count, &hub, sites.pid(), options, |collector| {
        // From the end of one of the program's windows to that of another.
        sites.out.try_iter().for_each(drop);
        let first = end_of_window(&sites)?;
        clocked(sites.pid(), &hub, collector, || {
            let mut windows = 0.0;
            loop {
                windows += 1.0;
                if end_of_window(&sites)? >= first + span.as_nanos() as u64 {
                    return Ok(windows * BYTES_PER_WINDOW);
                }
            }
        })
    })?;
    let ratios: Vec<f64> = pairs.iter().map(Pair::target_ratio).collect();
    let rates = pairs
        .iter()
        .map(|pair| pair.without.work / pair.without.target_ns);
    let rate = rates.sum::<f64>() / pairs.len() as f64;
    let collector = pairs.iter().map(Pair::collector_share).sum::<f64>() / pairs.len() as f64;
    let method = format!(
        "CPU per allocated byte, attached against detached, same process on a processor of its own, interleaved; \
         {what}; {} GB a second of CPU; the collector took {} % beside it",
        short(rate),
        short(collector * 100.0)
    );
    Ok(Figure::new(name, "ratio", &ratios, &method).interval(median_interval(&ratios)))
}

/// Waits for the end of the running window; when it was, on the program's clock.
fn end_of_window(sites: &Process) -> Result<u64> {
    let line = sites.prints("\"window\"")?;
    let line: Value = serde_json::from_str(&line)?;
    line["end_ns"].as_u64().context("a window without an end")
}
