//! Windows that end by time, by cost or because they are told to, and Go's sampler beside them.

use std::sync::mpsc::channel;

use heaptide_collector::linux::bpf::{
    EndOfWindow, ExactOptions, ExactSession, ExactStop, PhaseBins, ProbeSource, WindowSpec, run_window,
};

use crate::{Built, built, object, program::Program, skip, toolchains};

fn spec(program: &Program, built: &Built) -> WindowSpec {
    WindowSpec {
        source: ProbeSource::here(program.pid(), None).expect("the program"),
        plan: built.plan.clone(),
        length_ns: 1_000_000_000,
        max_cost_permille: u64::MAX / 1_000_000_000,
        tick_ns: 100_000_000,
        rate_bytes: 0,
        options: ExactOptions::default(),
    }
}

fn length_ns(window: &EndOfWindow) -> u64 {
    window.to_ns - window.from_ns
}

#[test]
fn a_window_ends_by_time_by_cost_or_when_told() {
    let Some(object) = object() else { return };
    let Some(go) = toolchains().pop() else { return };
    let built = built(&go, &[]);
    let mut program = Program::start(&built.binary, &["-seconds", "8", "-objects", "200"]);
    program.go();

    let (_keep, stop) = channel();
    let by_time = run_window(object, &spec(&program, &built), &|| None, &stop).expect("a window");
    assert_eq!(by_time.stopped_by, ExactStop::Time);
    assert!(length_ns(&by_time) >= 1_000_000_000, "{} ns", length_ns(&by_time));
    assert!(
        by_time.readout.counts.seen > 1_000,
        "{:?}",
        by_time.readout.counts
    );
    assert_eq!(by_time.probes as usize, built.plan.sites.len());
    assert_eq!(by_time.phase, None);

    // A thousandth of a core is 286 allocations a second.
    let cheap = WindowSpec {
        max_cost_permille: 1,
        length_ns: 60_000_000_000,
        ..spec(&program, &built)
    };
    let by_cost = run_window(object, &cheap, &|| None, &stop).expect("a window");
    assert_eq!(by_cost.stopped_by, ExactStop::Cost);
    assert!(length_ns(&by_cost) < 10_000_000_000, "{} ns", length_ns(&by_cost));

    let (sender, stop) = channel();
    drop(sender);
    let long = WindowSpec {
        length_ns: 60_000_000_000,
        ..spec(&program, &built)
    };
    let counted = std::cell::Cell::new(10);
    let runtime_objects = || Some(counted.replace(17));
    let told = run_window(object, &long, &runtime_objects, &stop).expect("a window");
    assert_eq!(told.stopped_by, ExactStop::Asked);
    assert_eq!(told.runtime_objects, Some(7));

    program.done();
    let report = program.report();
    assert!(report.checksum > 0);
    program.end();
}

#[test]
fn probes_come_and_go_under_load_and_nothing_is_left() {
    let Some(object) = object() else { return };
    let Some(go) = toolchains().pop() else { return };
    let built = built(&go, &[]);
    let mut program = Program::start(
        &built.binary,
        &["-seconds", "10", "-workers", "2", "-objects", "200"],
    );
    program.go();
    let mut seen = 0;
    for _ in 0..3 {
        let (_keep, stop) = channel();
        let short = WindowSpec {
            length_ns: 300_000_000,
            ..spec(&program, &built)
        };
        let window = run_window(object, &short, &|| None, &stop).expect("a window");
        seen += window.readout.counts.seen;
    }
    assert!(seen > 0);
    program.done();
    program.report();
    program.end();
}

/// Each sample of Go's profiler is seen, and the bytes between them are what Go itself draws: so the test of
/// the phase tells of the program and not of our counting.
#[test]
fn distances_between_samples_are_those_that_go_draws() {
    /// 99.99 % quantile of chi-square with 19 degrees of freedom.
    const SOUND: f64 = 50.8;
    const RATE: u64 = 8192;
    let Some(object) = object() else { return };
    for go in toolchains() {
        let built = built(&go, &[]);
        let mut program = Program::start(&built.binary, &["-rate", "8192", "-objects", "4000"]);
        let options = ExactOptions::default();
        let source = ProbeSource::here(program.pid(), None).expect("the program");
        let mut session = ExactSession::attach(object, &source, &built.plan, true, &options).expect("attach");
        let mut phase = PhaseBins::new(RATE);
        session.open().expect("open");
        program.go();
        program.done();
        session.close().expect("close");
        session.detach();
        session.drain_samples(&mut phase);
        let finished: u32 = phase.counts().map_or(0, |(_, bins, _)| bins.iter().sum());
        session.drain_threads(&mut phase).expect("threads");
        let (_, bins, bytes) = phase.counts().expect("samples");
        let report = program.report();
        program.end();
        // The runtime may allocate for itself between Go's count and the window.
        assert!(
            u64::from(finished).abs_diff(report.samples) <= 3,
            "{finished} samples seen, {} counted by Go",
            report.samples
        );
        let all: u32 = bins.iter().sum();
        let expected = f64::from(all) / bins.len() as f64;
        let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        let chi_square: f64 = bins.iter().map(square).sum();
        eprintln!(
            "Go 1.{}: {finished} samples, {bytes} bytes, chi-square {chi_square:.1}",
            go.minor
        );
        assert!(chi_square < SOUND, "{chi_square}: {bins:?}");
        if all < 1_000 {
            skip("too few samples for a test of their distances");
        }
    }
}
