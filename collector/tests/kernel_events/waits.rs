//! Threads that are more than there are processors wait, and as long as the kernel's own sum says.

use heaptide_analysis::report::ReportKind;
use heaptide_collector::linux::bpf::Class;
use heaptide_protocol::events::EventKind;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::section::Section;

use crate::target::{Events, Seen, table, text, value};
use crate::{assert_nothing_vanished, session, toolchains};

#[test]
fn waits_add_up_to_the_kernels_run_delay() {
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    let mut target = Events::start(&go, &["-mode", "starve"]);
    target.attach(&mut session, &[Class::OffCpu], Vec::new(), 0);
    let mut seen = Seen::of(&target);
    let done = target.work(&mut session, &mut seen);
    let sums = session.sums(target.pid()).expect("sums");
    session.detach_class(Class::OffCpu);
    seen.drain(&mut session);
    assert_nothing_vanished(&session, seen.records);
    seen.finish(vec![Section::Gauges(Gauges {
        timestamp_ns: 0,
        values: vec![
            GaugeValue {
                gauge: Gauge::CPU_WAITS,
                value: sums.waits,
            },
            GaugeValue {
                gauge: Gauge::CPU_WAIT_NS,
                value: sums.wait_ns,
            },
        ],
    })]);

    let counters = session.counters().expect("counters").of(Class::OffCpu);
    assert_eq!(counters.dropped(), 0, "{counters:?}");
    let rows: Vec<_> = seen.of_kind(EventKind::OffCpu).collect();
    assert_eq!(rows.len() as u64, sums.waits, "with no threshold all are sent");
    assert_eq!(
        rows.iter().map(|(_, row)| row.size_bytes).sum::<u64>(),
        sums.wait_ns,
        "sent and summed are the same"
    );
    let ratio = sums.wait_ns as f64 / done.run_delay_ns as f64;
    eprintln!(
        "{} waits, {:.3} s; run_delay {:.3} s; ratio {ratio:.3}",
        sums.waits,
        sums.wait_ns as f64 / 1e9,
        done.run_delay_ns as f64 / 1e9
    );
    // Three threads for each processor: much waiting. A thread made meanwhile waits once unseen, and one that is
    // still waiting at the end is in neither sum.
    assert!(done.run_delay_ns > 1_000_000_000, "{done:?}");
    assert!((0.9..=1.1).contains(&ratio), "{ratio}");

    let report = seen.report(ReportKind::Pauses);
    let total = &table(&report, "Since attach").rows[0];
    assert_eq!(text(&total.cells[0]), "Waits for a CPU");
    assert_eq!(value(&total.cells[2]), sums.wait_ns as f64);
}
