//! What becomes of one rule at one session: a pure step from a reading and a clock to a state and perhaps a notice.
//!
//! Silence is never taken for health. Without a figure a quiet alert says "no data", a hold begins anew, and what
//! fires goes on firing. Only the end of the session, or of the rule's interest in it, ends an alert without a figure,
//! and the notice says so.

use super::figure::{Measured, Reading};
use super::rule::{Rule, When};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The condition has held for as long as the rule asks.
    Firing,
    /// Nothing is known; why is in `no_data`.
    NoData,
    /// The condition holds, but not for long enough yet.
    Pending,
    /// It fired, and no longer does.
    Resolved,
    /// The condition does not hold.
    Ok,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) state: State,
    /// By the hub's clock, since 1970.
    pub(crate) since_unix_ns: u64,
    /// The last figure that was known, and half its 99 % interval.
    pub(crate) value: Option<f64>,
    pub(crate) error: Option<f64>,
    /// Why there is no figure now, also while it fires.
    #[serde(default)]
    pub(crate) no_data: Option<String>,
    /// Fires, but since then the condition does not hold.
    #[serde(default)]
    pub(crate) clear_since_unix_ns: Option<u64>,
}

/// Why an alert is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The condition no longer holds.
    Cleared,
    SessionEnded,
    /// The hub no longer has it.
    SessionGone,
    RuleRemoved,
    /// The rule's labels are no longer the session's.
    NoLongerMatches,
}

/// What somebody has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Firing,
    Resolved(Ending),
}

impl Alert {
    /// Before anything is known.
    pub(crate) fn unknown(now_unix_ns: u64) -> Self {
        Self {
            state: State::NoData,
            since_unix_ns: now_unix_ns,
            value: None,
            error: None,
            no_data: Some("nothing was looked at yet".to_owned()),
            clear_since_unix_ns: None,
        }
    }

    /// Takes in what the figure is now.
    pub(crate) fn step(&mut self, rule: &Rule, reading: &Reading, now_unix_ns: u64) -> Option<Notice> {
        let measured = match reading {
            Ok(measured) => measured,
            Err(why) => {
                self.no_data = Some(why.clone());
                // Neither over nor broken: the rest waits for a figure.
                self.clear_since_unix_ns = None;
                if self.state != State::Firing {
                    self.become_state(State::NoData, now_unix_ns);
                }
                return None;
            }
        };
        self.no_data = None;
        self.value = Some(measured.value);
        self.error = measured.error;
        let held = |since_unix_ns: u64, seconds: u32| {
            now_unix_ns.saturating_sub(since_unix_ns) >= u64::from(seconds) * SECOND_NS
        };
        match (self.state, is_past(rule, measured)) {
            (State::Firing, true) => {
                self.clear_since_unix_ns = None;
                None
            }
            (State::Firing, false) => {
                let clear_since = *self.clear_since_unix_ns.get_or_insert(now_unix_ns);
                held(clear_since, rule.keep_seconds).then(|| self.end(Ending::Cleared, now_unix_ns))
            }
            (state, true) => {
                if state != State::Pending {
                    self.become_state(State::Pending, now_unix_ns);
                }
                held(self.since_unix_ns, rule.for_seconds).then(|| {
                    self.become_state(State::Firing, now_unix_ns);
                    Notice::Firing
                })
            }
            (State::Resolved, false) => None,
            (_, false) => {
                self.become_state(State::Ok, now_unix_ns);
                None
            }
        }
    }

    /// It fires, and is over.
    pub(crate) fn end(&mut self, why: Ending, now_unix_ns: u64) -> Notice {
        self.clear_since_unix_ns = None;
        self.become_state(State::Resolved, now_unix_ns);
        Notice::Resolved(why)
    }

    fn become_state(&mut self, state: State, now_unix_ns: u64) {
        if self.state != state {
            self.state = state;
            self.since_unix_ns = now_unix_ns;
        }
    }
}

fn is_past(rule: &Rule, measured: &Measured) -> bool {
    let error = measured.error.filter(|_| rule.beyond_error).unwrap_or(0.0);
    match rule.when {
        When::Above => measured.value - error > rule.threshold,
        When::Below => measured.value + error < rule.threshold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::rule::Figure;
    use heaptide_policy::Selector;

    fn rule(for_seconds: u32, keep_seconds: u32) -> Rule {
        Rule {
            name: "a".to_owned(),
            labels: Selector::default(),
            figure: Figure::RssBytes {},
            when: When::Above,
            threshold: 10.0,
            for_seconds,
            keep_seconds,
            beyond_error: false,
            note: String::new(),
        }
    }

    fn value(value: f64) -> Reading {
        Ok(Measured { value, error: None })
    }

    /// A second, the figure (none: no data), the state and the second it is in since, what is told.
    type Line = (u64, Option<f64>, State, u64, Option<Notice>);

    fn run(rule: &Rule, lines: &[Line]) {
        let mut alert = Alert::unknown(0);
        for (second, figure, state, since, notice) in lines {
            let reading = figure.map_or(Err("silent".to_owned()), value);
            let told = alert.step(rule, &reading, second * SECOND_NS);
            let got = (alert.state, alert.since_unix_ns / SECOND_NS, told);
            assert_eq!(got, (*state, *since, *notice), "at {second} s of {lines:?}");
            assert_eq!(alert.no_data.is_some(), figure.is_none(), "at {second} s");
        }
    }

    #[test]
    fn a_condition_holds_before_it_fires_and_is_told_once() {
        use State::{Firing, Ok, Pending, Resolved};
        let cleared = Some(Notice::Resolved(Ending::Cleared));
        run(
            &rule(3, 0),
            &[
                (1, Some(10.0), Ok, 1, None),
                (2, Some(11.0), Pending, 2, None),
                (3, Some(10.0), Ok, 3, None),
                (4, Some(11.0), Pending, 4, None),
                (6, Some(12.0), Pending, 4, None),
                (7, Some(12.0), Firing, 7, Some(Notice::Firing)),
                (8, Some(13.0), Firing, 7, None),
                (9, Some(9.0), Resolved, 9, cleared),
                (10, Some(9.0), Resolved, 9, None),
                (11, Some(11.0), Pending, 11, None),
                (12, Some(1.0), Ok, 12, None),
            ],
        );
    }

    #[test]
    fn without_a_hold_it_fires_at_once_and_keeps_until_it_is_over_for_long_enough() {
        use State::{Firing, Resolved};
        let cleared = Some(Notice::Resolved(Ending::Cleared));
        run(
            &rule(0, 5),
            &[
                (1, Some(11.0), Firing, 1, Some(Notice::Firing)),
                (2, Some(9.0), Firing, 1, None),
                (6, Some(11.0), Firing, 1, None),
                (7, Some(9.0), Firing, 1, None),
                (11, Some(9.0), Firing, 1, None),
                (12, Some(9.0), Resolved, 12, cleared),
            ],
        );
    }

    #[test]
    fn silence_breaks_a_hold_and_neither_fires_nor_resolves() {
        use State::{Firing, NoData, Ok, Pending, Resolved};
        let cleared = Some(Notice::Resolved(Ending::Cleared));
        run(
            &rule(2, 2),
            &[
                (1, None, NoData, 0, None),
                (2, Some(11.0), Pending, 2, None),
                (3, None, NoData, 3, None),
                (4, Some(11.0), Pending, 4, None),
                (6, Some(11.0), Firing, 6, Some(Notice::Firing)),
                (7, Some(9.0), Firing, 6, None),
                (8, None, Firing, 6, None),
                (99, None, Firing, 6, None),
                (100, Some(9.0), Firing, 6, None),
                (102, Some(9.0), Resolved, 102, cleared),
                (103, None, NoData, 103, None),
                (104, Some(9.0), Ok, 104, None),
            ],
        );
    }

    #[test]
    fn which_side_and_whether_the_error_counts() {
        for (when, beyond_error, value, error, expected) in [
            (When::Above, false, 11.0, Some(5.0), true),
            (When::Above, true, 11.0, Some(5.0), false),
            (When::Above, true, 16.0, Some(5.0), true),
            (When::Above, true, 11.0, None, true),
            (When::Above, false, 10.0, None, false),
            (When::Below, false, 9.0, Some(5.0), true),
            (When::Below, true, 9.0, Some(5.0), false),
            (When::Below, true, 4.0, Some(5.0), true),
            (When::Below, false, 10.0, None, false),
            (When::Above, false, f64::NAN, None, false),
        ] {
            let rule = Rule {
                when,
                beyond_error,
                ..rule(0, 0)
            };
            let got = is_past(&rule, &Measured { value, error });
            assert_eq!(got, expected, "{when:?} {beyond_error} {value} {error:?}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_fires_nothing_early() {
        let mut alert = Alert::unknown(0);
        let rule = rule(5, 0);
        alert.step(&rule, &value(11.0), 100 * SECOND_NS);
        assert_eq!(alert.step(&rule, &value(11.0), 50 * SECOND_NS), None);
        assert_eq!(alert.state, State::Pending);
    }
}
