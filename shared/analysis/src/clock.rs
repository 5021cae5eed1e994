//! Spans on the clocks of different machines: where they lie on their hub's clock, and whether they overlapped.
//!
//! A span on a session's clock is known on the hub's only within an error, so two spans of different machines
//! overlap definitely (wherever in their errors they lie), possibly (somewhere in them), or not.

use crate::views::Window;
use heaptide_protocol::control::ClockReading;
use serde::{Deserialize, Serialize};

/// What a collector allows for, too: a nanosecond for each 10 µs, 100 ppm.
const DRIFT_DIVISOR: u64 = 10_000;

/// The offset of a clock at some time: `hub_unix_ns = session_ns + offset_ns`, within `error_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset {
    pub offset_ns: i64,
    pub error_ns: u64,
}

/// A span on a session's clock, both ends included, and how that clock relates to the hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnClock {
    pub span: Window,
    pub clock: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Wherever within their errors the two lie.
    Definite,
    /// Somewhere within their errors.
    Possible,
    /// Nowhere within their errors.
    None,
}

/// A verdict with its bounds: by how much the two overlapped at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub overlap: Overlap,
    pub least_ns: u64,
    pub most_ns: u64,
    /// How far the one can be shifted against the other, either way.
    pub error_ns: u64,
}

/// Spans that touch overlap, by 0 ns.
pub fn judge(a: OnClock, b: OnClock) -> Judgement {
    let error_ns = a.clock.error_ns.saturating_add(b.clock.error_ns);
    let error = i128::from(error_ns);
    let (a_from, a_to) = a.on_hub();
    let (b_from, b_to) = b.on_hub();
    // Below zero where they lie apart. As the one shifts along the other this rises, stays and falls, so it is
    // least at one of the ends, and greatest where their beginnings or their ends meet, or as near as it comes.
    let common = |shift: i128| a_to.min(b_to + shift) - a_from.max(b_from + shift);
    let least = common(-error).min(common(error));
    let meet = [a_from - b_from, a_to - b_to].map(|shift| common(shift.clamp(-error, error)));
    let most = meet[0].max(meet[1]);
    let overlap = match (least >= 0, most >= 0) {
        (true, _) => Overlap::Definite,
        (false, true) => Overlap::Possible,
        (false, false) => Overlap::None,
    };
    let length = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    Judgement {
        overlap,
        least_ns: length(least),
        most_ns: length(most),
        error_ns,
    }
}

/// Which of two lists overlap, the definite ones first, then the longest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    pub rows: Vec<Pair>,
    pub definite: u64,
    pub possible: u64,
    /// There were more than could be looked at, so the counts are lower bounds.
    pub is_cut: bool,
}

/// Places in the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub a: usize,
    pub b: usize,
    pub judgement: Judgement,
}

/// Looks at no more than `limit` pairs that may overlap.
pub fn pairs(a: &[OnClock], b: &[OnClock], limit: usize) -> Pairs {
    let mut sorted: Vec<(i128, i128, usize)> = b
        .iter()
        .enumerate()
        .map(|(at, span)| {
            let (from, to) = span.reach();
            (from, to, at)
        })
        .collect();
    sorted.sort_unstable();
    // The latest end of all up to here: none before it needs a look if that is too early.
    let latest: Vec<i128> = sorted
        .iter()
        .scan(i128::MIN, |latest, (_, to, _)| {
            *latest = (*latest).max(*to);
            Some(*latest)
        })
        .collect();
    let mut found = Pairs::default();
    'all: for (at_a, one) in a.iter().enumerate() {
        let (from, to) = one.reach();
        let begun = sorted.partition_point(|(begin, _, _)| *begin <= to);
        let near = sorted.iter().zip(&latest).take(begun).rev();
        for ((_, _, at_b), _) in near.take_while(|(_, latest)| **latest >= from) {
            let Some(other) = b.get(*at_b) else { continue };
            let judgement = judge(*one, *other);
            match judgement.overlap {
                Overlap::None => continue,
                _ if found.rows.len() == limit => {
                    found.is_cut = true;
                    break 'all;
                }
                Overlap::Definite => found.definite += 1,
                Overlap::Possible => found.possible += 1,
            }
            found.rows.push(Pair {
                a: at_a,
                b: *at_b,
                judgement,
            });
        }
    }
    found.rows.sort_by_key(|pair| {
        let is_possible = pair.judgement.overlap != Overlap::Definite;
        (
            is_possible,
            std::cmp::Reverse(pair.judgement.most_ns),
            pair.a,
            pair.b,
        )
    });
    found
}

impl OnClock {
    /// On the hub's clock, from where it can begin to where it can end.
    fn reach(self) -> (i128, i128) {
        let (from, to) = self.on_hub();
        let error = i128::from(self.clock.error_ns);
        (from - error, to + error)
    }

    fn on_hub(self) -> (i128, i128) {
        let at = |session_ns: u64| i128::from(session_ns) + i128::from(self.clock.offset_ns);
        (at(self.span.from_ns), at(self.span.to_ns.max(self.span.from_ns)))
    }
}

/// The offset that holds for all of a span, from readings in their order. None without a reading.
///
/// Between two readings of one epoch both hold; between two epochs either may.
pub fn offset_over(readings: &[ClockReading], span: Window) -> Option<Offset> {
    let to_ns = span.to_ns.max(span.from_ns);
    let behind = |at_ns: u64| readings.partition_point(|reading| reading.at_ns <= at_ns);
    let (first, last) = (behind(span.from_ns), behind(to_ns));
    let mut all: Option<Bounds> = None;
    // Cut at the readings, so that each piece has one before and one after it.
    let mut from_ns = span.from_ns;
    for next in first..=last {
        let before = next.checked_sub(1).and_then(|at| readings.get(at));
        let after = readings.get(next);
        let end_ns = after.map_or(to_ns, |after| after.at_ns.min(to_ns));
        let piece = between(before, after, from_ns, end_ns)?;
        all = Some(all.map_or(piece, |all| all.hull(piece)));
        from_ns = end_ns;
    }
    all?.offset()
}

/// The offset lies in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    low: i128,
    high: i128,
}

/// What holds from `from_ns` to `to_ns`, both between these readings.
fn between(
    before: Option<&ClockReading>,
    after: Option<&ClockReading>,
    from_ns: u64,
    to_ns: u64,
) -> Option<Bounds> {
    match (before, after) {
        (Some(before), Some(after)) => {
            let (earlier, later) = (Bounds::of(before, to_ns), Bounds::of(after, from_ns));
            let both = earlier.intersection(later);
            Some(
                both.filter(|_| before.epoch == after.epoch)
                    .unwrap_or(earlier.hull(later)),
            )
        }
        (Some(before), None) => Some(Bounds::of(before, to_ns)),
        (None, Some(after)) => Some(Bounds::of(after, from_ns)),
        (None, None) => None,
    }
}

impl Bounds {
    fn of(reading: &ClockReading, session_ns: u64) -> Self {
        let drift_ns = reading.at_ns.abs_diff(session_ns).div_ceil(DRIFT_DIVISOR);
        let error = i128::from(reading.error_ns.saturating_add(drift_ns));
        let offset = i128::from(reading.offset_ns);
        Self {
            low: offset - error,
            high: offset + error,
        }
    }

    fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    fn intersection(self, other: Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Self { low, high })
    }

    fn offset(self) -> Option<Offset> {
        let middle = self.low + (self.high - self.low) / 2;
        Some(Offset {
            offset_ns: i64::try_from(middle).ok()?,
            error_ns: u64::try_from(self.high - middle).ok()?,
        })
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(from_ns: u64, to_ns: u64, offset_ns: i64, error_ns: u64) -> OnClock {
        OnClock {
            span: Window { from_ns, to_ns },
            clock: Offset { offset_ns, error_ns },
        }
    }

    fn reading(epoch: u64, at_ns: u64, offset_ns: i64, error_ns: u64) -> ClockReading {
        ClockReading {
            epoch,
            at_ns,
            offset_ns,
            error_ns,
            suspended_ns: 0,
        }
    }

    #[test]
    fn verdicts_by_distance_and_error() {
        let a = on(1_000, 2_000, 0, 10);
        for (from_ns, to_ns, offset_ns, error_ns, expected) in [
            (1_500, 1_600, 0, 10, (Overlap::Definite, 100, 100)),
            (1_990, 3_000, 0, 10, (Overlap::Possible, 0, 30)),
            (1_980, 3_000, 0, 10, (Overlap::Definite, 0, 40)),
            (2_020, 3_000, 0, 10, (Overlap::Possible, 0, 0)),
            (2_021, 3_000, 0, 10, (Overlap::None, 0, 0)),
            // The same moment, told by a clock that is an hour behind.
            (500, 600, 1_000, 0, (Overlap::Definite, 100, 100)),
            (500, 600, -1_000, 0, (Overlap::None, 0, 0)),
            (0, u64::MAX, i64::MIN, u64::MAX, (Overlap::Possible, 0, 1_000)),
        ] {
            let told = judge(a, on(from_ns, to_ns, offset_ns, error_ns));
            assert_eq!(
                (told.overlap, told.least_ns, told.most_ns),
                expected,
                "{from_ns}..{to_ns} {offset_ns} ± {error_ns}"
            );
        }
    }

    #[test]
    fn between_epochs_either_offset_may_hold() {
        let readings = [
            reading(0, 1_000, 0, 5),
            reading(0, 3_000, 4, 5),
            reading(1, 5_000, 1_000, 5),
        ];
        let over = |from_ns, to_ns| {
            let offset = offset_over(&readings, Window { from_ns, to_ns }).unwrap();
            (
                offset.offset_ns - i64::try_from(offset.error_ns).unwrap(),
                offset.offset_ns + i64::try_from(offset.error_ns).unwrap(),
            )
        };
        // A nanosecond more for any age.
        assert_eq!(over(2_000, 2_000), (-2, 6));
        assert_eq!(over(4_000, 4_000), (-2, 1_006));
        assert_eq!(over(6_000, 6_000), (994, 1_006));
        assert_eq!(over(2_000, 6_000), (-2, 1_006));
        assert_eq!(over(0, 0), (-6, 6));
        assert_eq!(offset_over(&[], Window { from_ns: 0, to_ns: 9 }), None);
    }

    fn small() -> impl Strategy<Value = OnClock> {
        (0_u64..40, 0_u64..20, -20_i64..20, 0_u64..8)
            .prop_map(|(from, length, offset, error)| on(from, from + length, offset, error))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn judged_as_by_trying_every_pair_of_offsets(a in small(), b in small()) {
            let tried = |of: OnClock| {
                let error = i64::try_from(of.clock.error_ns).unwrap();
                (-error..=error).map(move |shift| {
                    let at = |ns: u64| i64::try_from(ns).unwrap() + of.clock.offset_ns + shift;
                    at(of.span.from_ns)..=at(of.span.to_ns)
                })
            };
            // Moments in common, less one: the length of what is in common; -1 for nothing.
            let lengths: Vec<i64> = tried(a)
                .flat_map(|x| tried(b).map(move |y| x.clone().filter(|at| y.contains(at)).count() as i64 - 1))
                .collect();
            let (least, most) = (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap());
            let expected = match (least >= 0, most >= 0) {
                (true, _) => Overlap::Definite,
                (_, true) => Overlap::Possible,
                _ => Overlap::None,
            };
            for told in [judge(a, b), judge(b, a)] {
                prop_assert_eq!(told.overlap, expected);
                prop_assert_eq!(told.least_ns as i64, least.max(0));
                prop_assert_eq!(told.most_ns as i64, most.max(0));
            }
        }

        #[test]
        fn pairs_are_those_that_each_with_each_gives(
            a in prop::collection::vec(small(), 0..12), b in prop::collection::vec(small(), 0..12), limit in 0_usize..40,
        ) {
            let mut expected = Vec::new();
            for (at_a, one) in a.iter().enumerate() {
                for (at_b, other) in b.iter().enumerate() {
                    let judgement = judge(*one, *other);
                    if judgement.overlap != Overlap::None {
                        expected.push(Pair { a: at_a, b: at_b, judgement });
                    }
                }
            }
            let all = pairs(&a, &b, usize::MAX);
            let mut got = all.rows.clone();
            got.sort_by_key(|pair| (pair.a, pair.b));
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(all.definite + all.possible, expected.len() as u64);
            let possible_at = all.rows.partition_point(|pair| pair.judgement.overlap == Overlap::Definite);
            prop_assert_eq!(possible_at as u64, all.definite);
            let some = pairs(&a, &b, limit);
            prop_assert_eq!(some.rows.len(), expected.len().min(limit));
            prop_assert_eq!(some.is_cut, expected.len() > limit);
        }

        /// The truth drifts within 100 ppm and steps where an epoch begins; each reading holds at its time.
        #[test]
        fn the_truth_is_within_the_bounds_over_a_whole_span(
            gaps in prop::collection::vec((1_u64..10_000_000, 0_u64..1_000, 0_i64..=100, any::<bool>(), 0.0..1.0), 1..12),
            from in 0.0..1.0_f64,
            length in 0.0..0.5_f64,
            drift_ppm in -100_i64..=100,
        ) {
            let mut readings = Vec::new();
            let mut steps = Vec::new();
            let (mut at, mut epoch, mut base) = (1_000_u64, 0, 0_i64);
            let truth_at = |base: i64, at: u64| base + (at as i64 * drift_ppm) / 1_000_000;
            for (gap, error, lean, steps_now, place) in gaps {
                let start = at;
                at += gap;
                if steps_now && !readings.is_empty() {
                    steps.push((start + (gap as f64 * place) as u64, base));
                    base += 1_000_000;
                    epoch += 1;
                }
                let error = error + 1;
                let off = error as i64 * (lean - 50) / 50;
                readings.push(reading(epoch, at, truth_at(base, at) + off, error));
            }
            let end = at + 10_000;
            let span = Window {
                from_ns: (from * end as f64) as u64,
                to_ns: ((from + length).min(1.0) * end as f64) as u64,
            };
            let told = offset_over(&readings, span).unwrap();
            for part in 0..=200_u64 {
                let moment = span.from_ns + (span.to_ns - span.from_ns) * part / 200;
                let base = steps.iter().find(|(until, _)| moment < *until).map_or(base, |(_, base)| *base);
                let truth = truth_at(base, moment);
                prop_assert!(told.offset_ns.abs_diff(truth) <= told.error_ns + 1, "{told:?}, {truth} at {moment}");
            }
        }
    }
}
