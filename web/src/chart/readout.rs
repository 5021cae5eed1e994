//! What the chart shows at a moment, in words: each value with its error and its method.

use heaptide_analysis::views::{Mark, MarkKind, Timeline, TimelinePoint};
use heaptide_protocol::session::Method;

use crate::format::{bytes, bytes_per_s, duration, method, relative_error, round_bytes};

/// One value: `12.3 MiB`, `±4.2 %`, `sampled, 1 per 512 KiB`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Empty if nothing was read at that moment.
    pub value: String,
    /// Empty for what has none, and for rates, whose error the timeline does not carry.
    pub error: String,
    pub method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readout {
    pub at_ns: u64,
    pub live: Reading,
    pub rss: Reading,
    pub untracked: Reading,
    pub allocated: Reading,
    pub freed: Reading,
    /// Collections, pauses, policy changes and gaps close by.
    pub events: Vec<String>,
}

/// The point nearest to a moment.
pub fn at_moment(timeline: &Timeline, at_ns: u64) -> Option<usize> {
    let points = &timeline.points;
    let after = points.partition_point(|point| point.at_ns < at_ns);
    let distance = |index: usize| {
        points
            .get(index)
            .map(|point| (point.at_ns.abs_diff(at_ns), index))
    };
    let before = after.checked_sub(1).and_then(distance);
    before
        .into_iter()
        .chain(distance(after))
        .min()
        .map(|(_, index)| index)
}

/// `near_ns`: events so far from the point still belong to it.
pub fn readout(timeline: &Timeline, index: usize, live_method: &Method, near_ns: u64) -> Option<Readout> {
    let point = timeline.points.get(index)?;
    let sampled = method(live_method);
    let live_error = share(
        (point.live_high_bytes - point.live_low_bytes) / 2.0,
        point.live_bytes,
    );
    let rss = point.rss_bytes.map(|rss| rss as f64);
    let untracked = rss.map(|rss| rss - point.live_bytes);
    let reading = |value: Option<f64>, error: String, method: &str| match value {
        Some(value) => Reading {
            value: bytes(value),
            error,
            method: method.to_owned(),
        },
        None => Reading::default(),
    };
    let rate = |value: f64| Reading {
        value: bytes_per_s(value),
        error: String::new(),
        method: sampled.clone(),
    };
    Some(Readout {
        at_ns: point.at_ns,
        live: reading(Some(point.live_bytes), live_error, &sampled),
        rss: reading(rss, String::new(), &method(&Method::Census)),
        untracked: reading(untracked, untracked_error(point, untracked), "RSS less live heap"),
        allocated: rate(point.allocated_per_s),
        freed: rate(point.freed_per_s),
        events: events(timeline, point.at_ns, near_ns.max(timeline.step_ns)),
    })
}

/// At most so many points, evenly chosen, the newest among them: the rows of the table twin.
pub fn sample_rows(timeline: &Timeline, at_most: usize) -> impl Iterator<Item = usize> {
    let count = timeline.points.len();
    let rows = count.min(at_most);
    (1..=rows).map(move |row| (row * count).div_ceil(rows) - 1)
}

/// `sampling 512 KiB → 64 KiB`.
pub(super) fn mark_text(mark: &Mark) -> String {
    match &mark.kind {
        MarkKind::PolicyApplied {
            rate_before_bytes,
            rate_after_bytes,
            ..
        } => {
            let rate = |bytes_apart: u64| match bytes_apart {
                0 => "off".to_owned(),
                _ => round_bytes(bytes_apart as f64),
            };
            format!(
                "sampling {} → {}",
                rate(*rate_before_bytes),
                rate(*rate_after_bytes)
            )
        }
        MarkKind::PolicyRejected { revision, reason } => format!("policy {revision} rejected: {reason}"),
        MarkKind::Ended { how } => format!("ended: {how}"),
    }
}

fn untracked_error(point: &TimelinePoint, untracked: Option<f64>) -> String {
    let half = (point.live_high_bytes - point.live_low_bytes) / 2.0;
    untracked.map_or(String::new(), |value| share(half, value.abs()))
}

fn share(half: f64, value: f64) -> String {
    if half == 0.0 {
        String::new()
    } else {
        relative_error(half / value)
    }
}

fn events(timeline: &Timeline, at_ns: u64, near_ns: u64) -> Vec<String> {
    let mut out = Vec::new();
    let (low_ns, high_ns) = (at_ns.saturating_sub(near_ns), at_ns.saturating_add(near_ns));
    let near = |begin_ns: u64, end_ns: u64| begin_ns <= high_ns && end_ns >= low_ns;
    out.extend(
        timeline
            .marks
            .iter()
            .filter(|mark| near(mark.at_ns, mark.at_ns))
            .map(mark_text),
    );
    if timeline.gaps.iter().any(|gap| near(gap.from_ns, gap.to_ns)) {
        out.push("no data".to_owned());
    }
    let cycles = timeline
        .cycles
        .iter()
        .filter(|cycle| near(cycle.begin_ns, cycle.end_ns.unwrap_or(u64::MAX)));
    match cycles.count() {
        0 => {}
        1 => out.push("garbage collection".to_owned()),
        many => out.push(format!("{many} garbage collections")),
    }
    let pauses = timeline
        .pauses
        .iter()
        .filter(|pause| near(pause.begin_ns, pause.end_ns));
    let longest = pauses
        .clone()
        .max_by_key(|pause| pause.end_ns.saturating_sub(pause.begin_ns));
    if let Some(longest) = longest {
        let lasted = duration(longest.end_ns.saturating_sub(longest.begin_ns));
        out.push(match pauses.count() {
            1 => format!("pause of {lasted} ({})", longest.reason_text),
            many => format!("{many} pauses, the longest {lasted} ({})", longest.reason_text),
        });
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use heaptide_analysis::views::{GcCycle, Pause, Window};

    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    pub(in crate::chart) fn timeline() -> Timeline {
        let point = |index: u64| TimelinePoint {
            at_ns: index * 1000,
            live_bytes: 10.0 * MIB + index as f64 * MIB,
            live_low_bytes: 9.0 * MIB + index as f64 * MIB,
            live_high_bytes: 11.0 * MIB + index as f64 * MIB,
            rss_bytes: (index != 3).then_some(30 << 20),
            pss_bytes: None,
            allocated_per_s: 2.0 * MIB,
            freed_per_s: MIB,
        };
        let applied = MarkKind::PolicyApplied {
            revision: 2,
            rate_before_bytes: 512 << 10,
            rate_after_bytes: 65536,
        };
        Timeline {
            window: Window {
                from_ns: 0,
                to_ns: 10_000,
            },
            step_ns: 1000,
            told_ns: 0,
            points: (1..=10).map(point).collect(),
            cycles: vec![
                GcCycle {
                    begin_ns: 2100,
                    end_ns: Some(2900),
                },
                GcCycle {
                    begin_ns: 9500,
                    end_ns: None,
                },
            ],
            pauses: vec![
                Pause {
                    begin_ns: 2100,
                    end_ns: 2150,
                    reason: 1,
                    reason_text: "mark start".to_owned(),
                },
                Pause {
                    begin_ns: 2880,
                    end_ns: 2950,
                    reason: 2,
                    reason_text: "mark termination".to_owned(),
                },
            ],
            marks: vec![Mark {
                at_ns: 5000,
                kind: applied,
            }],
            gaps: vec![Window {
                from_ns: 6100,
                to_ns: 6900,
            }],
        }
    }

    #[test]
    fn nearest_points() {
        let timeline = timeline();
        for (at_ns, expect) in [(0, 0), (1499, 0), (1500, 0), (1501, 1), (9_999, 9), (u64::MAX, 9)] {
            assert_eq!(at_moment(&timeline, at_ns), Some(expect), "{at_ns}");
        }
        assert_eq!(
            at_moment(
                &Timeline {
                    points: vec![],
                    ..timeline
                },
                5
            ),
            None
        );
    }

    #[test]
    fn every_value_has_its_error_and_method() {
        let timeline = timeline();
        let sampled = Method::Sampled {
            rate_bytes: 512 << 10,
        };
        let got = readout(&timeline, 4, &sampled, 0).unwrap();
        let expect = |value: &str, error: &str, method: &str| Reading {
            value: value.to_owned(),
            error: error.to_owned(),
            method: method.to_owned(),
        };
        assert_eq!(got.live, expect("15.0 MiB", "±6.7 %", "sampled, 1 per 512 KiB"));
        assert_eq!(got.rss, expect("30.0 MiB", "", "read from the system"));
        assert_eq!(got.untracked, expect("15.0 MiB", "±6.7 %", "RSS less live heap"));
        assert_eq!(got.freed, expect("1.00 MiB/s", "", "sampled, 1 per 512 KiB"));
        assert_eq!(got.events, ["sampling 512 KiB → 64 KiB"]);
        let missing = readout(&timeline, 2, &sampled, 0).unwrap();
        assert_eq!(
            (missing.rss, missing.untracked),
            (Reading::default(), Reading::default())
        );
        assert_eq!(readout(&timeline, 10, &sampled, 0), None);
    }

    #[test]
    fn events_close_by() {
        let timeline = timeline();
        for (index, near_ns, expect) in [
            (
                1,
                0,
                vec![
                    "garbage collection",
                    "2 pauses, the longest 70 ns (mark termination)",
                ],
            ),
            (0, 1100, vec!["garbage collection", "pause of 50 ns (mark start)"]),
            (6, 0, vec!["no data"]),
            (9, 0, vec!["garbage collection"]),
        ] {
            let got = readout(&timeline, index, &Method::Exact, near_ns).unwrap();
            assert_eq!(got.events, expect, "{index}");
        }
    }

    #[test]
    fn table_rows_end_with_the_newest() {
        let timeline = timeline();
        assert_eq!(sample_rows(&timeline, 4).collect::<Vec<_>>(), [2, 4, 7, 9]);
        assert_eq!(sample_rows(&timeline, 50).count(), 10);
        assert_eq!(
            sample_rows(
                &Timeline {
                    points: vec![],
                    ..timeline
                },
                50
            )
            .count(),
            0
        );
    }
}
