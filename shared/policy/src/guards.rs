//! Watching one session from afar: whether its host is short of memory, and whether a new policy harms it.

use crate::budget::CostSample;
use crate::document::Budget;
use crate::fleet::MemoryPressure;

/// Short of memory at once, no longer only after a calm while: a host at the edge must not flap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PressureGuard {
    is_short: bool,
    calm_since_unix_s: Option<u64>,
}

impl PressureGuard {
    /// As it was left, by a hub that is back.
    pub fn resumed(is_short: bool) -> Self {
        Self {
            is_short,
            calm_since_unix_s: None,
        }
    }

    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Takes what a host said it has. Without a rule, nothing is short; what is not known changes nothing.
    pub fn observe(
        &mut self,
        rule: Option<&MemoryPressure>,
        available_bytes: u64,
        total_bytes: u64,
        now_unix_s: u64,
    ) {
        let Some(rule) = rule else {
            *self = Self::default();
            return;
        };
        if total_bytes == 0 {
            return;
        }
        let share = |percent: u8| u128::from(total_bytes) * u128::from(percent);
        let available = u128::from(available_bytes) * 100;
        if available < share(rule.available_below_percent) {
            *self = Self::resumed(true);
        } else if available < share(rule.restored_from_percent()) {
            self.calm_since_unix_s = None;
        } else if self.is_short {
            let since = *self.calm_since_unix_s.get_or_insert(now_unix_s);
            if now_unix_s.saturating_sub(since) >= u64::from(rule.calm_seconds) {
                *self = Self::default();
            }
        }
    }
}

/// What a collector told of itself: one pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSample {
    pub cost: CostSample,
    /// Records since the session's start; those dropped are among those seen.
    pub seen: u64,
    pub dropped: u64,
}

/// Follows one session from the moment on that a revision is in force there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthGuard {
    strikes: u8,
    /// Seen and dropped when it began.
    base: Option<(u64, u64)>,
}

impl HealthGuard {
    /// So many dear pulses in a row: one can be a matter of chance.
    pub const STRIKES: u8 = 3;
    /// Of fewer records a share says little.
    pub const MIN_SEEN: u64 = 1_000;

    /// Why the session is not well, if it isn't.
    pub fn observe(
        &mut self,
        sample: &HealthSample,
        budget: &Budget,
        max_loss_permille: u32,
    ) -> Option<String> {
        let (seen_before, dropped_before) = *self.base.get_or_insert((sample.seen, sample.dropped));
        let (Some(seen), Some(dropped)) = (
            sample.seen.checked_sub(seen_before),
            sample.dropped.checked_sub(dropped_before),
        ) else {
            // The collector counts from the beginning again.
            self.base = Some((sample.seen, sample.dropped));
            return None;
        };
        if seen >= Self::MIN_SEEN {
            let permille = u128::from(dropped) * 1000 / u128::from(seen);
            if permille > u128::from(max_loss_permille) {
                return Some(format!(
                    "lost {dropped} of {seen} records, {permille} in a thousand: expected at most \
                     {max_loss_permille}"
                ));
            }
        }
        let cost = &sample.cost;
        if !cost.is_over(budget) {
            self.strikes = 0;
            return None;
        }
        self.strikes = self.strikes.saturating_add(1);
        (self.strikes >= Self::STRIKES).then(|| {
            format!(
                "the collector costs {} thousandths of a core, {} bytes of memory and {} bytes/s: expected at most \
                 {}, {} and {}",
                cost.cpu_permille,
                cost.rss_bytes,
                cost.sent_bytes_per_s,
                budget.collector_cpu_permille,
                budget.collector_rss_bytes,
                budget.sent_bytes_per_s
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::TierFields;

    #[test]
    fn pressure_comes_at_once_and_goes_after_a_calm_while() {
        let rule = MemoryPressure {
            available_below_percent: 10,
            restored_from_percent: Some(20),
            calm_seconds: 30,
            tiers: TierFields::default(),
        };
        let mut guard = PressureGuard::default();
        for (available, now_unix_s, expected) in [
            (10, 0, false),
            (9, 1, true),
            (15, 2, true),
            (25, 3, true),
            (25, 32, true),
            (15, 33, true),
            (25, 34, true),
            (25, 63, true),
            (25, 64, false),
            (15, 65, false),
            (9, 66, true),
        ] {
            guard.observe(Some(&rule), available, 100, now_unix_s);
            assert_eq!(guard.is_short(), expected, "{available} % at {now_unix_s} s");
        }
        guard.observe(Some(&rule), 90, 0, 1_000);
        assert!(guard.is_short(), "nothing known is no calm");
        guard.observe(None, 1, 100, 1_001);
        assert!(!guard.is_short(), "no rule");
        assert!(PressureGuard::resumed(true).is_short());
    }

    fn sample(cpu_permille: u32, seen: u64, dropped: u64) -> HealthSample {
        HealthSample {
            cost: CostSample {
                cpu_permille,
                rss_bytes: 0,
                sent_bytes_per_s: 0,
            },
            seen,
            dropped,
        }
    }

    #[test]
    fn three_dear_pulses_in_a_row_or_a_share_lost_is_harm() {
        let budget = Budget::default();
        let over = budget.collector_cpu_permille + 1;
        let cases: [(&str, &[HealthSample], Option<&str>); 6] = [
            (
                "two dear ones, twice",
                &[
                    sample(over, 0, 0),
                    sample(over, 0, 0),
                    sample(0, 0, 0),
                    sample(over, 0, 0),
                    sample(over, 0, 0),
                ],
                None,
            ),
            (
                "three dear ones",
                &[sample(over, 0, 0), sample(over, 0, 0), sample(over, 0, 0)],
                Some("costs 101 thousandths of a core"),
            ),
            (
                "lost before it began",
                &[sample(0, 9_000, 9_000), sample(0, 19_000, 9_100)],
                None,
            ),
            (
                "lost since",
                &[sample(0, 9_000, 0), sample(0, 19_000, 110)],
                Some("lost 110 of 10000 records, 11 in a thousand: expected at most 10"),
            ),
            ("too few to say", &[sample(0, 0, 0), sample(0, 999, 999)], None),
            (
                "counted anew",
                &[sample(0, 9_000, 500), sample(0, 100, 0), sample(0, 2_000, 0)],
                None,
            ),
        ];
        for (what, samples, expected) in cases {
            let mut guard = HealthGuard::default();
            let told: Vec<String> = samples
                .iter()
                .filter_map(|sample| guard.observe(sample, &budget, 10))
                .collect();
            match expected {
                None => assert_eq!(told, [] as [String; 0], "{what}"),
                Some(expected) => {
                    assert_eq!(told.len(), 1, "{what}: {told:?}");
                    assert!(told[0].contains(expected), "{what}: {told:?}");
                }
            }
        }
    }
}
