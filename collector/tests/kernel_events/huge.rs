//! Huge pages that a program asks for, or that khugepaged makes of its memory, are seen as that program's, at
//! their address where it is known.

use heaptide_analysis::report::{Cell, ReportKind};
use heaptide_collector::linux::bpf::{Class, khugepaged_blindness};
use heaptide_protocol::events::{EventKind, HugePageDetail};

use crate::target::{Events, Seen, table, text, value};
use crate::{assert_nothing_vanished, session, skip, toolchains};

const HUGE_BYTES: u64 = 2 << 20;

#[test]
fn a_collapse_is_seen_at_its_address() {
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    let mut target = Events::start(&go, &["-mode", "collapse"]);
    target.attach(&mut session, &[Class::HugePage, Class::Mapping], Vec::new(), 0);
    session.attach_mappings().expect("attach to system calls");
    let mut seen = Seen::of(&target);
    let done = target.work(&mut session, &mut seen);
    session.detach_class(Class::HugePage);
    session.detach_mappings();
    seen.drain(&mut session);
    assert_nothing_vanished(&session, seen.records);
    if done.errno == "invalid argument" {
        return skip("this kernel has no MADV_COLLAPSE (Linux 6.1 has)");
    }
    assert_eq!(done.errno, "");
    assert_eq!(done.anon_huge_kb, done.huge_pages * HUGE_BYTES / 1024);
    seen.finish(&[]);

    // The first call goes from behind the beginning of one huge page to behind the beginning of another: only
    // those in between are whole. The second takes what is left.
    let expected: Vec<u64> = [1, 2, 0, 3]
        .iter()
        .map(|page| done.base + page * HUGE_BYTES)
        .collect();
    let got: Vec<u64> = seen
        .of_kind(EventKind::HugePage)
        .map(|(_, row)| {
            assert_eq!(row.detail, HugePageDetail::Collapsed as u64);
            assert_eq!(row.size_bytes, HUGE_BYTES);
            row.address
        })
        .collect();
    // khugepaged may have been faster at some of them; it doesn't tell where.
    let (asked, unasked): (Vec<u64>, Vec<u64>) = got.iter().copied().partition(|address| *address != 0);
    let mut left = expected.clone();
    left.retain(|address| asked.contains(address));
    assert_eq!(asked, left);
    assert_eq!(asked.len() + unasked.len(), expected.len());
    if !unasked.is_empty() {
        eprintln!("khugepaged put {} of them together", unasked.len());
        return;
    }

    let report = seen.report(ReportKind::Mappings);
    let huge = table(&report, "Huge pages, newest first");
    let newest = &huge.rows[0];
    assert_eq!(value(&newest.cells[1]), expected[3] as f64);
    assert_eq!(
        (text(&newest.cells[2]), text(&newest.cells[3])),
        ("put together", "MADV_COLLAPSE")
    );
    assert!(
        newest.stacks[0]
            .1
            .iter()
            .any(|frame| frame.function == "main.collapse"),
        "{newest:?}"
    );

    // Each advice by its name, with the bytes that it was given for.
    let calls = table(&report, "Calls");
    let region = done.huge_pages * HUGE_BYTES;
    for (name, count, bytes) in [
        ("madvise MADV_COLLAPSE", 2, region + 3 * HUGE_BYTES),
        ("madvise MADV_FREE", 1, region),
        ("madvise MADV_DONTNEED", 1, region),
        ("madvise MADV_HUGEPAGE", 1, region),
        ("madvise MADV_NOHUGEPAGE", 1, region),
    ] {
        let row = calls.rows.iter().find(|row| text(&row.cells[0]) == name);
        let row = row.unwrap_or_else(|| panic!("no {name}: {calls:?}"));
        // The runtime gives advice of its own.
        assert!(value(&row.cells[1]) >= f64::from(count), "{row:?}");
        assert!(value(&row.cells[2]) >= bytes as f64, "{row:?}");
    }
    let sites = table(&report, "Calls by call site");
    assert!(
        sites
            .rows
            .iter()
            .any(|row| text(&row.cells[1]) == "madvise MADV_COLLAPSE"
                && value(&row.cells[2]) == 2.0
                && row.stacks[0]
                    .1
                    .iter()
                    .any(|frame| frame.function == "main.collapse")),
        "{sites:?}"
    );
}

#[test]
fn what_khugepaged_does_is_told_by_process() {
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    if let Some(why) = khugepaged_blindness() {
        return skip(&why);
    }
    let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if mode.contains("[never]") || mode.is_empty() {
        return skip("huge pages are off here");
    }
    // Another one of the same program, which is not attached: its huge pages are none of ours.
    let mut other = Events::start(&go, &["-mode", "khugepaged"]);
    let mut target = Events::start(&go, &["-mode", "khugepaged"]);
    target.attach(&mut session, &[Class::HugePage], Vec::new(), 0);
    let mut seen = Seen::of(&target);
    let done = std::thread::scope(|scope| {
        let unwatched = scope.spawn(|| other.work_alone());
        let done = target.work(&mut session, &mut seen);
        unwatched.join().expect("the other program");
        done
    });
    session.detach_class(Class::HugePage);
    seen.drain(&mut session);
    assert_nothing_vanished(&session, seen.records);
    if done.anon_huge_kb == 0 {
        // Nothing is missing here; it works through the memory of every process on the machine in turn.
        eprintln!("SKIP: khugepaged did not come by in time");
        return;
    }
    seen.finish(&[]);
    let collapsed = seen
        .of_kind(EventKind::HugePage)
        .filter(|(_, row)| row.detail == HugePageDetail::Collapsed as u64)
        .count();
    assert_eq!(collapsed as u64, done.huge_pages);
    let report = seen.report(ReportKind::Mappings);
    let newest = &table(&report, "Huge pages, newest first").rows[0];
    assert_eq!(newest.cells[1], Cell::Unknown, "its address is not known");
    assert_eq!(text(&newest.cells[3]), "khugepaged");
}

#[test]
fn it_is_the_same_in_a_pid_namespace_of_ones_own() {
    if session().is_none() || toolchains().is_empty() {
        return;
    }
    // Ids in there are not those that the kernel uses by itself.
    let output = std::process::Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "huge::a_collapse_is_seen_at_its_address",
            "waits::waits_add_up_to_the_kernels_run_delay",
        ])
        .output()
        .expect("run unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("2 passed"), "{said}");
}
