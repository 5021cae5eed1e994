//! Go's own heap profile on its way into lifetime rows: from totals per bucket to births and deaths.
//!
//! A bucket says how many sampled objects of one stack and size were allocated and freed, not which. So a
//! death is taken from the oldest that are left: the age of a death is an upper bound, and what is live is
//! right whatever the order. What was live at the first reading is born then.
//!
//! The rows have a heap tag of their own, and never meet the samples of the probes in one sum.

use super::Pipeline;
use crate::pipeline::TAG_GO_HEAP_BUCKETS;
use heaptide_analysis::Estimator;
use heaptide_protocol::StackId;
use heaptide_protocol::lifetimes::Allotment;
use std::collections::VecDeque;

/// Births of one bucket that are kept apart; beyond it the two oldest become one, as old as the older.
const MAX_COHORTS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: Vec<Bucket>,
    /// All buckets were read once: what is new from then on was allocated, and freed, since.
    primed: bool,
    /// What is counted as this program's heap, if the probes are not.
    pub(super) counted: bool,
    pub(super) live_sum: Estimator,
    pub(super) live: u64,
    pub(super) allocated_bytes: f64,
    pub(super) samples: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    allocs: u64,
    frees: u64,
    /// Born when, at which rate, and how many are left; the oldest first.
    cohorts: VecDeque<(u32, u32, u64)>,
}

/// What a bucket says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketTotals {
    pub(crate) stack: StackId,
    pub(crate) size_bytes: u64,
    pub(crate) allocs: u64,
    pub(crate) frees: u64,
}

impl Buckets {
    /// Another session: what is live now will be born in it.
    pub(super) fn restart(&mut self) {
        *self = Self {
            counted: self.counted,
            allocated_bytes: self.allocated_bytes,
            samples: self.samples,
            ..Self::default()
        };
    }
}

impl Pipeline {
    /// Whether the bucket profile, and not the probes, is what this program's heap is counted by.
    pub(crate) fn count_buckets(&mut self, counted: bool) {
        self.bucket_heap.counted = counted;
    }

    /// All buckets have been taken in.
    pub(crate) fn buckets_read(&mut self) {
        self.bucket_heap.primed = true;
    }

    /// Takes in the totals of bucket `index`, as read at `at_ns`. They only grow: a smaller one was read while
    /// Go moved counts from one cycle to the next, and the next reading has them.
    pub(crate) fn bucket(&mut self, index: usize, totals: BucketTotals, at_ns: u64) {
        let rate_index = self.rate_index_at(at_ns);
        let rate_bytes = self.rate_of(rate_index);
        // The tick that is open now is closed next; before the first one it has just ended.
        let tick = match self.open_tick {
            0 => (at_ns / self.config.tick_ns).saturating_sub(1) as u32,
            last => last + 1,
        };
        if self.bucket_heap.buckets.len() <= index {
            self.bucket_heap.buckets.resize_with(index + 1, Bucket::default);
        }
        let buckets = &mut self.bucket_heap;
        let Some(bucket) = buckets.buckets.get_mut(index) else {
            return;
        };
        let already_freed = if buckets.primed {
            0
        } else {
            totals.frees.min(totals.allocs)
        };
        let births = totals.allocs.saturating_sub(bucket.allocs.max(already_freed));
        let deaths = totals.frees.saturating_sub(bucket.frees.max(already_freed));
        bucket.allocs = bucket.allocs.max(totals.allocs);
        bucket.frees = bucket.frees.max(already_freed);
        let allotment = |rate_index| Allotment {
            stack: totals.stack,
            heap_tag: TAG_GO_HEAP_BUCKETS,
            size_bytes: totals.size_bytes,
            rate_index,
        };
        if births > 0 {
            bucket.cohorts.push_back((tick, rate_index, births));
            if bucket.cohorts.len() > MAX_COHORTS {
                merge_oldest(&mut bucket.cohorts);
            }
            let row = self.births.entry(allotment(rate_index)).or_default();
            *row = row.saturating_add(u32::try_from(births).unwrap_or(u32::MAX));
            let mut born = Estimator::default();
            born.add(totals.size_bytes, rate_bytes, births as i64);
            buckets.live_sum.add(totals.size_bytes, rate_bytes, births as i64);
            buckets.allocated_bytes += born.bytes(rate_bytes).value;
            buckets.samples += births;
            buckets.live += births;
            self.newest_sample_ns = self.newest_sample_ns.max(at_ns);
        }
        let mut left = deaths;
        while left > 0
            && let Some((born, rate_index, count)) = bucket.cohorts.front_mut()
        {
            let died = left.min(*count);
            left -= died;
            *count -= died;
            bucket.frees += died;
            let row = self.deaths.entry((allotment(*rate_index), *born)).or_default();
            *row = row.saturating_add(u32::try_from(died).unwrap_or(u32::MAX));
            let rate_bytes = self.rates_bytes.get(*rate_index as usize).copied().unwrap_or(0);
            buckets
                .live_sum
                .add(totals.size_bytes, rate_bytes, -(died as i64));
            buckets.live -= died;
            if *count == 0 {
                bucket.cohorts.pop_front();
            }
        }
    }
}

/// Only of one rate: a rate changed in between keeps its own.
fn merge_oldest(cohorts: &mut VecDeque<(u32, u32, u64)>) {
    let same = |at: usize| matches!((cohorts.get(at), cohorts.get(at + 1)), (Some(a), Some(b)) if a.1 == b.1);
    let Some(at) = (0..cohorts.len()).find(|at| same(*at)) else {
        return;
    };
    if let Some((_, _, count)) = cohorts.remove(at + 1)
        && let Some(older) = cohorts.get_mut(at)
    {
        older.2 += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::PipelineConfig;
    use super::*;
    use heaptide_policy::Tiers;
    use heaptide_protocol::lifetimes::LifetimeTable;
    use heaptide_protocol::section::Section;

    const TICK_NS: u64 = 100;

    fn pipeline() -> Pipeline {
        let config = PipelineConfig {
            tick_ns: TICK_NS,
            tiers: Tiers::default(),
            addresses: false,
            wakep_site: false,
            stop_reasons: true,
            processors: 2,
        };
        Pipeline::new(config, 1)
    }

    fn reading(pipeline: &mut Pipeline, tick: u64, allocs: u64, frees: u64) -> LifetimeTable {
        let totals = BucketTotals {
            stack: StackId(7),
            size_bytes: 64,
            allocs,
            frees,
        };
        pipeline.bucket(0, totals, tick * TICK_NS + 50);
        pipeline.buckets_read();
        let output = pipeline.close_tick((tick + 1) * TICK_NS);
        let table = output.sections.into_iter().find_map(|section| match section {
            Section::Lifetimes(table) => Some(table),
            _ => None,
        });
        table.unwrap()
    }

    #[test]
    fn totals_become_births_and_the_oldest_die_first() {
        let mut pipeline = pipeline();
        pipeline.count_buckets(true);
        pipeline.close_tick(10 * TICK_NS);
        // (tick, allocs, frees) -> (born, [(age, died)])
        type Step<'a> = (u64, u64, u64, u32, &'a [(u32, u32)]);
        let steps: [Step<'_>; 6] = [
            // Of 100, 60 were freed before we came.
            (10, 100, 60, 40, &[]),
            (11, 110, 60, 10, &[]),
            // Smaller: read in the middle of a move.
            (12, 105, 60, 0, &[]),
            (13, 111, 105, 1, &[(3, 40), (2, 5)]),
            (14, 111, 111, 0, &[(3, 5), (1, 1)]),
            // More freed than allocated can't be: the rest waits.
            (15, 111, 120, 0, &[]),
        ];
        for (tick, allocs, frees, born, died) in steps {
            let table = reading(&mut pipeline, tick, allocs, frees);
            assert_eq!(table.tick, tick);
            let births: Vec<u32> = table.births.iter().map(|row| row.count).collect();
            assert_eq!(births.iter().sum::<u32>(), born, "tick {tick}");
            let mut deaths: Vec<(u32, u32)> = table
                .deaths
                .iter()
                .map(|row| (row.age_ticks, row.count))
                .collect();
            deaths.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
            assert_eq!(deaths, died, "tick {tick}");
            assert!(
                table
                    .births
                    .iter()
                    .all(|row| row.allotment.heap_tag == TAG_GO_HEAP_BUCKETS)
            );
        }
        // At rate 1 each object is seen, so the sums are exact.
        assert_eq!(pipeline.live_samples(), 0);
        assert!((pipeline.live_estimate().0).abs() < 1e-6);
        assert_eq!(pipeline.allocated(), (51.0 * 64.0, 51));
    }

    /// In the second between two readings a bucket can be made, filled and emptied.
    #[test]
    fn what_is_new_later_is_told_with_what_died() {
        let mut pipeline = pipeline();
        pipeline.close_tick(10 * TICK_NS);
        pipeline.buckets_read();
        let table = reading(&mut pipeline, 10, 100, 60);
        assert_eq!(table.births.iter().map(|row| row.count).sum::<u32>(), 100);
        assert_eq!(table.deaths.iter().map(|row| row.count).sum::<u32>(), 60);
    }

    #[test]
    fn another_session_begins_with_what_is_live() {
        let mut pipeline = pipeline();
        pipeline.close_tick(10 * TICK_NS);
        reading(&mut pipeline, 10, 30, 10);
        pipeline.restart();
        let table = reading(&mut pipeline, 11, 32, 12);
        assert_eq!(table.births.iter().map(|row| row.count).sum::<u32>(), 20);
        assert!(table.deaths.is_empty());
    }

    #[test]
    fn cohorts_are_bounded_and_lose_nothing() {
        let mut pipeline = pipeline();
        pipeline.close_tick(TICK_NS);
        for tick in 1..=100 {
            reading(&mut pipeline, tick, tick, 0);
        }
        assert_eq!(pipeline.bucket_heap.buckets[0].cohorts.len(), MAX_COHORTS);
        let table = reading(&mut pipeline, 101, 100, 100);
        assert_eq!(table.deaths.iter().map(|row| row.count).sum::<u32>(), 100);
    }
}
