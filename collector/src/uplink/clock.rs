//! How the hub's wall clock relates to the session's clock, from pings, with a bound on the error.
//!
//! The four-timestamp method of NTP (RFC 5905, section 8). The truth lies within half the round trip of the
//! estimate, whatever the two ways cost, so the shortest round trip is the best evidence; older evidence
//! gets worse as the clocks drift apart.

use std::collections::VecDeque;

/// Pings remembered.
const SAMPLES: usize = 32;
/// Quartz is worse than this only when broken: a nanosecond of error for each 10 µs of age, 100 ppm.
const DRIFT_DIVISOR: u64 = 10_000;

/// `hub_unix_ns = session_ns + offset_ns`, within `error_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    pub offset_ns: i64,
    pub error_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct ClockEstimate {
    samples: VecDeque<(u64, ClockOffset)>,
}

impl ClockEstimate {
    /// `t1` and `t4` on the session's clock, `t2` and `t3` on the hub's. `None` for an impossible answer.
    pub(super) fn add(&mut self, t1_ns: u64, t2_ns: u64, t3_ns: u64, t4_ns: u64) -> Option<ClockOffset> {
        let round_ns = t4_ns.checked_sub(t1_ns)?.checked_sub(t3_ns.checked_sub(t2_ns)?)?;
        let there = i128::from(t2_ns) - i128::from(t1_ns);
        let back = i128::from(t3_ns) - i128::from(t4_ns);
        let sample = ClockOffset {
            offset_ns: i64::try_from((there + back) / 2).ok()?,
            // Rounding of the two halves.
            error_ns: round_ns / 2 + 1,
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((t4_ns, sample));
        self.best(t4_ns)
    }

    pub(super) fn best(&self, session_ns: u64) -> Option<ClockOffset> {
        self.samples
            .iter()
            .map(|(at_ns, sample)| ClockOffset {
                error_ns: sample.error_ns + session_ns.saturating_sub(*at_ns) / DRIFT_DIVISOR,
                ..*sample
            })
            .min_by_key(|sample| sample.error_ns)
    }
}

/// The clock of a session that is observed on this machine.
pub(super) fn session_ns() -> u64 {
    #[cfg(target_os = "linux")]
    {
        // The clock of bpf_ktime_get_ns and of Go's nanotime.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        // Until a source for the platform says which clock it uses.
        unix_ns()
    }
}

pub(super) fn unix_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn impossible_answers_are_refused() {
        let mut clock = ClockEstimate::default();
        for (t1, t2, t3, t4) in [(10, 0, 0, 9), (10, 5, 4, 20), (10, 0, 100, 20)] {
            assert_eq!(clock.add(t1, t2, t3, t4), None);
        }
        assert_eq!(clock.best(100), None);
    }

    #[test]
    fn a_long_round_trip_does_not_replace_a_short_one_until_that_is_old() {
        let mut clock = ClockEstimate::default();
        let short = clock.add(0, 1_000_050, 1_000_050, 100);
        assert_eq!(
            short,
            Some(ClockOffset {
                offset_ns: 1_000_000,
                error_ns: 51
            })
        );
        let long = clock.add(1_000, 1_002_900, 1_002_900, 3_000);
        assert_eq!(long.map(|best| best.offset_ns), Some(1_000_000));
        let hour_ns = 3_600_000_000_000;
        let later = clock.add(hour_ns, hour_ns + 1_002_900, hour_ns + 1_002_900, hour_ns + 2_000);
        assert_eq!(later.map(|best| best.offset_ns), Some(1_001_900));
    }

    proptest! {
        #[test]
        fn the_true_offset_lies_within_the_bound(
            offset in -1_000_000_000_000_i64..1_000_000_000_000,
            pings in prop::collection::vec((0_u64..1_000_000_000, 0_u64..50_000_000, 0_u64..1_000_000, 0_u64..50_000_000), 1..50),
        ) {
            let mut clock = ClockEstimate::default();
            let mut now = 10_000_000_000_000_u64;
            let hub = |session_ns: u64| session_ns.saturating_add_signed(offset);
            for (pause, there, hold, back) in pings {
                now += pause;
                let (t1, arrived) = (now, now + there);
                let left = arrived + hold;
                now = left + back;
                let best = clock.add(t1, hub(arrived), hub(left), now);
                prop_assert!(best.is_some());
                let best = best.unwrap();
                prop_assert!(best.offset_ns.abs_diff(offset) <= best.error_ns, "{best:?}, truth {offset}");
            }
        }
    }
}
