//! Why RSS is what it is: every resident page by what it is for, how that changed, the largest regions, what
//! Go's own statistics say, and which share of the allocations the samples account for.

use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::Session;
use crate::views::Figure;
use heaptide_protocol::SymbolGen;
use heaptide_protocol::gauges::Gauge;
use heaptide_protocol::ledger::{Ledger, LedgerKind};
use heaptide_protocol::session::Method;

/// Stacks of mappings are told as they are now.
const NEWEST: SymbolGen = SymbolGen(u32::MAX);

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let mut tables = vec![
        ledger(session, query),
        regions(session, query),
        statistics(session),
        coverage(session, query),
    ];
    tables.retain(|table| !table.rows.is_empty());
    tables
}

fn ledger(session: &Session, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Resident memory",
        "Each resident page once; the remainder is what moved while it was read.",
        Method::Census,
        &[
            ("Line", Unit::Text),
            ("Resident", Unit::Bytes),
            ("Of RSS", Unit::Share),
            ("Change", Unit::Bytes),
            ("Source", Unit::Text),
        ],
    );
    let mut newest_first = session.ledgers.iter().rev();
    let Some(now) = newest_first.find(|one| one.timestamp_ns < query.window.to_ns) else {
        return table;
    };
    let first = session
        .ledgers
        .iter()
        .find(|one| one.timestamp_ns >= query.window.from_ns)
        .filter(|first| first.timestamp_ns < now.timestamp_ns);
    let mut add = |line: &str, of: &dyn Fn(&Ledger) -> f64, source: &str| {
        let bytes = of(now);
        let change = first.map(|first| bytes - of(first));
        if bytes == 0.0 && change.unwrap_or(0.0) == 0.0 {
            return;
        }
        table.rows.push(row(vec![
            text(line),
            Cell::Value(bytes),
            Cell::Value(bytes / now.rss_bytes.max(1) as f64),
            change.map_or(Cell::Unknown, Cell::Value),
            text(source),
        ]));
    };
    for kind in LedgerKind::ALL {
        let of = |ledger: &Ledger| {
            let lines = ledger.lines.iter().filter(|line| line.kind == *kind);
            lines.map(|line| line.bytes as f64).sum()
        };
        add(kind.label(), &of, kind.source());
    }
    add(
        "Remainder",
        &|ledger| ledger.remainder_bytes as f64,
        "RSS less the lines",
    );
    add("RSS", &|ledger| ledger.rss_bytes as f64, "/proc/PID/smaps");
    table
}

fn regions(session: &Session, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Largest regions",
        "Mappings by resident bytes, with the call that made most of each, if it was seen.",
        Method::Census,
        &[
            ("Start", Unit::Address),
            ("Size", Unit::Bytes),
            ("Mostly", Unit::Text),
            ("Name", Unit::Text),
            ("Resident", Unit::Bytes),
            ("Huge", Unit::Bytes),
            ("Swap", Unit::Bytes),
            ("Lazily freed", Unit::Bytes),
            ("Flags", Unit::Text),
        ],
    );
    let Some(regions) = &session.regions else {
        return table;
    };
    let needle = query.filter.to_ascii_lowercase();
    for region in &regions.rows {
        let frames = region
            .stack
            .map_or(&[][..], |stack| session.symbols.stack(stack, NEWEST));
        let named = |text: &str| text.to_ascii_lowercase().contains(&needle);
        if !named(&region.name)
            && !named(region.kind.label())
            && !session.symbols.matches(frames, NEWEST, &needle)
        {
            continue;
        }
        let mut row = row(vec![
            Cell::Value(region.start as f64),
            Cell::Value(region.end.saturating_sub(region.start) as f64),
            text(region.kind.label()),
            text(if region.name.is_empty() {
                "anonymous"
            } else {
                &region.name
            }),
            Cell::Value(region.rss_bytes as f64),
            Cell::Value(region.anon_huge_bytes as f64),
            Cell::Value(region.swap_bytes as f64),
            Cell::Value(region.lazy_free_bytes as f64),
            Cell::Text([region.permissions.as_str(), region.flags.as_str()].join(" ")),
        ]);
        if !frames.is_empty() {
            let frames = frames
                .iter()
                .map(|frame| session.symbols.describe(*frame, NEWEST));
            row.stacks.push(("mapped by".to_owned(), frames.collect()));
        }
        table.rows.push(row);
    }
    table.cut(query.limit);
    table.left_out = table.left_out.saturating_add(regions.other_regions);
    table
}

fn statistics(session: &Session) -> Table {
    let mut table = Table::new(
        "Go's own statistics",
        "As runtime.ReadMemStats would say, without stopping the world.",
        Method::Exact,
        &[
            ("Figure", Unit::Text),
            ("Value", Unit::Bytes),
            ("Source", Unit::Text),
        ],
    );
    for (gauge, value) in session
        .gauges
        .range(Gauge::GO_ALLOCATED_BYTES..=Gauge::GO_METADATA_BYTES)
    {
        if matches!(*gauge, Gauge::GO_ALLOCATED_OBJECTS | Gauge::GO_FREED_OBJECTS) {
            continue;
        }
        table.rows.push(row(vec![
            text(gauge.label()),
            Cell::Value(*value as f64),
            text(gauge.source()),
        ]));
    }
    table
}

/// What the samples stand for, as a share of what Go itself counted in the same time.
fn coverage(session: &Session, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Coverage",
        "Bytes allocated by samples and by Go's own exact count, between the same two readings.",
        Method::Estimate,
        &[
            ("Source", Unit::Text),
            ("Estimate", Unit::Bytes),
            ("Exact", Unit::Bytes),
            ("Coverage", Unit::Share),
        ],
    );
    let span = session.ticks.as_ref().and_then(|ticks| {
        let (from, to) = (
            ticks.index(query.window.from_ns),
            ticks.index_up(query.window.to_ns),
        );
        ticks.runtime_span(from, to)
    });
    let Some((first, last)) = span else {
        return table;
    };
    let exact = last
        .runtime_bytes
        .unwrap_or(0)
        .saturating_sub(first.runtime_bytes.unwrap_or(0)) as f64;
    for (source, name) in ["Probes", "Go's own heap profile"].iter().enumerate() {
        let born = last.flows[source].minus(&first.flows[source]).born;
        if born.samples <= 0 || exact <= 0.0 {
            continue;
        }
        let estimate = born.bytes_figure(0);
        let share = Figure {
            value: estimate.value / exact,
            low: estimate.low / exact,
            high: estimate.high / exact,
            method: Method::Estimate,
        };
        table.rows.push(row(vec![
            text(name),
            Cell::Figure(estimate),
            Cell::Value(exact),
            Cell::Figure(share),
        ]));
    }
    table
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn row(cells: Vec<Cell>) -> Row {
    Row {
        cells,
        stacks: Vec::new(),
    }
}
