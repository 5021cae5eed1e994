//! What each part of the Go heap is for, by `mheap_.allspans`, and where the runtime keeps its own books.
//!
//! Spans are read while the program runs: one that is taken or given back meanwhile is seen as it was a
//! moment before. Work buffers of the collector are spans like those of stacks, and are counted with them:
//! the runtime does not mark the difference. While they are read, each span takes 32 bytes of ours; afterwards
//! neighbours of one kind are one.

use super::layout::{HeapLayout, slice, word_at, words};
use super::scattered::Scattered;
use crate::linux::Process;
use std::io;

/// `runtime.pageSize`.
const PAGE_BYTES: u64 = 8192;
/// `runtime.heapArenaBytes` on amd64 Linux, and where arena 0 begins (`arenaBaseOffset`).
const ARENA_BYTES: u64 = 64 << 20;
const ARENA_BASE: u64 = 0xffff_8000_0000_0000;
/// `mSpanInUse` and `mSpanManual` (`runtime/mheap.go`).
const IN_USE: u8 = 1;
const MANUAL: u8 = 2;
/// `runtime.persistentChunkSize` and `runtime.gcBitsChunkBytes`.
const PERSISTENT_CHUNK_BYTES: u64 = 256 << 10;
const GC_BITS_BYTES: u64 = 64 << 10;
/// `runtime.buckhashArray`.
const BUCKHASH_BYTES: u64 = 179_999 * 8;
/// `mheap.arenas` on amd64 Linux: 2^22 pointers.
const ARENA_TABLE_BYTES: u64 = 8 << 22;
/// `pageAlloc.chunks`: 2^13 pointers to 2^13 `pallocData` of 128 bytes.
const CHUNK_TABLES: u64 = 1 << 13;
const CHUNK_TABLE_BYTES: u64 = 128 << 13;
/// `pageAlloc.summary`.
const SUMMARY_LEVELS: u64 = 5;
/// A list that is longer goes in circles.
const MAX_LIST: usize = 1 << 20;

/// What an address range is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    HeapInUse,
    Stacks,
    /// Inside an arena, in no span that is in use.
    HeapIdle,
    /// The runtime's own books.
    Runtime,
    /// Stacks that pthreads has made.
    ThreadStack,
}

/// Half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    pub start: u64,
    pub end: u64,
    pub of: Use,
}

/// All of them, ascending, none over another.
pub fn read(process: &Process, layout: &HeapLayout) -> io::Result<Vec<Extent>> {
    let spans = spans(process, layout)?;
    let arenas = arenas(process, layout)?;
    let mut extents = fill(&spans, &arenas);
    let mut others = own_books(process, layout)?;
    others.extend(thread_stacks(process, layout));
    others.sort_unstable();
    lay_between(&mut extents, others);
    Ok(extents)
}

fn spans(process: &Process, layout: &HeapLayout) -> io::Result<Vec<Extent>> {
    let o = layout.offsets;
    let (mut all, _) = slice(process, layout.mheap + u64::from(o.mheap_allspans))?;
    all.sort_unstable();
    let mut spans = Vec::new();
    Scattered::default().read_close(process, &all, o.mspan_elemsize as usize, |_, bytes| {
        let Some(bytes) = bytes else { return };
        let of = match bytes.get(o.mspan_state as usize) {
            Some(&IN_USE) => Use::HeapInUse,
            Some(&MANUAL) => Use::Stacks,
            _ => return,
        };
        let start = word_at(bytes, o.mspan_start_addr);
        let end = start.saturating_add(word_at(bytes, o.mspan_npages).saturating_mul(PAGE_BYTES));
        spans.push(Extent { start, end, of });
    });
    spans.sort_unstable();
    Ok(spans)
}

/// Address ranges of all arenas, ascending.
fn arenas(process: &Process, layout: &HeapLayout) -> io::Result<Vec<(u64, u64)>> {
    let o = layout.offsets;
    let mut arenas = Vec::new();
    for list in [Some(o.mheap_heap_arenas), o.mheap_user_arenas]
        .into_iter()
        .flatten()
    {
        let (numbers, _) = slice(process, layout.mheap + u64::from(list))?;
        arenas.extend(numbers.iter().map(|number| {
            let start = number.wrapping_mul(ARENA_BYTES).wrapping_add(ARENA_BASE);
            (start, start.saturating_add(ARENA_BYTES))
        }));
    }
    arenas.sort_unstable();
    arenas.dedup();
    Ok(arenas)
}

/// Arenas, cut where spans lie.
fn fill(spans: &[Extent], arenas: &[(u64, u64)]) -> Vec<Extent> {
    let mut extents = Vec::with_capacity(spans.len() * 2);
    let mut spans = spans.iter().peekable();
    let mut free_from = 0;
    for &(start, end) in arenas {
        free_from = start.max(free_from);
        while let Some(span) = spans.next_if(|span| span.start < end) {
            // Two spans over each other are one that moved while it was read: the first one holds.
            let from = span.start.max(free_from);
            if from >= span.end {
                continue;
            }
            push(&mut extents, free_from, from.min(end), Use::HeapIdle);
            push(&mut extents, from, span.end, span.of);
            free_from = span.end;
        }
        push(&mut extents, free_from, end, Use::HeapIdle);
        free_from = free_from.max(end);
    }
    extents
}

/// Joins neighbours of one kind: a heap has hundreds of thousands of spans.
fn push(extents: &mut Vec<Extent>, start: u64, end: u64, of: Use) {
    if start >= end {
        return;
    }
    match extents.last_mut() {
        Some(last) if last.end == start && last.of == of => last.end = end,
        _ => extents.push(Extent { start, end, of }),
    }
}

/// Puts extents where no other lies yet.
fn lay_between(extents: &mut Vec<Extent>, others: Vec<Extent>) {
    let heap = std::mem::take(extents);
    let mut heap = heap.into_iter().peekable();
    for other in others {
        let mut from = other.start;
        loop {
            while let Some(before) = heap.next_if(|extent| extent.end <= from) {
                extents.push(before);
            }
            from = from.max(extents.last().map_or(0, |last| last.end));
            match heap.peek() {
                Some(next) if next.start < other.end => {
                    push(extents, from, next.start, other.of);
                    from = next.end;
                }
                _ => break,
            }
        }
        push(extents, from, other.end, other.of);
    }
    extents.extend(heap);
}

/// Memory that the runtime takes from the system for itself: chunks of what is never freed (spans, caches,
/// buckets, small tables), and the tables that are too large for those.
fn own_books(process: &Process, layout: &HeapLayout) -> io::Result<Vec<Extent>> {
    let o = layout.offsets;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    if let Some(list) = layout.persistent_chunks {
        // The first word of a chunk is the next one.
        let chunks = list_from(process, list, 0);
        ranges.extend(chunks.into_iter().map(|chunk| (chunk, PERSISTENT_CHUNK_BYTES)));
    }
    if let Some(arenas) = layout.gc_bits_arenas {
        // Behind the lock: free, next, current, previous. The second word of each is the next one.
        for head in 1..=4 {
            let bits = list_from(process, arenas + head * 8, 8);
            ranges.extend(bits.into_iter().map(|bits| (bits, GC_BITS_BYTES)));
        }
    }
    if let Some(buckhash) = layout.buckhash {
        ranges.push((process.read_word(buckhash)?, BUCKHASH_BYTES));
    }
    let (_, all_spans) = slice(process, layout.mheap + u64::from(o.mheap_allspans))?;
    ranges.push((all_spans.at, all_spans.words * 8));

    let table = process.read_word(layout.mheap + u64::from(o.mheap_arenas))?;
    ranges.push((table, ARENA_TABLE_BYTES));
    for list in [Some(o.mheap_heap_arenas), o.mheap_user_arenas]
        .into_iter()
        .flatten()
    {
        let (numbers, room) = slice(process, layout.mheap + u64::from(list))?;
        ranges.push((room.at, room.words * 8));
        for number in numbers {
            let arena = process.read_word(table.wrapping_add(number.wrapping_mul(8)));
            ranges.push((arena.unwrap_or(0), u64::from(o.heap_arena_bytes)));
        }
    }
    let pages = layout.mheap + u64::from(o.mheap_pages);
    for level in 0..SUMMARY_LEVELS {
        let header = words(process, pages + u64::from(o.page_alloc_summary) + level * 24, 3)?;
        ranges.push((header[0], header[2].saturating_mul(8)));
    }
    let scavenged = words(process, pages + u64::from(o.page_alloc_scav_chunks), 3)?;
    ranges.push((
        scavenged[0],
        scavenged[2].saturating_mul(u64::from(o.scav_chunk_bytes)),
    ));
    let chunks = words(process, pages + u64::from(o.page_alloc_chunks), CHUNK_TABLES)?;
    ranges.extend(chunks.into_iter().map(|chunk| (chunk, CHUNK_TABLE_BYTES)));
    Ok(extents_of(ranges, Use::Runtime))
}

/// Stacks of threads that C made (cgo): the stack of their `g0`. Without cgo these are spans of the heap, and
/// lie there.
fn thread_stacks(process: &Process, layout: &HeapLayout) -> Vec<Extent> {
    let Some(allm) = layout.allm else {
        return Vec::new();
    };
    let threads = list_from(process, allm, u64::from(layout.offsets.m_alllink));
    let stacks = threads.into_iter().filter_map(|m| {
        let g0 = process.read_word(m + layout.m_g0).ok().filter(|g0| *g0 != 0)?;
        let bounds = words(process, g0 + layout.g_stack_lo, 2).ok()?;
        Some((bounds[0], bounds[1].saturating_sub(bounds[0])))
    });
    extents_of(stacks.collect(), Use::ThreadStack)
}

/// The list whose head is at `head`, linked at `next` in each.
fn list_from(process: &Process, head: u64, next: u64) -> Vec<u64> {
    let mut list = Vec::new();
    let mut at = process.read_word(head).unwrap_or(0);
    while at != 0 && list.len() < MAX_LIST {
        list.push(at);
        at = process.read_word(at.wrapping_add(next)).unwrap_or(0);
    }
    list
}

/// Whole pages of the kernel: the runtime takes no less.
fn extents_of(ranges: Vec<(u64, u64)>, of: Use) -> Vec<Extent> {
    const KERNEL_PAGE: u64 = 4096;
    ranges
        .into_iter()
        .filter(|(start, bytes)| *start != 0 && *bytes != 0)
        .map(|(start, bytes)| Extent {
            start: start - start % KERNEL_PAGE,
            end: start.saturating_add(bytes).next_multiple_of(KERNEL_PAGE),
            of,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64, of: Use) -> Extent {
        Extent { start, end, of }
    }

    #[test]
    fn arenas_are_cut_where_spans_lie() {
        use Use::{HeapIdle, HeapInUse, Stacks};
        let spans = [
            extent(10, 20, HeapInUse),
            extent(20, 30, HeapInUse),
            // Seen twice, because it was split meanwhile.
            extent(20, 25, HeapInUse),
            extent(40, 120, Stacks),
            extent(300, 310, HeapInUse),
        ];
        let mut spans = spans.to_vec();
        spans.sort_unstable();
        let expected = [
            extent(0, 10, HeapIdle),
            extent(10, 30, HeapInUse),
            extent(30, 40, HeapIdle),
            extent(40, 120, Stacks),
            extent(120, 200, HeapIdle),
        ];
        assert_eq!(fill(&spans, &[(0, 100), (100, 200)]), expected);
    }

    #[test]
    fn what_lies_elsewhere_goes_between() {
        use Use::{HeapInUse, Runtime, ThreadStack};
        let mut extents = vec![extent(10, 20, HeapInUse), extent(40, 50, HeapInUse)];
        let others = vec![
            extent(0, 5, Runtime),
            extent(15, 45, ThreadStack),
            extent(30, 60, Runtime),
            extent(70, 80, Runtime),
        ];
        lay_between(&mut extents, others);
        let expected = [
            extent(0, 5, Runtime),
            extent(10, 20, HeapInUse),
            extent(20, 40, ThreadStack),
            extent(40, 50, HeapInUse),
            extent(50, 60, Runtime),
            extent(70, 80, Runtime),
        ];
        assert_eq!(extents, expected);
    }
}
