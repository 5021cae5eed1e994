//! Garbage collection cycles and stop-the-world pauses, put together from their edges.

use crate::views::{GcCycle, Pause, Window};
use heaptide_protocol::events::{Event, EventBody, EventKind};
use heaptide_protocol::gauges::{Gauge, GaugeValue};

/// Of each kind; the oldest go first and are counted.
const MAX_KEPT: usize = 20_000;

/// `runtime.stwReasonStrings`, Go 1.21 to 1.27 (src/runtime/proc.go).
const STW_REASONS: [&str; 12] = [
    "unknown",
    "GC mark termination",
    "GC sweep termination",
    "write heap dump",
    "goroutine profile",
    "goroutine profile cleanup",
    "all goroutines stack trace",
    "read mem stats",
    "AllThreadsSyscall",
    "GOMAXPROCS",
    "start trace",
    "stop trace",
];

/// Counts since the start of the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CollectionTotals {
    pub(crate) cycles: u64,
    pub(crate) pauses: u64,
    pub(crate) pause_total_ns: u64,
    pub(crate) pause_longest_ns: u64,
}

impl CollectionTotals {
    /// As gauges of a step, and back.
    const GAUGES: [Gauge; 4] = [
        Gauge::STEP_COLLECTIONS,
        Gauge::STEP_PAUSES,
        Gauge::STEP_PAUSE_NS,
        Gauge::STEP_LONGEST_PAUSE_NS,
    ];

    #[cfg(feature = "store")]
    pub(crate) fn gauges(&self) -> impl Iterator<Item = GaugeValue> {
        let values = [
            self.cycles,
            self.pauses,
            self.pause_total_ns,
            self.pause_longest_ns,
        ];
        let all = Self::GAUGES.into_iter().zip(values);
        all.map(|(gauge, value)| GaugeValue { gauge, value })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.pauses += other.pauses;
        self.pause_total_ns = self.pause_total_ns.saturating_add(other.pause_total_ns);
        self.pause_longest_ns = self.pause_longest_ns.max(other.pause_longest_ns);
    }

    pub(crate) fn of(values: &[GaugeValue]) -> Self {
        let [cycles, pauses, pause_total_ns, pause_longest_ns] = Self::GAUGES.map(|gauge| {
            let found = values.iter().find(|value| value.gauge == gauge);
            found.map_or(0, |value| value.value)
        });
        Self {
            cycles,
            pauses,
            pause_total_ns,
            pause_longest_ns,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Collections {
    cycles: Vec<GcCycle>,
    pauses: Vec<Pause>,
    /// Begin time and reason of the pause under way: Go stops the world for one at a time.
    stopping: Option<(u64, u32)>,
    pub(crate) totals: CollectionTotals,
    pub(crate) trimmed: u64,
}

impl Collections {
    pub(crate) fn apply(&mut self, event: &Event) {
        let EventBody::Other(row) = event.body else { return };
        let at = event.timestamp_ns;
        match event.kind {
            EventKind::GcStart => {
                self.totals.cycles += 1;
                self.cycles.push(GcCycle {
                    begin_ns: at,
                    end_ns: None,
                });
            }
            EventKind::GcEnd => {
                if let Some(cycle) = self.cycles.last_mut().filter(|cycle| cycle.end_ns.is_none()) {
                    cycle.end_ns = Some(at);
                }
            }
            EventKind::StopTheWorldBegin => self.stopping = Some((at, row.detail as u32)),
            EventKind::StopTheWorldEnd => {
                if let Some((begin_ns, reason)) = self.stopping.take() {
                    // Before Go 1.21 the reason is known at the end only.
                    let reason = if reason == 0 { row.detail as u32 } else { reason };
                    self.pause(begin_ns, at.max(begin_ns), reason);
                }
            }
            _ => {}
        }
        for excess in [trim(&mut self.cycles), trim(&mut self.pauses)] {
            self.trimmed += excess;
        }
    }

    pub(crate) fn cycles_in(&self, window: Window) -> Vec<GcCycle> {
        self.cycles
            .iter()
            .filter(|cycle| {
                cycle.begin_ns < window.to_ns && cycle.end_ns.is_none_or(|end| end >= window.from_ns)
            })
            .copied()
            .collect()
    }

    pub(crate) fn pauses_in(&self, window: Window) -> Vec<Pause> {
        self.pauses
            .iter()
            .filter(|pause| pause.begin_ns < window.to_ns && pause.end_ns >= window.from_ns)
            .cloned()
            .collect()
    }

    fn pause(&mut self, begin_ns: u64, end_ns: u64, reason: u32) {
        let length_ns = end_ns - begin_ns;
        self.totals.pauses += 1;
        self.totals.pause_total_ns = self.totals.pause_total_ns.saturating_add(length_ns);
        self.totals.pause_longest_ns = self.totals.pause_longest_ns.max(length_ns);
        let reason_text = STW_REASONS.get(reason as usize).copied().unwrap_or("other");
        self.pauses.push(Pause {
            begin_ns,
            end_ns,
            reason,
            reason_text: reason_text.to_owned(),
        });
    }
}

/// Drops the older half when full, so that trimming is rare.
fn trim<T>(kept: &mut Vec<T>) -> u64 {
    if kept.len() <= MAX_KEPT {
        return 0;
    }
    kept.drain(..MAX_KEPT / 2);
    (MAX_KEPT / 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::events::OtherRow;

    fn event(kind: EventKind, timestamp_ns: u64, detail: u64) -> Event {
        let body = EventBody::Other(OtherRow {
            detail,
            ..OtherRow::default()
        });
        Event {
            event_id: 0,
            timestamp_ns,
            thread_id: 1,
            kind,
            body,
        }
    }

    #[test]
    fn pauses_pair_and_an_end_alone_is_nothing() {
        use EventKind::{GcEnd, GcStart, StopTheWorldBegin as Begin, StopTheWorldEnd as End};
        let mut collections = Collections::default();
        for (kind, at, reason) in [
            (End, 5, 0),
            (Begin, 10, 2),
            (GcStart, 12, 0),
            (End, 14, 2),
            (Begin, 20, 1),
            (GcEnd, 21, 0),
            (End, 23, 1),
        ] {
            collections.apply(&event(kind, at, reason));
        }
        assert_eq!(
            collections.totals,
            CollectionTotals {
                cycles: 1,
                pauses: 2,
                pause_total_ns: 7,
                pause_longest_ns: 4
            }
        );
        let all = Window {
            from_ns: 0,
            to_ns: 100,
        };
        let reasons: Vec<_> = collections
            .pauses_in(all)
            .into_iter()
            .map(|pause| pause.reason_text)
            .collect();
        assert_eq!(reasons, ["GC sweep termination", "GC mark termination"]);
        assert_eq!(
            collections.cycles_in(all),
            [GcCycle {
                begin_ns: 12,
                end_ns: Some(21)
            }]
        );
        assert!(
            collections
                .pauses_in(Window {
                    from_ns: 15,
                    to_ns: 19
                })
                .is_empty()
        );
    }

    #[test]
    fn a_reason_that_is_known_at_the_end_only_is_that_of_the_pause() {
        use EventKind::{StopTheWorldBegin as Begin, StopTheWorldEnd as End};
        let mut collections = Collections::default();
        for (kind, at, reason) in [(Begin, 10, 0), (End, 14, 2), (Begin, 20, 0), (End, 23, 1)] {
            collections.apply(&event(kind, at, reason));
        }
        let all = Window {
            from_ns: 0,
            to_ns: 100,
        };
        let reasons: Vec<_> = collections
            .pauses_in(all)
            .into_iter()
            .map(|pause| pause.reason_text)
            .collect();
        assert_eq!(reasons, ["GC sweep termination", "GC mark termination"]);
    }
}
