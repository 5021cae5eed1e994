//! The last minutes of headline figures of each live session, and their sums by label.
//!
//! In memory only, from the pulses that collectors send once a second: enough for the last minutes of a team's
//! dashboard, without decoding a frame. What lies further back is summed up in the same way from the sessions' levels.

use heaptide_policy::Labels;
use heaptide_protocol::control::Pulse;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use utoipa::ToSchema;

/// Groups that are told; what more there are is counted.
const GROUPS: usize = 200;

/// A session's last pulses, the oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct PulseRing(VecDeque<Point>);

/// A pulse by the hub's clock.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Point {
    pub(crate) unix_s: u64,
    /// By a clock of the hub that nobody sets, and by the session's own.
    pub(crate) heard_ns: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) live_bytes: f64,
    pub(crate) live_std_error_bytes: f64,
    pub(crate) allocated_bytes_per_s: f64,
    pub(crate) collector_cpu_permille: u32,
    pub(crate) sent_bytes_per_s: u64,
    pub(crate) seen: u64,
    pub(crate) dropped: u64,
    pub(crate) host_available_bytes: u64,
    pub(crate) host_total_bytes: u64,
}

/// What one session was like in one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Headline {
    pub(crate) rss_bytes: u64,
    pub(crate) live_bytes: f64,
    pub(crate) live_std_error_bytes: f64,
    pub(crate) allocated_bytes_per_s: f64,
    pub(crate) collector_cpu_permille: u32,
    /// Only pulses tell it.
    pub(crate) sent_bytes_per_s: Option<u64>,
}

/// What is asked of the fleet: `from_unix_s` is in it, `to_unix_s` is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_unix_s: u64,
    pub(crate) to_unix_s: u64,
    pub(crate) step_s: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Group {
    /// The values that its sessions share; a label that some don't have is left out for them.
    #[schema(value_type = Object)]
    labels: Labels,
    sessions: usize,
    /// A step without any pulse is left out.
    points: Vec<Sum>,
}

/// The sum over the sessions that were heard of in one step, each as it was at the step's end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct Sum {
    /// The step's beginning.
    unix_s: u64,
    /// Sessions in this sum.
    sessions: usize,
    rss_bytes: u64,
    /// Estimated from samples.
    live_bytes: f64,
    /// Of the sum: sessions err independently, so their errors add up in quadrature.
    live_std_error_bytes: f64,
    /// Estimated from samples.
    allocated_bytes_per_s: f64,
    collector_cpu_permille: u64,
    /// Null where it is not from pulses.
    sent_bytes_per_s: Option<u64>,
}

impl PulseRing {
    /// Keeps at most `limit`; whether one was forgotten for it.
    pub(crate) fn push(&mut self, pulse: &Pulse, unix_s: u64, limit: usize) -> bool {
        let is_full = self.0.len() >= limit;
        if is_full {
            self.0.pop_front();
        }
        self.0.push_back(Point {
            unix_s,
            heard_ns: crate::clock::steady_unix_ns(),
            timestamp_ns: pulse.timestamp_ns,
            rss_bytes: pulse.rss_bytes,
            live_bytes: pulse.live_bytes,
            live_std_error_bytes: pulse.live_std_error_bytes,
            allocated_bytes_per_s: pulse.allocated_bytes_per_s,
            collector_cpu_permille: pulse.collector_cpu_permille,
            sent_bytes_per_s: pulse.sent_bytes_per_s,
            seen: pulse.seen,
            dropped: pulse.dropped,
            host_available_bytes: pulse.host_available_bytes,
            host_total_bytes: pulse.host_total_bytes,
        });
        is_full
    }

    /// The oldest first.
    pub(crate) fn points(&mut self) -> &[Point] {
        self.0.make_contiguous()
    }

    /// The last point of each step of a span, by the step's beginning.
    pub(crate) fn by_step(&self, span: &Span) -> BTreeMap<u64, Headline> {
        let inside = |point: &&Point| (span.from_unix_s..span.to_unix_s).contains(&point.unix_s);
        let begin = |point: &Point| point.unix_s - point.unix_s % span.step_s;
        self.0
            .iter()
            .filter(inside)
            .map(|point| (begin(point), point.headline()))
            .collect()
    }
}

impl Point {
    fn headline(&self) -> Headline {
        Headline {
            rss_bytes: self.rss_bytes,
            live_bytes: self.live_bytes,
            live_std_error_bytes: self.live_std_error_bytes,
            allocated_bytes_per_s: self.allocated_bytes_per_s,
            collector_cpu_permille: self.collector_cpu_permille,
            sent_bytes_per_s: Some(self.sent_bytes_per_s),
        }
    }
}

/// Sums by the values of the labels `by`, the largest group first; and how many groups are left out.
pub(crate) fn merge(sessions: &[(Labels, BTreeMap<u64, Headline>)], by: &[String]) -> (Vec<Group>, usize) {
    type Values = Vec<(String, String)>;
    let mut groups: BTreeMap<Values, (usize, BTreeMap<u64, Sum>)> = BTreeMap::new();
    for (labels, steps) in sessions {
        let values = by
            .iter()
            .filter_map(|key| Some((key.clone(), labels.get(key)?.to_owned())));
        let (count, sums) = groups.entry(values.collect()).or_default();
        *count += 1;
        for (&unix_s, headline) in steps {
            let sum = sums.entry(unix_s).or_insert(Sum {
                unix_s,
                ..Sum::default()
            });
            sum.add(headline);
        }
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(values, (sessions, sums))| Group {
            labels: values.into_iter().collect(),
            sessions,
            points: sums.into_values().collect(),
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.sessions));
    let left_out = groups.len().saturating_sub(GROUPS);
    groups.truncate(GROUPS);
    (groups, left_out)
}

impl Sum {
    fn add(&mut self, of: &Headline) {
        self.sessions += 1;
        self.rss_bytes = self.rss_bytes.saturating_add(of.rss_bytes);
        self.live_bytes += of.live_bytes;
        self.live_std_error_bytes = self.live_std_error_bytes.hypot(of.live_std_error_bytes);
        self.allocated_bytes_per_s += of.allocated_bytes_per_s;
        self.collector_cpu_permille += u64::from(of.collector_cpu_permille);
        if let Some(sent) = of.sent_bytes_per_s {
            let sum = self.sent_bytes_per_s.unwrap_or(0);
            self.sent_bytes_per_s = Some(sum.saturating_add(sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(live_bytes: f64, live_std_error_bytes: f64) -> Pulse {
        Pulse {
            timestamp_ns: 0,
            rss_bytes: 10,
            live_bytes,
            live_std_error_bytes,
            allocated_bytes_per_s: 2.0,
            samples_per_s: 0.0,
            dropped: 0,
            seen: 0,
            sampling_rate_bytes: 0,
            collector_cpu_permille: 3,
            collector_rss_bytes: 0,
            sent_bytes_per_s: 4,
            host_available_bytes: 0,
            host_total_bytes: 0,
        }
    }

    fn session(labels: &[(&str, &str)], pulses: &[(u64, f64, f64)]) -> (Labels, PulseRing) {
        let mut ring = PulseRing::default();
        for (unix_s, live_bytes, error) in pulses {
            ring.push(&pulse(*live_bytes, *error), *unix_s, 100);
        }
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        (labels.collect(), ring)
    }

    #[test]
    fn a_ring_keeps_the_newest_and_tells_what_it_forgets() {
        let mut ring = PulseRing::default();
        let forgot: Vec<bool> = (0..4)
            .map(|unix_s| ring.push(&pulse(0.0, 0.0), unix_s, 3))
            .collect();
        assert_eq!(forgot, [false, false, false, true]);
        let kept: Vec<u64> = ring.0.iter().map(|point| point.unix_s).collect();
        assert_eq!(kept, [1, 2, 3]);
    }

    #[test]
    fn sums_are_by_label_with_errors_in_quadrature() {
        let sessions = [
            session(
                &[("service", "shop"), ("zone", "a")],
                &[(10, 1.0, 9.0), (11, 100.0, 3.0), (20, 7.0, 1.0)],
            ),
            session(
                &[("service", "shop"), ("zone", "b")],
                &[(14, 50.0, 4.0), (99, 1.0, 1.0)],
            ),
            session(&[("service", "cart")], &[]),
        ];
        let span = Span {
            from_unix_s: 10,
            to_unix_s: 30,
            step_s: 5,
        };
        let steps: Vec<_> = sessions
            .iter()
            .map(|(labels, ring)| (labels.clone(), ring.by_step(&span)))
            .collect();
        let points = |group: &Group| -> Vec<(u64, usize, f64, f64)> {
            let all = group.points.iter();
            all.map(|sum| (sum.unix_s, sum.sessions, sum.live_bytes, sum.live_std_error_bytes))
                .collect()
        };
        let (groups, left_out) = merge(&steps, &["service".to_owned()]);
        assert_eq!((groups.len(), left_out), (2, 0));
        assert_eq!(groups[0].labels.get("service"), Some("shop"));
        assert_eq!(points(&groups[0]), [(10, 2, 150.0, 5.0), (20, 1, 7.0, 1.0)]);
        assert_eq!((groups[1].sessions, points(&groups[1]).len()), (1, 0));
        let (groups, _) = merge(&steps, &[]);
        assert_eq!((groups.len(), groups[0].sessions), (1, 3));
        let (groups, _) = merge(&steps, &["zone".to_owned(), "service".to_owned()]);
        assert_eq!(groups.len(), 3);
        let many: Vec<_> = (0..=GROUPS)
            .map(|number| session(&[("zone", &number.to_string())], &[]).0)
            .map(|labels| (labels, BTreeMap::new()))
            .collect();
        let (groups, left_out) = merge(&many, &["zone".to_owned()]);
        assert_eq!((groups.len(), left_out), (GROUPS, 1));
    }
}
