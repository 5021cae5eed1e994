//! How the hub's wall clock relates to the session's clock, from pings, with a bound on the error.
//!
//! Each ping bounds the offset from both sides: the hub can't have read its clock before the ping left, nor after
//! the answer came. What the clocks may have drifted since widens the bound. The offset lies where the bounds of a
//! window of pings intersect. Where they don't, a clock was set or drifts beyond reason, and a new epoch begins.

use heaptide_protocol::control::ClockReading;
use std::collections::VecDeque;

/// Pings remembered.
const SAMPLES: usize = 32;
/// Quartz is worse than this only when broken: a nanosecond of error for each 10 µs of age, 100 ppm.
const DRIFT_DIVISOR: u64 = 10_000;
/// Two clocks are not read at one moment: only a difference of more than this is a suspend.
const SUSPEND_NS: u64 = 10_000_000;

/// A ping and its answer: `t1` and `t4` on the session's clock, `t2` and `t3` on the hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Exchange {
    pub(super) t1_ns: u64,
    pub(super) t2_unix_ns: u64,
    pub(super) t3_unix_ns: u64,
    pub(super) t4_ns: u64,
    /// How long the machine had been suspended at `t1` and at `t4`.
    pub(super) suspended_at_t1_ns: u64,
    pub(super) suspended_at_t4_ns: u64,
}

/// An answer from before its question, or from outside of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Impossible;

/// The offset lay in `low_ns..=high_ns` at some moment from `t1_ns` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    t1_ns: u64,
    low_ns: i64,
    high_ns: i64,
}

#[derive(Debug, Default)]
pub(super) struct ClockEstimate {
    epoch: u64,
    suspended_ns: u64,
    samples: VecDeque<Bounds>,
}

impl ClockEstimate {
    /// Nothing is learned from a ping that was under way during a suspend.
    pub(super) fn add(&mut self, exchange: Exchange) -> Result<Option<ClockReading>, Impossible> {
        let bounds = exchange.bounds()?;
        let suspended_ns = exchange.suspended_at_t4_ns;
        if self.suspended_ns.abs_diff(suspended_ns) > SUSPEND_NS {
            self.begin_epoch();
        }
        self.suspended_ns = suspended_ns;
        if exchange.suspended_at_t1_ns.abs_diff(suspended_ns) > SUSPEND_NS {
            return Ok(None);
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(bounds);
        if intersection(&self.samples, exchange.t4_ns).is_none() {
            self.begin_epoch();
            self.samples.push_back(bounds);
        }
        Ok(self.at(exchange.t4_ns))
    }

    pub(super) fn at(&self, session_ns: u64) -> Option<ClockReading> {
        let (low_ns, high_ns) = intersection(&self.samples, session_ns)?;
        let width_ns = low_ns.abs_diff(high_ns);
        Some(ClockReading {
            epoch: self.epoch,
            at_ns: session_ns,
            offset_ns: low_ns.saturating_add_unsigned(width_ns / 2),
            error_ns: width_ns.div_ceil(2),
            suspended_ns: self.suspended_ns,
        })
    }

    fn begin_epoch(&mut self) {
        // What was never told needs no number.
        self.epoch += u64::from(!self.samples.is_empty());
        self.samples.clear();
    }
}

impl Exchange {
    fn bounds(self) -> Result<Bounds, Impossible> {
        let difference = |hub_ns: u64, session_ns: u64| {
            i64::try_from(i128::from(hub_ns) - i128::from(session_ns)).map_err(|_| Impossible)
        };
        let bounds = Bounds {
            t1_ns: self.t1_ns,
            low_ns: difference(self.t3_unix_ns, self.t4_ns)?,
            high_ns: difference(self.t2_unix_ns, self.t1_ns)?,
        };
        let in_order = self.t1_ns <= self.t4_ns && self.t2_unix_ns <= self.t3_unix_ns;
        if in_order && bounds.low_ns <= bounds.high_ns {
            Ok(bounds)
        } else {
            Err(Impossible)
        }
    }
}

/// What all of them allow at this moment.
fn intersection(samples: &VecDeque<Bounds>, session_ns: u64) -> Option<(i64, i64)> {
    let widened = samples.iter().map(|bounds| {
        let drift_ns = session_ns.abs_diff(bounds.t1_ns).div_ceil(DRIFT_DIVISOR);
        (
            bounds.low_ns.saturating_sub_unsigned(drift_ns),
            bounds.high_ns.saturating_add_unsigned(drift_ns),
        )
    });
    let (low_ns, high_ns) = widened.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)))?;
    (low_ns <= high_ns).then_some((low_ns, high_ns))
}

/// The clock of a session that is observed on this machine.
pub(super) fn session_ns() -> u64 {
    #[cfg(target_os = "linux")]
    {
        // The clock of bpf_ktime_get_ns and of Go's nanotime.
        linux_ns(rustix::time::ClockId::Monotonic)
    }
    #[cfg(not(target_os = "linux"))]
    {
        // Until a source for the platform says which clock it uses.
        unix_ns()
    }
}

/// For how long this machine was suspended since it started, during which the session's clock stood still.
pub(super) fn suspended_ns() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::ClockId;
        // A thread that is put aside between the readings must not look like a suspend.
        let readings = (0..3).map(|_| {
            let before = linux_ns(ClockId::Monotonic);
            let with_suspends = linux_ns(ClockId::Boottime);
            let took = linux_ns(ClockId::Monotonic).saturating_sub(before);
            (took, with_suspends.saturating_sub(before + took / 2))
        });
        readings.min().map_or(0, |(_, suspended_ns)| suspended_ns)
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

#[cfg(target_os = "linux")]
fn linux_ns(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
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

    const SECOND_NS: u64 = 1_000_000_000;

    fn exchange(t1_ns: u64, t2_unix_ns: u64, t3_unix_ns: u64, t4_ns: u64) -> Exchange {
        Exchange {
            t1_ns,
            t2_unix_ns,
            t3_unix_ns,
            t4_ns,
            ..Exchange::default()
        }
    }

    #[test]
    fn impossible_answers_are_refused() {
        let mut clock = ClockEstimate::default();
        for (t1, t2, t3, t4) in [
            (10, 0, 0, 9),
            (10, 5, 4, 20),
            (10, 0, 100, 20),
            (0, u64::MAX, u64::MAX, 0),
        ] {
            assert_eq!(clock.add(exchange(t1, t2, t3, t4)), Err(Impossible));
        }
        assert_eq!(clock.at(100), None);
    }

    #[test]
    fn bounds_are_intersected_and_widen_with_age() {
        let mut clock = ClockEstimate::default();
        // Took 100 ns there and nothing back.
        let first = clock
            .add(exchange(0, 1_000_100, 1_000_100, 100))
            .unwrap()
            .unwrap();
        assert_eq!((first.epoch, first.offset_ns, first.error_ns), (0, 1_000_050, 51));
        // Nothing there and 100 ns back, so both together leave only what the drift allows.
        let both = clock
            .add(exchange(200, 1_000_200, 1_000_200, 300))
            .unwrap()
            .unwrap();
        assert_eq!((both.epoch, both.offset_ns, both.error_ns), (0, 1_000_000, 1));
        let later = clock.at(300 + 3_600 * SECOND_NS).unwrap();
        assert_eq!(later.error_ns, 360_000_001);
    }

    #[test]
    fn a_step_begins_an_epoch_which_knows_nothing_of_the_one_before() {
        let mut clock = ClockEstimate::default();
        for (at, offset, epoch) in [
            (0, 5_000, 0),
            (1_000, 5_000, 0),
            (2_000, 9_000, 1),
            (3_000, 9_000, 1),
            (4_000, 5_000, 2),
        ] {
            let hub = at + offset + 10;
            let told = clock.add(exchange(at, hub, hub, at + 20)).unwrap().unwrap();
            assert_eq!(
                (told.epoch, told.offset_ns),
                (epoch, i64::try_from(offset).unwrap()),
                "at {at}"
            );
        }
    }

    #[test]
    fn a_suspend_begins_an_epoch_and_spoils_the_ping_under_way() {
        let mut clock = ClockEstimate::default();
        let told = |clock: &mut ClockEstimate, at: u64, at_t1: u64, at_t4: u64| {
            let hub = at + 5_000 + at_t1;
            clock
                .add(Exchange {
                    suspended_at_t1_ns: at_t1,
                    suspended_at_t4_ns: at_t4,
                    ..exchange(at, hub, hub, at + 20)
                })
                .unwrap()
                .map(|reading| (reading.epoch, reading.suspended_ns))
        };
        assert_eq!(told(&mut clock, 0, 0, 0), Some((0, 0)));
        assert_eq!(told(&mut clock, 1_000, 0, SECOND_NS), None);
        assert_eq!(clock.at(1_100), None, "the offset of before is not that of after");
        assert_eq!(
            told(&mut clock, 2_000, SECOND_NS, SECOND_NS),
            Some((1, SECOND_NS))
        );
        assert_eq!(
            told(&mut clock, 3_000, SECOND_NS + 5, SECOND_NS + 5),
            Some((1, SECOND_NS + 5))
        );
    }

    #[test]
    fn this_machine_tells_one_suspended_time() {
        let (first, second) = (suspended_ns(), suspended_ns());
        assert!(first.abs_diff(second) <= SUSPEND_NS, "{first}, then {second}");
    }

    /// Pause, way there, time at the hub, way back.
    type Ping = (u64, u64, u64, u64);

    fn pings() -> impl Strategy<Value = Vec<Ping>> {
        let ping = (
            0..30 * SECOND_NS,
            0_u64..50_000_000,
            0_u64..1_000_000,
            0_u64..50_000_000,
        );
        prop::collection::vec(ping, 1..80)
    }

    /// The hub's clock, which runs at `1 + drift_ppm / 1e6` and was set by `steps`.
    struct Truth {
        offset_ns: i64,
        drift_ppm: i64,
        stepped_ns: i64,
    }

    impl Truth {
        fn offset_at(&self, session_ns: u64) -> i64 {
            let drift_ns = i128::from(session_ns) * i128::from(self.drift_ppm) / 1_000_000;
            self.offset_ns + self.stepped_ns + i64::try_from(drift_ns).unwrap()
        }

        fn hub(&self, session_ns: u64) -> u64 {
            session_ns.saturating_add_signed(self.offset_at(session_ns))
        }

        fn ping(&self, now: &mut u64, (pause, there, hold, back): Ping) -> Exchange {
            let t1 = *now + pause;
            let (arrived, left) = (t1 + there, t1 + there + hold);
            *now = left + back;
            exchange(t1, self.hub(arrived), self.hub(left), *now)
        }
    }

    proptest! {
        #[test]
        fn without_a_step_the_truth_is_within_the_bound_and_the_epoch_is_one(
            offset_ns in -1_000_000_000_000_i64..1_000_000_000_000,
            drift_ppm in -99_i64..=99,
            pings in pings(),
        ) {
            let truth = Truth { offset_ns, drift_ppm, stepped_ns: 0 };
            let mut clock = ClockEstimate::default();
            let mut now = 10_000_000_000_000_u64;
            for ping in pings {
                let told = clock.add(truth.ping(&mut now, ping)).unwrap().unwrap();
                let truth_ns = truth.offset_at(now);
                prop_assert!(told.offset_ns.abs_diff(truth_ns) <= told.error_ns, "{told:?}, truth {truth_ns}");
                prop_assert_eq!(told.epoch, 0);
                prop_assert!(told.error_ns <= 101_000_000 / 2 + 30_000, "worse than its own ping: {told:?}");
            }
        }

        /// Each step is longer than any two pings take together and than what drifts between them.
        #[test]
        fn every_step_begins_one_epoch_and_the_truth_stays_within_the_bound(
            drift_ppm in -99_i64..=99,
            stretches in prop::collection::vec((pings(), SECOND_NS..1_000 * SECOND_NS, any::<bool>()), 1..6),
        ) {
            let mut truth = Truth { offset_ns: 0, drift_ppm, stepped_ns: 50_000_000_000_000 };
            let mut clock = ClockEstimate::default();
            let mut now = 100_000_000_000_000_u64;
            for (epoch, (pings, step_ns, is_back)) in stretches.into_iter().enumerate() {
                for ping in pings {
                    let told = clock.add(truth.ping(&mut now, ping)).unwrap().unwrap();
                    let truth_ns = truth.offset_at(now);
                    prop_assert!(told.offset_ns.abs_diff(truth_ns) <= told.error_ns, "{told:?}, truth {truth_ns}");
                    prop_assert_eq!(told.epoch, epoch as u64);
                }
                let step_ns = i64::try_from(step_ns).unwrap();
                truth.stepped_ns += if is_back { -step_ns } else { step_ns };
            }
        }
    }
}
