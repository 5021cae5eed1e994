//! Byte offsets inside what the Go runtime knows of its memory, per minor version, amd64 Linux.
//!
//! Source: DWARF of binaries built with go1.19.8, 1.21.13, 1.22.10, 1.23.9, 1.24.11, 1.25.5, 1.26.6 and 1.27.3
//! (types `runtime.mheap`, `mspan`, `mcache`, `heapStatsDelta`, `mstats`, `heapArena`, `memRecordCycle`,
//! `m`); the test `offsets_equal_dwarf` reads it again. For 1.20, whose toolchain no package registry carries,
//! the source of 1.20.6 laid out by `go/types`, which for 1.19.8 gives what DWARF says, field by field.

use crate::version::GoVersion;

/// Offsets and sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapOffsets {
    /// `mspan.startAddr`.
    pub mspan_start_addr: u32,
    /// `mspan.npages`, of 8 KiB.
    pub mspan_npages: u32,
    /// `mspan.allocCount`, u16.
    pub mspan_alloc_count: u32,
    /// `mspan.spanclass`, u8.
    pub mspan_spanclass: u32,
    /// `mspan.state`, u8.
    pub mspan_state: u32,
    /// `mspan.allocCountBeforeCache`, u16.
    pub mspan_alloc_count_before_cache: u32,
    /// `mspan.elemsize`; the last of these fields.
    pub mspan_elemsize: u32,
    /// `mheap.pages`; `summary` and `chunks` lie at the same place in it in every version.
    pub mheap_pages: u32,
    /// `mheap.allspans`, a slice.
    pub mheap_allspans: u32,
    /// `mheap.arenas`: pointer to the table of arenas.
    pub mheap_arenas: u32,
    /// `mheap.heapArenas` (`allArenas` up to 1.24), a slice of arena numbers.
    pub mheap_heap_arenas: u32,
    /// `mheap.userArenaArenas`; in `allArenas` up to 1.24.
    pub mheap_user_arenas: Option<u32>,
    /// Size of `heapArena`.
    pub heap_arena_bytes: u32,
    /// `pageAlloc.summary`: five slices.
    pub page_alloc_summary: u32,
    /// `pageAlloc.chunks`: 8192 pointers.
    pub page_alloc_chunks: u32,
    /// `pageAlloc.scav.index.chunks`, a slice.
    pub page_alloc_scav_chunks: u32,
    /// Size of its elements: a bit for each of eight chunks up to 1.20, then a word for each chunk.
    pub scav_chunk_bytes: u32,
    /// `mcache.tinyAllocs`.
    pub mcache_tiny_allocs: u32,
    /// `mcache.alloc`: a span of each of 136 classes.
    pub mcache_alloc: u32,
    /// Size of `heapStatsDelta`; `mstats.heapStats` begins with three of them.
    pub heap_stats_bytes: u32,
    /// `heapStatsDelta.tinyAllocCount`.
    pub stats_tiny_alloc_count: u32,
    /// `heapStatsDelta.largeAlloc`, then `largeAllocCount`.
    pub stats_large_alloc: u32,
    /// `heapStatsDelta.smallAllocCount`: 68 words.
    pub stats_small_alloc_count: u32,
    /// `heapStatsDelta.largeFree`, then `largeFreeCount`.
    pub stats_large_free: u32,
    /// `heapStatsDelta.smallFreeCount`: 68 words.
    pub stats_small_free_count: u32,
    /// `mstats.stacks_sys`, then `mspan_sys`, `mcache_sys`, `buckhash_sys`, `gcMiscSys`, `other_sys`.
    pub mstats_stacks_sys: u32,
    /// Size of `memRecordCycle`: `allocs` and `frees`, up to 1.26 their bytes too.
    pub mem_record_cycle_bytes: u32,
    /// `m.alllink`: the next thread.
    pub m_alllink: u32,
}

/// The lock of `mheap` was the first thing in a cache line of its own, and the heap's bitmap had two bits for
/// each word.
const GO_1_19: HeapOffsets = HeapOffsets {
    mheap_pages: 16,
    mheap_allspans: 65856,
    mheap_arenas: 65936,
    mheap_heap_arenas: 66016,
    heap_arena_bytes: 2_165_776,
    page_alloc_scav_chunks: 65736,
    ..GO_1_20
};

/// `mspan` had no bits for pinned objects, and what can be scavenged was a bitmap.
const GO_1_20: HeapOffsets = HeapOffsets {
    mspan_alloc_count: 96,
    mspan_spanclass: 98,
    mspan_state: 99,
    mspan_alloc_count_before_cache: 102,
    mspan_elemsize: 104,
    mheap_allspans: 65824,
    mheap_arenas: 65904,
    mheap_heap_arenas: 65984,
    page_alloc_scav_chunks: 65728,
    scav_chunk_bytes: 1,
    ..GO_1_21
};

const GO_1_21: HeapOffsets = HeapOffsets {
    mspan_start_addr: 24,
    mspan_npages: 32,
    mspan_alloc_count: 104,
    mspan_spanclass: 106,
    mspan_state: 107,
    mspan_alloc_count_before_cache: 110,
    mspan_elemsize: 112,
    mheap_pages: 8,
    mheap_allspans: 65864,
    mheap_arenas: 65944,
    mheap_heap_arenas: 66032,
    mheap_user_arenas: None,
    heap_arena_bytes: 1_133_584,
    page_alloc_summary: 0,
    page_alloc_chunks: 120,
    page_alloc_scav_chunks: 65720,
    scav_chunk_bytes: 8,
    mcache_tiny_allocs: 32,
    mcache_alloc: 40,
    heap_stats_bytes: 1176,
    stats_tiny_alloc_count: 48,
    stats_large_alloc: 56,
    stats_small_alloc_count: 72,
    stats_large_free: 616,
    stats_small_free_count: 632,
    mstats_stacks_sys: 3544,
    mem_record_cycle_bytes: 32,
    m_alllink: 336,
};

/// Counts of a span became 16 bits; the heap's bitmap moved from the arenas into the spans.
const GO_1_22: HeapOffsets = HeapOffsets {
    mspan_alloc_count: 96,
    mspan_spanclass: 98,
    mspan_state: 99,
    mspan_alloc_count_before_cache: 102,
    mspan_elemsize: 104,
    mheap_arenas: 66008,
    mheap_heap_arenas: 66096,
    heap_arena_bytes: 68_624,
    m_alllink: 328,
    ..GO_1_21
};

/// `mcache.memProfRate` was added.
const GO_1_24: HeapOffsets = HeapOffsets {
    mcache_tiny_allocs: 40,
    mcache_alloc: 48,
    m_alllink: 352,
    ..GO_1_22
};

/// `inPtrScalarBits` went away, and user arenas got a list of their own.
const GO_1_25: HeapOffsets = HeapOffsets {
    mheap_user_arenas: Some(66120),
    heap_arena_bytes: 69_648,
    heap_stats_bytes: 1168,
    stats_tiny_alloc_count: 40,
    stats_large_alloc: 48,
    stats_small_alloc_count: 64,
    stats_large_free: 608,
    stats_small_free_count: 624,
    mstats_stacks_sys: 3520,
    m_alllink: 344,
    ..GO_1_24
};

const GO_1_26: HeapOffsets = HeapOffsets {
    m_alllink: 352,
    ..GO_1_25
};

const GO_1_27: HeapOffsets = HeapOffsets {
    mem_record_cycle_bytes: 16,
    ..GO_1_26
};

impl HeapOffsets {
    /// The offsets for a version; `None` outside the table.
    pub fn of(version: &GoVersion) -> Option<&'static Self> {
        if version.major != 1 {
            return None;
        }
        Some(match version.minor {
            19 => &GO_1_19,
            20 => &GO_1_20,
            21 => &GO_1_21,
            22 | 23 => &GO_1_22,
            24 => &GO_1_24,
            25 => &GO_1_25,
            26 => &GO_1_26,
            27 => &GO_1_27,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuntimeOffsets;

    #[test]
    fn the_table_covers_the_versions_of_the_other() {
        for minor in 0..60 {
            let version = GoVersion {
                text: String::new(),
                major: 1,
                minor,
            };
            let both = (
                HeapOffsets::of(&version).is_some(),
                RuntimeOffsets::of(&version).is_some(),
            );
            assert_eq!(both.0, both.1, "1.{minor}: {both:?}");
        }
    }
}
