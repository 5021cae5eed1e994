//! Pages that a program touches once each are so many faults: all of them with one in one, and with one in N so
//! many that the truth lies in the interval.

use heaptide_analysis::report::{Cell, ReportKind};
use heaptide_collector::linux::bpf::Class;
use heaptide_protocol::events::EventKind;
use heaptide_protocol::session::Method;
use std::collections::BTreeSet;

use crate::target::{Events, Seen, table, text};
use crate::{assert_nothing_vanished, session, toolchains};

const PAGE_BYTES: u64 = 4096;

#[test]
fn faults_are_as_many_as_pages_touched() {
    let Some(go) = toolchains().pop() else { return };
    for (one_in, pages) in [(1_u32, 3_000_u64), (10, 20_000), (64, 50_000)] {
        let Some(mut session) = session() else { return };
        let mut target = Events::start(&go, &["-mode", "touch", "-pages", &pages.to_string()]);
        target.attach(&mut session, &[Class::PageFault], Vec::new(), one_in);
        let mut seen = Seen::of(&target);
        let done = target.work(&mut session, &mut seen);
        session.detach_class(Class::PageFault);
        let sums = session.sums(target.pid()).expect("sums");
        seen.drain(&mut session);
        assert_nothing_vanished(&session, seen.records);
        seen.finish(&[]);

        let end = done.base + done.pages * PAGE_BYTES;
        let inside: Vec<u64> = seen
            .of_kind(EventKind::PageFault)
            .filter(|(_, row)| (done.base..end).contains(&row.address))
            .map(|(_, row)| {
                assert_eq!(row.size_bytes, u64::from(one_in));
                row.address / PAGE_BYTES
            })
            .collect();
        let distinct: BTreeSet<u64> = inside.iter().copied().collect();
        assert_eq!(distinct.len(), inside.len(), "no page is touched first twice");
        assert_eq!(done.pages, pages);
        assert!(sums.faults >= pages, "{sums:?}");
        if one_in == 1 {
            assert_eq!(inside.len() as u64, pages);
            assert_eq!(sums.faults, seen.of_kind(EventKind::PageFault).count() as u64);
        }

        // As a person sees it.
        let report = seen.report(ReportKind::Mappings);
        let faults = table(&report, "Page faults by call site");
        let row = faults
            .rows
            .iter()
            .find(|row| text(&row.cells[0]) == "main.touch")
            .unwrap_or_else(|| panic!("no row of main.touch: {faults:?}"));
        let Cell::Figure(figure) = row.cells[1] else {
            panic!("{row:?}")
        };
        eprintln!(
            "one in {one_in}: {pages} pages, {figure:?}, {} drawn",
            inside.len()
        );
        assert!(
            (figure.low..=figure.high).contains(&(pages as f64)),
            "{pages} outside {figure:?}"
        );
        assert_eq!(figure.method == Method::Exact, one_in == 1);
        assert!(
            row.stacks[0].1.iter().any(|frame| frame.function == "main.main"),
            "{row:?}"
        );
    }
}
