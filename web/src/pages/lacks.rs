//! Why a page has nothing to show, in a sentence that says what would change it.

use heaptide_analysis::report::ReportKind;
use heaptide_policy::Sources;
use heaptide_protocol::session::EventClass;

/// What of the policy keeps the report empty; else what it waits for.
pub fn why_lacking(kind: ReportKind, sources: &Sources) -> &'static str {
    let off = match kind {
        ReportKind::Goroutines => sources.goroutine_census_ms == 0 && !sources.goroutine_events,
        ReportKind::Pauses => !sources.gc,
        ReportKind::Mappings => !sources.mappings && !sources.huge_pages && sources.page_faults_one_in == 0,
        ReportKind::Ledger => sources.ledger_ms == 0,
        ReportKind::Drift => !sources.sampled_heap && !sources.bucket_heap,
        ReportKind::Exact => false,
    };
    match (kind, off) {
        (ReportKind::Goroutines, true) => {
            "The goroutine census and goroutine events are off. Switch one on under Sampling."
        }
        (ReportKind::Goroutines, false) => "No goroutine census has come yet in this time window.",
        (ReportKind::Pauses, true) => "Collections and pauses are off. Switch them on under Sampling.",
        (ReportKind::Pauses, false) => "No collection and no pause was seen in this time window.",
        (ReportKind::Mappings, true) => {
            "Mappings, huge pages and page faults are off. Switch them on under Sampling."
        }
        (ReportKind::Mappings, false) => {
            "No mapping call was seen in this time window, and no region was read."
        }
        (ReportKind::Ledger, true) => "The ledger is off. Switch it on under Sampling.",
        (ReportKind::Ledger, false) => "No ledger has come yet in this time window.",
        (ReportKind::Drift, true) => "Heap samples are off. Switch them on under Sampling.",
        (ReportKind::Drift, false) => {
            "No heap sample in this time window or the one before it. Wait, or choose a longer time."
        }
        (ReportKind::Exact, _) => {
            "Nothing was counted exactly in this time window. Count everything for a few seconds under Sampling."
        }
    }
}

/// The class of events that a report is made of.
pub fn class_of(kind: ReportKind) -> EventClass {
    match kind {
        ReportKind::Goroutines => EventClass::Goroutine,
        ReportKind::Pauses => EventClass::GarbageCollection,
        ReportKind::Mappings => EventClass::Mapping,
        ReportKind::Ledger => EventClass::Gauge,
        ReportKind::Drift | ReportKind::Exact => EventClass::Allocation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_named_and_what_is_on_is_waited_for() {
        type Switch = fn(&mut Sources);
        let cases: [(ReportKind, Switch, Switch); 5] = [
            (
                ReportKind::Goroutines,
                |s| s.goroutine_census_ms = 0,
                |s| s.goroutine_events = true,
            ),
            (ReportKind::Pauses, |s| s.gc = false, |s| s.gc = true),
            (
                ReportKind::Mappings,
                |s| (s.mappings, s.huge_pages) = (false, false),
                |s| s.page_faults_one_in = 9,
            ),
            (ReportKind::Ledger, |s| s.ledger_ms = 0, |s| s.ledger_ms = 100),
            (
                ReportKind::Drift,
                |s| s.sampled_heap = false,
                |s| s.bucket_heap = true,
            ),
        ];
        for (kind, switch_off, switch_on) in cases {
            let mut sources = Sources::default();
            assert!(!why_lacking(kind, &sources).contains(" off"), "{kind:?}");
            switch_off(&mut sources);
            assert!(why_lacking(kind, &sources).contains("off. Switch"), "{kind:?}");
            switch_on(&mut sources);
            assert!(!why_lacking(kind, &sources).contains(" off"), "{kind:?}");
        }
        assert!(why_lacking(ReportKind::Exact, &Sources::default()).contains("Count everything"));
    }
}
