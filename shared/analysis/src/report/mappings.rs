//! Mapping calls, page faults and huge pages, by call site and by region.

use super::sites::{Site, by_site, stack_of, stacks};
use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::Session;
use crate::estimate::Sum;
use crate::kernel::Kept;
use crate::views::Figure;
use heaptide_protocol::events::{EventKind, HugePageDetail};
use heaptide_protocol::session::Method;

const CALLS: [EventKind; 5] = [
    EventKind::Mmap,
    EventKind::Munmap,
    EventKind::Mremap,
    EventKind::Madvise,
    EventKind::Brk,
];

/// include/uapi/asm-generic/mman-common.h
const ADVICE: [(u64, &str); 14] = [
    (1, "madvise MADV_RANDOM"),
    (2, "madvise MADV_SEQUENTIAL"),
    (3, "madvise MADV_WILLNEED"),
    (4, "madvise MADV_DONTNEED"),
    (8, "madvise MADV_FREE"),
    (9, "madvise MADV_REMOVE"),
    (14, "madvise MADV_HUGEPAGE"),
    (15, "madvise MADV_NOHUGEPAGE"),
    (16, "madvise MADV_DONTDUMP"),
    (20, "madvise MADV_COLD"),
    (21, "madvise MADV_PAGEOUT"),
    (22, "madvise MADV_POPULATE_READ"),
    (23, "madvise MADV_POPULATE_WRITE"),
    (25, "madvise MADV_COLLAPSE"),
];

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let needle = query.filter.to_ascii_lowercase();
    let (by_kind, by_site) = calls(session, query, &needle);
    vec![
        by_kind,
        by_site,
        faults_by_site(session, query, &needle),
        faults_by_region(session, query),
        huge_pages(session, query),
    ]
}

/// The call by name, with what it asked for.
fn name(event: &Kept) -> &'static str {
    const PROT_SHIFT: u32 = 32;
    let row = &event.row;
    match event.kind {
        EventKind::Mmap if is_error(row.address) => "mmap, failed",
        EventKind::Mmap if row.detail & 0x4_0000 != 0 => "mmap MAP_HUGETLB",
        EventKind::Mmap if row.detail & 0x20 == 0 => "mmap of a file",
        EventKind::Mmap if row.detail >> PROT_SHIFT == 0 => "mmap, address space only",
        EventKind::Mmap => "mmap anonymous",
        EventKind::Munmap => "munmap",
        EventKind::Mremap => "mremap",
        EventKind::Madvise => ADVICE
            .iter()
            .find(|(number, _)| *number == row.detail)
            .map_or("madvise, other", |(_, name)| name),
        _ => "brk",
    }
}

/// A negative errno in place of an address.
fn is_error(address: u64) -> bool {
    address > u64::MAX - 4096
}

fn bytes(event: &Kept) -> u64 {
    event.row.size_bytes
}

/// By kind and by call site.
fn calls(session: &Session, query: &ReportQuery, needle: &str) -> (Table, Table) {
    let note = "System calls of the process, each one. Bytes as asked for, not as resident.";
    let columns = [
        ("Call", Unit::Text),
        ("Calls", Unit::Count),
        ("Bytes", Unit::Bytes),
    ];
    let mut kinds = Table::new("Calls", note, Method::Exact, &columns);
    let columns = [
        ("Call site", Unit::Text),
        ("Call", Unit::Text),
        ("Calls", Unit::Count),
        ("Bytes", Unit::Bytes),
    ];
    let mut sites = Table::new("Calls by call site", note, Method::Exact, &columns);

    let all = || {
        CALLS
            .iter()
            .flat_map(|kind| session.kernel.of(*kind, query.window))
    };
    let mut names: Vec<&'static str> = Vec::new();
    for event in all() {
        let name = name(event);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut rows: Vec<(Site, &'static str)> = Vec::new();
    for wanted in names {
        let found = by_site(session, &mut all().filter(|event| name(event) == wanted), bytes);
        let (mut count, mut sum) = (0, 0);
        for site in found {
            count += site.count;
            sum += site.sum;
            if wanted.to_ascii_lowercase().contains(needle) || site.matches(session, needle) {
                rows.push((site, wanted));
            }
        }
        kinds.rows.push(Row {
            cells: vec![
                Cell::Text(wanted.to_owned()),
                Cell::Value(count as f64),
                Cell::Value(sum as f64),
            ],
            stacks: Vec::new(),
        });
    }
    rows.sort_by_key(|(site, _)| std::cmp::Reverse(site.sum));
    for (site, name) in &rows {
        let cells = vec![
            Cell::Text((*name).to_owned()),
            Cell::Value(site.count as f64),
            Cell::Value(site.sum as f64),
        ];
        sites.rows.push(site.row(session, cells));
    }
    sites.cut(query.limit);
    (kinds, sites)
}

/// Faults that were drawn, and what they stand for.
fn figure(drawn: u64, stand_for: u64) -> Figure {
    let weight = stand_for as f64 / drawn.max(1) as f64;
    let mut sum = Sum::default();
    sum.add(weight, 1.0 - 1.0 / weight.max(1.0), drawn as f64);
    let mut figure = sum.figure(1);
    if stand_for > drawn {
        figure.method = Method::Estimate;
    }
    figure
}

const FAULTS_NOTE: &str = "Faults in user mode. One in so many was drawn at random, each stands for so many: the \
                           interval holds the truth in 99 of 100. Off unless the policy wants it.";

fn faults_by_site(session: &Session, query: &ReportQuery, needle: &str) -> Table {
    let columns = [
        ("Call site", Unit::Text),
        ("Faults", Unit::Count),
        ("Drawn", Unit::Count),
    ];
    let mut table = Table::new(
        "Page faults by call site",
        FAULTS_NOTE,
        Method::Estimate,
        &columns,
    );
    let mut events = session.kernel.of(EventKind::PageFault, query.window);
    for site in by_site(session, &mut events, bytes) {
        if site.matches(session, needle) {
            let cells = vec![
                Cell::Figure(figure(site.count, site.sum)),
                Cell::Value(site.count as f64),
            ];
            table.rows.push(site.row(session, cells));
        }
    }
    table.cut(query.limit);
    table
}

fn faults_by_region(session: &Session, query: &ReportQuery) -> Table {
    let columns = [
        ("Region", Unit::Text),
        ("Begin", Unit::Address),
        ("Length", Unit::Bytes),
        ("Faults", Unit::Count),
    ];
    let mut table = Table::new("Page faults by region", FAULTS_NOTE, Method::Estimate, &columns);
    let regions = session.regions.as_ref().map_or(&[][..], |regions| &regions.rows);
    let mut counts = vec![(0_u64, 0_u64); regions.len() + 1];
    for event in session.kernel.of(EventKind::PageFault, query.window) {
        let at = event.row.address;
        let index = regions
            .iter()
            .position(|region| (region.start..region.end).contains(&at))
            .unwrap_or(regions.len());
        counts[index].0 += 1;
        counts[index].1 = counts[index].1.saturating_add(event.row.size_bytes);
    }
    let mut order: Vec<usize> = (0..counts.len()).filter(|index| counts[*index].0 > 0).collect();
    order.sort_by_key(|index| std::cmp::Reverse(counts[*index].1));
    for index in order {
        let (drawn, stand_for) = counts[index];
        let mut cells = match regions.get(index) {
            Some(region) => {
                let name = if region.name.is_empty() {
                    region.kind.label()
                } else {
                    &region.name
                };
                vec![
                    Cell::Text(name.to_owned()),
                    Cell::Value(region.start as f64),
                    Cell::Value((region.end - region.start) as f64),
                ]
            }
            None => vec![
                Cell::Text("no region that was read".to_owned()),
                Cell::Unknown,
                Cell::Unknown,
            ],
        };
        cells.push(Cell::Figure(figure(drawn, stand_for)));
        table.rows.push(Row {
            cells,
            stacks: Vec::new(),
        });
    }
    table.cut(query.limit);
    table
}

fn huge_pages(session: &Session, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Huge pages, newest first",
        "Put in the place of small ones, or not, by khugepaged or MADV_COLLAPSE; anonymous memory only. Those given \
         at the first touch are not events.",
        Method::Exact,
        &[
            ("At", Unit::Moment),
            ("Address", Unit::Address),
            ("Outcome", Unit::Text),
            ("By", Unit::Text),
        ],
    );
    let events: Vec<&Kept> = session.kernel.of(EventKind::HugePage, query.window).collect();
    for event in events.iter().rev() {
        let row = &event.row;
        let outcome = if row.detail == HugePageDetail::Collapsed as u64 {
            "put together"
        } else {
            "could not"
        };
        let by = if row.stack.is_some() {
            "MADV_COLLAPSE"
        } else {
            "khugepaged"
        };
        let address = if row.address == 0 {
            Cell::Unknown
        } else {
            Cell::Value(row.address as f64)
        };
        table.rows.push(Row {
            cells: vec![
                Cell::Value(event.at_ns as f64),
                address,
                Cell::Text(outcome.to_owned()),
                Cell::Text(by.to_owned()),
            ],
            stacks: stacks("asked for by", stack_of(session, row.stack, event.symbol_gen)),
        });
    }
    table.cut(query.limit);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::SymbolGen;
    use heaptide_protocol::events::OtherRow;

    #[test]
    fn calls_are_told_apart() {
        let mmap = |prot: u64, flags: u64| prot << 32 | flags;
        let cases = [
            (EventKind::Mmap, mmap(3, 0x22), "mmap anonymous"),
            (EventKind::Mmap, mmap(0, 0x22), "mmap, address space only"),
            (EventKind::Mmap, mmap(3, 0x4_0022), "mmap MAP_HUGETLB"),
            (EventKind::Mmap, mmap(1, 0x02), "mmap of a file"),
            (EventKind::Madvise, 4, "madvise MADV_DONTNEED"),
            (EventKind::Madvise, 8, "madvise MADV_FREE"),
            (EventKind::Madvise, 14, "madvise MADV_HUGEPAGE"),
            (EventKind::Madvise, 25, "madvise MADV_COLLAPSE"),
            (EventKind::Madvise, 99, "madvise, other"),
            (EventKind::Munmap, 0, "munmap"),
            (EventKind::Mremap, 0, "mremap"),
            (EventKind::Brk, 0, "brk"),
        ];
        for (kind, detail, expected) in cases {
            let mut event = Kept {
                at_ns: 0,
                kind,
                symbol_gen: SymbolGen(0),
                row: OtherRow {
                    detail,
                    ..OtherRow::default()
                },
            };
            assert_eq!(name(&event), expected);
            event.row.address = (-12_i64).cast_unsigned();
            let failed = if kind == EventKind::Mmap {
                "mmap, failed"
            } else {
                expected
            };
            assert_eq!(name(&event), failed);
        }
    }

    #[test]
    fn one_in_one_has_no_error_and_one_in_many_has() {
        let all = figure(50, 50);
        assert_eq!(
            (all.value, all.low, all.high, all.method),
            (50.0, 50.0, 50.0, Method::Exact)
        );
        let some = figure(50, 5_000);
        assert_eq!((some.value, some.method), (5_000.0, Method::Estimate));
        assert!(
            some.low > 3_000.0 && some.low < 4_000.0 && some.high > 6_000.0 && some.high < 8_000.0,
            "{some:?}"
        );
    }
}
