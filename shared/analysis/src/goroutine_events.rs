//! Goroutines that were created, ended, or had their stack copied, as counts in steps of time.
//!
//! Steps of a second, which double when there are too many; a sum over a window is exact to one step.

use crate::views::Window;
use heaptide_protocol::events::{Event, EventBody, EventKind, GoroutineDetail};

const MAX_STEPS: usize = 2_048;
const FIRST_STEP_NS: u64 = 1_000_000_000;

/// Count and stack bytes of each, in the order of the numbers below.
pub(crate) type Counts = [(u64, u64); 4];

pub(crate) const CREATED: usize = 0;
pub(crate) const EXITED: usize = 1;
pub(crate) const GROWN: usize = 2;
pub(crate) const SHRUNK: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct GoroutineEvents {
    /// 0 before the first event.
    step_ns: u64,
    /// Number of the step and its counts, ascending.
    steps: Vec<(u64, Counts)>,
}

impl GoroutineEvents {
    pub(crate) fn apply(&mut self, event: &Event) {
        let (EventKind::Goroutine, EventBody::Other(row)) = (event.kind, event.body) else {
            return;
        };
        const NEW: u64 = GoroutineDetail::Created as u64;
        const END: u64 = GoroutineDetail::Exited as u64;
        let (before, after) = (row.size_bytes, row.address);
        let (what, bytes) = match row.detail {
            NEW => (CREATED, after),
            END => (EXITED, before),
            _ if after > before => (GROWN, after - before),
            _ => (SHRUNK, before - after),
        };
        if self.step_ns == 0 {
            self.step_ns = FIRST_STEP_NS;
        }
        let step = event.timestamp_ns / self.step_ns;
        let at = self.steps.partition_point(|(number, _)| *number < step);
        if self.steps.get(at).is_none_or(|(number, _)| *number != step) {
            self.steps.insert(at, (step, Counts::default()));
        }
        let counts = &mut self.steps[at].1[what];
        *counts = (counts.0 + 1, counts.1.saturating_add(bytes));
        if self.steps.len() > MAX_STEPS {
            self.coarsen();
        }
    }

    /// Of the steps that begin in a window.
    pub(crate) fn sum(&self, window: Window) -> Counts {
        let mut sum = Counts::default();
        for (step, counts) in &self.steps {
            let at_ns = step * self.step_ns;
            if at_ns + self.step_ns > window.from_ns && at_ns < window.to_ns {
                add(&mut sum, counts);
            }
        }
        sum
    }

    fn coarsen(&mut self) {
        self.step_ns *= 2;
        let mut merged: Vec<(u64, Counts)> = Vec::with_capacity(MAX_STEPS);
        for (step, counts) in &self.steps {
            match merged.last_mut() {
                Some((last, sum)) if *last == step / 2 => add(sum, counts),
                _ => merged.push((step / 2, *counts)),
            }
        }
        self.steps = merged;
    }
}

fn add(sum: &mut Counts, counts: &Counts) {
    for (sum, counts) in sum.iter_mut().zip(counts) {
        *sum = (sum.0 + counts.0, sum.1.saturating_add(counts.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::events::OtherRow;

    fn event(second: u64, detail: GoroutineDetail, before: u64, after: u64) -> Event {
        Event {
            event_id: 0,
            timestamp_ns: second * FIRST_STEP_NS,
            thread_id: 1,
            kind: EventKind::Goroutine,
            body: EventBody::Other(OtherRow {
                size_bytes: before,
                address: after,
                detail: detail as u64,
                ..OtherRow::default()
            }),
        }
    }

    #[test]
    fn each_kind_is_counted_and_nothing_is_lost_by_coarsening() {
        use GoroutineDetail::{Created, Exited, StackGrown};
        let mut events = GoroutineEvents::default();
        events.apply(&event(1, Created, 0, 2048));
        events.apply(&event(1, StackGrown, 2048, 8192));
        events.apply(&event(2, StackGrown, 8192, 4096));
        events.apply(&event(3, Exited, 4096, 0));
        let window = |from: u64, to: u64| Window {
            from_ns: from * FIRST_STEP_NS,
            to_ns: to * FIRST_STEP_NS,
        };
        assert_eq!(
            events.sum(window(0, 10)),
            [(1, 2048), (1, 4096), (1, 6144), (1, 4096)]
        );
        assert_eq!(events.sum(window(2, 3)), [(0, 0), (0, 0), (0, 0), (1, 4096)]);

        for second in 0..3 * MAX_STEPS as u64 {
            events.apply(&event(second, Created, 0, 1));
        }
        assert!(events.steps.len() <= MAX_STEPS);
        let all = events.sum(window(0, u64::MAX / FIRST_STEP_NS));
        assert_eq!(
            all[CREATED],
            (1 + 3 * MAX_STEPS as u64, 2048 + 3 * MAX_STEPS as u64)
        );
        assert_eq!(
            (all[EXITED], all[GROWN], all[SHRUNK]),
            ((1, 4096), (1, 6144), (1, 4096))
        );
    }
}
