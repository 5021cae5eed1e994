//! Collections and stop-the-world pauses, against what Go itself prints with `GODEBUG=gctrace=1`.
//!
//! Each cycle stops the world twice: to end the sweep before it and to end its mark phase (fields 1 and 3 of
//! gctrace's `a+b+c ms clock`). gctrace cuts each to two digits (`fmtNSAsMS`, src/runtime/mgc.go), 3 % too
//! little on average, so `runtime.MemStats.PauseTotalNs`, which has all digits, is compared as well.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::process::Process;
use heaptide_e2e::{Build, Go, Hub, Sites, machine};
use std::process::Command;

/// Go's `stwReason` (src/runtime/proc.go).
const MARK_TERMINATION: u32 = 1;
const SWEEP_TERMINATION: u32 = 2;
const WANTED: f64 = 0.10;

#[test]
fn pauses_agree_with_gctrace() {
    let test = "pauses";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let programs = [
        (Go::V1_27, Build::Plain),
        (Go::V1_27, Build::Stripped),
        (Go::V1_22, Build::Plain),
        (Go::V1_22, Build::Stripped),
    ];
    for (go, build) in programs {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let hub = Hub::start(&binary);
        // With a standard error of its own: Go writes a line of the trace in pieces, and what `heaptide run` says
        // may come between them.
        let mut command = Command::new(&program);
        command
            .args("-windows 4 -window-bytes 500000000 -gc -workers 4".split_whitespace())
            .env("GODEBUG", "gctrace=1");
        let mut sites = Sites::started(Process::start(&mut command));
        let watcher = hub.attach("", sites.pid);
        let session = watcher.session;
        sites.go();
        let end = sites.end();
        let finished = sites.finish();
        assert_eq!(finished.code, 0, "{}", finished.err);
        let console = hub.console();
        console.until_ended(session);

        let traced = parse(&finished.err);
        let timeline = console.timeline(session);
        let of = |reason: u32| timeline.pauses.iter().filter(move |pause| pause.reason == reason);
        let nanoseconds = |reason: u32| of(reason).map(|pause| pause.end_ns - pause.begin_ns).sum::<u64>();
        assert!(traced.len() >= 50, "only {} cycles", traced.len());
        assert_eq!(
            (
                timeline.cycles.len(),
                of(SWEEP_TERMINATION).count(),
                of(MARK_TERMINATION).count()
            ),
            (traced.len(), traced.len(), traced.len()),
            "Go {} {build:?}: cycles and pauses of each kind",
            go.name()
        );
        let seen_ns = nanoseconds(SWEEP_TERMINATION) + nanoseconds(MARK_TERMINATION);
        let traced_ns: f64 = traced.iter().map(|cycle| cycle.0 + cycle.1).sum();
        let deviation = |exact_ns: f64| seen_ns as f64 / exact_ns - 1.0;
        let (by_trace, by_stats) = (deviation(traced_ns), deviation(end.pause_total_ns as f64));
        println!(
            "Go {} {build:?}: {} cycles, pauses {:.3} ms, gctrace {:+.2} %, MemStats {:+.2} %",
            go.name(),
            traced.len(),
            seen_ns as f64 / 1e6,
            by_trace * 100.0,
            by_stats * 100.0
        );
        for (what, got) in [("gctrace", by_trace), ("MemStats.PauseTotalNs", by_stats)] {
            assert!(got.abs() <= WANTED, "{what}: {got}");
        }
    }
}

/// Nanoseconds of sweep and of mark termination, for each `gc N @… a+b+c ms clock, …`.
fn parse(trace: &str) -> Vec<(f64, f64)> {
    trace
        .lines()
        .filter(|line| line.starts_with("gc ") && line.contains(" ms clock"))
        .map(|line| {
            let clock = line
                .split(" ms clock")
                .next()
                .and_then(|head| head.rsplit(' ').next());
            let fields: Vec<f64> = clock
                .unwrap_or_default()
                .split('+')
                .map(|field| field.parse::<f64>().unwrap() * 1e6)
                .collect();
            assert_eq!(fields.len(), 3, "{line}");
            (fields[0], fields[2])
        })
        .collect()
}
