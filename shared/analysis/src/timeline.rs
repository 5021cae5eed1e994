//! Per-tick sums and gauges, from which headline figures and the timeline come.

use crate::collections::CollectionTotals;
use crate::lifetimes::Flow;
use crate::views::{TimelinePoint, TimelineQuery, Window};

/// One hour at 100 ms; beyond it, neighbouring ticks merge.
pub(crate) const MAX_TICKS: usize = 36_000;

/// Running totals at the end of a tick, and the gauges last read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tick {
    /// By the probes, and by Go's own profile: never summed up.
    pub(crate) flows: [Flow; 2],
    /// The latter is what the heap is counted by.
    pub(crate) counts_buckets: bool,
    /// What Go itself says was allocated since its start, as last read.
    pub(crate) runtime_bytes: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) pss_bytes: Option<u64>,
    pub(crate) collections: CollectionTotals,
}

impl Tick {
    /// By the source that counts.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flows[usize::from(self.counts_buckets)]
    }

    /// What came since another tick, by the source that counts now.
    pub(crate) fn since(&self, before: &Self) -> Flow {
        self.flow().minus(&before.flows[usize::from(self.counts_buckets)])
    }
}

#[derive(Debug)]
pub(crate) struct Ticks {
    pub(crate) origin_ns: u64,
    pub(crate) tick_ns: u64,
    ticks: Vec<Tick>,
}

impl Ticks {
    pub(crate) fn new(origin_ns: u64, tick_ns: u64) -> Self {
        Self {
            origin_ns: origin_ns - origin_ns % tick_ns,
            tick_ns,
            ticks: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ticks.len()
    }

    /// The tick of a moment: 0 before the origin.
    pub(crate) fn index(&self, at_ns: u64) -> u32 {
        u32::try_from(at_ns.saturating_sub(self.origin_ns) / self.tick_ns).unwrap_or(u32::MAX)
    }

    /// As `index`, but rounds up, for the end of a window.
    pub(crate) fn index_up(&self, at_ns: u64) -> u32 {
        u32::try_from(at_ns.saturating_sub(self.origin_ns).div_ceil(self.tick_ns)).unwrap_or(u32::MAX)
    }

    pub(crate) fn span(&self) -> Window {
        Window {
            from_ns: self.origin_ns,
            to_ns: self.origin_ns + self.ticks.len() as u64 * self.tick_ns,
        }
    }

    /// The totals at the end of tick `index`; ticks in between repeat the last.
    ///
    /// The caller keeps `index` below [`MAX_TICKS`] by coarsening.
    pub(crate) fn reach(&mut self, index: u32) -> &mut Tick {
        let last = self.last();
        let index = (index as usize)
            .max(self.ticks.len().saturating_sub(1))
            .min(MAX_TICKS);
        if self.ticks.len() <= index {
            self.ticks.resize(index + 1, last);
        }
        &mut self.ticks[index]
    }

    /// What came in a step, told at its last tick `to`, comes evenly since `from`: when within it nobody knows.
    pub(crate) fn spread(&mut self, from: u32, to: u32) {
        let (Some(first), Some(last)) = (self.ticks.get(from as usize), self.ticks.get(to as usize)) else {
            return;
        };
        let (first, last) = (first.flows, last.flows);
        for at in from + 1..to {
            let share = f64::from(at - from) / f64::from(to - from);
            for (nth, flow) in self.ticks[at as usize].flows.iter_mut().enumerate() {
                *flow = first[nth].plus(&last[nth].minus(&first[nth]).share(share));
            }
        }
    }

    pub(crate) fn last(&self) -> Tick {
        self.ticks.last().copied().unwrap_or_default()
    }

    /// Totals at the end of the last tick before `index`.
    pub(crate) fn before(&self, index: u32) -> Tick {
        let at = (index as usize).min(self.ticks.len());
        at.checked_sub(1)
            .and_then(|at| self.ticks.get(at))
            .copied()
            .unwrap_or_default()
    }

    /// The first and the last tick of a window in which Go's own statistics were read anew.
    #[cfg(feature = "reports")]
    pub(crate) fn runtime_span(&self, from: u32, to: u32) -> Option<(Tick, Tick)> {
        let to = (to as usize).min(self.ticks.len());
        let ticks = self.ticks.get(..to)?;
        let fresh = |at: &usize| {
            let before = at.checked_sub(1).and_then(|before| ticks[before].runtime_bytes);
            ticks[*at]
                .runtime_bytes
                .is_some_and(|bytes| Some(bytes) != before)
        };
        let first = (from as usize..to).find(fresh)?;
        let last = (first..to).rfind(fresh)?;
        Some((ticks[first], ticks[last]))
    }

    /// Two ticks become one: the later totals hold.
    pub(crate) fn coarsen(&mut self) {
        let base = self.origin_ns;
        self.ticks = self
            .ticks
            .chunks(2)
            .filter_map(|pair| pair.last().copied())
            .collect();
        self.tick_ns *= 2;
        self.origin_ns = base;
    }

    pub(crate) fn points(&self, query: &TimelineQuery) -> (u64, Vec<TimelinePoint>) {
        let from = self.index(query.window.from_ns).min(self.ticks.len() as u32);
        let to = self
            .index_up(query.window.to_ns)
            .clamp(from, self.ticks.len() as u32);
        let stride = (to - from).div_ceil(query.points.clamp(1, 10_000)).max(1);
        let step_ns = u64::from(stride) * self.tick_ns;
        // Steps start at multiples of the stride, so that a moving window doesn't shimmer.
        let first = from - from % stride;
        let points = (first..to)
            .step_by(stride as usize)
            .map(|start| self.point(start, (start + stride).min(self.ticks.len() as u32)))
            .collect();
        (step_ns, points)
    }

    fn point(&self, start: u32, end: u32) -> TimelinePoint {
        let before = self.before(start);
        let at = self.before(end);
        let seconds = f64::from(end - start) * self.tick_ns as f64 / 1e9;
        let live = at.flow().live().bytes_figure(0);
        let flow = at.since(&before);
        TimelinePoint {
            at_ns: self.origin_ns + u64::from(end) * self.tick_ns,
            live_bytes: live.value,
            live_low_bytes: live.low,
            live_high_bytes: live.high,
            rss_bytes: at.rss_bytes,
            pss_bytes: at.pss_bytes,
            allocated_per_s: flow.born.bytes.estimate / seconds,
            freed_per_s: flow.died.bytes.estimate / seconds,
        }
    }
}
