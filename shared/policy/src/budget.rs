//! The cost budget: enforced by the collector itself, with or without a hub.

use crate::document::Budget;

/// What the collector measured of itself over the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostSample {
    /// Thousandths of one core over the interval.
    pub cpu_permille: u32,
    pub rss_bytes: u64,
    pub sent_bytes_per_s: u64,
}

impl CostSample {
    pub fn is_over(&self, budget: &Budget) -> bool {
        self.cpu_permille > budget.collector_cpu_permille
            || self.rss_bytes > budget.collector_rss_bytes
            || self.sent_bytes_per_s > budget.sent_bytes_per_s
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetAction {
    /// Stop sending event rows; lifetime rows go on.
    ShedEvents,
    /// The cost has been within budget for long enough: send event rows again.
    RestoreEvents,
}

/// Sheds event rows after `STRIKES` dear samples in a row, restores them after `CALM` cheap ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetGuard {
    strikes: u8,
    calm: u8,
    shedding: bool,
}

impl BudgetGuard {
    pub const STRIKES: u8 = 3;
    pub const CALM: u8 = 10;

    pub fn shedding(&self) -> bool {
        self.shedding
    }

    pub fn observe(&mut self, budget: &Budget, cost: CostSample) -> Option<BudgetAction> {
        if cost.is_over(budget) {
            self.calm = 0;
            self.strikes = self.strikes.saturating_add(1);
            if self.strikes >= Self::STRIKES && !self.shedding {
                self.shedding = true;
                return Some(BudgetAction::ShedEvents);
            }
        } else {
            self.strikes = 0;
            self.calm = self.calm.saturating_add(1);
            if self.calm >= Self::CALM && self.shedding {
                self.shedding = false;
                return Some(BudgetAction::RestoreEvents);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_of_the_budget_counts() {
        let budget = Budget::default();
        let at = |cpu_permille, rss_bytes, sent_bytes_per_s| CostSample {
            cpu_permille,
            rss_bytes,
            sent_bytes_per_s,
        };
        let (cpu, rss, sent) = (
            budget.collector_cpu_permille,
            budget.collector_rss_bytes,
            budget.sent_bytes_per_s,
        );
        for (cost, expected) in [
            (at(cpu, rss, sent), false),
            (at(cpu + 1, 0, 0), true),
            (at(0, rss + 1, 0), true),
            (at(0, 0, sent + 1), true),
        ] {
            assert_eq!(cost.is_over(&budget), expected, "{cost:?}");
        }
    }

    #[test]
    fn sheds_after_three_strikes_and_restores_after_calm() {
        let budget = Budget {
            collector_cpu_permille: 50,
            ..Budget::default()
        };
        let dear = CostSample {
            cpu_permille: 51,
            rss_bytes: 0,
            sent_bytes_per_s: 0,
        };
        let cheap = CostSample {
            cpu_permille: 50,
            rss_bytes: 0,
            sent_bytes_per_s: 0,
        };
        let mut guard = BudgetGuard::default();
        let mut actions = Vec::new();
        for cost in [dear, dear, cheap, dear, dear, dear, dear]
            .into_iter()
            .chain([cheap; 12])
        {
            actions.extend(guard.observe(&budget, cost));
        }
        assert_eq!(actions, [BudgetAction::ShedEvents, BudgetAction::RestoreEvents]);
        assert!(!guard.shedding());
    }
}
