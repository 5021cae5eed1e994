//! The fleet's policy: rules by label, and what they come to for one session.
//!
//! A session's policy is what its collector was started with, then each rule that matches, in order, then what
//! a person changed of this one session, then what its host's memory asks for. Later ones win, but for the last,
//! which only ever makes less.

use crate::document::{Policy, Tiers};
use crate::fields::{PolicyFields, TierFields};
use crate::labels::{Labels, Selector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// One revision of the policy of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FleetPolicy {
    /// Of two rules that match and set the same field, the later one wins. At most 200.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 200)))]
    pub rules: Vec<Rule>,
    /// How a change to this document goes out.
    #[serde(default)]
    pub rollout: RolloutPlan,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For people; each rule has another one. 1 to 100 letters.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 100)))]
    pub name: String,
    /// Labels that a session must all have, with these values; none matches every session.
    #[serde(default)]
    pub labels: Selector,
    /// What is set where the rule matches.
    #[serde(default)]
    pub set: PolicyFields,
    /// What becomes of a session whose host runs out of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure: Option<MemoryPressure>,
    /// From then on (seconds since 1970) the rule no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_s: Option<u64>,
}

/// While the host has little memory left, fewer allocations get an event row. Never more than without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryPressure {
    /// Begins when less than this share of the host's memory is available, 1 to 99.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 99)))]
    pub available_below_percent: u8,
    /// Ends when at least this share is available again for `calm_seconds`; a quarter more than
    /// `available_below_percent`, unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = 100)))]
    pub restored_from_percent: Option<u8>,
    #[serde(default = "MemoryPressure::default_calm_seconds")]
    pub calm_seconds: u32,
    /// Bounds for the tiers meanwhile; 16 MiB, 2 MiB and 5 % where they are not given.
    #[serde(default)]
    pub tiers: TierFields,
}

/// A change goes to a part of the sessions that it changes, then to all, and back if it harms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RolloutPlan {
    /// Share of the sessions that are tried first, 1 to 100; at least one session.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub first_percent: u8,
    /// How long these must do well before it goes to all, and how long all are watched after that; 1 to 86,400.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub healthy_seconds: u32,
    /// Loss above which it is taken back, in thousandths of the records seen; at most 1000.
    #[cfg_attr(feature = "schema", schemars(range(max = 1000)))]
    pub max_loss_permille: u32,
}

/// A field of a document that can't be, with what was expected and got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetProblem {
    /// `rules[2].set.tiers.hashed_percent`
    pub field: String,
    pub message: String,
}

/// What a session has to go by besides the document.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub labels: &'a Labels,
    /// What its collector was started with.
    pub own: &'a Policy,
    /// What a person changed of this session alone.
    pub overrides: &'a PolicyFields,
    /// Whether its host is short of memory, by [`crate::PressureGuard`].
    pub is_short_of_memory: bool,
}

/// What the document comes to for one session. Revision, exact window and leak check are the own policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    pub policy: Policy,
    /// Indices of the rules that match.
    pub rules: Vec<usize>,
    pub memory_pressure: Option<MemoryPressure>,
    /// When the next of these rules expires.
    pub until_unix_s: Option<u64>,
}

impl FleetPolicy {
    pub const MAX_RULES: usize = 200;
    pub const MAX_NAME_LETTERS: usize = 100;

    /// Every problem; none is a document that can be used.
    pub fn problems(&self) -> Vec<FleetProblem> {
        let mut problems = Vec::new();
        let mut problem = |field: String, message: String| problems.push(FleetProblem { field, message });
        if self.rules.len() > Self::MAX_RULES {
            let message = format!(
                "expected at most {} rules, got {}",
                Self::MAX_RULES,
                self.rules.len()
            );
            problem("rules".to_owned(), message);
        }
        let mut names = BTreeSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let at = |field: &str| format!("rules[{index}].{field}");
            let letters = rule.name.chars().count();
            if !(1..=Self::MAX_NAME_LETTERS).contains(&letters) {
                let max = Self::MAX_NAME_LETTERS;
                problem(at("name"), format!("expected 1 to {max} letters, got {letters}"));
            } else if !names.insert(rule.name.as_str()) {
                let message = format!(
                    "expected another name than that of an earlier rule, got '{}'",
                    rule.name
                );
                problem(at("name"), message);
            }
            if let Err(error) = rule.labels.validate() {
                problem(at("labels"), error.to_string());
            }
            for (field, message) in rule.set.problems() {
                problem(at(&format!("set.{field}")), message);
            }
            for (field, message) in rule.memory_pressure.iter().flat_map(MemoryPressure::problems) {
                problem(at(&format!("memory_pressure.{field}")), message);
            }
        }
        let plan = &self.rollout;
        for (field, got, min, max) in [
            ("first_percent", u32::from(plan.first_percent), 1, 100),
            ("healthy_seconds", plan.healthy_seconds, 1, 86_400),
            ("max_loss_permille", plan.max_loss_permille, 0, 1000),
        ] {
            if !(min..=max).contains(&got) {
                problem(
                    format!("rollout.{field}"),
                    format!("expected {min} to {max}, got {got}"),
                );
            }
        }
        problems
    }

    /// What holds for one session at a moment.
    pub fn evaluate(&self, subject: &Subject<'_>, now_unix_s: u64) -> Evaluated {
        let mut policy = subject.own.clone();
        let mut rules = Vec::new();
        let mut memory_pressure = None;
        let mut until_unix_s: Option<u64> = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let has_expired = rule.expires_unix_s.is_some_and(|expiry| now_unix_s >= expiry);
            if has_expired || !rule.labels.matches(subject.labels) {
                continue;
            }
            rules.push(index);
            rule.set.apply(&mut policy);
            memory_pressure = rule.memory_pressure.or(memory_pressure);
            until_unix_s = until_unix_s.into_iter().chain(rule.expires_unix_s).min();
        }
        subject.overrides.apply(&mut policy);
        if let Some(pressure) = memory_pressure.filter(|_| subject.is_short_of_memory) {
            policy.tiers = pressure.tightened(policy.tiers);
        }
        Evaluated {
            policy,
            rules,
            memory_pressure,
            until_unix_s,
        }
    }
}

impl MemoryPressure {
    const TIERS: Tiers = Tiers {
        always_from_bytes: 16 << 20,
        hashed_from_bytes: 2 << 20,
        hashed_percent: 5,
    };

    fn default_calm_seconds() -> u32 {
        30
    }

    pub fn restored_from_percent(&self) -> u8 {
        let quarter = (self.available_below_percent / 4).max(1);
        self.restored_from_percent
            .unwrap_or_else(|| self.available_below_percent.saturating_add(quarter).min(100))
    }

    fn tightened(&self, tiers: Tiers) -> Tiers {
        let bounds = Tiers {
            always_from_bytes: self
                .tiers
                .always_from_bytes
                .unwrap_or(Self::TIERS.always_from_bytes),
            hashed_from_bytes: self
                .tiers
                .hashed_from_bytes
                .unwrap_or(Self::TIERS.hashed_from_bytes),
            hashed_percent: self.tiers.hashed_percent.unwrap_or(Self::TIERS.hashed_percent),
        };
        let always_from_bytes = tiers.always_from_bytes.max(bounds.always_from_bytes);
        Tiers {
            always_from_bytes,
            hashed_from_bytes: tiers
                .hashed_from_bytes
                .max(bounds.hashed_from_bytes)
                .min(always_from_bytes),
            hashed_percent: tiers.hashed_percent.min(bounds.hashed_percent),
        }
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let below = self.available_below_percent;
        if !(1..=99).contains(&below) {
            problems.push((
                "available_below_percent",
                format!("expected 1 to 99, got {below}"),
            ));
        }
        let restored = self.restored_from_percent();
        if restored < below || restored > 100 {
            let message = format!("expected {below} to 100, got {restored}");
            problems.push(("restored_from_percent", message));
        }
        let fields = PolicyFields {
            tiers: self.tiers,
            ..PolicyFields::default()
        };
        problems.extend(fields.problems());
        problems
    }
}

impl Default for RolloutPlan {
    fn default() -> Self {
        Self {
            first_percent: 5,
            healthy_seconds: 300,
            max_loss_permille: 10,
        }
    }
}

impl fmt::Display for FleetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn rule(name: &str, selector: &[(&str, &str)], percent: u8) -> Rule {
        let mut rule = Rule {
            name: name.to_owned(),
            labels: selector
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Rule::default()
        };
        rule.set.tiers.hashed_percent = Some(percent);
        rule
    }

    const PRESSURE: MemoryPressure = MemoryPressure {
        available_below_percent: 10,
        restored_from_percent: None,
        calm_seconds: 30,
        tiers: TierFields {
            always_from_bytes: None,
            hashed_from_bytes: None,
            hashed_percent: None,
        },
    };

    #[test]
    fn later_rules_win_expired_ones_are_gone_and_a_persons_change_goes_before_all() {
        let mut expiring = rule("c", &[("service", "shop")], 40);
        expiring.expires_unix_s = Some(100);
        let document = FleetPolicy {
            rules: vec![
                rule("a", &[], 20),
                rule("b", &[("service", "shop")], 30),
                expiring,
            ],
            ..FleetPolicy::default()
        };
        let (shop, cart) = (labels(&[("service", "shop")]), labels(&[("service", "cart")]));
        let mut overrides = PolicyFields::default();
        overrides.tiers.hashed_percent = Some(99);
        let none = PolicyFields::default();
        for (labels, overrides, now_unix_s, rules, percent, until) in [
            (&shop, &none, 99, &[0, 1, 2][..], 40, Some(100)),
            (&shop, &none, 100, &[0, 1], 30, None),
            (&cart, &none, 99, &[0], 20, None),
            (&shop, &overrides, 99, &[0, 1, 2], 99, Some(100)),
        ] {
            let subject = Subject {
                labels,
                own: &Policy::default(),
                overrides,
                is_short_of_memory: false,
            };
            let got = document.evaluate(&subject, now_unix_s);
            assert_eq!(got.rules, rules);
            assert_eq!(got.policy.tiers.hashed_percent, percent);
            assert_eq!(got.until_unix_s, until);
            assert_eq!(got.policy.validate(), Ok(()));
        }
    }

    #[test]
    fn a_document_without_rules_leaves_a_collector_what_it_was_started_with() {
        let own = Policy {
            addresses: true,
            revision: 7,
            ..Policy::default()
        };
        let subject = Subject {
            labels: &Labels::default(),
            own: &own,
            overrides: &PolicyFields::default(),
            is_short_of_memory: true,
        };
        assert_eq!(FleetPolicy::default().evaluate(&subject, 0).policy, own);
    }

    #[test]
    fn short_of_memory_makes_less_and_never_more() {
        let tiers = |always_from_bytes, hashed_from_bytes, hashed_percent| Tiers {
            always_from_bytes,
            hashed_from_bytes,
            hashed_percent,
        };
        for (before, expected) in [
            (Tiers::default(), tiers(16 << 20, 2 << 20, 5)),
            (tiers(0, 0, 100), tiers(16 << 20, 2 << 20, 5)),
            (tiers(1 << 30, 1 << 29, 1), tiers(1 << 30, 1 << 29, 1)),
        ] {
            let mut with_pressure = rule("a", &[], 0);
            with_pressure.set = PolicyFields::default();
            with_pressure.memory_pressure = Some(PRESSURE);
            let document = FleetPolicy {
                rules: vec![with_pressure],
                ..FleetPolicy::default()
            };
            let own = Policy {
                tiers: before,
                ..Policy::default()
            };
            for (is_short_of_memory, expected) in [(true, expected), (false, before)] {
                let subject = Subject {
                    labels: &Labels::default(),
                    own: &own,
                    overrides: &PolicyFields::default(),
                    is_short_of_memory,
                };
                let got = document.evaluate(&subject, 0);
                assert_eq!(got.policy.tiers, expected);
                assert_eq!(got.memory_pressure, Some(PRESSURE));
            }
        }
    }

    #[test]
    fn each_problem_names_its_field_with_expected_and_got() {
        type Break = fn(&mut FleetPolicy);
        let cases: [(Break, &str); 11] = [
            (
                |d| d.rules[1].name.clear(),
                "rules[1].name: expected 1 to 100 letters, got 0",
            ),
            (
                |d| d.rules[1].name = "a".to_owned(),
                "rules[1].name: expected another name than that of an earlier rule, got 'a'",
            ),
            (
                |d| d.rules[0].labels = [("A".to_owned(), "x".to_owned())].into_iter().collect(),
                "rules[0].labels: label key 'A'",
            ),
            (
                |d| d.rules[0].set.tiers.hashed_percent = Some(101),
                "rules[0].set.tiers.hashed_percent: expected 0 to 100, got 101",
            ),
            (
                |d| {
                    d.rules[0].memory_pressure = Some(MemoryPressure {
                        available_below_percent: 0,
                        ..PRESSURE
                    });
                },
                "rules[0].memory_pressure.available_below_percent: expected 1 to 99, got 0",
            ),
            (
                |d| {
                    d.rules[0].memory_pressure = Some(MemoryPressure {
                        restored_from_percent: Some(9),
                        ..PRESSURE
                    });
                },
                "rules[0].memory_pressure.restored_from_percent: expected 10 to 100, got 9",
            ),
            (
                |d| {
                    let mut pressure = PRESSURE;
                    pressure.tiers.hashed_percent = Some(200);
                    d.rules[0].memory_pressure = Some(pressure);
                },
                "rules[0].memory_pressure.tiers.hashed_percent: expected 0 to 100, got 200",
            ),
            (
                |d| d.rollout.first_percent = 0,
                "rollout.first_percent: expected 1 to 100, got 0",
            ),
            (
                |d| d.rollout.healthy_seconds = 0,
                "rollout.healthy_seconds: expected 1 to 86400, got 0",
            ),
            (
                |d| d.rollout.max_loss_permille = 1001,
                "rollout.max_loss_permille: expected 0 to 1000, got 1001",
            ),
            (
                |d| d.rules = (0..201).map(|n| rule(&n.to_string(), &[], 1)).collect(),
                "rules: expected at most 200 rules, got 201",
            ),
        ];
        let good = FleetPolicy {
            rules: vec![rule("a", &[], 1), rule("b", &[], 2)],
            ..FleetPolicy::default()
        };
        assert_eq!(good.problems(), []);
        for (change, expected) in cases {
            let mut document = good.clone();
            change(&mut document);
            let problems: Vec<String> = document.problems().iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(expected), "{problems:?} lacks {expected:?}");
        }
    }
}
