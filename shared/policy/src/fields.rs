//! A part of a policy: only the fields that somebody wants to set. A rule has one, and so has a person's own
//! change of one session.
//!
//! Left out on purpose: `tick_ms` and `spool_bytes`, which a collector takes once, at its start; and the exact
//! window and the leak check, which are asked for and not kept.

use crate::document::{Budget, Policy, Sources, Tiers};
use serde::{Deserialize, Serialize};

macro_rules! fields {
    ($(#[$doc:meta])* $name:ident of $whole:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// What `after` has and `before` has not.
            fn between(before: &$whole, after: &$whole) -> Self {
                Self { $($field: (before.$field != after.$field).then_some(after.$field),)* }
            }

            /// Takes over what `later` sets.
            fn merge(&mut self, later: &Self) {
                $(self.$field = later.$field.or(self.$field);)*
            }

            fn apply(&self, whole: &mut $whole) {
                $(if let Some(value) = self.$field { whole.$field = value; })*
            }

            fn names(&self, prefix: &str, names: &mut Vec<String>) {
                $(if self.$field.is_some() { names.push(format!("{prefix}{}", stringify!($field))); })*
            }
        }
    };
}

fields! {
    /// What is observed.
    SourceFields of Sources {
        sampled_heap: bool,
        bucket_heap: bool,
        gc: bool,
        gc_work: bool,
        mappings: bool,
        huge_pages: bool,
        /// One page fault in so many is sent; 0 is none.
        page_faults_one_in: u32,
        scheduling: bool,
        /// Time between two censuses of all goroutines; 0 is never, else 100 to 3,600,000.
        #[cfg_attr(feature = "schema", schemars(range(max = 3_600_000)))]
        goroutine_census_ms: u32,
        goroutine_events: bool,
        /// Time between two ledgers of resident memory; 0 is never, else 100 to 3,600,000.
        #[cfg_attr(feature = "schema", schemars(range(max = 3_600_000)))]
        ledger_ms: u32,
    }
}

fields! {
    /// Which allocations get an event row of their own.
    TierFields of Tiers {
        /// At or above this size every sampled allocation.
        always_from_bytes: u64,
        /// From this size on, a share of all call sites, chosen by the hash of their stack.
        hashed_from_bytes: u64,
        /// That share, 0 to 100.
        #[cfg_attr(feature = "schema", schemars(range(max = 100)))]
        hashed_percent: u8,
    }
}

fields! {
    /// What observing may cost. The collector leaves out event rows when it costs more.
    BudgetFields of Budget {
        /// CPU of the collector in thousandths of one core, 1 to 1000.
        #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
        collector_cpu_permille: u32,
        #[cfg_attr(feature = "schema", schemars(range(min = 1_048_576)))]
        collector_rss_bytes: u64,
        /// Frames made in a second.
        #[cfg_attr(feature = "schema", schemars(range(min = 4_096)))]
        sent_bytes_per_s: u64,
    }
}

/// The fields of a policy that are to have a certain value; what is left out stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyFields {
    /// Mean bytes between two heap samples, 512 to 1,073,741,824; 0 leaves the program its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_073_741_824)))]
    pub sampling_rate_bytes: Option<u64>,
    /// Whether the collector may write `runtime.MemProfileRate`; the collector must have been started with leave
    /// to do so, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_rate_write: Option<bool>,
    /// Whether event rows carry object addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<bool>,
    #[serde(default, skip_serializing_if = "TierFields::is_empty")]
    pub tiers: TierFields,
    #[serde(default, skip_serializing_if = "SourceFields::is_empty")]
    pub sources: SourceFields,
    #[serde(default, skip_serializing_if = "BudgetFields::is_empty")]
    pub budget: BudgetFields,
}

impl PolicyFields {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What somebody changed who made `after` of `before`.
    pub fn between(before: &Policy, after: &Policy) -> Self {
        let changed = |before, after| (before != after).then_some(after);
        Self {
            sampling_rate_bytes: (before.sampling_rate_bytes != after.sampling_rate_bytes)
                .then(|| after.sampling_rate_bytes.unwrap_or(0)),
            allow_rate_write: changed(before.allow_rate_write, after.allow_rate_write),
            addresses: changed(before.addresses, after.addresses),
            tiers: TierFields::between(&before.tiers, &after.tiers),
            sources: SourceFields::between(&before.sources, &after.sources),
            budget: BudgetFields::between(&before.budget, &after.budget),
        }
    }

    /// Takes over what `later` sets.
    pub fn merge(&mut self, later: &Self) {
        self.sampling_rate_bytes = later.sampling_rate_bytes.or(self.sampling_rate_bytes);
        self.allow_rate_write = later.allow_rate_write.or(self.allow_rate_write);
        self.addresses = later.addresses.or(self.addresses);
        self.tiers.merge(&later.tiers);
        self.sources.merge(&later.sources);
        self.budget.merge(&later.budget);
    }

    pub fn apply(&self, policy: &mut Policy) {
        if let Some(rate_bytes) = self.sampling_rate_bytes {
            policy.sampling_rate_bytes = Some(rate_bytes).filter(|rate_bytes| *rate_bytes != 0);
        }
        if let Some(allow) = self.allow_rate_write {
            policy.allow_rate_write = allow;
        }
        if let Some(addresses) = self.addresses {
            policy.addresses = addresses;
        }
        self.tiers.apply(&mut policy.tiers);
        self.sources.apply(&mut policy.sources);
        self.budget.apply(&mut policy.budget);
    }

    /// The fields that are set, as paths: `tiers.hashed_percent`.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let own = [
            ("sampling_rate_bytes", self.sampling_rate_bytes.is_some()),
            ("allow_rate_write", self.allow_rate_write.is_some()),
            ("addresses", self.addresses.is_some()),
        ];
        names.extend(
            own.iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(name, _)| (*name).to_owned()),
        );
        self.tiers.names("tiers.", &mut names);
        self.sources.names("sources.", &mut names);
        self.budget.names("budget.", &mut names);
        names
    }

    /// Each field out of its bounds, with what was expected and got.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let period = (u64::from(Policy::MIN_PERIOD_MS), u64::from(Policy::MAX_PERIOD_MS));
        let (tiers, sources, budget) = (&self.tiers, &self.sources, &self.budget);
        let bounded = [
            (
                "sampling_rate_bytes",
                self.sampling_rate_bytes,
                Some(0),
                (Policy::MIN_RATE_BYTES, Policy::MAX_RATE_BYTES),
            ),
            (
                "tiers.hashed_percent",
                tiers.hashed_percent.map(u64::from),
                None,
                (0, 100),
            ),
            (
                "sources.goroutine_census_ms",
                sources.goroutine_census_ms.map(u64::from),
                Some(0),
                period,
            ),
            (
                "sources.ledger_ms",
                sources.ledger_ms.map(u64::from),
                Some(0),
                period,
            ),
            (
                "budget.collector_cpu_permille",
                budget.collector_cpu_permille.map(u64::from),
                None,
                (1, 1000),
            ),
            (
                "budget.collector_rss_bytes",
                budget.collector_rss_bytes,
                None,
                (Policy::MIN_BUDGET_RSS_BYTES, u64::MAX),
            ),
            (
                "budget.sent_bytes_per_s",
                budget.sent_bytes_per_s,
                None,
                (Policy::MIN_SENT_BYTES_PER_S, u64::MAX),
            ),
        ];
        let mut problems: Vec<_> = bounded
            .into_iter()
            .filter_map(|(field, got, also, (min, max))| {
                let got = got?;
                let fits = also == Some(got) || (min..=max).contains(&got);
                let or = also.map_or_else(String::new, |also| format!("{also}, or "));
                let expected = if max == u64::MAX {
                    format!("{or}{min} or more")
                } else {
                    format!("{or}{min} to {max}")
                };
                (!fits).then(|| (field, format!("expected {expected}, got {got}")))
            })
            .collect();
        if let (Some(hashed), Some(always)) = (tiers.hashed_from_bytes, tiers.always_from_bytes)
            && hashed > always
        {
            problems.push((
                "tiers.hashed_from_bytes",
                format!("expected at most always_from_bytes, {always}, got {hashed}"),
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_policies_leads_from_one_to_the_other() {
        type Edit = fn(&mut Policy);
        let edits: [(Edit, &[&str]); 6] = [
            (|_| (), &[]),
            (|p| p.sampling_rate_bytes = None, &["sampling_rate_bytes"]),
            (|p| p.sampling_rate_bytes = Some(512), &["sampling_rate_bytes"]),
            (
                |p| {
                    p.tiers.hashed_percent = 3;
                    p.sources.gc = false;
                    p.budget.sent_bytes_per_s = 1 << 20;
                },
                &["tiers.hashed_percent", "sources.gc", "budget.sent_bytes_per_s"],
            ),
            (|p| p.addresses = true, &["addresses"]),
            (|p| p.allow_rate_write = true, &["allow_rate_write"]),
        ];
        let before = Policy {
            sampling_rate_bytes: Some(65_536),
            ..Policy::default()
        };
        for (edit, names) in edits {
            let mut after = before.clone();
            edit(&mut after);
            let fields = PolicyFields::between(&before, &after);
            assert_eq!(fields.names(), names);
            assert_eq!(fields.is_empty(), names.is_empty());
            let mut got = before.clone();
            fields.apply(&mut got);
            assert_eq!(got, after);
        }
    }

    #[test]
    fn the_later_of_two_wins_and_what_it_leaves_out_stays() {
        let first = PolicyFields {
            addresses: Some(true),
            sampling_rate_bytes: Some(512),
            ..PolicyFields::default()
        };
        let mut both = first;
        both.merge(&PolicyFields {
            sampling_rate_bytes: Some(0),
            ..PolicyFields::default()
        });
        assert_eq!((both.addresses, both.sampling_rate_bytes), (Some(true), Some(0)));
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_expected_and_got() {
        type Edit = fn(&mut PolicyFields);
        let cases: [(Edit, &str, &str); 8] = [
            (
                |f| f.sampling_rate_bytes = Some(1),
                "sampling_rate_bytes",
                "expected 0, or 512 to 1073741824, got 1",
            ),
            (
                |f| f.tiers.hashed_percent = Some(101),
                "tiers.hashed_percent",
                "expected 0 to 100, got 101",
            ),
            (
                |f| f.sources.ledger_ms = Some(99),
                "sources.ledger_ms",
                "expected 0, or 100 to 3600000, got 99",
            ),
            (
                |f| f.sources.goroutine_census_ms = Some(1),
                "sources.goroutine_census_ms",
                "got 1",
            ),
            (
                |f| f.budget.collector_cpu_permille = Some(0),
                "budget.collector_cpu_permille",
                "expected 1 to 1000, got 0",
            ),
            (
                |f| f.budget.collector_rss_bytes = Some(5),
                "budget.collector_rss_bytes",
                "expected 1048576 or more, got 5",
            ),
            (
                |f| f.budget.sent_bytes_per_s = Some(5),
                "budget.sent_bytes_per_s",
                "expected 4096 or more, got 5",
            ),
            (
                |f| {
                    f.tiers.hashed_from_bytes = Some(2);
                    f.tiers.always_from_bytes = Some(1);
                },
                "tiers.hashed_from_bytes",
                "expected at most always_from_bytes, 1, got 2",
            ),
        ];
        for (edit, field, expected) in cases {
            let mut fields = PolicyFields::default();
            assert_eq!(fields.problems(), []);
            edit(&mut fields);
            let problems = fields.problems();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].0, field);
            assert!(
                problems[0].1.contains(expected),
                "{problems:?} lacks {expected:?}"
            );
        }
    }
}
