//! The kernel's own events and the calls into it, as they came, for the reports: mapping calls, page faults, huge
//! pages, waits for a processor, and what goroutines did for the collector.
//!
//! Bounded by kind, so that a flood of one leaves the others; the oldest go first and are counted.

use crate::views::Window;
use heaptide_protocol::SymbolGen;
use heaptide_protocol::events::{Event, EventBody, EventKind, OtherRow};
use heaptide_protocol::gauges::{Gauge, Gauges};

/// Of each kind; the oldest half goes when it is full.
const MAX_KEPT: usize = 20_000;
/// Readings of the quota at which it had been used up since the one before.
const MAX_THROTTLED: usize = 10_000;

/// An event with the symbols of its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) at_ns: u64,
    pub(crate) kind: EventKind,
    pub(crate) symbol_gen: SymbolGen,
    pub(crate) row: OtherRow,
}

impl Kept {
    /// From when to when: waits and work are told at their end, with their length.
    pub(crate) fn span(&self) -> Window {
        let length_ns = match self.kind {
            EventKind::GcWork | EventKind::OffCpu => self.row.size_bytes,
            _ => 0,
        };
        Window {
            from_ns: self.at_ns.saturating_sub(length_ns),
            to_ns: self.at_ns,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Kernel {
    kept: [Vec<Kept>; EventKind::LAST as usize + 1],
    /// Between two readings that far apart the control group was kept off the processor.
    throttled: Vec<Window>,
    last_throttled: Option<(u64, u64)>,
    pub(crate) trimmed: u64,
}

impl Kernel {
    pub(crate) fn apply(&mut self, event: &Event, symbol_gen: SymbolGen) {
        let EventBody::Other(row) = event.body else { return };
        // Cycles and pauses are put together elsewhere.
        if event.kind < EventKind::Mmap || event.kind == EventKind::Goroutine {
            return;
        }
        let kept = &mut self.kept[event.kind as usize];
        if kept.len() >= MAX_KEPT {
            kept.drain(..MAX_KEPT / 2);
            self.trimmed += MAX_KEPT as u64 / 2;
        }
        kept.push(Kept {
            at_ns: event.timestamp_ns,
            kind: event.kind,
            symbol_gen,
            row,
        });
    }

    pub(crate) fn apply_gauges(&mut self, gauges: &Gauges) {
        let found = gauges
            .values
            .iter()
            .find(|value| value.gauge == Gauge::THROTTLED_NS);
        let Some(now) = found.map(|found| (gauges.timestamp_ns, found.value)) else {
            return;
        };
        if let Some(last) = self.last_throttled.replace(now)
            && now.1 > last.1
        {
            if self.throttled.len() >= MAX_THROTTLED {
                self.throttled.drain(..MAX_THROTTLED / 2);
                self.trimmed += MAX_THROTTLED as u64 / 2;
            }
            self.throttled.push(Window {
                from_ns: last.0,
                to_ns: now.0,
            });
        }
    }

    /// Events of a kind that reach into the window, in the order in which they came.
    pub(crate) fn of(&self, kind: EventKind, window: Window) -> impl Iterator<Item = &Kept> {
        self.kept[kind as usize].iter().filter(move |kept| {
            let span = kept.span();
            span.from_ns < window.to_ns && span.to_ns >= window.from_ns
        })
    }

    /// Whether any event of the kind is kept.
    pub(crate) fn has(&self, kind: EventKind) -> bool {
        !self.kept[kind as usize].is_empty()
    }

    pub(crate) fn throttled(&self) -> &[Window] {
        &self.throttled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::gauges::GaugeValue;

    fn event(kind: EventKind, timestamp_ns: u64, size_bytes: u64) -> Event {
        Event {
            event_id: 0,
            timestamp_ns,
            thread_id: 1,
            kind,
            body: EventBody::Other(OtherRow {
                size_bytes,
                ..OtherRow::default()
            }),
        }
    }

    #[test]
    fn a_flood_of_one_kind_leaves_the_others() {
        let mut kernel = Kernel::default();
        kernel.apply(&event(EventKind::OffCpu, 10, 5), SymbolGen(0));
        kernel.apply(&event(EventKind::GcStart, 10, 5), SymbolGen(0));
        for at in 0..2 * MAX_KEPT as u64 {
            kernel.apply(&event(EventKind::PageFault, at, 1), SymbolGen(0));
        }
        let all = Window {
            from_ns: 0,
            to_ns: u64::MAX,
        };
        assert_eq!(kernel.of(EventKind::OffCpu, all).count(), 1);
        assert_eq!(kernel.of(EventKind::GcStart, all).count(), 0);
        let faults = kernel.of(EventKind::PageFault, all).count() as u64;
        assert!(faults <= MAX_KEPT as u64);
        assert_eq!(faults + kernel.trimmed, 2 * MAX_KEPT as u64);
    }

    #[test]
    fn a_length_reaches_back() {
        let mut kernel = Kernel::default();
        kernel.apply(&event(EventKind::OffCpu, 100, 30), SymbolGen(0));
        for (from_ns, to_ns, expected) in [(0, 70, 0), (0, 71, 1), (80, 90, 1), (100, 101, 1), (101, 200, 0)]
        {
            let window = Window { from_ns, to_ns };
            assert_eq!(
                kernel.of(EventKind::OffCpu, window).count(),
                expected,
                "{window:?}"
            );
        }
    }

    #[test]
    fn throttling_lies_between_two_readings() {
        let mut kernel = Kernel::default();
        for (at, value) in [(100, 7), (200, 7), (300, 9)] {
            kernel.apply_gauges(&Gauges {
                timestamp_ns: at,
                values: vec![GaugeValue {
                    gauge: Gauge::THROTTLED_NS,
                    value,
                }],
            });
        }
        let between = Window {
            from_ns: 200,
            to_ns: 300,
        };
        assert_eq!(kernel.throttled(), [between]);
    }
}
