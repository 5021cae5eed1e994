//! The sessions that the hub has, with a short memory of their headline figures, from which growth is read.

use heaptide_protocol::SessionId;
use heaptide_protocol::control::{PolicyState, Pulse, SessionSummary};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Pulses remembered per session: two minutes at one a second.
pub const HISTORY: usize = 120;
/// Sessions beyond this many are counted, not shown.
const MAX_SESSIONS: usize = 2_000;
/// A slope over less than this says nothing.
const MIN_SLOPE_NS: u64 = 5_000_000_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetRow {
    pub summary: SessionSummary,
    /// Least squares over the remembered live heap; `None` until there is enough.
    pub growth_bytes_per_min: Option<f64>,
    /// Live heap, oldest first.
    pub history_bytes: Vec<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Fleet {
    sessions: BTreeMap<SessionId, Entry>,
    pub(super) left_out: u64,
}

#[derive(Debug)]
struct Entry {
    summary: SessionSummary,
    /// `(session time, live bytes)`.
    history: VecDeque<(u64, f64)>,
}

impl Fleet {
    /// The hub's whole list; what is not in it is gone.
    pub(super) fn replace(&mut self, sessions: Vec<SessionSummary>) {
        self.left_out = sessions.len().saturating_sub(MAX_SESSIONS) as u64;
        let mut old = std::mem::take(&mut self.sessions);
        for summary in sessions.into_iter().take(MAX_SESSIONS) {
            let mut entry = Entry {
                history: old
                    .remove(&summary.session)
                    .map(|entry| entry.history)
                    .unwrap_or_default(),
                summary,
            };
            entry.remember();
            self.sessions.insert(entry.summary.session, entry);
        }
    }

    pub(super) fn pulse(&mut self, session: SessionId, pulse: Pulse) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.summary.last_ns = entry.summary.last_ns.max(pulse.timestamp_ns);
            entry.summary.pulse = Some(pulse);
            entry.remember();
        }
    }

    pub(super) fn policy(&mut self, session: SessionId, policy: PolicyState) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.summary.policy = policy;
        }
    }

    pub(super) fn frames(&self, session: SessionId) -> u64 {
        self.sessions
            .get(&session)
            .map_or(0, |entry| entry.summary.frames)
    }

    pub(super) fn rows(&self) -> Vec<FleetRow> {
        self.sessions
            .values()
            .map(|entry| FleetRow {
                summary: entry.summary.clone(),
                growth_bytes_per_min: entry.growth_bytes_per_min(),
                history_bytes: entry.history.iter().map(|(_, live)| *live).collect(),
            })
            .collect()
    }
}

impl Entry {
    fn remember(&mut self) {
        let Some(pulse) = &self.summary.pulse else {
            return;
        };
        let point = (pulse.timestamp_ns, pulse.live_bytes);
        if self.history.back().is_some_and(|last| last.0 >= point.0) || !point.1.is_finite() {
            return;
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(point);
    }

    fn growth_bytes_per_min(&self) -> Option<f64> {
        let (first, last) = (self.history.front()?.0, self.history.back()?.0);
        if last - first < MIN_SLOPE_NS {
            return None;
        }
        let count = self.history.len() as f64;
        let minutes = |at: u64| (at - first) as f64 / 60e9;
        let mean_x = self.history.iter().map(|(at, _)| minutes(*at)).sum::<f64>() / count;
        let mean_y = self.history.iter().map(|(_, live)| *live).sum::<f64>() / count;
        let (mut above, mut below) = (0.0, 0.0);
        for (at, live) in &self.history {
            let x = minutes(*at) - mean_x;
            above += x * (live - mean_y);
            below += x * x;
        }
        (below > 0.0).then(|| above / below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::core::sample;

    #[test]
    fn growth_is_the_slope_of_the_remembered_live_heap() {
        let mut fleet = Fleet::default();
        fleet.replace(vec![sample::summary(1)]);
        assert_eq!(fleet.rows()[0].growth_bytes_per_min, None);
        for second in 0..300 {
            fleet.pulse(
                SessionId([1; 16]),
                sample::pulse(second * 1_000_000_000, 1e6 + 1e3 * second as f64),
            );
        }
        let row = &fleet.rows()[0];
        let growth = row.growth_bytes_per_min.unwrap();
        assert!((growth - 60e3).abs() < 1.0, "{growth}");
        assert_eq!(row.history_bytes.len(), HISTORY);
        // A list from the hub neither forgets the past nor counts a pulse twice.
        fleet.replace(fleet.rows().into_iter().map(|row| row.summary).collect());
        assert_eq!(fleet.rows()[0].growth_bytes_per_min, Some(growth));
    }

    #[test]
    fn a_session_that_the_hub_dropped_is_gone_and_a_flood_is_cut() {
        let mut fleet = Fleet::default();
        fleet.replace((0..=255).map(sample::summary).collect());
        fleet.replace(vec![sample::summary(3)]);
        assert_eq!(fleet.rows().len(), 1);
        fleet.pulse(SessionId([9; 16]), sample::pulse(1, 1.0));
        assert_eq!(fleet.rows().len(), 1);
        fleet.replace((0..2_500).map(|_| sample::summary(1)).collect());
        assert_eq!(fleet.left_out, 500);
    }
}
