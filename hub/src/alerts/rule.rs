//! What is watched: rules, each a figure, the sessions that it is asked of, and a bound.

use heaptide_policy::Selector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

pub(crate) const MAX_RULES: usize = 100;
const NAME_LETTERS: usize = 100;
const NOTE_LETTERS: usize = 1_000;
const CREATOR_BYTES: usize = 256;
const DAY_S: u32 = 86_400;

/// All rules; one document, with one revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Each rule has another one. What is told goes by it, so that a new name is a new alert.
    pub(crate) name: String,
    /// Labels that a session must all have, with these values; none matches every session.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) labels: Selector,
    pub(crate) figure: Figure,
    pub(crate) when: When,
    /// In the figure's own unit.
    pub(crate) threshold: f64,
    /// The condition must hold for so long without a break before the alert fires; at most a day.
    #[serde(default)]
    pub(crate) for_seconds: u32,
    /// The condition must be over for so long without a break before the alert is resolved; at most a day.
    #[serde(default)]
    pub(crate) keep_seconds: u32,
    /// The whole 99 % interval of an estimate has to be past the threshold, not the estimate alone.
    #[serde(default)]
    pub(crate) beyond_error: bool,
    /// For whoever is told: what it means, what to do.
    #[serde(default)]
    pub(crate) note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    Above,
    Below,
}

/// What a rule can be about. The first ones come with each pulse, the others are computed from what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Figure {
    /// Heap allocated since attach and not freed, in bytes.
    LiveBytes {},
    /// How fast that grows, in bytes a second: a straight line through the pulses of the window.
    LiveSlope {
        /// 10 to 240.
        #[serde(default = "a_minute")]
        window_seconds: u32,
    },
    /// Resident memory, in bytes.
    RssBytes {},
    /// Heap allocation, in bytes a second.
    AllocatedBytesPerS {},
    /// What the collector takes of one processor, 0 to 1 and more.
    CollectorCpu {},
    /// Records lost at any hop, as a share (0 to 1) of those seen in the window.
    Loss {
        /// 10 to 240.
        #[serde(default = "a_minute")]
        window_seconds: u32,
    },
    /// Available memory of the host, as a share (0 to 1) of all.
    HostAvailable {},
    /// Goroutines whose creating function's name contains `creator`, in the newest census.
    Goroutines { creator: String },
    /// What no line of the newest ledger explains, as a share (0 to 1) of RSS.
    UnaccountedShare {},
    /// The length in nanoseconds that 99 of 100 pauses of the window don't exceed.
    PauseP99 {
        /// 10 to 3600.
        #[serde(default = "a_minute")]
        window_seconds: u32,
    },
}

/// How a value is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FigureUnit {
    Bytes,
    BytesPerSecond,
    Count,
    Nanoseconds,
    /// 0 to 1.
    Share,
}

fn a_minute() -> u32 {
    60
}

impl Figure {
    pub(crate) fn unit(&self) -> FigureUnit {
        match self {
            Self::LiveBytes {} | Self::RssBytes {} => FigureUnit::Bytes,
            Self::LiveSlope { .. } | Self::AllocatedBytesPerS {} => FigureUnit::BytesPerSecond,
            Self::CollectorCpu {}
            | Self::Loss { .. }
            | Self::HostAvailable {}
            | Self::UnaccountedShare {} => FigureUnit::Share,
            Self::Goroutines { .. } => FigureUnit::Count,
            Self::PauseP99 { .. } => FigureUnit::Nanoseconds,
        }
    }

    /// Computed from stored frames, beside the ingest path, and so less often.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(
            self,
            Self::Goroutines { .. } | Self::UnaccountedShare {} | Self::PauseP99 { .. }
        )
    }

    fn problem(&self) -> Option<String> {
        let window = |window_seconds: u32, most: u32| {
            (!(10..=most).contains(&window_seconds))
                .then(|| format!("window_seconds: expected 10 to {most}, got {window_seconds}"))
        };
        match self {
            Self::LiveSlope { window_seconds } | Self::Loss { window_seconds } => {
                window(*window_seconds, 240)
            }
            Self::PauseP99 { window_seconds } => window(*window_seconds, 3_600),
            Self::Goroutines { creator } => {
                let is_right = (1..=CREATOR_BYTES).contains(&creator.len());
                (!is_right).then(|| {
                    format!(
                        "creator: expected 1 to {CREATOR_BYTES} bytes, got {}",
                        creator.len()
                    )
                })
            }
            _ => None,
        }
    }
}

impl Rules {
    /// Every problem, as a field and a sentence; none is a document that can be used.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.rules.len() > MAX_RULES {
            problems.push(format!(
                "rules: expected at most {MAX_RULES}, got {}",
                self.rules.len()
            ));
        }
        let mut names = BTreeSet::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let mut add =
                |field: &str, message: String| problems.push(format!("rules[{at}].{field}{message}"));
            let letters = rule.name.chars().count();
            if !(1..=NAME_LETTERS).contains(&letters) || rule.name.chars().any(char::is_control) {
                add(
                    "name",
                    format!(
                        ": expected 1 to {NAME_LETTERS} letters without control characters, got {letters}"
                    ),
                );
            } else if !names.insert(rule.name.as_str()) {
                add("name", format!(": another rule is called '{}', too", rule.name));
            }
            if let Err(error) = rule.labels.validate() {
                add("labels", format!(": {error}"));
            }
            if let Some(problem) = rule.figure.problem() {
                add("figure.", problem);
            }
            if !rule.threshold.is_finite() {
                add("threshold", ": expected a finite number".to_owned());
            }
            for (field, seconds) in [
                ("for_seconds", rule.for_seconds),
                ("keep_seconds", rule.keep_seconds),
            ] {
                if seconds > DAY_S {
                    add(field, format!(": expected at most {DAY_S}, got {seconds}"));
                }
            }
            let letters = rule.note.chars().count();
            if letters > NOTE_LETTERS {
                add(
                    "note",
                    format!(": expected at most {NOTE_LETTERS} letters, got {letters}"),
                );
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_no_rule_is_told_by_field() {
        let good =
            json!({ "name": "a", "figure": { "name": "live_bytes" }, "when": "above", "threshold": 1 });
        let with = |key: &str, value: Value| {
            let mut rule = good.clone();
            rule[key] = value;
            json!({ "rules": [good, rule] })
        };
        for (document, expected) in [
            (json!({}), ""),
            (with("name", json!("b")), ""),
            (
                with("name", json!("a")),
                "rules[1].name: another rule is called 'a', too",
            ),
            (
                with("name", json!("")),
                "rules[1].name: expected 1 to 100 letters",
            ),
        ] {
            check(&document, expected);
        }
        let named = |key: &str, value: Value| {
            let mut document = with(key, value);
            document["rules"][1]["name"] = json!("b");
            document
        };
        for (key, value, expected) in [
            ("labels", json!({ "X": "y" }), "rules[1].labels: label key 'X'"),
            (
                "figure",
                json!({ "name": "live_slope", "window_seconds": 9 }),
                "rules[1].figure.window_seconds: expected 10 to 240, got 9",
            ),
            (
                "figure",
                json!({ "name": "pause_p99", "window_seconds": 3601 }),
                "rules[1].figure.window_seconds: expected 10 to 3600, got 3601",
            ),
            (
                "figure",
                json!({ "name": "goroutines", "creator": "" }),
                "rules[1].figure.creator: expected 1 to 256 bytes, got 0",
            ),
            (
                "for_seconds",
                json!(86_401),
                "rules[1].for_seconds: expected at most 86400",
            ),
            (
                "keep_seconds",
                json!(86_401),
                "rules[1].keep_seconds: expected at most 86400",
            ),
            (
                "note",
                json!("x".repeat(1_001)),
                "rules[1].note: expected at most 1000 letters",
            ),
        ] {
            check(&named(key, value), expected);
        }
    }

    fn check(document: &Value, expected: &str) {
        let rules: Rules = serde_json::from_value(document.clone()).unwrap();
        let got = rules.problems().join("; ");
        assert!(got.contains(expected), "{document}: {got:?} lacks {expected:?}");
        assert_eq!(got.is_empty(), expected.is_empty(), "{document}: {got}");
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for figure in [
            json!({ "name": "happiness" }),
            json!({ "name": "live_bytes", "window_seconds": 3 }),
            json!({ "name": "goroutines" }),
        ] {
            let rule = json!({ "name": "a", "figure": figure, "when": "above", "threshold": 1 });
            assert!(serde_json::from_value::<Rule>(rule.clone()).is_err(), "{rule}");
        }
    }
}
