//! `runtime.MemProfileRate`: written only where that is allowed, changed by a console, and always put back.
//!
//! What the rate is, the program says itself: its `state` line.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the measured ratio is a result; a test that can't be set up has failed"
)]

use heaptide_analysis::views::{MarkKind, Metric, Window};
use heaptide_e2e::sites::spans;
use heaptide_e2e::{Build, Console, Go, Hub, Sites, machine, until};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::SessionState;
use rustix::process::Signal;
use std::path::Path;

const KIB: u64 = 1024;
/// Go's own rate, and none where profiling was linked away.
const PROGRAMS: [(Go, Build, u64); 2] = [
    (Go::V1_27, Build::Plain, 512 * KIB),
    (Go::V1_22, Build::Stripped, 0),
];

/// A program that has run its one small window and now only answers.
fn idle(program: &Path) -> Sites {
    let mut sites = Sites::start(program, "-windows 1 -window-bytes 1000000");
    sites.go();
    let _ = sites.end();
    sites
}

fn until_rate(sites: &mut Sites, wanted: u64, what: &str) {
    until(what, || {
        let now = sites.rate();
        (now == wanted).then_some(()).ok_or(now)
    });
}

#[test]
fn invariant_4_the_first_rate_is_back_however_the_collector_ends() {
    let test = "rate (restored)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let hub = Hub::start(&binary);
    for (go, build, first) in PROGRAMS {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let mut sites = idle(&program);
        assert_eq!(sites.first_rate(), first);
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let options = format!("--allow-rate-write --sampling-rate {}", 64 * KIB);
            let mut watcher = hub.attach(&options, sites.pid);
            until_rate(&mut sites, 64 * KIB, "the rate to be written");
            watcher.process.signal(signal);
            let code = watcher.process.code();
            let wanted = if signal == Signal::KILL { 128 + 9 } else { 0 };
            assert_eq!(code, wanted, "after {signal:?}");
            if signal == Signal::KILL {
                // The guard does it, a moment later.
                until_rate(&mut sites, first, "the guard to put the rate back");
            } else {
                assert_eq!(sites.rate(), first, "after {signal:?}");
            }
        }
        assert_eq!(sites.finish().code, 0);
    }
}

#[test]
fn invariant_4_nothing_is_written_unless_it_is_allowed() {
    let test = "rate (not allowed)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let hub = Hub::start(&binary);
    for (go, build, first) in PROGRAMS {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let mut sites = idle(&program);
        for (options, says) in [
            ("", None),
            ("--sampling-rate 65536", Some("does not allow writing")),
        ] {
            let watcher = hub.attach(options, sites.pid);
            if let Some(text) = says {
                watcher.process.says(text);
            }
            let console = hub.console();
            let rejected = console.propose(watcher.session, |policy| {
                policy.allow_rate_write = true;
                policy.sampling_rate_bytes = Some(64 * KIB);
            });
            let why = rejected.unwrap_err();
            assert!(why.contains("without --allow-rate-write"), "{why}");
            assert_eq!(sites.rate(), first);
            assert_eq!(watcher.detach(), 0);
            assert_eq!(sites.rate(), first);
        }
        assert_eq!(sites.finish().code, 0);
    }
}

/// What cannot be done is refused by the hub, which knows the bounds, or rejected by the collector, which
/// knows the program; each time with the reason, and what was in force stays so.
#[test]
fn a_policy_that_can_not_be_had_is_answered_with_the_reason() {
    let test = "rate (rejected)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let mut sites = idle(&program);
    let watcher = hub.attach("--allow-rate-write", sites.pid);
    let console = hub.console();
    type Change = fn(&mut heaptide_policy::Policy);
    let cases: [(Change, &str); 3] = [
        (
            |policy| policy.sampling_rate_bytes = Some(10),
            "sampling rate of 10 bytes is out of range",
        ),
        (|policy| policy.revision = 99, "starts from revision 99"),
        (
            |policy| {
                policy.allow_rate_write = false;
                policy.sampling_rate_bytes = Some(64 * KIB);
            },
            "does not allow writing",
        ),
    ];
    for (change, expected) in cases {
        let why = console.propose(watcher.session, change).unwrap_err();
        assert!(why.contains(expected), "{why:?} lacks {expected:?}");
        assert_eq!(sites.rate(), 512 * KIB);
    }
    assert_eq!(watcher.detach(), 0);
}

/// Where nobody named a rate and the program has none, Heaptide fills in Go's own. It is part of the policy that
/// consoles start from, so a change of something else keeps it, also after the hub was away.
#[test]
fn a_change_of_something_else_keeps_the_rate() {
    let test = "rate (kept)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_22.sites(test, Build::Stripped) else {
        return;
    };
    let mut hub = Hub::start(&binary);
    let mut sites = idle(&program);
    let watcher = hub.attach("--allow-rate-write", sites.pid);
    until_rate(&mut sites, 512 * KIB, "the rate to be written");
    for addresses in [true, false] {
        let console = hub.console();
        console.listed(watcher.session, "the rate in the policy", |summary| {
            let applied = summary.policy.applied.as_ref();
            summary.state == SessionState::Live
                && applied.is_some_and(|policy| policy.sampling_rate_bytes == Some(512 * KIB))
        });
        let applied = console.propose(watcher.session, |policy| policy.addresses = addresses);
        let applied = applied.unwrap();
        assert_eq!(
            (applied.addresses, applied.sampling_rate_bytes),
            (addresses, Some(512 * KIB))
        );
        assert_eq!(sites.rate(), 512 * KIB);
        hub.kill_and_restart();
    }
    assert_eq!(watcher.detach(), 0);
    assert_eq!(sites.rate(), 0);
    assert_eq!(sites.finish().code, 0);
}

#[test]
fn a_console_changes_the_rate_of_samples_and_takes_it_back() {
    let test = "rate (from a console)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    for (go, build, first) in PROGRAMS {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        change_and_take_back(&binary, &program, first);
    }
}

fn change_and_take_back(binary: &Path, program: &Path, first: u64) {
    const RATES: [u64; 2] = [256 * KIB, 64 * KIB];
    const WINDOW_BYTES: u64 = 40_000_000;
    const TICK_NS: u64 = 100_000_000;
    let hub = Hub::start(binary);
    // Objects much smaller than any rate, so that samples are as many as bytes by rate.
    let flags =
        format!("-windows 0 -window-bytes {WINDOW_BYTES} -pace 250ms -sites siteSmall,siteMap,siteLeak");
    let mut sites = Sites::start(program, &flags);
    let watcher = hub.attach("--allow-rate-write", sites.pid);
    let session = watcher.session;
    let console = hub.console();
    console.subscribe(session);
    sites.go();
    let steps: Vec<(u64, Window)> = RATES
        .into_iter()
        .map(|rate| (rate, change(&console, session, rate, &sites)))
        .collect();

    let undone = console.propose(session, |policy| policy.sampling_rate_bytes = None);
    assert_eq!(undone.unwrap().sampling_rate_bytes, None);
    let mark = until("the mark of the undone change", || {
        last_mark(&console, session)
            .filter(|(_, before, _)| *before == RATES[1])
            .ok_or("none")
    });
    assert_eq!(mark.2, first);
    assert_eq!(watcher.detach(), 0);
    sites.process.close_stdin();
    assert_eq!(sites.end().mem_profile_rate, first);

    console.until_ended(session);
    let exact = sites.windows();
    let spans = spans(&exact, TICK_NS);
    for (rate, step) in steps {
        let inside = spans
            .iter()
            .zip(&exact)
            .filter(|(span, _)| step.from_ns <= span.from_ns && span.to_ns <= step.to_ns);
        let (mut samples, mut bytes) = (0, 0);
        for (span, window) in inside {
            let table = console.sites(session, *span, Metric::Allocated);
            samples += table.rows.iter().map(|row| row.samples).sum::<u64>();
            bytes += window.bytes.values().sum::<u64>();
        }
        assert!(bytes >= 3 * WINDOW_BYTES, "{bytes} bytes in {step:?}");
        let ratio = samples as f64 * rate as f64 / bytes as f64;
        println!(
            "{}: {samples} samples at {rate} bytes, {ratio:.3} of those expected",
            program.file_name().unwrap_or_default().display()
        );
        // At least 450 samples have 5 % standard error; three of them.
        assert!((0.85..1.15).contains(&ratio), "{ratio} at {rate}");
    }
}

/// Changes the rate and lets some windows pass; the time from the change to the end of the last of them.
fn change(console: &Console, session: SessionId, rate: u64, sites: &Sites) -> Window {
    const WINDOWS: usize = 5;
    let applied = console.propose(session, |policy| {
        policy.allow_rate_write = true;
        policy.sampling_rate_bytes = Some(rate);
    });
    assert_eq!(applied.unwrap().sampling_rate_bytes, Some(rate));
    let from_ns = until("the mark of the change", || {
        last_mark(console, session)
            .filter(|(_, _, after)| *after == rate)
            .map(|(at_ns, ..)| at_ns)
            .ok_or("none")
    });
    let before = sites.windows().len();
    // The first one may have begun before the change.
    until("some windows", || {
        let now = sites.windows().len();
        (now > before + WINDOWS + 1).then_some(()).ok_or(now)
    });
    let to_ns = sites.windows().last().map_or(0, |window| window.end_ns);
    Window { from_ns, to_ns }
}

/// When the rate was changed last, from what and to what.
fn last_mark(console: &Console, session: SessionId) -> Option<(u64, u64, u64)> {
    let marks = console.timeline(session).marks;
    marks.into_iter().rev().find_map(|mark| match mark.kind {
        MarkKind::PolicyApplied {
            rate_before_bytes,
            rate_after_bytes,
            ..
        } => Some((mark.at_ns, rate_before_bytes, rate_after_bytes)),
        _ => None,
    })
}
