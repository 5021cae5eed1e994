//! Go's own statistics of its heap, exact, without asking the program.
//!
//! `runtime.memstats.heapStats` holds what was allocated and freed by size class in three parts (generations)
//! that add up; a processor brings in what it allocated from a span only when it takes the next one, or at a
//! collection (`mcache.refill`, `mcache.releaseAll`). What it has not brought in yet is in its cache:
//! `mspan.allocCount - mspan.allocCountBeforeCache` for each of its 136 spans, and `mcache.tinyAllocs`. Both
//! together are what `runtime.ReadMemStats` would say, which stops the world to bring them in.
//!
//! The program goes on meanwhile: if a processor brought something in between the two readings, they are
//! read again. Frees are known when they are swept.

use super::layout::{HeapLayout, half_at, slice, words};
use super::scattered::Scattered;
use crate::linux::Process;
use heaptide_protocol::gauges::{Gauge, GaugeValue};
use std::io;

/// `runtime.class_to_size`, go1.19 to go1.24; `internal/runtime/gc.SizeClassToSize` since.
const CLASS_BYTES: [u64; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384,
    416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072,
    3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568,
    14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
];
/// `runtime.numSpanClasses`: each size class with and without pointers.
const SPAN_CLASSES: u64 = 136;
/// Beyond it a reading is given as it is.
const MAX_TRIES: usize = 8;
const GENERATIONS: u32 = 3;

/// Totals since the program's start unless it says "now"; names of `runtime.MemStats` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HeapStats {
    /// `TotalAlloc`: whole slots of their size class.
    pub allocated_bytes: u64,
    /// `Mallocs`.
    pub allocated_objects: u64,
    pub freed_bytes: u64,
    /// `Frees`.
    pub freed_objects: u64,
    /// `HeapInuse`, now.
    pub in_use_bytes: u64,
    /// `HeapIdle - HeapReleased`, now.
    pub idle_bytes: u64,
    /// `HeapReleased`, now.
    pub released_bytes: u64,
    /// `StackInuse`, now.
    pub stacks_bytes: u64,
    /// `MSpanSys + MCacheSys + BuckHashSys + GCSys + OtherSys`, now.
    pub metadata_bytes: u64,
    /// Of the objects, those that only the processors' caches know.
    pub cached_objects: u64,
    /// No processor brought anything in while it was read.
    pub settled: bool,
}

/// Objects allocated since the program's start (`MemStats.Mallocs`), for a count before and after.
pub fn runtime_objects(process: &Process, layout: &HeapLayout) -> Option<u64> {
    HeapStats::read(process, layout)
        .ok()
        .map(|stats| stats.allocated_objects)
}

impl HeapStats {
    pub fn read(process: &Process, layout: &HeapLayout) -> io::Result<Self> {
        let mut before = Brought::read(process, layout)?;
        for _ in 0..MAX_TRIES {
            let cached = Cached::read(process, layout)?;
            let after = Brought::read(process, layout)?;
            if after.allocations() == before.allocations() {
                return Ok(after.with(&cached, true));
            }
            before = after;
        }
        let cached = Cached::read(process, layout)?;
        Ok(before.with(&cached, false))
    }

    pub(crate) fn gauges(&self) -> Vec<GaugeValue> {
        [
            (Gauge::GO_ALLOCATED_BYTES, self.allocated_bytes),
            (Gauge::GO_ALLOCATED_OBJECTS, self.allocated_objects),
            (Gauge::GO_FREED_BYTES, self.freed_bytes),
            (Gauge::GO_FREED_OBJECTS, self.freed_objects),
            (Gauge::GO_HEAP_IN_USE_BYTES, self.in_use_bytes),
            (Gauge::GO_HEAP_IDLE_BYTES, self.idle_bytes),
            (Gauge::GO_HEAP_RELEASED_BYTES, self.released_bytes),
            (Gauge::GO_STACKS_BYTES, self.stacks_bytes),
            (Gauge::GO_METADATA_BYTES, self.metadata_bytes),
        ]
        .into_iter()
        .map(|(gauge, value)| GaugeValue { gauge, value })
        .collect()
    }
}

/// What the processors have brought in: the sum of the three `heapStatsDelta`, and the `*_sys` behind them.
#[derive(Debug, Default)]
struct Brought {
    /// committed, released, inHeap, inStacks, inWorkBufs, and inPtrScalarBits up to 1.24.
    memory: Vec<u64>,
    tiny_objects: u64,
    large_bytes: u64,
    large_objects: u64,
    small_objects: Vec<u64>,
    large_freed_bytes: u64,
    large_freed_objects: u64,
    small_freed_objects: Vec<u64>,
    /// stacks, mspan, mcache, buckhash, gcMisc, other.
    sys: Vec<u64>,
}

impl Brought {
    fn read(process: &Process, layout: &HeapLayout) -> io::Result<Self> {
        let o = layout.offsets;
        let all = words(process, layout.memstats, u64::from(o.mstats_stacks_sys) / 8 + 6)?;
        let stride = o.heap_stats_bytes / 8;
        let parts: Vec<&[u64]> = all.chunks(stride as usize).take(GENERATIONS as usize).collect();
        // Each part can be negative: what one brought in, another may have taken out.
        let sum = |at: u32| {
            parts
                .iter()
                .filter_map(|part| part.get(at as usize / 8))
                .fold(0_u64, |sum, word| sum.wrapping_add(*word))
        };
        let sums = |from: u32, count: u32| (0..count).map(|index| sum(from + index * 8)).collect();
        let classes = CLASS_BYTES.len() as u32;
        Ok(Self {
            memory: sums(0, o.stats_tiny_alloc_count / 8),
            tiny_objects: sum(o.stats_tiny_alloc_count),
            large_bytes: sum(o.stats_large_alloc),
            large_objects: sum(o.stats_large_alloc + 8),
            small_objects: sums(o.stats_small_alloc_count, classes),
            large_freed_bytes: sum(o.stats_large_free),
            large_freed_objects: sum(o.stats_large_free + 8),
            small_freed_objects: sums(o.stats_small_free_count, classes),
            sys: all
                .get(o.mstats_stacks_sys as usize / 8..)
                .unwrap_or_default()
                .to_vec(),
        })
    }

    /// What changes when a processor brings something in.
    fn allocations(&self) -> (u64, &[u64]) {
        (self.tiny_objects, &self.small_objects)
    }

    fn with(&self, cached: &Cached, settled: bool) -> HeapStats {
        // Wrapping, because a part can be negative and the memory read is not ours to trust.
        let bytes_of = |objects: &[u64]| {
            let sizes = objects.iter().zip(CLASS_BYTES);
            sizes.fold(0_u64, |sum, (count, bytes)| {
                sum.wrapping_add(count.wrapping_mul(bytes))
            })
        };
        let sum = |values: &[u64]| values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
        let memory = |index: usize| self.memory.get(index).copied().unwrap_or(0);
        let (committed, released, in_heap, stacks) = (memory(0), memory(1), memory(2), memory(3));
        let held = sum(self.memory.get(4..).unwrap_or_default());
        // Tiny objects that share a slot are counted as allocated and freed at once (`readmemstats_m`).
        let tiny = self.tiny_objects.wrapping_add(cached.tiny_objects);
        let cached_objects = sum(&cached.small_objects);
        let idle = [in_heap, stacks, held]
            .iter()
            .fold(committed, |idle, used| idle.saturating_sub(*used));
        HeapStats {
            allocated_bytes: sum(&[
                self.large_bytes,
                bytes_of(&self.small_objects),
                bytes_of(&cached.small_objects),
            ]),
            allocated_objects: sum(&[self.large_objects, sum(&self.small_objects), cached_objects, tiny]),
            freed_bytes: sum(&[self.large_freed_bytes, bytes_of(&self.small_freed_objects)]),
            freed_objects: sum(&[self.large_freed_objects, sum(&self.small_freed_objects), tiny]),
            in_use_bytes: in_heap,
            idle_bytes: idle,
            released_bytes: released,
            stacks_bytes: stacks,
            metadata_bytes: sum(&[sum(self.sys.get(1..).unwrap_or_default()), held]),
            cached_objects: cached_objects.wrapping_add(cached.tiny_objects),
            settled,
        }
    }
}

/// What the processors have not brought in yet.
#[derive(Debug)]
struct Cached {
    tiny_objects: u64,
    small_objects: Vec<u64>,
}

impl Cached {
    fn read(process: &Process, layout: &HeapLayout) -> io::Result<Self> {
        let o = layout.offsets;
        let (processors, _) = slice(process, layout.allp)?;
        let mut cached = Self {
            tiny_objects: 0,
            small_objects: vec![0; CLASS_BYTES.len()],
        };
        let mut spans = Vec::new();
        for p in processors.iter().filter(|p| **p != 0) {
            let mcache = process.read_word(p + layout.p_mcache)?;
            if mcache == 0 {
                continue;
            }
            let tiny = process.read_word(mcache + u64::from(o.mcache_tiny_allocs))?;
            cached.tiny_objects = cached.tiny_objects.wrapping_add(tiny);
            let classes = words(process, mcache + u64::from(o.mcache_alloc), SPAN_CLASSES)?;
            spans.extend(classes.iter().enumerate().map(|(class, span)| (class / 2, *span)));
        }
        let parts: Vec<(u64, usize)> = spans
            .iter()
            .map(|(_, span)| (*span, o.mspan_elemsize as usize))
            .collect();
        Scattered::default().read(process, &parts, |index, bytes| {
            let (Some(bytes), Some((class, _))) = (bytes, spans.get(index)) else {
                return;
            };
            let used = half_at(bytes, o.mspan_alloc_count)
                .saturating_sub(half_at(bytes, o.mspan_alloc_count_before_cache));
            if let Some(objects) = cached.small_objects.get_mut(*class) {
                *objects += u64::from(used);
            }
        });
        Ok(cached)
    }
}
