//! What Heaptide estimates for a window and a site, against what the program itself counted there.
//!
//! Each program runs with several seeds, 40 windows each. For every window and site the exact bytes must lie
//! in the interval that Heaptide shows, in at least 95 % of all pairs, of each site's and of each seed's; the
//! interval promises 99 %. Windows begin and end wherever the program is; it pauses between them for longer
//! than a tick, so that a query in whole ticks holds exactly one of them.

#![expect(clippy::print_stdout, reason = "the measured coverage is the result")]

use heaptide_analysis::views::{Figure, Metric, Window};
use heaptide_e2e::sites::{spans, window_bytes};
use heaptide_e2e::{Build, Go, Hub, Sites, heaptide, machine};
use heaptide_protocol::session::Method;
use std::collections::BTreeMap;
use std::path::Path;

const WINDOWS: usize = 40;
const RATE_BYTES: u64 = 65_536;
/// Seed, and length of a tick in milliseconds: the default one, and shorter ones to run for less long.
const RUNS: [(u64, u64); 4] = [(1, 100), (2, 20), (3, 20), (4, 20)];
const WANTED: f64 = 0.95;

#[test]
fn estimates_hold_the_truth_with_symbols_and_the_programs_own_rate() {
    let flags = format!("-rate {RATE_BYTES}");
    check(
        "estimates (Go 1.27, symbols)",
        Go::V1_27,
        Build::Plain,
        &flags,
        "",
    );
}

#[test]
fn estimates_hold_the_truth_stripped_without_pprof_and_the_rate_written_live() {
    let options = format!("--allow-rate-write --sampling-rate {RATE_BYTES}");
    check(
        "estimates (Go 1.22, stripped)",
        Go::V1_22,
        Build::Stripped,
        "",
        &options,
    );
}

/// Pairs of a window and a site: how many there were, how many held the truth, and the errors' sum.
#[derive(Debug, Clone, Copy, Default)]
struct Coverage {
    pairs: u32,
    held: u32,
    error_sum: f64,
}

impl Coverage {
    fn add(&mut self, exact: u64, figure: &Figure) {
        let exact = exact as f64;
        self.pairs += 1;
        self.held += u32::from(figure.low <= exact && exact <= figure.high);
        self.error_sum += (figure.value - exact).abs() / exact;
    }

    fn share(&self) -> f64 {
        f64::from(self.held) / f64::from(self.pairs)
    }
}

fn check(test: &str, go: Go, build: Build, flags: &str, options: &str) {
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = go.sites(test, build) else {
        return;
    };
    let mut by_site: BTreeMap<String, Coverage> = BTreeMap::new();
    let mut by_run = Vec::new();
    for (seed, tick_ms) in RUNS {
        let mut run = Coverage::default();
        for (site, exact, figure) in one_run(&binary, &program, flags, options, seed, tick_ms) {
            by_site.entry(site).or_default().add(exact, &figure);
            run.add(exact, &figure);
        }
        by_run.push((format!("seed {seed}, tick {tick_ms} ms"), run));
    }
    assert_eq!(by_site.len(), 6, "{by_site:?}");
    println!("{test}: share of windows whose interval holds the exact bytes, and mean error");
    let mut all = Coverage::default();
    for run in by_run.iter().map(|(_, run)| run) {
        all.pairs += run.pairs;
        all.held += run.held;
        all.error_sum += run.error_sum;
    }
    let lines: Vec<_> = by_site
        .into_iter()
        .chain(by_run)
        .chain([("all".to_owned(), all)])
        .collect();
    for (name, of) in &lines {
        println!(
            "  {name:22} {:4} of {:4} = {:5.1} %   {:4.1} %",
            of.held,
            of.pairs,
            of.share() * 100.0,
            of.error_sum / f64::from(of.pairs) * 100.0
        );
    }
    for (name, of) in &lines {
        assert!(of.share() >= WANTED, "{test}, {name}: {of:?}");
    }
}

/// One run of the program: for each window and site the exact bytes and Heaptide's figure.
fn one_run(
    binary: &Path,
    program: &Path,
    flags: &str,
    options: &str,
    seed: u64,
    tick_ms: u64,
) -> Vec<(String, u64, Figure)> {
    let hub = Hub::start(binary);
    let flags = format!(
        "-windows {WINDOWS} -window-bytes {} -seed {seed} -pace {}ms {flags}",
        window_bytes(RATE_BYTES),
        tick_ms * 5 / 2
    );
    let options = format!("--tick-ms {tick_ms} {options}");
    let mut sites = Sites::started(hub.run(&options, program, &flags));
    let session = heaptide::session_of(&sites.process);
    let console = hub.console();
    console.until_sampling(session, RATE_BYTES);
    sites.go();
    let end = sites.end();
    let windows = sites.windows();
    assert_eq!(windows.len(), WINDOWS);
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    console.until_ended(session);
    assert!(console.view(session, |view| view.errors.is_empty() && view.missed.is_empty()));

    let spans = spans(&windows, tick_ms * 1_000_000);
    let whole = Window {
        from_ns: spans[0].from_ns,
        to_ns: spans[WINDOWS - 1].to_ns,
    };
    let total = console.sites(session, whole, Metric::Allocated).total;
    assert_near_total(end.total_alloc_bytes, &total);
    let mut pairs = Vec::new();
    for (exact, span) in windows.iter().zip(spans) {
        for (site, bytes) in &exact.bytes {
            let figure = console.sites_like(session, span, Metric::Allocated, site).total;
            assert!(
                matches!(
                    figure.method,
                    Method::Sampled {
                        rate_bytes: RATE_BYTES
                    }
                ),
                "{figure:?}"
            );
            pairs.push((site.clone(), *bytes, figure));
        }
    }
    pairs
}

/// `runtime.MemStats.TotalAlloc` over all windows: one pair, so it gets twice the interval.
fn assert_near_total(exact: u64, figure: &Figure) {
    let exact = exact as f64;
    let (below, above) = (figure.value - figure.low, figure.high - figure.value);
    println!(
        "  TotalAlloc {:.1} MB, estimated {:.1} MB ({:+.2} %), interval {:.2} %",
        exact / 1e6,
        figure.value / 1e6,
        (figure.value / exact - 1.0) * 100.0,
        (below + above) / 2.0 / exact * 100.0
    );
    assert!(
        figure.value - 2.0 * below <= exact && exact <= figure.value + 2.0 * above,
        "TotalAlloc is {exact}, {figure:?}"
    );
}
