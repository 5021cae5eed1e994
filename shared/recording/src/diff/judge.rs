//! Whether a condition is met. A sampled figure meets it only with its whole interval, so that noise fails no
//! build; one that meets it by its value alone is undecided, and said to be.

use super::condition::{Condition, Subject, Threshold};
use super::{Change, Side, difference};
use crate::quantity;
use heaptide_analysis::report::Unit;
use heaptide_analysis::views::{Figure, Headline};
use heaptide_protocol::session::{CapabilityState, EventClass, Method};

#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub condition: String,
    pub verdict: Verdict,
    pub before: Option<Figure>,
    pub after: Option<Figure>,
    /// In words, with the figures.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Met,
    NotMet,
    /// By the value it is met, by the interval it need not be: record for longer or sample more.
    Undecided,
    /// A figure is missing.
    Unknown {
        why: String,
    },
}

impl Condition {
    pub(super) fn judge(&self, before: Side<'_>, after: Side<'_>) -> Judged {
        let (a, b) = (self.subject.figure(before), self.subject.figure(after));
        let unit = self.subject.unit();
        let needs_before = !matches!(self.threshold, Threshold::Absolute(_));
        let missing = match (&a, &b) {
            (_, None) => Some("the second recording"),
            (None, _) if needs_before => Some("the first recording"),
            _ => None,
        };
        let (Some(after), None) = (&b, missing) else {
            let why = format!("{} does not know it", missing.unwrap_or_default());
            return Judged {
                condition: self.text().to_owned(),
                reason: why.clone(),
                verdict: Verdict::Unknown { why },
                before: a,
                after: b,
            };
        };
        let none = exact(0.0);
        let before = a.as_ref().unwrap_or(&none);
        // What has to be above, or below, 0.
        let beyond = match self.threshold {
            Threshold::Absolute(at) => shifted(difference(after, 0.0, before), -at),
            Threshold::Change(by) => shifted(difference(after, 1.0, before), -by),
            Threshold::Share(share) => difference(after, 1.0 + share, before),
        };
        let [value, sure] = if self.is_above {
            [beyond.value, beyond.low]
        } else {
            [-beyond.value, -beyond.high]
        };
        let verdict = match (value > 0.0, sure > 0.0) {
            (true, true) => Verdict::Met,
            (true, false) => Verdict::Undecided,
            (false, _) => Verdict::NotMet,
        };
        Judged {
            condition: self.text().to_owned(),
            reason: reason(a.as_ref(), after, unit),
            verdict,
            before: a,
            after: b,
        }
    }
}

fn shifted(change: Change, by: f64) -> Change {
    Change {
        value: change.value + by,
        low: change.low + by,
        high: change.high + by,
    }
}

fn reason(before: Option<&Figure>, after: &Figure, unit: Unit) -> String {
    let after_text = quantity::figure(after, unit);
    let Some(before) = before else {
        return after_text;
    };
    let mut text = format!("{} before, {after_text} after", quantity::figure(before, unit));
    if before.value > 0.0 {
        let share = after.value / before.value - 1.0;
        let sign = if share > 0.0 { "+" } else { "" };
        text = format!("{text}, {sign}{}", quantity::share(share));
    }
    text
}

impl Subject {
    fn figure(&self, side: Side<'_>) -> Option<Figure> {
        let session = &side.recording.session;
        let headline = || session.headline_at(side.window.to_ns);
        // Counts since the session's start, so the window's are a difference.
        let counted = |of: fn(&Headline) -> u64| {
            let begin = if side.window.from_ns > session.span().from_ns {
                of(&session.headline_at(side.window.from_ns))
            } else {
                0
            };
            exact(of(&headline()).saturating_sub(begin) as f64)
        };
        match self {
            Self::Heap { metric, function } => Some(side.sum(*metric, function.as_deref())),
            Self::Rss => headline().rss,
            Self::Pss => headline().pss,
            Self::Untracked => headline().untracked,
            Self::PauseTotal => Some(counted(|headline| headline.pause_total_ns)),
            Self::Collections => Some(counted(|headline| headline.gc_cycles)),
            Self::Pause { percent } => {
                let lengths = session.pause_lengths_ns(side.window);
                let longest = quantile(&lengths, *percent).or_else(|| sees_pauses(side).then_some(0));
                longest.map(|length| exact(length as f64))
            }
        }
    }
}

/// Whether a pause would be there, had there been one.
fn sees_pauses(side: Side<'_>) -> bool {
    let start = side.recording.session.start();
    start.is_some_and(|start| {
        start.capabilities.iter().any(|capability| {
            capability.class == EventClass::GarbageCollection && capability.state == CapabilityState::Active
        })
    })
}

/// By the nearest rank: the smallest length that so many of a hundred do not exceed.
fn quantile(sorted: &[u64], percent: u32) -> Option<u64> {
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn exact(value: f64) -> Figure {
    Figure {
        value,
        low: value,
        high: value,
        method: Method::Exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_lengths_that_were_seen() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (lengths, percent, expected) in [
            (&hundred[..], 50, Some(50)),
            (&hundred, 99, Some(99)),
            (&hundred, 100, Some(100)),
            (&[7], 50, Some(7)),
            (&[1, 2], 99, Some(2)),
            (&[], 99, None),
        ] {
            assert_eq!(
                quantile(lengths, percent),
                expected,
                "{percent} of {}",
                lengths.len()
            );
        }
    }
}
