//! How a session's clock relates to this hub's, as its collector told it, over the life of the session.
//!
//! A reading holds where it was made and gets worse by what clocks may drift, so the newest are kept as they come
//! and the older ones farther and farther apart. A reading that can't be is refused and counted; the session goes on.

use heaptide_analysis::clock::{Offset, offset_over};
use heaptide_protocol::control::ClockReading;
use heaptide_protocol::report::Window;
use heaptide_protocol::session::Clock;
use serde::{Deserialize, Serialize};

/// Readings of one session.
const KEPT: usize = 128;
/// Of them, so many stay as they come.
const NEWEST: usize = KEPT / 4;
/// One that comes sooner takes the place of the one before.
const APART_NS: u64 = 1_000_000_000;
/// So much may be lost of them when the hub is killed.
const SAVE_EVERY_NS: u64 = 60_000_000_000;
/// A collector gives up a hub that is silent for less than that.
const MAX_ERROR_NS: u64 = 60_000_000_000;
/// A reading waits behind data on the collector's socket, but not longer.
const MAX_DELAY_NS: u64 = 60_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct SessionClock {
    /// In the order of `at_ns`, and of `epoch`.
    readings: Vec<ClockReading>,
    /// Made room for newer ones.
    forgotten: u64,
    /// Could not be.
    refused: u64,
    #[serde(skip)]
    saved: Option<(u64, u64)>,
}

impl SessionClock {
    /// Whether it is worth to be saved now; or why it can't be.
    pub(crate) fn take(&mut self, reading: ClockReading, arrived_unix_ns: u64) -> Result<bool, String> {
        if let Err(why) = self.check(&reading, arrived_unix_ns) {
            self.refused += 1;
            return Err(why);
        }
        let replaces = self.readings.last().is_some_and(|last| {
            let is_soon = reading.at_ns - last.at_ns < APART_NS;
            // The first of an epoch says when that began at the latest.
            let is_first = self
                .readings
                .iter()
                .rev()
                .nth(1)
                .is_none_or(|one| one.epoch != last.epoch);
            is_soon && last.epoch == reading.epoch && !is_first
        });
        if replaces {
            self.readings.pop();
            self.forgotten += 1;
        }
        self.readings.push(reading);
        if self.readings.len() > KEPT {
            self.thin();
        }
        let is_due = self
            .saved
            .is_none_or(|(epoch, at_ns)| epoch != reading.epoch || reading.at_ns - at_ns >= SAVE_EVERY_NS);
        if is_due {
            self.saved = Some((reading.epoch, reading.at_ns));
        }
        Ok(is_due)
    }

    pub(crate) fn readings(&self) -> &[ClockReading] {
        &self.readings
    }

    /// By how much the wall clock of the session's host was ahead of the hub's when the session began.
    pub(crate) fn host_ahead(&self, start: &Clock) -> Option<Offset> {
        let at = Window {
            from_ns: start.session_ns,
            to_ns: start.session_ns,
        };
        let offset = offset_over(&self.readings, at)?;
        let hub_ns = i128::from(start.session_ns) + i128::from(offset.offset_ns);
        Some(Offset {
            offset_ns: i64::try_from(i128::from(start.unix_ns) - hub_ns).ok()?,
            error_ns: offset.error_ns.saturating_add(start.error_ns),
        })
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn check(&self, reading: &ClockReading, arrived_unix_ns: u64) -> Result<(), String> {
        let ClockReading {
            epoch,
            at_ns,
            error_ns,
            ..
        } = *reading;
        if error_ns > MAX_ERROR_NS {
            return Err(format!(
                "expected an error of at most {MAX_ERROR_NS} ns, got {error_ns}"
            ));
        }
        if let Some(last) = self.readings.last() {
            if at_ns < last.at_ns {
                return Err(format!(
                    "expected a time of at least {} ns, got {at_ns}",
                    last.at_ns
                ));
            }
            if epoch < last.epoch {
                return Err(format!(
                    "expected an epoch of at least {}, got {epoch}",
                    last.epoch
                ));
            }
        }
        // It was made before it arrived, and not long before.
        let made = i128::from(at_ns) + i128::from(reading.offset_ns);
        let (arrived, error) = (i128::from(arrived_unix_ns), i128::from(error_ns));
        let (earliest, latest) = (arrived - i128::from(MAX_DELAY_NS) - error, arrived + error);
        if made < earliest || made > latest {
            return Err(format!(
                "expected it to be from {earliest} to {latest} ns on the hub's clock, got {made}"
            ));
        }
        Ok(())
    }

    /// One makes room: of the older ones the one that leaves the smallest gap. What begins or ends an epoch stays,
    /// while there is room for it.
    fn thin(&mut self) {
        let older = self.readings.len().saturating_sub(NEWEST + 1);
        let gaps = self.readings.windows(3).take(older).enumerate();
        let inside = gaps.filter_map(|(at, three)| match three {
            [before, one, after] if before.epoch == one.epoch && one.epoch == after.epoch => {
                Some((after.at_ns - before.at_ns, at + 1))
            }
            _ => None,
        });
        let (_, goes) = inside.min().unwrap_or_default();
        self.readings.remove(goes);
        self.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const OFFSET_NS: i64 = 1_795_000_000_000_000_000;

    fn reading(epoch: u64, at_ns: u64) -> ClockReading {
        ClockReading {
            epoch,
            at_ns,
            offset_ns: OFFSET_NS,
            error_ns: 1_000,
            suspended_ns: 0,
        }
    }

    fn take(clock: &mut SessionClock, reading: ClockReading) -> Result<bool, String> {
        clock.take(reading, reading.at_ns.saturating_add_signed(OFFSET_NS))
    }

    #[test]
    fn what_can_not_be_is_refused_and_counted_and_the_next_is_taken() {
        let mut clock = SessionClock::default();
        take(&mut clock, reading(3, 100 * SECOND_NS)).unwrap();
        let at_ns = 200 * SECOND_NS;
        let fair = reading(3, at_ns);
        let lies = [
            (
                "an error",
                ClockReading {
                    error_ns: u64::MAX,
                    ..fair
                },
            ),
            (
                "a time",
                ClockReading {
                    at_ns: 99 * SECOND_NS,
                    ..fair
                },
            ),
            ("an epoch", ClockReading { epoch: 2, ..fair }),
            (
                "to be from",
                ClockReading {
                    offset_ns: i64::MAX,
                    ..fair
                },
            ),
            (
                "to be from",
                ClockReading {
                    offset_ns: i64::MIN,
                    ..fair
                },
            ),
            (
                "to be from",
                ClockReading {
                    at_ns: u64::MAX,
                    ..fair
                },
            ),
            (
                "to be from",
                ClockReading {
                    offset_ns: OFFSET_NS + 1_001,
                    ..fair
                },
            ),
        ];
        for (word, lie) in lies {
            let why = clock
                .take(lie, at_ns.saturating_add_signed(OFFSET_NS))
                .unwrap_err();
            assert!(why.contains(word), "{lie:?}: {why}");
        }
        assert_eq!(clock.refused(), 7);
        take(&mut clock, fair).unwrap();
        assert_eq!(clock.readings().len(), 2);
    }

    #[test]
    fn the_hosts_wall_clock_is_compared_at_the_sessions_start() {
        let mut clock = SessionClock::default();
        let mut start = Clock {
            kind: heaptide_protocol::session::ClockKind::LinuxMonotonic,
            session_ns: 90 * SECOND_NS,
            unix_ns: (90 * SECOND_NS).saturating_add_signed(OFFSET_NS) + 3_000_000,
            error_ns: 7,
        };
        assert_eq!(clock.host_ahead(&start), None);
        take(&mut clock, reading(0, 100 * SECOND_NS)).unwrap();
        // Ten seconds of drift before the first reading: a millisecond.
        let mut expected = Offset {
            offset_ns: 3_000_000,
            error_ns: 1_000_000 + 1_000 + 7,
        };
        assert_eq!(clock.host_ahead(&start), Some(expected));
        start.unix_ns -= 8_000_000;
        expected.offset_ns = -5_000_000;
        assert_eq!(clock.host_ahead(&start), Some(expected));
    }

    #[test]
    fn old_readings_thin_out_and_each_epoch_keeps_its_ends() {
        let mut clock = SessionClock::default();
        let total = 10_000_u64;
        for number in 0..total {
            let epoch = u64::from(number >= 100) + u64::from(number >= 7_000);
            take(&mut clock, reading(epoch, number * 10 * SECOND_NS)).unwrap();
        }
        let readings = clock.readings();
        assert!(readings.len() <= KEPT, "{}", readings.len());
        assert_eq!(readings.len() as u64 + clock.forgotten(), total);
        let numbers: Vec<u64> = readings
            .iter()
            .map(|reading| reading.at_ns / (10 * SECOND_NS))
            .collect();
        for end in [0, 99, 100, 6_999, 7_000, total - 1] {
            assert!(numbers.contains(&end), "{end} in {numbers:?}");
        }
        let gaps: Vec<u64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (newest, older) = (
            gaps.iter().rev().take(NEWEST - 1),
            gaps.iter().rev().skip(NEWEST - 1),
        );
        assert!(newest.clone().all(|gap| *gap == 1), "{gaps:?}");
        // At most four times what it would be if all were as far apart.
        let even = total / (KEPT - NEWEST) as u64;
        assert!(older.clone().all(|gap| *gap <= 4 * even), "{gaps:?}");
    }

    #[test]
    fn a_flood_of_readings_or_of_epochs_is_bounded() {
        let mut clock = SessionClock::default();
        for number in 0..1_000 {
            take(&mut clock, reading(0, number)).unwrap();
        }
        assert_eq!(clock.readings().len(), 2, "the first and the newest");
        for number in 0..1_000 {
            take(&mut clock, reading(number, 1_000 + number)).unwrap();
        }
        assert_eq!(clock.readings().len(), KEPT);
        assert_eq!(clock.readings().last().unwrap().epoch, 999);
    }

    #[test]
    fn it_is_saved_at_an_epoch_and_once_a_minute() {
        let mut clock = SessionClock::default();
        let due: Vec<bool> = [(0, 0), (0, 10), (1, 20), (1, 30), (1, 79), (1, 80), (1, 90)]
            .map(|(epoch, at_s)| take(&mut clock, reading(epoch, at_s * SECOND_NS)).unwrap())
            .into();
        assert_eq!(due, [true, false, true, false, false, true, false]);
    }
}
