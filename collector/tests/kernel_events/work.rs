//! Assists, sweeps and pauses against what Go itself counts, in each version.

use heaptide_analysis::report::{Cell, ReportKind};
use heaptide_collector::linux::bpf::{Class, Program};
use heaptide_protocol::events::{EventKind, GcWorkDetail};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::section::Section;

use crate::target::{Events, Seen, table, text, value};
use crate::{assert_nothing_vanished, session, toolchains};

/// Go's `stwReason` (src/runtime/proc.go).
const MARK_TERMINATION: u32 = 1;
const SWEEP_TERMINATION: u32 = 2;

#[test]
fn assists_and_pauses_agree_with_gos_own_metrics() {
    for go in toolchains() {
        let Some(mut session) = session() else { return };
        let mut target = Events::start(&go, &["-mode", "allocate"]);
        let sites = [
            Program::GcStartCycle,
            Program::GcMarkTermination,
            Program::StwBegin,
            Program::StwEnd,
            Program::StwEndWakep,
        ]
        .map(|program| target.binary.site(program));
        let classes = [Class::Gc, Class::Stw, Class::GcWork];
        target.attach(&mut session, &classes, sites.to_vec(), 0);
        let work = Program::GC_WORK.map(|program| target.binary.site(program));
        session
            .attach_sites(target.pid(), Class::GcWork, &work)
            .expect("attach to assists and sweeps");
        let mut seen = Seen::of(&target);
        let done = target.work(&mut session, &mut seen);
        session.detach_sites(target.pid(), Class::GcWork);
        let sums = session.sums(target.pid()).expect("sums");
        seen.drain(&mut session);
        assert_nothing_vanished(&session, seen.records);
        let values = [
            (Gauge::ASSISTS, sums.assists),
            (Gauge::ASSIST_NS, sums.assist_ns),
            (Gauge::SWEEPS, sums.sweeps),
            (Gauge::SWEEP_NS, sums.sweep_ns),
        ];
        seen.finish(&[Section::Gauges(Gauges {
            timestamp_ns: 0,
            values: values.map(|(gauge, value)| GaugeValue { gauge, value }).to_vec(),
        })]);

        let counters = session.counters().expect("counters").of(Class::GcWork);
        assert_eq!(counters.dropped(), 0, "{counters:?}");
        let of = |detail: GcWorkDetail| {
            let (mut count, mut sum) = (0, 0);
            for (_, row) in seen.of_kind(EventKind::GcWork) {
                if row.detail == detail as u64 {
                    assert_ne!(row.goroutine_id, 0);
                    (count, sum) = (count + 1, sum + row.size_bytes);
                }
            }
            (count, sum)
        };
        assert_eq!(of(GcWorkDetail::Assist), (sums.assists, sums.assist_ns));
        assert_eq!(of(GcWorkDetail::Sweep), (sums.sweeps, sums.sweep_ns));
        let ratio = sums.assist_ns as f64 / done.assist_ns as f64;
        eprintln!(
            "go1.{}: {} cycles, {} assists of {:.3} s, Go says {:.3} s, ratio {ratio:.3}; {} sweeps of {:.3} s",
            go.minor,
            done.cycles,
            sums.assists,
            sums.assist_ns as f64 / 1e9,
            done.assist_ns as f64 / 1e9,
            sums.sweeps,
            sums.sweep_ns as f64 / 1e9,
        );
        assert!(
            sums.assist_ns > 0 && sums.assists > 0 && sums.sweeps > 0,
            "{sums:?}"
        );
        // Go 1.19 has no such metric.
        assert_eq!(done.assist_ns > 0, go.minor >= 20, "{done:?}");
        // Go reads its clock behind our second probe, and so counts what that costs here: a stack for each.
        assert!(
            go.minor < 20 || (0.75..=1.1).contains(&ratio),
            "go1.{}: {ratio}",
            go.minor
        );

        assert_pauses(go.minor, &done, &seen);

        let report = seen.report(ReportKind::Pauses);
        for (title, least) in [
            ("Mark assists by call site", sums.assists),
            ("Sweeps by call site", sums.sweeps),
        ] {
            let table = table(&report, title);
            let count: f64 = table.rows.iter().map(|row| value(&row.cells[1])).sum();
            assert_eq!(count, least as f64, "{title}");
            assert!(
                table
                    .rows
                    .iter()
                    .flat_map(|row| &row.stacks)
                    .any(|(_, stack)| stack.iter().any(|frame| frame.function == "main.churn")),
                "{title}: {table:?}"
            );
        }
        let pauses = table(&report, "Pauses, longest first");
        assert!(
            pauses
                .rows
                .is_sorted_by(|a, b| value(&a.cells[1]) >= value(&b.cells[1])),
            "{pauses:?}"
        );
        // Page faults were not watched, so nobody says that there were none.
        assert_eq!(pauses.rows[0].cells[3], Cell::Unknown);
        let reasons = table(&report, "By reason");
        let named: Vec<&str> = reasons.rows.iter().map(|row| text(&row.cells[0])).collect();
        assert!(
            named.contains(&"GC mark termination") && named.contains(&"GC sweep termination"),
            "{named:?}"
        );
    }
}

/// From Go 1.22 on the runtime has a histogram of the collector's pauses.
fn assert_pauses(minor: u32, done: &crate::target::Truth, seen: &Seen) {
    if minor < 22 {
        return;
    }
    let all = seen.pauses();
    let ours: Vec<u64> = all
        .iter()
        .filter(|pause| matches!(pause.reason, MARK_TERMINATION | SWEEP_TERMINATION))
        .map(|pause| pause.end_ns - pause.begin_ns)
        .collect();
    // The program read its counters behind its first cycle and behind its last, so that first one is ours alone.
    let before = ours.len() as u64 - done.pauses;
    let total: u64 = ours[before as usize..].iter().sum();
    eprintln!(
        "go1.{minor}: {} pauses of {:.3} ms, /sched/pauses says {} of {:.3} to {:.3} ms",
        ours.len() as u64 - before,
        total as f64 / 1e6,
        done.pauses,
        done.pauses_low_ns as f64 / 1e6,
        done.pauses_high_ns as f64 / 1e6
    );
    assert_eq!(before, 2, "{} pauses, {done:?}", ours.len());
    assert_eq!(done.pauses, 2 * done.cycles);
    let (low, high) = (done.pauses_low_ns as f64 * 0.9, done.pauses_high_ns as f64 * 1.1);
    assert!(
        (low..=high).contains(&(total as f64)),
        "{total} outside {low} to {high}"
    );
}
