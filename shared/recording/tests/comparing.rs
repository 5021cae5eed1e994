//! Comparisons: what did not change has not moved, what did has, and conditions say so.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Tick, recording};
use heaptide_recording::{Condition, Diff, DiffMetric, DiffQuery, Recording, Side, Verdict};

/// `leaked` samples of 1 KiB objects stay in each of ten ticks; pages come and go.
fn ticks(leaked: u32, pause_ns: u64) -> Vec<Tick> {
    (0..10)
        .map(|at| {
            let mut births = vec![(1, 4096, 40)];
            if leaked > 0 {
                births.push((0, 1024, leaked));
            }
            Tick {
                births,
                deaths: if at > 0 { vec![(1, 4096, 40)] } else { Vec::new() },
                pauses_ns: vec![pause_ns, 1_000],
            }
        })
        .collect()
}

fn diff(before: &Recording, after: &Recording, metric: DiffMetric, conditions: &[&str]) -> Diff {
    let side = |recording| Side {
        recording,
        window: Recording::window(recording, None, None).unwrap(),
    };
    let query = DiffQuery {
        metric,
        conditions: conditions
            .iter()
            .map(|text| Condition::parse(text).unwrap())
            .collect(),
        limit: 10,
    };
    Diff::new(side(before), side(after), &query)
}

#[test]
fn a_session_has_not_moved_against_itself() {
    let (a, b) = (recording(&ticks(20, 5_000)), recording(&ticks(20, 5_000)));
    for metric in [
        DiffMetric::Live,
        DiffMetric::Allocated,
        DiffMetric::AllocatedPerSecond,
    ] {
        let diff = diff(
            &a,
            &b,
            metric,
            &["live > +1%", "live < -1%", "pause_p99 > +1ns", "gc_cycles > 0"],
        );
        assert_eq!((diff.total.change.value, diff.total.moved), (0.0, false));
        assert!(
            diff.sites
                .iter()
                .all(|site| !site.moved && site.change.value == 0.0)
        );
        assert!(!diff.is_failed(), "{}", diff.text());
        assert!(diff.warnings.is_empty(), "{:?}", diff.warnings);
    }
}

#[test]
fn a_leak_moves_and_the_pages_do_not() {
    let (a, b) = (recording(&ticks(5, 5_000)), recording(&ticks(50, 9_000)));
    let diff = diff(&a, &b, DiffMetric::Live, &[]);
    let moved: Vec<&str> = diff
        .sites
        .iter()
        .filter(|site| site.moved)
        .map(|site| site.function.as_str())
        .collect();
    assert_eq!(moved, ["main.leak"], "{}", diff.text());
    let leak = &diff.sites[0].change;
    assert!(leak.low > 0.0 && leak.low < leak.value && leak.value < leak.high);
    let json = diff.json();
    assert_eq!(json["sites"][0]["function"], "main.leak");
    assert_eq!(json["sites"][0]["moved"], true);
    assert_eq!(json["total"]["before"]["method"], "sampled");
}

#[test]
fn a_few_samples_more_are_noise() {
    let (a, b) = (recording(&ticks(2, 5_000)), recording(&ticks(3, 5_000)));
    let diff = diff(&a, &b, DiffMetric::Live, &["live:main.leak > +10%"]);
    assert!(diff.sites.iter().all(|site| !site.moved), "{}", diff.text());
    // By its value the condition is met; the noise does not allow to say so.
    assert_eq!(diff.judged[0].verdict, Verdict::Undecided);
    assert!(!diff.is_failed());
}

#[test]
fn conditions_are_judged_with_their_noise() {
    let (a, b) = (recording(&ticks(5, 5_000)), recording(&ticks(50, 9_000)));
    let cases = [
        ("live:main.leak > +100%", Verdict::Met),
        ("live:main.leak > +1MiB", Verdict::Met),
        ("live:main.leak > +10000%", Verdict::NotMet),
        ("live:main.leak < -10%", Verdict::NotMet),
        ("live:main.page > +50%", Verdict::NotMet),
        ("allocated > 1GiB", Verdict::NotMet),
        ("allocated_per_s > +1MiB/s", Verdict::Met),
        ("rss > +1B", Verdict::NotMet),
        ("rss > 49MiB", Verdict::Met),
        ("pause_p99 > 8us", Verdict::Met),
        ("pause_p99 > +3us", Verdict::Met),
        ("pause_p50 > 1us", Verdict::NotMet),
        ("pause_max > 10us", Verdict::NotMet),
        ("pause_total > +10%", Verdict::Met),
        ("gc_cycles > 0", Verdict::NotMet),
    ];
    for (text, expected) in cases {
        let diff = diff(&a, &b, DiffMetric::Live, &[text]);
        assert_eq!(
            diff.judged[0].verdict, expected,
            "{text}: {}",
            diff.judged[0].reason
        );
        assert_eq!(diff.is_failed(), expected == Verdict::Met, "{text}");
    }
    let unknown = diff(&a, &b, DiffMetric::Live, &["pss > +10%"]);
    assert!(matches!(unknown.judged[0].verdict, Verdict::Unknown { .. }));
    assert_eq!(unknown.unknown().count(), 1);
}

#[test]
fn a_site_that_came_is_compared_with_what_sampling_may_have_missed() {
    let (none, few, many) = (
        recording(&ticks(0, 5_000)),
        recording(&[Tick {
            births: vec![(0, 1024, 3)],
            ..Tick::default()
        }]),
        recording(&ticks(50, 5_000)),
    );
    let site = |diff: &Diff| {
        let found = diff.sites.iter().find(|site| site.function == "main.leak");
        found.unwrap().clone()
    };
    let came = site(&diff(&none, &many, DiffMetric::Live, &[]));
    assert!(came.moved && came.before.value == 0.0 && came.before.high > 0.0);
    let hardly = site(&diff(&none, &few, DiffMetric::Live, &[]));
    assert!(!hardly.moved, "{hardly:?}");
    let gone = site(&diff(&many, &none, DiffMetric::Live, &[]));
    assert!(gone.moved && gone.change.value < 0.0);
}

#[test]
fn what_makes_a_comparison_doubtful_is_said() {
    let (a, b) = (recording(&ticks(5, 1)), recording(&ticks(5, 1)[..5]));
    let warnings = diff(&a, &b, DiffMetric::Allocated, &["live:main.leek > +1%"])
        .warnings
        .join("\n");
    for part in ["1.0 s and 0.5 s long", "main.leek is a call site in neither"] {
        assert!(warnings.contains(part), "no {part:?} in {warnings}");
    }
    assert!(
        diff(&a, &b, DiffMetric::AllocatedPerSecond, &[])
            .warnings
            .is_empty()
    );
}
