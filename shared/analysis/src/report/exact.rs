//! Exact windows: what was allocated by call site and type, how much of what the runtime counted was seen, and
//! whether the sampled estimate of the same time holds the exact figure.

use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::Session;
use crate::estimate::Tally;
use crate::lifetimes::{Selection, StackTally};
use crate::order::ranked;
use crate::views::StackFrame;
use heaptide_protocol::exact::{ExactEnd, ExactRow, ExactWindow, SamplingPhase};
use heaptide_protocol::session::Method;
use heaptide_protocol::{FrameId, StackId, SymbolGen};

/// The newest meaning of each id: a window's stacks are defined with it.
const NEWEST: SymbolGen = SymbolGen(u32::MAX);
/// So many samples must be expected of a call site before its estimate is held against the truth.
const COMPARED_FROM_SAMPLES: f64 = 20.0;
/// A window must be so many ticks long to be told from its neighbours.
const COMPARED_FROM_TICKS: u64 = 5;
/// Go's large objects take whole pages of this size.
const PAGE_BYTES: u64 = 8192;
/// Size class of the blocks that hold tiny objects, several in one.
const TINY_CLASS_BYTES: u32 = 16;
/// Samples that each bin needs, by the usual rule for chi-square.
const SAMPLES_PER_BIN: f64 = 5.0;
/// Standard normal quantile of 99 %: one sound window in a hundred is called doubtful.
const Z_99: f64 = 2.326_347_874;

/// Rows of one call site and, where asked for, one type.
struct Group<'a> {
    site: Option<FrameId>,
    type_name: &'a str,
    objects: u64,
    bytes: u64,
    /// Bytes of the heap that they take: between these, since tiny objects share blocks.
    taken: (u64, u64),
    heaviest: Option<StackId>,
    heaviest_bytes: u64,
}

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let windows: Vec<&ExactWindow> = session
        .exact
        .iter()
        .rev()
        .filter(|window| window.from_ns < query.window.to_ns && window.to_ns > query.window.from_ns)
        .collect();
    let Some(newest) = windows.first() else {
        return Vec::new();
    };
    let mut tables = vec![
        list(&windows, query.limit),
        by_site(session, newest, query),
        agreement(session, newest, query),
    ];
    tables.extend(newest.phase.as_ref().map(phase_table));
    tables
}

/// Which windows there were, the newest first, and what share of all allocations each saw.
fn list(windows: &[&ExactWindow], limit: u32) -> Table {
    let mut table = Table::new(
        "Exact windows",
        "Every allocation while the probes stood. Coverage: of the objects that Go's own statistics counted \
         meanwhile (MemStats.Mallocs). In rows: the rest was counted, but the table of rows was full.",
        Method::Exact,
        &[
            ("window", Unit::Count),
            ("began", Unit::Moment),
            ("length", Unit::Nanos),
            ("ended by", Unit::Text),
            ("probes", Unit::Count),
            ("objects", Unit::Count),
            ("bytes asked for", Unit::Bytes),
            ("in rows", Unit::Share),
            ("counted by Go", Unit::Count),
            ("coverage", Unit::Share),
        ],
    );
    for window in windows {
        let ended_by = match window.ended_by {
            ExactEnd::Time => "its time",
            ExactEnd::Cost => "its cost",
            ExactEnd::Stopped => "being told",
        };
        let in_rows = window.objects.saturating_sub(window.objects_without_row);
        let count = |value: u64| Cell::Value(value as f64);
        table.rows.push(Row {
            cells: vec![
                count(window.number.into()),
                count(window.from_ns),
                count(window.to_ns.saturating_sub(window.from_ns)),
                Cell::Text(ended_by.into()),
                count(window.probes.into()),
                count(window.objects),
                count(window.bytes),
                share(in_rows, window.objects),
                window.runtime_objects.map_or(Cell::Unknown, count),
                window
                    .runtime_objects
                    .map_or(Cell::Unknown, |all| share(window.objects, all)),
            ],
            stacks: Vec::new(),
        });
    }
    table.cut(limit);
    table
}

fn by_site(session: &Session, window: &ExactWindow, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Allocated, by call site and type",
        "Of the newest window. Bytes are those asked for. The type is that of the element; none where Go's \
         allocator is told none, as for strings.",
        Method::Exact,
        &[
            ("call site", Unit::Text),
            ("type", Unit::Text),
            ("objects", Unit::Count),
            ("bytes", Unit::Bytes),
            ("share", Unit::Share),
        ],
    );
    let needle = query.filter.to_ascii_lowercase();
    for group in groups(session, window, true) {
        let is_wanted = group.type_name.to_ascii_lowercase().contains(&needle)
            || session
                .symbols
                .matches(frames(session, group.heaviest), NEWEST, &needle);
        if !is_wanted {
            continue;
        }
        table.rows.push(Row {
            cells: vec![
                Cell::Text(site_name(session, group.site)),
                Cell::Text(group.type_name.to_owned()),
                Cell::Value(group.objects as f64),
                Cell::Value(group.bytes as f64),
                share(group.bytes, window.bytes),
            ],
            stacks: vec![("heaviest".into(), describe(session, group.heaviest))],
        });
    }
    table.cut(query.limit);
    table
}

/// The sampled estimate of the same time beside the exact figure.
fn agreement(session: &Session, window: &ExactWindow, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Exact and sampled",
        "Bytes of the heap that objects take, counted, and estimated from Go's samples of the same time. Of sites \
         for which 20 samples are to be expected. An interval holds the truth in 99 of 100 cases.",
        Method::Estimate,
        &[
            ("call site", Unit::Text),
            ("counted", Unit::Bytes),
            ("estimated", Unit::Bytes),
            ("interval holds it", Unit::Text),
        ],
    );
    let Some(ticks) = &session.ticks else { return table };
    let length_ns = window.to_ns.saturating_sub(window.from_ns);
    let rate_bytes = session.sampling_rate_bytes();
    if rate_bytes == 0 || ticks.tick_ns * COMPARED_FROM_TICKS > length_ns {
        return table;
    }
    // The collector begins and ends a window with a tick, give or take a moment.
    let nearest = |at_ns: u64| ticks.index(at_ns + ticks.tick_ns / 2);
    let sampled = session.select(
        Selection::BornIn {
            from: nearest(window.from_ns),
            to: nearest(window.to_ns),
        },
        false,
    );
    let groups = groups(session, window, false);
    let all = groups.iter().fold((0, 0), |sum, group| {
        (sum.0 + group.taken.0, sum.1 + group.taken.1)
    });
    let total = sampled
        .iter()
        .fold(Tally::default(), |sum, stack| sum.plus(&stack.tally));
    table
        .rows
        .push(compared("all".into(), all, &total, rate_bytes, Vec::new()));
    for group in groups {
        if (group.taken.0 as f64) < COMPARED_FROM_SAMPLES * rate_bytes as f64 {
            continue;
        }
        let tally = of_site(session, &sampled, group.site);
        let stacks = vec![("heaviest".into(), describe(session, group.heaviest))];
        let name = site_name(session, group.site);
        table
            .rows
            .push(compared(name, group.taken, &tally, rate_bytes, stacks));
    }
    table.cut(query.limit);
    table
}

fn compared(
    name: String,
    taken: (u64, u64),
    tally: &Tally,
    rate_bytes: u64,
    stacks: Vec<(String, Vec<StackFrame>)>,
) -> Row {
    let estimate = tally.bytes_figure(rate_bytes);
    let holds = estimate.low <= taken.1 as f64 && estimate.high >= taken.0 as f64;
    Row {
        cells: vec![
            Cell::Text(name),
            Cell::Value(taken.0 as f64),
            Cell::Figure(estimate),
            Cell::Text(if holds { "yes" } else { "no" }.into()),
        ],
        stacks,
    }
}

/// Whether sampling keeps step with the program: the distances between samples against those that chance
/// would give.
pub(super) fn phase_table(phase: &SamplingPhase) -> Table {
    let bins = phase.bins.len().max(1) as f64;
    let all: f64 = phase.bins.iter().map(|count| f64::from(*count)).sum();
    let expected = all / bins;
    let square = |count: u32| {
        let off = f64::from(count) - expected;
        if expected > 0.0 { off * off / expected } else { 0.0 }
    };
    let chi_square: f64 = phase.bins.iter().map(|count| square(*count)).sum();
    let allowed = chi_square_99(bins - 1.0);
    let verdict = if expected < SAMPLES_PER_BIN {
        "Sampling phase: too few samples to tell"
    } else if chi_square <= allowed {
        "Sampling phase: keeps no step"
    } else {
        "Sampling phase: may keep step"
    };
    let mut table = Table::new(
        verdict,
        "Bytes that a thread allocated between two of Go's samples. If sampling does not keep step with the \
         program, each bin gets the same share, and chi-square of all bins stays below what is allowed in 99 of \
         100 windows.",
        Method::Exact,
        &[
            ("distance up to", Unit::Bytes),
            ("samples", Unit::Count),
            ("expected", Unit::Count),
            ("chi-square", Unit::Count),
            ("allowed", Unit::Count),
        ],
    );
    let mut row = |cells: Vec<Cell>| {
        table.rows.push(Row {
            cells,
            stacks: Vec::new(),
        });
    };
    row(vec![
        Cell::Unknown,
        Cell::Value(all),
        Cell::Value(all),
        Cell::Value(chi_square),
        Cell::Value(allowed),
    ]);
    for (at, count) in phase.bins.iter().enumerate() {
        let below = (at + 1) as f64 / bins;
        let edge = -libm::log(1.0 - below) * phase.rate_bytes as f64;
        row(vec![
            if below < 1.0 {
                Cell::Value(edge)
            } else {
                Cell::Unknown
            },
            Cell::Value(f64::from(*count)),
            Cell::Value(expected),
            Cell::Value(square(*count)),
            Cell::Unknown,
        ]);
    }
    table
}

/// 99 % quantile of chi-square, by Wilson and Hilferty (1931): within 0.1 % from 10 degrees of freedom on.
fn chi_square_99(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom.max(1.0));
    let root = 1.0 - part + Z_99 * part.sqrt();
    freedom * root * root * root
}

/// Rows put together by call site and, if `by_type`, by type; most bytes first.
fn groups<'a>(session: &Session, window: &'a ExactWindow, by_type: bool) -> Vec<Group<'a>> {
    let rows = &window.rows;
    let sites: Vec<Option<FrameId>> = rows
        .iter()
        .map(|row| frames(session, row.stack).first().copied())
        .collect();
    let name = |at: usize| if by_type { rows[at].type_name.as_str() } else { "" };
    let order = ranked(rows.len(), &|a, b| (sites[a], name(a)).cmp(&(sites[b], name(b))));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for at in order {
        let at = at as usize;
        let row = &rows[at];
        let (site, type_name) = (sites[at], name(at));
        let is_new = groups
            .last()
            .is_none_or(|group| group.site != site || group.type_name != type_name);
        if is_new {
            groups.push(Group {
                site,
                type_name,
                objects: 0,
                bytes: 0,
                taken: (0, 0),
                heaviest: row.stack,
                heaviest_bytes: row.bytes,
            });
        }
        if let Some(group) = groups.last_mut() {
            let taken = taken_bytes(row);
            group.objects = group.objects.saturating_add(row.objects);
            group.bytes = group.bytes.saturating_add(row.bytes);
            group.taken.0 = group.taken.0.saturating_add(taken.0);
            group.taken.1 = group.taken.1.saturating_add(taken.1);
            if row.bytes > group.heaviest_bytes {
                group.heaviest = row.stack;
                group.heaviest_bytes = row.bytes;
            }
        }
    }
    let order = ranked(groups.len(), &|a, b| groups[b].bytes.cmp(&groups[a].bytes));
    let mut slots: Vec<Option<Group<'a>>> = groups.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|at| slots.get_mut(*at as usize)?.take())
        .collect()
}

/// What the objects of a row take of the heap, at least and at most.
fn taken_bytes(row: &ExactRow) -> (u64, u64) {
    let each = u64::from(row.class_bytes);
    let most = row.objects.saturating_mul(each);
    if each == 0 {
        let mean = row.bytes / row.objects.max(1);
        let whole = mean
            .div_ceil(PAGE_BYTES)
            .saturating_mul(PAGE_BYTES)
            .saturating_mul(row.objects);
        return (whole, whole);
    }
    let is_tiny = row.class_bytes == TINY_CLASS_BYTES && row.bytes < most;
    (if is_tiny { row.bytes } else { most }, most)
}

fn of_site(session: &Session, sampled: &[StackTally], site: Option<FrameId>) -> Tally {
    let mut sum = Tally::default();
    for stack in sampled {
        let frames = session.symbols.stack(stack.stack, stack.generation);
        if frames.first().copied() == site {
            sum = sum.plus(&stack.tally);
        }
    }
    sum
}

fn site_name(session: &Session, site: Option<FrameId>) -> String {
    match site {
        Some(site) => session.symbols.describe(site, NEWEST).function,
        None => "(no stack)".into(),
    }
}

/// Leaf first, without the allocator's own.
fn frames(session: &Session, stack: Option<StackId>) -> &[FrameId] {
    stack.map_or(&[], |stack| session.symbols.stack(stack, NEWEST))
}

fn describe(session: &Session, stack: Option<StackId>) -> Vec<StackFrame> {
    frames(session, stack)
        .iter()
        .map(|frame| session.symbols.describe(*frame, NEWEST))
        .collect()
}

fn share(part: u64, whole: u64) -> Cell {
    if whole == 0 {
        return Cell::Unknown;
    }
    Cell::Value(part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(bins: Vec<u32>) -> SamplingPhase {
        SamplingPhase {
            rate_bytes: 524_288,
            bins,
            bytes: 1 << 30,
        }
    }

    #[test]
    fn the_threshold_is_that_of_the_tables() {
        for (freedom, expected) in [(9.0, 21.666), (19.0, 36.191), (99.0, 134.642)] {
            let got = chi_square_99(freedom);
            assert!((got - expected).abs() / expected < 0.002, "{freedom}: {got}");
        }
    }

    #[test]
    fn a_phase_has_a_verdict() {
        let mut uneven = vec![50; 20];
        uneven[0] = 120;
        for (bins, expected) in [
            (vec![50; 20], "keeps no step"),
            (uneven, "may keep step"),
            (vec![2; 20], "too few samples"),
            (Vec::new(), "too few samples"),
        ] {
            let table = phase_table(&phase(bins.clone()));
            assert!(table.title.contains(expected), "{bins:?}: {}", table.title);
            assert_eq!(table.rows.len(), bins.len() + 1);
        }
    }

    #[test]
    fn the_bins_have_their_edges() {
        let table = phase_table(&phase(vec![10; 20]));
        let edge = |row: usize| table.rows[row].cells[0].clone();
        // Half of all distances are shorter than ln 2 times the mean.
        let Cell::Value(half) = edge(10) else {
            panic!("{:?}", edge(10))
        };
        assert!((half - std::f64::consts::LN_2 * 524_288.0).abs() < 10.0, "{half}");
        assert_eq!(edge(20), Cell::Unknown);
    }

    #[test]
    fn objects_take_what_their_class_takes() {
        let row = |class_bytes, objects, bytes| ExactRow {
            stack: None,
            type_name: String::new(),
            class_bytes,
            objects,
            bytes,
        };
        for (row, expected) in [
            (row(112, 10, 1000), (1120, 1120)),
            (row(0, 2, 200_000), (212_992, 212_992)),
            (row(16, 4, 16), (16, 64)),
            (row(16, 4, 64), (64, 64)),
        ] {
            assert_eq!(taken_bytes(&row), expected, "{row:?}");
        }
    }
}
