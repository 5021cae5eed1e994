//! What lies where in the heap's own structures, against DWARF.

use heaptide_symbols::HeapOffsets;

pub(crate) fn equal_dwarf(minor: u32, o: &HeapOffsets, at: &dyn Fn(&str) -> u32) {
    let arenas = if minor < 25 {
        "mheap.allArenas"
    } else {
        "mheap.heapArenas"
    };
    if let Some(user_arenas) = o.mheap_user_arenas {
        assert_eq!(user_arenas, at("mheap.userArenaArenas"), "go1.{minor}");
    }
    for (field, got, expected) in [
        ("mspan.startAddr", o.mspan_start_addr, at("mspan.startAddr")),
        ("mspan.npages", o.mspan_npages, at("mspan.npages")),
        ("mspan.allocCount", o.mspan_alloc_count, at("mspan.allocCount")),
        ("mspan.spanclass", o.mspan_spanclass, at("mspan.spanclass")),
        ("mspan.state", o.mspan_state, at("mspan.state")),
        (
            "mspan.allocCountBeforeCache",
            o.mspan_alloc_count_before_cache,
            at("mspan.allocCountBeforeCache"),
        ),
        ("mspan.elemsize", o.mspan_elemsize, at("mspan.elemsize")),
        ("mheap.pages", o.mheap_pages, at("mheap.pages")),
        ("mheap.allspans", o.mheap_allspans, at("mheap.allspans")),
        ("mheap.arenas", o.mheap_arenas, at("mheap.arenas")),
        ("mheap.heapArenas", o.mheap_heap_arenas, at(arenas)),
        ("size of heapArena", o.heap_arena_bytes, at("heapArena")),
        ("pageAlloc.summary", o.page_alloc_summary, at("pageAlloc.summary")),
        ("pageAlloc.chunks", o.page_alloc_chunks, at("pageAlloc.chunks")),
        (
            "pageAlloc.scav",
            o.page_alloc_scav_chunks,
            at("pageAlloc.scav") + at("scavengeIndex.chunks"),
        ),
        (
            "size of atomicScavChunkData",
            o.scav_chunk_bytes,
            // Named since 1.21; a byte (`atomic.Uint8`) before.
            if minor < 21 { 1 } else { at("atomicScavChunkData") },
        ),
        ("mcache.tinyAllocs", o.mcache_tiny_allocs, at("mcache.tinyAllocs")),
        ("mcache.alloc", o.mcache_alloc, at("mcache.alloc")),
        ("size of heapStatsDelta", o.heap_stats_bytes, at("heapStatsDelta")),
        (
            "tinyAllocCount",
            o.stats_tiny_alloc_count,
            at("heapStatsDelta.tinyAllocCount"),
        ),
        ("largeAlloc", o.stats_large_alloc, at("heapStatsDelta.largeAlloc")),
        (
            "largeAllocCount",
            o.stats_large_alloc + 8,
            at("heapStatsDelta.largeAllocCount"),
        ),
        (
            "smallAllocCount",
            o.stats_small_alloc_count,
            at("heapStatsDelta.smallAllocCount"),
        ),
        ("largeFree", o.stats_large_free, at("heapStatsDelta.largeFree")),
        (
            "largeFreeCount",
            o.stats_large_free + 8,
            at("heapStatsDelta.largeFreeCount"),
        ),
        (
            "smallFreeCount",
            o.stats_small_free_count,
            at("heapStatsDelta.smallFreeCount"),
        ),
        ("mstats.stacks_sys", o.mstats_stacks_sys, at("mstats.stacks_sys")),
        (
            "mstats.mspan_sys",
            o.mstats_stacks_sys + 8,
            at("mstats.mspan_sys"),
        ),
        (
            "mstats.other_sys",
            o.mstats_stacks_sys + 40,
            at("mstats.other_sys"),
        ),
        (
            "size of memRecordCycle",
            o.mem_record_cycle_bytes,
            at("memRecordCycle"),
        ),
        ("m.alllink", o.m_alllink, at("m.alllink")),
    ] {
        assert_eq!(got, expected, "go1.{minor}: {field}");
    }
}
