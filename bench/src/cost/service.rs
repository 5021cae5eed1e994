//! Default sampling on a busy web service: the target `shop`, built without `runtime/pprof`, so that its own
//! profiling is off until the collector writes Go's default rate into it, under a fixed load.

use super::load::Load;
use super::{Pair, clocked, pairs};
use crate::process::Process;
use crate::report::{Figure, Goal, Report, short};
use crate::stats::median_interval;
use crate::sys::process_cpu_ns;
use crate::tools::{Hub, go_target, pass};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// What the load is set to, in processors.
const BUSY: f64 = 0.6;
const MAX_REQUESTS_PER_S: f64 = 1_500.0;
/// Go's own default.
const DEFAULT_RATE: [&str; 3] = ["--allow-rate-write", "--sampling-rate", "524288"];
/// So many times as many samples, to lift their cost above the noise.
const DENSER: f64 = 64.0;
const DENSE_RATE: [&str; 3] = ["--allow-rate-write", "--sampling-rate", "8192"];

pub(super) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let (count, dense_count, window) = if quick {
        (2, 2, Duration::from_millis(800))
    } else {
        (8, 4, Duration::from_secs(4))
    };
    let hub = Hub::start()?;
    let built = go_target("shop", hub.folder.path())?;
    let shop = Process::start(Command::new(built).args(["-rps", "0", "-report-every", "0"]))?;
    let address = address(&shop)?;
    let rate = calibrate(&shop, address, window)?;
    let load = Load::start(address, rate);
    pass(window / 2);

    let take = |collector: Option<&Process>| {
        clocked(shop.pid(), &hub, collector, || {
            let before = load.served();
            pass(window);
            Ok((load.served() - before) as f64)
        })
    };
    let default = pairs(count, &hub, shop.pid(), &DEFAULT_RATE, take)?;
    let dense = pairs(dense_count, &hub, shop.pid(), &DENSE_RATE, take)?;
    if load.failed() > 0 {
        report.note(format!("cost.shop: {} requests failed", load.failed()));
    }
    let cores: Vec<f64> = default
        .iter()
        .map(|pair| pair.without.target_ns / window.as_nanos() as f64)
        .collect();
    add(&default, &dense, rate, &cores, report);
    Ok(())
}

fn add(default: &[Pair], dense: &[Pair], rate: f64, cores: &[f64], report: &mut Report) {
    let percent = |pairs: &[Pair], of: &dyn Fn(&Pair) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| of(pair) * 100.0).collect()
    };
    let with_interval = |name, values: &[f64], method: &str| {
        Figure::new(name, "% of its CPU", values, method).interval(median_interval(values))
    };
    let target = percent(default, &|pair| pair.target_ratio() - 1.0);
    let collector = percent(default, &Pair::collector_share);
    let total: Vec<f64> = target.iter().zip(&collector).map(|(a, b)| a + b).collect();
    let dense_target = percent(dense, &|pair| pair.target_ratio() - 1.0);
    let scaled: Vec<f64> = dense_target
        .iter()
        .zip(&collector)
        .map(|(dense, collector)| dense / DENSER + collector)
        .collect();
    report.add(with_interval(
        "cost.shop.target",
        &target,
        &format!(
            "CPU of `shop` per served request, attached at 512 KiB (rate written live) against detached, \
             same process, windows interleaved, {} requests a second",
            short(rate)
        ),
    ));
    report.add(with_interval(
        "cost.shop.collector",
        &collector,
        "CPU of the collector's process in the attached windows, against that of `shop`",
    ));
    report.add(
        with_interval("cost.shop.total", &total, "the two above, added pair by pair").goal(Goal::AtMost(1.0)),
    );
    report.add(with_interval(
        "cost.shop.dense",
        &dense_target,
        "as cost.shop.target with 64 times as many samples (8 KiB): far above the noise",
    ));
    report.add(
        Figure::new(
            "cost.shop.total_scaled",
            "% of its CPU",
            &scaled,
            "cost.shop.dense / 64 + cost.shop.collector: the same total where the noise of a shared machine is \
             larger than it",
        )
        .goal(Goal::AtMost(1.0)),
    );
    report.add(Figure::new(
        "cost.shop.hub",
        "% of its CPU",
        &percent(default, &Pair::hub_share),
        "CPU of the hub's process in the attached windows; it can be on another machine",
    ));
    report.add(Figure::new(
        "cost.shop.busy",
        "processors",
        cores,
        "CPU of `shop` when detached: how busy the service is",
    ));
}

fn address(shop: &Process) -> Result<SocketAddr> {
    let line = shop.prints("listening on http://")?;
    let (_, rest) = line.split_once("http://").context("no address")?;
    rest.split_whitespace()
        .next()
        .and_then(|address| address.parse().ok())
        .with_context(|| format!("no address in {line:?}"))
}

/// How many requests a second make the service as busy as wanted.
fn calibrate(shop: &Process, address: SocketAddr, window: Duration) -> Result<f64> {
    let load = Load::start(address, 200.0);
    pass(window / 4);
    let before = (process_cpu_ns(shop.pid())?, load.served());
    pass(window / 2);
    let cpu_ns = (process_cpu_ns(shop.pid())? - before.0) as f64;
    let served = (load.served() - before.1) as f64;
    Ok((BUSY * 1e9 / (cpu_ns / served)).clamp(100.0, MAX_REQUESTS_PER_S))
}
