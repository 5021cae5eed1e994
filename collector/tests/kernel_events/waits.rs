//! Threads that are more than there are processors wait, and as long as the kernel's own sum says.

use heaptide_analysis::report::ReportKind;
use heaptide_collector::linux::CpuStat;
use heaptide_collector::linux::bpf::Class;
use heaptide_protocol::events::EventKind;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::section::Section;

use crate::target::{Events, Seen, table, text, value};
use crate::{assert_nothing_vanished, session, skip, toolchains};

#[test]
fn waits_add_up_to_the_kernels_run_delay() {
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    let mut target = Events::start(&go, &["-mode", "starve"]);
    target.attach(&mut session, &[Class::OffCpu], Vec::new(), 0);
    let mut seen = Seen::of(&target);
    let done = target.work(&mut session, &mut seen);
    session.detach_class(Class::OffCpu);
    let sums = session.sums(target.pid()).expect("sums");
    seen.drain(&mut session);
    assert_nothing_vanished(&session, seen.records);
    seen.finish(&[Section::Gauges(Gauges {
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

/// A control group of its own with a quota, which is gone when this is dropped.
struct Quota(std::path::PathBuf);

impl Quota {
    /// A fifth of a processor, and that before all others, so that it is used up however busy the machine is.
    /// Version 1 of control groups, then version 2.
    fn new() -> Option<Self> {
        let name = format!("heaptide-test-{}", std::process::id());
        for (root, files) in [
            (
                "/sys/fs/cgroup/cpu",
                &[
                    ("cpu.shares", "262144"),
                    ("cpu.cfs_period_us", "50000"),
                    ("cpu.cfs_quota_us", "10000"),
                ][..],
            ),
            (
                "/sys/fs/cgroup",
                &[("cpu.weight", "10000"), ("cpu.max", "10000 50000")][..],
            ),
        ] {
            let path = std::path::Path::new(root).join(&name);
            if std::fs::create_dir(&path).is_err() {
                continue;
            }
            let quota = Self(path);
            if files
                .iter()
                .all(|(file, text)| std::fs::write(quota.0.join(file), text).is_ok())
            {
                return Some(quota);
            }
        }
        None
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_quota_that_is_used_up_is_read() {
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    let Some(quota) = Quota::new() else {
        return skip("no control group with a quota can be made here");
    };
    let mut target = Events::start(&go, &["-mode", "starve"]);
    std::fs::write(quota.0.join("cgroup.procs"), target.pid().to_string()).expect("move the program");
    let stat = CpuStat::of(target.pid()).expect("its group has a quota");
    let before = stat.read().expect("cpu.stat");
    target.attach(&mut session, &[Class::OffCpu], Vec::new(), 0);
    let mut seen = Seen::of(&target);
    target.work(&mut session, &mut seen);
    let after = stat.read().expect("cpu.stat");
    session.detach_class(Class::OffCpu);
    let sums = session.sums(target.pid()).expect("sums");
    let (periods, throttled_ns) = (after.periods - before.periods, after.length_ns - before.length_ns);
    eprintln!(
        "{periods} periods used up, {:.3} s kept off, {:.3} s of waits",
        throttled_ns as f64 / 1e9,
        sums.wait_ns as f64 / 1e9
    );
    // It wants all processors for 1.5 s and may have a fifth of one.
    assert!(
        periods >= 10 && throttled_ns > 200_000_000,
        "{before:?} {after:?}"
    );
    // A thread that is kept off the processor by a quota is runnable, and waits.
    assert!(sums.wait_ns > throttled_ns / 2, "{sums:?}");
    let file = std::fs::read_to_string(quota.0.join("cpu.stat")).expect("cpu.stat");
    assert!(file.contains(&format!(
        "nr_throttled {}",
        stat.read().expect("cpu.stat").periods
    )));
    drop(target);
}
