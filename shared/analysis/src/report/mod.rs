//! Everything that is a table: one shape for all, so that the console draws and the CLI prints each of them
//! without knowing what it is about. Every table says its method and what it counts.

mod drift;
mod exact;
mod goroutines;
mod ledger;
mod mappings;
mod pauses;
mod sites;

use crate::Session;
use crate::views::{Figure, StackFrame, Window};
use heaptide_protocol::session::Method;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Session {
    pub fn report(&self, query: &ReportQuery) -> Report {
        let tables = match query.kind {
            ReportKind::Goroutines => goroutines::tables(self, query),
            ReportKind::Pauses => pauses::tables(self, query),
            ReportKind::Mappings => mappings::tables(self, query),
            ReportKind::Ledger => ledger::tables(self, query),
            ReportKind::Drift => drift::tables(self, query),
            ReportKind::Exact => exact::tables(self, query),
        };
        Report {
            kind: query.kind,
            tables,
        }
    }
}

impl Table {
    /// An empty table.
    pub(crate) fn new(title: &str, note: &str, method: Method, columns: &[(&str, Unit)]) -> Self {
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
    pub(crate) fn cut(&mut self, limit: u32) {
        let limit = limit as usize;
        self.left_out += self.rows.len().saturating_sub(limit) as u64;
        self.rows.truncate(limit);
    }
}
