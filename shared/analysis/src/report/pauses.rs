//! Cycles, pauses, assists and sweeps, and what else happened at the time of a pause.
//!
//! All times are of one clock; two spans that touch within its error overlap only possibly.

use super::sites::by_site;
use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::Session;
use crate::kernel::Kept;
use crate::views::{Pause, Window};
use heaptide_protocol::events::{EventKind, GcWorkDetail};
use heaptide_protocol::gauges::Gauge;
use heaptide_protocol::session::Method;

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let mut pauses = session.collections.pauses_in(query.window);
    let needle = query.filter.to_ascii_lowercase();
    pauses.retain(|pause| pause.reason_text.to_ascii_lowercase().contains(&needle));
    pauses.sort_by_key(|pause| std::cmp::Reverse(pause.end_ns - pause.begin_ns));
    vec![
        longest(session, query, &pauses),
        by_reason(&pauses),
        cycles(session, query),
        work(session, query, &needle, GcWorkDetail::Assist),
        work(session, query, &needle, GcWorkDetail::Sweep),
        since_attach(session),
    ]
}

/// What may have coincided with a pause. Counts of page faults are weighed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Overlap {
    definite: u64,
    possible: u64,
}

impl Overlap {
    fn add(&mut self, pause: Window, event: Window, error_ns: u64, weight: u64) {
        if event.from_ns + error_ns <= pause.to_ns && event.to_ns >= pause.from_ns + error_ns {
            self.definite += weight;
        } else if event.from_ns <= pause.to_ns + error_ns && event.to_ns + error_ns >= pause.from_ns {
            self.possible += weight;
        }
    }

    fn cell(self) -> Cell {
        Cell::Text(match (self.definite, self.possible) {
            (0, 0) => "none".to_owned(),
            (definite, 0) => definite.to_string(),
            (0, possible) => format!("{possible} possibly"),
            (definite, possible) => format!("{definite}, {possible} more possibly"),
        })
    }
}

fn longest(session: &Session, query: &ReportQuery, pauses: &[Pause]) -> Table {
    let mut table = Table::new(
        "Pauses, longest first",
        "From stopTheWorldWithSema to the start of the world, and what overlapped by the clock. Unknown where \
         nothing of that kind was seen, or watched.",
        Method::Exact,
        &[
            ("Begin", Unit::Moment),
            ("Length", Unit::Nanos),
            ("Reason", Unit::Text),
            ("Page faults", Unit::Text),
            ("Huge pages", Unit::Text),
            ("Waits for a CPU", Unit::Text),
            ("CPU quota used up", Unit::Text),
        ],
    );
    let error_ns = session.start().map_or(0, |start| start.signature.clock.error_ns);
    let shown = pauses.len().min(query.limit as usize);
    for pause in &pauses[..shown] {
        let span = Window {
            from_ns: pause.begin_ns,
            to_ns: pause.end_ns,
        };
        let mut cells = vec![
            Cell::Value(pause.begin_ns as f64),
            Cell::Value((pause.end_ns - pause.begin_ns) as f64),
            Cell::Text(pause.reason_text.clone()),
        ];
        for kind in [EventKind::PageFault, EventKind::HugePage, EventKind::OffCpu] {
            cells.push(coincidence(session, span, error_ns, kind));
        }
        cells.push(quota(session, span));
        table.rows.push(Row {
            cells,
            stacks: Vec::new(),
        });
    }
    table.left_out = (pauses.len() - shown) as u64;
    table
}

fn coincidence(session: &Session, pause: Window, error_ns: u64, kind: EventKind) -> Cell {
    let wide = Window {
        from_ns: pause.from_ns.saturating_sub(error_ns),
        to_ns: pause.to_ns.saturating_add(error_ns + 1),
    };
    if !session.kernel.has(kind) {
        return Cell::Unknown;
    }
    let mut overlap = Overlap::default();
    for event in session.kernel.of(kind, wide) {
        let weight = if kind == EventKind::PageFault {
            event.row.size_bytes
        } else {
            1
        };
        overlap.add(pause, event.span(), error_ns, weight);
    }
    overlap.cell()
}

/// The quota is read a few times a second, so when in between it was used up is not known.
fn quota(session: &Session, pause: Window) -> Cell {
    if !session.gauges.contains_key(&Gauge::THROTTLED_NS) {
        return Cell::Unknown;
    }
    let mut overlap = Overlap::default();
    for between in session.kernel.throttled() {
        overlap.possible += u64::from(between.from_ns < pause.to_ns && between.to_ns > pause.from_ns);
    }
    overlap.cell()
}

fn by_reason(pauses: &[Pause]) -> Table {
    let mut table = Table::new(
        "By reason",
        "All pauses of the window.",
        Method::Exact,
        &[
            ("Reason", Unit::Text),
            ("Pauses", Unit::Count),
            ("Total", Unit::Nanos),
            ("Longest", Unit::Nanos),
        ],
    );
    // The longest come first, so a reason's first pause is its longest.
    let mut reasons: Vec<(&Pause, u64, u64)> = Vec::new();
    for pause in pauses {
        let length_ns = pause.end_ns - pause.begin_ns;
        match reasons
            .iter_mut()
            .find(|(first, ..)| first.reason == pause.reason)
        {
            Some((_, count, total_ns)) => {
                *count += 1;
                *total_ns = total_ns.saturating_add(length_ns);
            }
            None => reasons.push((pause, 1, length_ns)),
        }
    }
    reasons.sort_by_key(|(_, _, total_ns)| std::cmp::Reverse(*total_ns));
    for (longest, count, total_ns) in reasons {
        table.rows.push(Row {
            cells: vec![
                Cell::Text(longest.reason_text.clone()),
                Cell::Value(count as f64),
                Cell::Value(total_ns as f64),
                Cell::Value((longest.end_ns - longest.begin_ns) as f64),
            ],
            stacks: Vec::new(),
        });
    }
    table
}

fn cycles(session: &Session, query: &ReportQuery) -> Table {
    let mut table = Table::new(
        "Collections, newest first",
        "Marking lasts from startCycle to gcMarkTermination. Assists as sent: those of 10 µs and more.",
        Method::Exact,
        &[
            ("Begin", Unit::Moment),
            ("Marking", Unit::Nanos),
            ("Assists", Unit::Count),
            ("Time in assists", Unit::Nanos),
        ],
    );
    for cycle in session.collections.cycles_in(query.window).iter().rev() {
        let marking = Window {
            from_ns: cycle.begin_ns,
            to_ns: cycle.end_ns.unwrap_or(query.window.to_ns),
        };
        let (mut count, mut sum) = (0_u64, 0_u64);
        if table.rows.len() < query.limit as usize {
            for event in session.kernel.of(EventKind::GcWork, marking) {
                if event.row.detail == GcWorkDetail::Assist as u64 {
                    count += 1;
                    sum = sum.saturating_add(event.row.size_bytes);
                }
            }
        }
        table.rows.push(Row {
            cells: vec![
                Cell::Value(cycle.begin_ns as f64),
                cycle
                    .end_ns
                    .map_or(Cell::Unknown, |end| Cell::Value((end - cycle.begin_ns) as f64)),
                Cell::Value(count as f64),
                Cell::Value(sum as f64),
            ],
            stacks: Vec::new(),
        });
    }
    table.cut(query.limit);
    table
}

fn work(session: &Session, query: &ReportQuery, needle: &str, detail: GcWorkDetail) -> Table {
    let (title, note) = match detail {
        GcWorkDetail::Assist => (
            "Mark assists by call site",
            "Goroutines that marked because they allocated, 10 µs and more each. Off unless the policy wants it.",
        ),
        GcWorkDetail::Sweep => (
            "Sweeps by call site",
            "Spans swept before an allocation, 10 µs and more each. Off unless the policy wants it.",
        ),
    };
    let columns = [
        ("Call site", Unit::Text),
        ("Times", Unit::Count),
        ("Total", Unit::Nanos),
        ("Longest", Unit::Nanos),
    ];
    let mut table = Table::new(title, note, Method::Exact, &columns);
    let mut events = session
        .kernel
        .of(EventKind::GcWork, query.window)
        .filter(|event| event.row.detail == detail as u64);
    for site in by_site(session, &mut events, length_ns) {
        if site.matches(session, needle) {
            let values = [site.count, site.sum, site.longest];
            let cells = values.map(|value| Cell::Value(value as f64));
            table.rows.push(site.row(session, cells.to_vec()));
        }
    }
    table.cut(query.limit);
    table
}

fn length_ns(event: &Kept) -> u64 {
    event.row.size_bytes
}

/// The sums that the kernel's programs keep, in which nothing is too short.
fn since_attach(session: &Session) -> Table {
    let mut table = Table::new(
        "Since attach",
        "Summed in the kernel, whatever the length; the quota's since its control group was made.",
        Method::Exact,
        &[
            ("What", Unit::Text),
            ("Times", Unit::Count),
            ("Total", Unit::Nanos),
        ],
    );
    let rows = [
        ("Waits for a CPU", Gauge::CPU_WAITS, Gauge::CPU_WAIT_NS),
        ("Mark assists", Gauge::ASSISTS, Gauge::ASSIST_NS),
        ("Sweeps before an allocation", Gauge::SWEEPS, Gauge::SWEEP_NS),
        ("CPU quota used up", Gauge::THROTTLED_PERIODS, Gauge::THROTTLED_NS),
    ];
    for (what, count, length) in rows {
        let value = |gauge| {
            session
                .gauges
                .get(&gauge)
                .map_or(Cell::Unknown, |value| Cell::Value(*value as f64))
        };
        table.rows.push(Row {
            cells: vec![Cell::Text(what.to_owned()), value(count), value(length)],
            stacks: Vec::new(),
        });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_definite_only_beyond_the_clock_error() {
        let pause = Window {
            from_ns: 100,
            to_ns: 200,
        };
        let cases = [
            (150, 150, 10, (1, 0)),
            (100, 100, 0, (1, 0)),
            (100, 100, 1, (0, 1)),
            (195, 300, 5, (1, 0)),
            (195, 300, 6, (0, 1)),
            (205, 300, 5, (0, 1)),
            (206, 300, 5, (0, 0)),
            (0, 95, 5, (0, 1)),
            (0, 94, 5, (0, 0)),
            (0, 300, 50, (1, 0)),
        ];
        for (from_ns, to_ns, error_ns, expected) in cases {
            let mut overlap = Overlap::default();
            overlap.add(pause, Window { from_ns, to_ns }, error_ns, 1);
            assert_eq!(
                (overlap.definite, overlap.possible),
                expected,
                "{from_ns}..{to_ns} with an error of {error_ns}"
            );
        }
    }
}
