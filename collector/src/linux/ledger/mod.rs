//! The ledger: every resident page of a process, by what it is for.
//!
//! Two sources are joined. `/proc/PID/smaps` says what is resident of each mapping; files, `[heap]` and
//! `[stack]` are what they are. Anonymous memory is looked at page by page (`pagemap`), against what the Go
//! runtime knows of it ([`spans`]): spans in use, stacks, idle arenas, the runtime's own books. What nobody
//! knows is native memory. In a process that stands still the lines add up to the page; in one that runs, what
//! moved between the two readings is the remainder, and is not spread over the lines.

mod resident;
mod smaps;
mod sys;

use self::resident::{Pagemap, Resident};
use self::smaps::Mapping;
use super::Process;
use super::memory::layout::HeapLayout;
use super::memory::spans::{self, Extent, Use};
use heaptide_protocol::ledger::{Ledger, LedgerKind, LedgerLine, Region, Regions};
use std::collections::BTreeMap;
use std::io;

const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// Regions told one by one.
const MAX_REGIONS: usize = 50;

/// What was read, with the regions from which it was summed up.
#[derive(Debug)]
pub struct Books {
    pub ledger: Ledger,
    /// The call stacks are for whoever has seen the calls.
    pub regions: Regions,
    /// Whether huge-page padding was told from idle memory.
    pub knows_huge: bool,
}

type Lines = BTreeMap<LedgerKind, u64>;

/// Reads everything once. Nothing is stopped for it.
pub fn read(process: &Process, layout: &HeapLayout, now_ns: &dyn Fn() -> u64) -> io::Result<Books> {
    let began_ns = now_ns();
    let extents = spans::read(process, layout)?;
    let mappings = smaps::read(process)?;
    let mut pagemap = Pagemap::open(process)?;
    let mut lines = Lines::new();
    let mut regions = Vec::with_capacity(mappings.len());
    for mapping in &mappings {
        let of_mapping = classify(mapping, &extents, &mut pagemap)?;
        for (kind, bytes) in &of_mapping {
            *lines.entry(*kind).or_default() += bytes;
        }
        regions.push(region(mapping, &of_mapping));
    }
    let rss_bytes: u64 = mappings.iter().map(|mapping| mapping.rss_bytes).sum();
    let rss_after_bytes = smaps::rss_bytes(process)?;
    let told: u64 = lines.values().sum();
    let ledger = Ledger {
        timestamp_ns: began_ns,
        took_ns: now_ns().saturating_sub(began_ns),
        rss_bytes,
        rss_after_bytes,
        remainder_bytes: rss_bytes as i64 - told as i64,
        lines: lines
            .into_iter()
            .map(|(kind, bytes)| LedgerLine { kind, bytes })
            .collect(),
    };
    Ok(Books {
        ledger,
        regions: largest(regions, began_ns),
        knows_huge: pagemap.knows_huge(),
    })
}

/// Resident bytes of one mapping by kind.
fn classify(mapping: &Mapping, extents: &[Extent], pagemap: &mut Pagemap) -> io::Result<Lines> {
    let whole = |kind| Lines::from([(kind, mapping.rss_bytes)]);
    if mapping.rss_bytes == 0 {
        return Ok(Lines::new());
    }
    if let Some(kind) = mapping.kind() {
        return Ok(whole(kind));
    }
    let first = extents.partition_point(|extent| extent.end <= mapping.start);
    let known = extents.get(first..).unwrap_or_default();
    let known = &known[..known.partition_point(|extent| extent.start < mapping.end)];
    let rest = if mapping.is_named_by_go() {
        LedgerKind::GO_RUNTIME
    } else if !known.is_empty() && known.iter().all(|extent| extent.of == Use::ThreadStack) {
        // The thread's own variables lie on top of its stack.
        LedgerKind::THREAD_STACKS
    } else {
        LedgerKind::NATIVE
    };
    if known.is_empty() {
        return Ok(whole(rest));
    }
    let mut pages = Pages {
        known,
        rest,
        lines: Lines::new(),
    };
    pagemap.resident(mapping.start, mapping.end, &mut |resident| pages.add(resident))?;
    Ok(pages.lines)
}

/// Resident pages on their way into lines, ascending.
struct Pages<'a> {
    /// Not yet passed.
    known: &'a [Extent],
    /// What a page is that lies in none of them.
    rest: LedgerKind,
    lines: Lines,
}

impl Pages<'_> {
    fn add(&mut self, resident: Resident) {
        let mut at = resident.start;
        while at < resident.end {
            // A huge page is resident as a whole, so what is idle in it may be so for its neighbours' sake.
            let end = if resident.huge {
                resident.end.min((at + 1).next_multiple_of(HUGE_PAGE_BYTES))
            } else {
                resident.end
            };
            let lines = self.split(at, end);
            let bytes = |kind: LedgerKind| lines.get(&kind).copied().unwrap_or(0);
            let idle = bytes(LedgerKind::GO_HEAP_IDLE);
            let padding = resident.huge && idle < end - at;
            for (kind, bytes) in lines {
                let kind = if padding && kind == LedgerKind::GO_HEAP_IDLE {
                    LedgerKind::HUGE_PADDING
                } else {
                    kind
                };
                *self.lines.entry(kind).or_default() += bytes;
            }
            at = end;
        }
    }

    fn split(&mut self, start: u64, end: u64) -> Lines {
        let mut lines = Lines::new();
        let mut at = start;
        while at < end {
            while let [passed, later @ ..] = self.known
                && passed.end <= at
            {
                self.known = later;
            }
            let (kind, until) = match self.known.first() {
                Some(extent) if extent.start <= at => (kind_of(extent.of), extent.end.min(end)),
                Some(extent) => (self.rest, extent.start.min(end)),
                None => (self.rest, end),
            };
            *lines.entry(kind).or_default() += until - at;
            at = until;
        }
        lines
    }
}

fn kind_of(of: Use) -> LedgerKind {
    match of {
        Use::HeapInUse => LedgerKind::GO_HEAP_IN_USE,
        Use::Stacks => LedgerKind::GO_STACKS,
        Use::HeapIdle => LedgerKind::GO_HEAP_IDLE,
        Use::Runtime => LedgerKind::GO_RUNTIME,
        Use::ThreadStack => LedgerKind::THREAD_STACKS,
    }
}

fn region(mapping: &Mapping, lines: &Lines) -> Region {
    let most = lines.iter().max_by_key(|(_, bytes)| **bytes);
    let kind = most.map(|(kind, _)| *kind).or(mapping.kind());
    Region {
        start: mapping.start,
        end: mapping.end,
        kind: kind.unwrap_or(LedgerKind::NATIVE),
        permissions: mapping.permissions.clone(),
        name: mapping.name.clone(),
        rss_bytes: mapping.rss_bytes,
        anon_huge_bytes: mapping.anon_huge_bytes,
        swap_bytes: mapping.swap_bytes,
        lazy_free_bytes: mapping.lazy_free_bytes,
        flags: mapping.flags.clone(),
        stack: None,
    }
}

fn largest(mut regions: Vec<Region>, timestamp_ns: u64) -> Regions {
    regions.sort_by_key(|region| std::cmp::Reverse((region.rss_bytes, region.swap_bytes)));
    let others = regions.split_off(regions.len().min(MAX_REGIONS));
    Regions {
        timestamp_ns,
        rows: regions,
        other_regions: others.len() as u64,
        other_rss_bytes: others.iter().map(|region| region.rss_bytes).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn lines(resident: &[Resident], known: &[Extent]) -> Vec<(u16, u64)> {
        let mut pages = Pages {
            known,
            rest: LedgerKind::NATIVE,
            lines: Lines::new(),
        };
        resident.iter().for_each(|resident| pages.add(*resident));
        pages
            .lines
            .iter()
            .map(|(kind, bytes)| (kind.0, bytes / MIB))
            .collect()
    }

    #[test]
    fn idle_beside_used_in_a_huge_page_is_padding() {
        let extent = |start: u64, end: u64, of| Extent {
            start: start * MIB,
            end: end * MIB,
            of,
        };
        let known = [
            extent(0, 1, Use::HeapInUse),
            extent(1, 4, Use::HeapIdle),
            extent(4, 5, Use::Stacks),
        ];
        let resident = |huge| Resident {
            start: 0,
            end: 6 * MIB,
            huge,
        };
        let kinds = [
            LedgerKind::GO_HEAP_IN_USE.0,
            LedgerKind::GO_HEAP_IDLE.0,
            LedgerKind::GO_STACKS.0,
            LedgerKind::HUGE_PADDING.0,
            LedgerKind::NATIVE.0,
        ];
        let [in_use, idle, stacks, padding, native] = kinds;
        assert_eq!(
            lines(&[resident(false)], &known),
            [(in_use, 1), (idle, 3), (stacks, 1), (native, 1)]
        );
        // Of three huge pages, the middle one is idle throughout.
        assert_eq!(
            lines(&[resident(true)], &known),
            [(in_use, 1), (idle, 2), (stacks, 1), (padding, 1), (native, 1)]
        );
    }

    #[test]
    fn regions_beyond_the_limit_are_summed_up() {
        let one = |rss_bytes| {
            region(
                &Mapping {
                    rss_bytes,
                    ..Mapping::default()
                },
                &Lines::new(),
            )
        };
        let regions = largest((1..=60).map(one).collect(), 7);
        assert_eq!(regions.rows.len(), MAX_REGIONS);
        assert_eq!(regions.rows[0].rss_bytes, 60);
        assert_eq!((regions.other_regions, regions.other_rss_bytes), (10, 55));
    }
}
