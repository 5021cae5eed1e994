//! What was counted is what was allocated: in all, by site, by type.

use heaptide_collector::linux::bpf::{ExactOptions, ExactReadout, ExactRowRead, ExactSession, ProbeSource};

use crate::{
    Built, built,
    go::Code,
    object,
    program::{Program, Report},
    toolchains,
};

/// A window, and what the program says of the same time.
struct Counted {
    report: Report,
    readout: ExactReadout,
    /// Objects in rows whose stack comes from the program itself.
    of_main: u64,
}

/// Opens a window around everything that the program allocates.
fn count(object: &[u8], built: &Built, arguments: &[&str], options: &ExactOptions) -> Counted {
    let mut program = Program::start(&built.binary, arguments);
    let pid = program.pid();
    let source = ProbeSource::here(pid, None).expect("the program");
    let mut session =
        ExactSession::attach(object, &source, &built.plan, false, options).expect("attach the window");
    session.open().expect("open");
    program.go();
    program.done();
    session.close().expect("close");
    session.detach();
    let readout = session.read().expect("read");
    let report = program.report();
    let code = Code::of(&built.binary, pid);
    if *options == ExactOptions::default() {
        assert_sites(&code, &report, &readout);
    }
    let main = |row: &&ExactRowRead| {
        let functions = ["main.main", "main.main.func1"];
        let is_main = |&pc: &u64| functions.iter().any(|name| code.contains(name, pc - 1));
        row.pcs.iter().any(is_main)
    };
    let of_main = readout.rows.iter().filter(main).map(|row| row.objects).sum();
    program.end();
    Counted {
        report,
        readout,
        of_main,
    }
}

fn assert_sites(code: &Code<'_>, report: &Report, readout: &ExactReadout) {
    for site in &report.sites {
        let rows: Vec<_> = readout
            .rows
            .iter()
            .filter(|row| row.pcs.iter().any(|&pc| code.contains(&site.function, pc - 1)))
            .collect();
        // Go's own types too may be made there on the first call, e.g. by reflect; those are few.
        let own = |row: &&&ExactRowRead| {
            row.class_bytes == site.class && code.type_name(row.type_address) == site.type_name
        };
        let (mut objects, mut bytes) = (0, 0);
        for row in rows.iter().filter(own) {
            objects += row.objects;
            bytes += row.bytes;
        }
        assert_eq!(
            (objects, bytes),
            (site.count, site.count * site.size),
            "{site:?}: {rows:#?}"
        );
        let others: u64 = rows.iter().filter(|row| !own(row)).map(|row| row.objects).sum();
        assert!(others < 50, "{site:?}: {others} others of {rows:#?}");
        for row in rows.iter().filter(own) {
            let root = row.pcs.iter().any(|&pc| code.contains("main.main.func1", pc - 1));
            assert!(root, "{site:?}: the stack ends before its root: {row:#x?}");
            let deep = row
                .pcs
                .iter()
                .filter(|&&pc| code.contains("main.(*sink).deep", pc - 1))
                .count();
            let expected = if site.function.ends_with("bottom") { 61 } else { 0 };
            assert_eq!(deep, expected, "{site:?}: {row:#x?}");
        }
    }
}

/// `seen` is what the rows hold and what found no row, and all that Go has counted.
fn assert_complete(name: &str, counted: &Counted) {
    let Counted {
        report,
        readout,
        of_main,
    } = counted;
    let rows: u64 = readout.rows.iter().map(|row| row.objects).sum();
    let counts = readout.counts;
    assert_eq!(counts.seen, rows + counts.unrowed_objects, "{name}");
    let seen = counts.seen;
    eprintln!(
        "{name}: {seen} seen of {} that Go counted, {} rows",
        report.mallocs,
        readout.rows.len()
    );
    assert!(
        seen as f64 >= 0.9999 * report.mallocs as f64,
        "{name}: {seen} seen, {} in MemStats.Mallocs",
        report.mallocs
    );
    // Go counts from its first statistics to its last, a little less than the window. What the runtime allocates
    // for itself may fall between, e.g. for a new thread; of the program, only goroutines that begin to wait.
    assert!(
        *of_main <= report.mallocs + 16 && seen < report.mallocs + 64,
        "{name}: {of_main} of main, {seen} seen, {} in MemStats.Mallocs",
        report.mallocs
    );
}

#[test]
fn every_allocation_is_counted_at_its_site_and_with_its_type() {
    let Some(object) = object() else { return };
    let stripped: &[&str] = &["-ldflags=-s -w"];
    let anywhere: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
    for go in toolchains() {
        for flags in [&[][..], stripped, anywhere] {
            let name = format!("Go 1.{} {flags:?}", go.minor);
            let built = built(&go, flags);
            let expected = if go.minor >= 27 { 18 } else { 1 };
            assert_eq!(built.plan.sites.len(), expected, "{name}");
            let alone = Program::alone(&built.binary, &[]);
            let counted = count(object, &built, &[], &ExactOptions::default());
            assert_complete(&name, &counted);
            assert_eq!(counted.readout.counts.unrowed_objects, 0, "{name}");
            assert_eq!(
                counted.report.checksum, alone.checksum,
                "{name}: another result under watch"
            );
        }
    }
}

#[test]
fn counts_are_complete_when_all_processors_allocate() {
    let Some(object) = object() else { return };
    for go in toolchains() {
        let built = built(&go, &[]);
        let arguments = ["-workers", "8", "-objects", "3000"];
        let counted = count(object, &built, &arguments, &ExactOptions::default());
        assert_complete(&format!("Go 1.{}, 8 goroutines", go.minor), &counted);
        assert_eq!(counted.readout.counts.unrowed_objects, 0);
    }
}

#[test]
fn a_full_table_leaves_nothing_uncounted() {
    let Some(object) = object() else { return };
    for go in toolchains() {
        let built = built(&go, &[]);
        let options = ExactOptions {
            rows_max: 4,
            stacks_max: 1,
            ..ExactOptions::default()
        };
        let counted = count(object, &built, &[], &options);
        assert_complete(&format!("Go 1.{}, 4 rows", go.minor), &counted);
        let Counted { report, readout, .. } = counted;
        assert_eq!(readout.rows.len(), 4);
        assert!(
            readout.counts.unrowed_objects > report.mallocs / 4,
            "{:?}",
            readout.counts
        );
        // Rows of one stack may have come first.
        let without = readout.rows.iter().filter(|row| row.pcs.is_empty()).count() as u64;
        assert!(
            (1..=without).contains(&readout.counts.stacks_lost),
            "{:?}",
            readout.counts
        );
    }
}
