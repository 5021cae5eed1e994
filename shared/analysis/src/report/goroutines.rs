//! Goroutines by creator and by state, which of them outlive the others, and how fast they come and go.
//!
//! A creator is *suspect* if over at least three censuses of the window it never had fewer goroutines than
//! before, has more at the end than at the start, and at least nine in ten of those that it had at the start
//! are still there. That is what a leak looks like; so does a pool that is being filled, and a leak that is
//! slower than the window is long shows no growth. Go's own verdict stands beside it where it was asked for.

use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::Session;
use crate::goroutine_events::{CREATED, EXITED, GROWN, SHRUNK};
use crate::symbols::Symbols;
use crate::views::StackFrame;
use heaptide_protocol::goroutines::{GoroutineCensus, GoroutineGroup, GoroutineState};
use heaptide_protocol::session::Method;
use heaptide_protocol::{StackId, SymbolGen};
use std::collections::BTreeMap;

const AGE_CLASSES: usize = 16;
const SECOND_NS: u64 = 1_000_000_000;
/// Symbols of goroutines are told once.
const GENERATION: SymbolGen = SymbolGen(u32::MAX);
const SURVIVING: f64 = 0.9;
const MIN_CENSUSES: usize = 3;

const BY_CREATOR: &str = "By the go statement that created them, in the last census of the window. Suspect: never \
     fewer than in the census before, more at the end than at the start, and 9 in 10 of those at the start still \
     there, over 3 censuses or more; a pool being filled looks the same, and a leak slower than the window shows \
     no growth. Ages count from when a goroutine was first seen.";
const BY_STATE: &str = "By runtime state and Go's own wait reason, in the last census of the window.";
const CENSUSES: &str = "runtime.allgs, read while the program runs: what began or ended meanwhile is counted or \
     not. Torn ones changed while they were read; those and ungrouped ones are in no other table. \
     Where many stand alike, one in 64 is looked at and the stack of the others inferred.";
const EVENTS: &str = "Every event was seen while goroutine events were on, less what was dropped. Coroutines \
     (iter.Pull) are seen to end only. Rates are over the window.";

/// A creator's first frame or a state, and a wait reason.
type Key<'a> = (u32, &'a str);

#[derive(Debug, Default)]
struct Tally<'a> {
    /// In each census of the window.
    counts: Vec<u64>,
    stack_bytes: u64,
    leaked: u64,
    oldest_ns: u64,
    ages: [u64; AGE_CLASSES],
    /// The largest group in the last census.
    largest: Option<&'a GoroutineGroup>,
    states: BTreeMap<Key<'a>, u64>,
}

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let all = &session.censuses;
    let until = all.partition_point(|census| census.timestamp_ns < query.window.to_ns);
    let from = all.partition_point(|census| census.timestamp_ns < query.window.from_ns);
    // A window between two censuses is told what the one before it said.
    let censuses = &all[from.min(until.saturating_sub(1))..until];
    let mut tables = vec![
        by_creator(session, censuses, query),
        by_state(session, censuses, query),
        overview(censuses),
    ];
    tables.extend(events(session, query));
    for table in &mut tables {
        table.cut(query.limit);
    }
    tables
}

fn by_creator(session: &Session, censuses: &[GoroutineCensus], query: &ReportQuery) -> Table {
    let symbols = &session.symbols;
    let mut table = Table::new(
        "Goroutines by creator",
        BY_CREATOR,
        Method::Census,
        &[
            ("Created by", Unit::Text),
            ("Goroutines", Unit::Count),
            ("Change", Unit::Count),
            ("Stacks", Unit::Bytes),
            ("Most are", Unit::Text),
            ("Oldest", Unit::Nanos),
            ("Older than half of all others", Unit::Share),
            ("Suspect", Unit::Text),
            ("Leaked, says Go", Unit::Count),
        ],
    );
    let creator = |group: &GoroutineGroup| {
        let frames = group.creator.map(|id| symbols.stack(id, GENERATION));
        frames.and_then(<[_]>::first).map_or(u32::MAX, |frame| frame.0)
    };
    let tallies = tally(censuses, &|group| (creator(group), ""));
    let Some(last) = censuses.last() else {
        return table;
    };
    let mut all = [0; AGE_CLASSES];
    let mut everybody = 0_u64;
    for tally in tallies.values() {
        everybody = everybody.saturating_add(tally.now());
        for (sum, count) in all.iter_mut().zip(tally.ages) {
            *sum += count;
        }
    }
    let mut rows = Vec::new();
    for tally in tallies.values().filter(|tally| tally.now() > 0) {
        let Some(group) = tally.largest else { continue };
        let stacks = stacks(symbols, group);
        let most = tally.states.iter().max_by_key(|(_, count)| **count);
        let others: Vec<u64> = all.iter().zip(tally.ages).map(|(all, own)| all - own).collect();
        let suspect = is_suspect(tally, censuses);
        let cells = vec![
            Cell::Text(site(&stacks[0].1)),
            Cell::Value(tally.now() as f64),
            tally.change(),
            Cell::Value(tally.stack_bytes as f64),
            Cell::Text(most.map_or(String::new(), |((state, reason), _)| words(*state, reason))),
            tally.oldest(last),
            older(tally, &others, everybody - tally.now()),
            Cell::Text(if suspect { "outlives others" } else { "" }.to_owned()),
            Cell::Value(tally.leaked as f64),
        ];
        if matches(session, group, query) {
            rows.push((suspect, tally.now(), Row { cells, stacks }));
        }
    }
    rows.sort_by_key(|(suspect, count, _)| std::cmp::Reverse((*suspect, *count)));
    table.rows = rows.into_iter().map(|(_, _, row)| row).collect();
    table
}

fn by_state(session: &Session, censuses: &[GoroutineCensus], query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Goroutines by state",
        BY_STATE,
        Method::Census,
        &[
            ("State", Unit::Text),
            ("Goroutines", Unit::Count),
            ("Change", Unit::Count),
            ("Stacks", Unit::Bytes),
            ("Oldest", Unit::Nanos),
        ],
    );
    let Some(last) = censuses.last() else {
        return table;
    };
    let mut rows = Vec::new();
    for ((state, reason), tally) in tally(censuses, &|group| (group.state as u32, &group.wait_reason)) {
        let Some(group) = tally.largest else { continue };
        let cells = vec![
            Cell::Text(words(state, reason)),
            Cell::Value(tally.now() as f64),
            tally.change(),
            Cell::Value(tally.stack_bytes as f64),
            tally.oldest(last),
        ];
        if matches(session, group, query) {
            let stacks = stacks(&session.symbols, group);
            rows.push((tally.now(), Row { cells, stacks }));
        }
    }
    rows.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    table.rows = rows.into_iter().map(|(_, row)| row).collect();
    table
}

/// The censuses themselves, newest first.
fn overview(censuses: &[GoroutineCensus]) -> Table {
    let mut table = Table::new(
        "Censuses",
        CENSUSES,
        Method::Census,
        &[
            ("At", Unit::Moment),
            ("Took", Unit::Nanos),
            ("Goroutines", Unit::Count),
            ("Dead, kept for reuse", Unit::Count),
            ("Torn", Unit::Count),
            ("Ungrouped", Unit::Count),
            ("Stack inferred", Unit::Count),
        ],
    );
    for census in censuses.iter().rev() {
        let numbers = [
            census.timestamp_ns,
            census.took_ns,
            census.goroutines,
            census.dead,
            census.torn,
            census.ungrouped,
            census.inferred,
        ];
        table.rows.push(Row {
            cells: numbers.map(|number| Cell::Value(number as f64)).to_vec(),
            stacks: Vec::new(),
        });
    }
    table
}

/// How many came and went; nothing if no event was seen in the window.
fn events(session: &Session, query: &ReportQuery) -> Option<Table> {
    let span = session.span();
    let mut window = query.window;
    window.from_ns = window.from_ns.max(span.from_ns);
    window.to_ns = window.to_ns.min(span.to_ns.max(window.from_ns + 1));
    let sums = session.goroutine_events.sum(window);
    if sums.iter().all(|(count, _)| *count == 0) {
        return None;
    }
    let seconds = (window.to_ns - window.from_ns) as f64 / SECOND_NS as f64;
    let mut table = Table::new(
        "Goroutine events",
        EVENTS,
        Method::Exact,
        &[
            ("Event", Unit::Text),
            ("Seen", Unit::Count),
            ("A second", Unit::Count),
            ("Stacks", Unit::Bytes),
        ],
    );
    for (what, at) in [
        ("created", CREATED),
        ("ended", EXITED),
        ("stack grown", GROWN),
        ("stack halved", SHRUNK),
    ] {
        let (count, bytes) = sums[at];
        table.rows.push(Row {
            cells: vec![
                Cell::Text(what.to_owned()),
                Cell::Value(count as f64),
                Cell::Value(count as f64 / seconds),
                Cell::Value(bytes as f64),
            ],
            stacks: Vec::new(),
        });
    }
    Some(table)
}

fn tally<'a>(
    censuses: &'a [GoroutineCensus],
    key: &dyn Fn(&'a GoroutineGroup) -> Key<'a>,
) -> BTreeMap<Key<'a>, Tally<'a>> {
    let mut tallies: BTreeMap<Key<'a>, Tally<'a>> = BTreeMap::new();
    for (at, census) in censuses.iter().enumerate() {
        for group in &census.groups {
            let tally = tallies.entry(key(group)).or_default();
            tally.counts.resize(censuses.len(), 0);
            tally.counts[at] = tally.counts[at].saturating_add(group.count);
            if at + 1 == censuses.len() {
                tally.add(group);
            }
        }
    }
    tallies
}

impl<'a> Tally<'a> {
    fn add(&mut self, group: &'a GoroutineGroup) {
        self.stack_bytes = self.stack_bytes.saturating_add(group.stack_bytes);
        if group.state == GoroutineState::Leaked {
            self.leaked = self.leaked.saturating_add(group.count);
        }
        if group.oldest_seen_ns != 0 && (self.oldest_ns == 0 || group.oldest_seen_ns < self.oldest_ns) {
            self.oldest_ns = group.oldest_seen_ns;
        }
        for (sum, count) in self.ages.iter_mut().zip(&group.ages) {
            *sum += u64::from(*count);
        }
        if self.largest.is_none_or(|largest| largest.count < group.count) {
            self.largest = Some(group);
        }
        let state = self
            .states
            .entry((group.state as u32, &group.wait_reason))
            .or_default();
        *state = state.saturating_add(group.count);
    }

    fn now(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Not known from one census.
    fn change(&self) -> Cell {
        match self.counts[..] {
            [first, .., last] => Cell::Value(last as f64 - first as f64),
            _ => Cell::Unknown,
        }
    }

    fn oldest(&self, last: &GoroutineCensus) -> Cell {
        match self.oldest_ns {
            0 => Cell::Unknown,
            seen_ns => Cell::Value(last.timestamp_ns.saturating_sub(seen_ns) as f64),
        }
    }

    /// How many have been there for 2^`class` seconds.
    fn aged(&self, class: usize) -> u64 {
        self.ages.iter().skip(class).sum()
    }
}

/// Ages are told in powers of two, so "the start" is the last census that is such a power ago.
fn is_suspect(tally: &Tally<'_>, censuses: &[GoroutineCensus]) -> bool {
    let (Some(first), Some(last)) = (censuses.first(), censuses.last()) else {
        return false;
    };
    let span_s = last.timestamp_ns.saturating_sub(first.timestamp_ns) / SECOND_NS;
    let Some(class) = span_s.checked_ilog2().filter(|_| censuses.len() >= MIN_CENSUSES) else {
        return false;
    };
    let start_ns = last.timestamp_ns - (SECOND_NS << class);
    let at = censuses.partition_point(|census| census.timestamp_ns <= start_ns);
    let start = tally.counts.get(at.saturating_sub(1)).copied().unwrap_or(0);
    let grows = tally.counts.is_sorted() && tally.counts.first() < tally.counts.last();
    grows && start > 0 && tally.aged(class as usize) as f64 >= SURVIVING * start as f64
}

/// The share that is older than the median of all others, in classes of age.
fn older(tally: &Tally<'_>, others: &[u64], other_count: u64) -> Cell {
    if other_count == 0 || tally.now() == 0 {
        return Cell::Unknown;
    }
    // Those younger than a second are in no class, and the youngest.
    let mut younger = other_count - others.iter().sum::<u64>().min(other_count);
    let mut class = 0;
    while younger.saturating_mul(2) < other_count && class < AGE_CLASSES {
        younger = younger.saturating_add(others[class]);
        class += 1;
    }
    Cell::Value(tally.aged(class) as f64 / tally.now() as f64)
}

fn matches(session: &Session, group: &GoroutineGroup, query: &ReportQuery) -> bool {
    let needle = query.filter.to_ascii_lowercase();
    let symbols = &session.symbols;
    group.wait_reason.to_ascii_lowercase().contains(&needle)
        || [group.creator, group.entry, group.wait]
            .into_iter()
            .flatten()
            .any(|id| symbols.matches(symbols.stack(id, GENERATION), GENERATION, &needle))
}

/// The creator always comes first.
fn stacks(symbols: &Symbols, group: &GoroutineGroup) -> Vec<(String, Vec<StackFrame>)> {
    let frames = |id: Option<StackId>| -> Vec<StackFrame> {
        let frames = id.map_or(&[][..], |id| symbols.stack(id, GENERATION));
        frames
            .iter()
            .map(|frame| symbols.describe(*frame, GENERATION))
            .collect()
    };
    [
        (
            if group.creator_is_whole {
                "created by"
            } else {
                "created at"
            },
            group.creator,
        ),
        ("starts in", group.entry),
        ("stands in", group.wait),
    ]
    .into_iter()
    .map(|(what, id)| (what.to_owned(), frames(id)))
    .collect()
}

fn site(frames: &[StackFrame]) -> String {
    frames.first().map_or_else(
        || "(the runtime's start)".to_owned(),
        |frame| [&frame.function, " ", &frame.file, ":", &frame.line.to_string()].concat(),
    )
}

fn words(state: u32, reason: &str) -> String {
    const STATES: [&str; 9] = [
        "idle",
        "runnable",
        "running",
        "in a system call",
        "waiting",
        "stack being copied",
        "preempted",
        "leaked",
        "other",
    ];
    let state = STATES.get(state as usize).copied().unwrap_or("other");
    if reason.is_empty() {
        state.to_owned()
    } else {
        [state, ": ", reason].concat()
    }
}
