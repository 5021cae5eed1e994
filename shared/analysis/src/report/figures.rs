//! Single figures of a session, for whoever compares one with a bound: the same facts as the tables, without them.
//!
//! `None` means that nothing in the session says it, which is never the same as zero.

use crate::Session;
use crate::views::Window;
use heaptide_protocol::SymbolGen;

/// Symbols of goroutines are told once.
const GENERATION: SymbolGen = SymbolGen(u32::MAX);

/// A figure, and the moment of session time that it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    pub value: f64,
    pub at_ns: u64,
}

impl Session {
    /// Goroutines whose creator's name contains `text`, whatever its case, in the newest census: none of them is 0, and
    /// no census is `None`.
    pub fn goroutines_created_by(&self, text: &str) -> Option<At> {
        let census = self.censuses.last()?;
        let needle = text.to_ascii_lowercase();
        let mut count = 0_u64;
        for group in &census.groups {
            let frames = group
                .creator
                .map_or(&[][..], |id| self.symbols.stack(id, GENERATION));
            let is_meant = frames.first().is_some_and(|frame| {
                let function = self.symbols.describe(*frame, GENERATION).function;
                function.to_ascii_lowercase().contains(&needle)
            });
            count = count.saturating_add(if is_meant { group.count } else { 0 });
        }
        Some(At {
            value: count as f64,
            at_ns: census.timestamp_ns,
        })
    }

    /// What no line of the newest ledger explains, of either sign, as a share of what is resident.
    pub fn unaccounted_share(&self) -> Option<At> {
        let ledger = self.ledgers.last().filter(|ledger| ledger.rss_bytes > 0)?;
        Some(At {
            value: ledger.remainder_bytes.unsigned_abs() as f64 / ledger.rss_bytes as f64,
            at_ns: ledger.timestamp_ns,
        })
    }

    /// The length that 99 of 100 pauses of the window do not exceed, exactly; `None` where there was no pause.
    pub fn pause_p99_ns(&self, window: Window) -> Option<At> {
        let pauses = self.collections.pauses_in(window);
        let at_ns = pauses.iter().map(|pause| pause.end_ns).max()?;
        let mut lengths: Vec<u64> = pauses.iter().map(|pause| pause.end_ns - pause.begin_ns).collect();
        lengths.sort_unstable();
        // The nearest rank: of fewer than 100 pauses it is the longest.
        let rank = (lengths.len() * 99).div_ceil(100);
        Some(At {
            value: lengths[rank - 1] as f64,
            at_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::Collections;
    use heaptide_protocol::events::{Event, EventBody, EventKind, OtherRow};
    use heaptide_protocol::ledger::Ledger;

    /// Pauses of these lengths, 1 µs apart.
    fn collections(lengths: &[u64]) -> Collections {
        let mut collections = Collections::default();
        for (number, length) in (1..).zip(lengths) {
            let begin_ns = number * 1_000;
            for (kind, timestamp_ns) in [
                (EventKind::StopTheWorldBegin, begin_ns),
                (EventKind::StopTheWorldEnd, begin_ns + length),
            ] {
                collections.apply(&Event {
                    event_id: 0,
                    timestamp_ns,
                    thread_id: 1,
                    kind,
                    body: EventBody::Other(OtherRow::default()),
                });
            }
        }
        collections
    }

    #[test]
    fn the_99th_percentile_is_by_nearest_rank_over_the_window() {
        for (lengths, expected) in [
            (vec![], None),
            (vec![5], Some(5.0)),
            ((1..=99).collect(), Some(99.0)),
            ((1..=100).collect(), Some(99.0)),
            ((1..=200).rev().collect(), Some(198.0)),
        ] {
            let mut session = Session::new();
            session.collections = collections(&lengths);
            let all = Window {
                from_ns: 0,
                to_ns: u64::MAX,
            };
            assert_eq!(
                session.pause_p99_ns(all).map(|at| at.value),
                expected,
                "{lengths:?}"
            );
            let before = Window { from_ns: 0, to_ns: 1 };
            assert_eq!(session.pause_p99_ns(before), None);
        }
    }

    #[test]
    fn what_the_ledger_does_not_explain_is_a_share_whatever_its_sign() {
        let mut session = Session::new();
        assert_eq!(session.unaccounted_share(), None);
        for (remainder_bytes, expected) in [(25, 0.25), (-50, 0.5), (0, 0.0)] {
            session.ledgers.push(Ledger {
                timestamp_ns: 7,
                took_ns: 1,
                rss_bytes: 100,
                rss_after_bytes: 100,
                remainder_bytes,
                lines: Vec::new(),
            });
            let told = session.unaccounted_share();
            assert_eq!(told.map(|at| (at.value, at.at_ns)), Some((expected, 7)));
        }
    }
}
