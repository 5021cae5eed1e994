//! What is told of a recording: the headline, the heap by call site, and the reports that the console shows.

use crate::Recording;
use heaptide_analysis::report::{Report, ReportKind, ReportQuery};
use heaptide_analysis::views::{Headline, Metric, ProfileQuery, SiteTable, Window};

/// A chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Heap,
    Goroutines,
    Pauses,
    Mappings,
    Ledger,
    Drift,
    Exact,
}

#[derive(Debug, Clone)]
pub struct TellQuery {
    pub kinds: Vec<Kind>,
    /// What the heap's chapter counts.
    pub metric: Metric,
    pub window: Window,
    /// Keeps rows whose stack or text contains this, whatever its case. Empty keeps all.
    pub filter: String,
    /// Rows of a table.
    pub limit: u32,
    /// Whether the text has the stacks behind the rows. JSON always has them.
    pub stacks: bool,
}

/// The answers, to be written as text or JSON.
#[derive(Debug)]
pub struct Told<'a> {
    pub(crate) recording: &'a Recording,
    pub(crate) query: &'a TellQuery,
    pub(crate) headline: Headline,
    pub(crate) heap: Option<SiteTable>,
    pub(crate) reports: Vec<(Kind, Report)>,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Heap,
        Self::Goroutines,
        Self::Pauses,
        Self::Mappings,
        Self::Ledger,
        Self::Drift,
        Self::Exact,
    ];

    /// As it is asked for, and as JSON calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Goroutines => "goroutines",
            Self::Pauses => "pauses",
            Self::Mappings => "mappings",
            Self::Ledger => "ledger",
            Self::Drift => "drift",
            Self::Exact => "exact",
        }
    }

    fn report(self) -> Option<ReportKind> {
        Some(match self {
            Self::Heap => return None,
            Self::Goroutines => ReportKind::Goroutines,
            Self::Pauses => ReportKind::Pauses,
            Self::Mappings => ReportKind::Mappings,
            Self::Ledger => ReportKind::Ledger,
            Self::Drift => ReportKind::Drift,
            Self::Exact => ReportKind::Exact,
        })
    }
}

impl Recording {
    pub fn tell<'a>(&'a self, query: &'a TellQuery) -> Told<'a> {
        let heap = query.kinds.contains(&Kind::Heap).then(|| {
            self.session.sites(&ProfileQuery {
                window: query.window,
                metric: query.metric,
                filter: query.filter.clone(),
                limit: query.limit,
            })
        });
        let report = |kind: Kind| {
            let report_kind = kind.report()?;
            let report = self.session.report(&ReportQuery {
                kind: report_kind,
                window: query.window,
                filter: query.filter.clone(),
                limit: query.limit,
            });
            Some((kind, report))
        };
        Told {
            recording: self,
            query,
            headline: self.session.headline_at(query.window.to_ns),
            heap,
            reports: query.kinds.iter().copied().filter_map(report).collect(),
        }
    }
}

/// As it is asked for, and as JSON calls it.
pub(crate) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "live",
        Metric::Kept => "kept",
        Metric::Allocated => "allocated",
        Metric::Freed => "freed",
    }
}
