//! Everything that is a table ([`heaptide_protocol::report`] has the shape): computed by the hub and by the
//! command line, never by a browser, which would have to carry the code.

#[cfg(feature = "reports")]
mod drift;
#[cfg(feature = "reports")]
mod exact;
#[cfg(feature = "reports")]
mod figures;
#[cfg(feature = "reports")]
mod goroutines;
#[cfg(feature = "reports")]
mod ledger;
#[cfg(feature = "reports")]
mod mappings;
#[cfg(feature = "reports")]
mod pauses;
#[cfg(feature = "reports")]
mod sites;

#[cfg(feature = "reports")]
pub use figures::At;
pub use heaptide_protocol::report::{Cell, Column, Report, ReportKind, ReportQuery, Row, Table, Unit};

#[cfg(feature = "reports")]
impl crate::Session {
    pub fn report(&self, query: &ReportQuery) -> Report {
        let mut tables = match query.kind {
            ReportKind::Goroutines => goroutines::tables(self, query),
            ReportKind::Pauses => pauses::tables(self, query),
            ReportKind::Mappings => mappings::tables(self, query),
            ReportKind::Ledger => ledger::tables(self, query),
            ReportKind::Drift => drift::tables(self, query),
            ReportKind::Exact => exact::tables(self, query),
        };
        let forgotten = self.kernel.trimmed;
        if forgotten > 0 && matches!(query.kind, ReportKind::Pauses | ReportKind::Mappings) {
            for table in &mut tables {
                table.note += &format!(" {forgotten} events of the kernel, the oldest, are no longer kept.");
            }
        }
        let step_ns = self.step_in(query.window);
        if step_ns > 0 {
            for table in &mut tables {
                table.note += &format!(
                    " The session is long: some of this time was read in steps of {} s, which keep sums of allocations \
                     and no single events, censuses or ledgers. A shorter range is read whole.",
                    step_ns / 1_000_000_000
                );
            }
        }
        Report {
            kind: query.kind,
            tables,
        }
    }
}
