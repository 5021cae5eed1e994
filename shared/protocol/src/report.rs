//! Reports: everything that is a table, in one shape for all, so that a console draws and a tool prints each of
//! them without knowing what it is about. Every table says its method and what it counts.
//!
//! A hub computes them from what it has stored: a console asks with [`ReportAsk`] and is told [`ReportTold`].

use crate::session::Method;
use serde::{Deserialize, Serialize};

/// [`FrameKind::ReportAsk`](crate::FrameKind::ReportAsk). One question of a connection is answered at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAsk {
    /// Comes back with the answer.
    pub number: u32,
    pub query: ReportQuery,
}

/// [`FrameKind::ReportTold`](crate::FrameKind::ReportTold).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportTold {
    pub number: u32,
    /// The last frame that is counted in.
    pub last_seq: u64,
    /// Or a sentence on why there is none.
    pub result: Result<Report, String>,
}

/// Half-open: `from_ns <= t < to_ns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from_ns: u64,
    pub to_ns: u64,
}

/// A number with its origin and its error: the truth lies in `low..=high` in ninety-nine of a hundred cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub method: Method,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StackFrame {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub inlined: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Who created the goroutines that are alive, where they wait, and which outlive others.
    Goroutines,
    /// Collections, pauses, assists, and what else happened at the time.
    Pauses,
    /// Mappings: calls by call site, regions, huge pages, page faults.
    Mappings,
    /// What each resident page is for.
    Ledger,
    /// Which call sites moved from one window to the next by more than noise, and whether sampling keeps step.
    Drift,
    /// Windows in which every allocation was counted, and how the sources agree.
    Exact,
}

/// What is asked. Lists are cut at `limit` rows, and say how many they left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportQuery {
    pub kind: ReportKind,
    pub window: Window,
    /// Keeps rows whose stack or text contains this, whatever its case. Empty keeps all.
    pub filter: String,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub kind: ReportKind,
    pub tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub title: String,
    /// What this counts, from where, and what it can't see.
    pub note: String,
    pub method: Method,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// Rows beyond the limit.
    pub left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub label: String,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Text,
    Count,
    Bytes,
    /// A length of time in nanoseconds.
    Nanos,
    /// A moment of session time in nanoseconds.
    Moment,
    /// 0 to 1.
    Share,
    BytesPerSecond,
    Address,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub cells: Vec<Cell>,
    /// The stacks behind the row, each leaf first, with a word on what it is.
    pub stacks: Vec<(String, Vec<StackFrame>)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// Not known.
    Unknown,
    Text(String),
    /// Exact, or read off at one moment.
    Value(f64),
    /// With its interval.
    Figure(Figure),
}

impl Table {
    /// An empty table.
    pub fn new(title: &str, note: &str, method: Method, columns: &[(&str, Unit)]) -> Self {
        Self {
            title: title.to_owned(),
            note: note.to_owned(),
            method,
            columns: columns
                .iter()
                .map(|(label, unit)| Column {
                    label: (*label).to_owned(),
                    unit: *unit,
                })
                .collect(),
            rows: Vec::new(),
            left_out: 0,
        }
    }

    /// Cuts it at `limit` rows and counts the rest.
    pub fn cut(&mut self, limit: u32) {
        let limit = limit as usize;
        self.left_out += self.rows.len().saturating_sub(limit) as u64;
        self.rows.truncate(limit);
    }
}
