//! The sampled objects themselves, by stack, size and rate: for exports and comparisons, which weigh and group
//! them in their own way. Tables and flames are made from the same rows.

use crate::Session;
use crate::estimate::Weight;
use crate::lifetimes::Selection;
use crate::order::ranked;
use crate::views::{StackFrame, Window};
use heaptide_protocol::{FrameId, StackId, SymbolGen};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Sampled objects of one size that one stack allocated, all sampled at one rate.
#[derive(Debug, Clone, PartialEq)]
pub struct StackSamples {
    /// Leaf first, inlined calls expanded, without the allocator's own frames at the leaf end. Shared by all
    /// rows of a stack.
    pub frames: Arc<[StackFrame]>,
    pub size_bytes: u64,
    /// Mean sampling distance; 1 or less means that every object was seen.
    pub rate_bytes: u64,
    /// Sampled objects allocated in the window.
    pub allocated: u64,
    /// Of those, not freed by its end.
    pub kept: u64,
    /// Live at its end, whenever they were allocated since attach.
    pub live: u64,
    /// Freed in the window, whenever they were allocated since attach.
    pub freed: u64,
}

impl StackSamples {
    /// Objects that one sample stands for: `1 / (1 - exp(-size / rate))`.
    pub fn weight(&self) -> f64 {
        Weight::new(self.size_bytes, self.rate_bytes).objects()
    }
}

impl Session {
    /// All samples of a window in the order of stack, size and rate.
    pub fn samples(&self, window: Window) -> Vec<StackSamples> {
        let Some(ticks) = &self.ticks else {
            return Vec::new();
        };
        let (from, to) = (ticks.index(window.from_ns), ticks.index_up(window.to_ns));
        let selections = [
            Selection::BornIn { from, to },
            Selection::KeptIn { from, to },
            Selection::LiveAt { to },
            Selection::DiedIn { from, to },
        ];
        // As everywhere else, one source counts: Go's own profile, or the probes.
        let (tag, buckets) = (self.symbols.bucket_tag, ticks.before(to).counts_buckets);
        let wanted = |of| (Some(of) == tag) == buckets;
        let mut rows: BTreeMap<(StackId, SymbolGen, u64, u64), [u64; 4]> = BTreeMap::new();
        for (column, selection) in selections.into_iter().enumerate() {
            for (site, generation, count) in self.lifetimes.by_site(selection, &wanted) {
                let key = (site.stack, generation, site.size_bytes, site.rate_bytes);
                rows.entry(key).or_default()[column] += count;
            }
        }
        let mut stacks: HashMap<(StackId, SymbolGen), Arc<[StackFrame]>> = HashMap::new();
        rows.into_iter()
            .map(|((stack, generation, size_bytes, rate_bytes), counts)| {
                let [allocated, kept, live, freed] = counts;
                StackSamples {
                    frames: stacks
                        .entry((stack, generation))
                        .or_insert_with(|| self.frames(stack, generation))
                        .clone(),
                    size_bytes,
                    rate_bytes,
                    allocated,
                    kept,
                    live,
                    freed,
                }
            })
            .collect()
    }

    /// How long the pauses of a window were, shortest first; those that the store has forgotten are not there
    /// ([`crate::views::Headline::trimmed`] counts them).
    pub fn pause_lengths_ns(&self, window: Window) -> Vec<u64> {
        let lengths: Vec<u64> = self
            .collections
            .pauses_in(window)
            .iter()
            .map(|pause| pause.end_ns - pause.begin_ns)
            .collect();
        let order = ranked(lengths.len(), &|a, b| lengths[a].cmp(&lengths[b]));
        order.iter().map(|at| lengths[*at as usize]).collect()
    }

    fn frames(&self, stack: StackId, generation: SymbolGen) -> Arc<[StackFrame]> {
        let frames = self.symbols.stack(stack, generation);
        let unknown = [FrameId(u32::MAX)];
        let path = if frames.is_empty() { &unknown[..] } else { frames };
        path.iter()
            .map(|frame| self.symbols.describe(*frame, generation))
            .collect()
    }
}
