//! Reports on pauses and mappings from frames whose truth is written here: what coincided, by how much, and what is
//! not known.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, Report, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::Window;
use heaptide_policy::Policy;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::frame::{Compression, encode};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::ledger::{LedgerKind, Region, Regions};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};
use heaptide_protocol::{Envelope, Frame, FrameId, FrameKind, SessionId, StackId, StringId, SymbolGen};

const CLOCK_ERROR_NS: u64 = 10;

fn start() -> Section {
    let text = String::new;
    let signature = PlatformSignature {
        os: text(),
        os_version: text(),
        kernel: text(),
        architecture: text(),
        cpus: 1,
        page_size_bytes: 4096,
        huge_page_mode: text(),
        libc: text(),
        runtime: text(),
        runtime_version: text(),
        build_id: text(),
        host_name: text(),
        boot_id: text(),
        pid: 1,
        executable: text(),
        command_line: Vec::new(),
        collector_version: text(),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: 0,
            unix_ns: 0,
            error_ns: CLOCK_ERROR_NS,
        },
    };
    Section::Start(SessionStart {
        signature,
        labels: Default::default(),
        capabilities: Vec::new(),
        policy: Policy::default(),
    })
}

/// Stack 0 is `main.a`, stack 1 is `main.b`.
fn dictionary() -> Section {
    let names = ["main.a", "main.b", "main.go"];
    Section::Dictionary(Dictionary {
        symbol_gen: SymbolGen(0),
        strings: names
            .iter()
            .zip(0..)
            .map(|(text, id)| StringDef {
                id: StringId(id),
                text: (*text).to_owned(),
            })
            .collect(),
        frames: (0..2)
            .map(|id| FrameDef {
                id: FrameId(id),
                function: StringId(id),
                file: StringId(2),
                line: 1,
                inlined: false,
            })
            .collect(),
        stacks: (0..2)
            .map(|id| StackDef {
                id: StackId(id),
                stack_trace_hash: id.into(),
                frames: vec![FrameId(id)],
                truncated: false,
            })
            .collect(),
        tags: Vec::new(),
    })
}

/// Time, kind, size, address, detail, stack.
type Row = (u64, EventKind, u64, u64, u64, Option<u32>);

fn events(rows: &[Row]) -> Section {
    let mut batch = EventBatch::new(1, 0, SymbolGen(0), 1, false);
    for (at, kind, size_bytes, address, detail, stack) in rows {
        let row = OtherRow {
            size_bytes: *size_bytes,
            address: *address,
            detail: *detail,
            stack: stack.map(StackId),
            ..OtherRow::default()
        };
        batch.push(*at, 1, *kind, EventBody::Other(row));
    }
    Section::Events(batch)
}

fn throttled(timestamp_ns: u64, value: u64) -> Section {
    Section::Gauges(Gauges {
        timestamp_ns,
        values: vec![GaugeValue {
            gauge: Gauge::THROTTLED_NS,
            value,
        }],
    })
}

fn report(kind: ReportKind, filter: &str, limit: u32, sections: &[Section]) -> Report {
    let mut writer = SectionWriter::default();
    for section in [&[start(), dictionary()], sections].concat() {
        writer.push(&section).unwrap();
    }
    let payload = writer.take();
    let envelope = Envelope {
        kind: FrameKind::Data,
        session: SessionId::default(),
        seq: 1,
        first_ns: 0,
        last_ns: 1_000_000,
        compression: Compression::None,
        raw_bytes: payload.len() as u32,
    };
    let bytes = encode(envelope, &payload).unwrap();
    let mut session = Session::new();
    session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    session.report(&ReportQuery {
        kind,
        window: Window {
            from_ns: 0,
            to_ns: 1_000_000,
        },
        filter: filter.to_owned(),
        limit,
    })
}

fn cells(table: &Table) -> Vec<Vec<String>> {
    let plain = |cell: &Cell| match cell {
        Cell::Unknown => "?".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Value(value) => value.to_string(),
        Cell::Figure(figure) => figure.value.to_string(),
    };
    table
        .rows
        .iter()
        .map(|row| row.cells.iter().map(plain).collect())
        .collect()
}

#[test]
fn a_pause_says_what_coincided_with_it() {
    use EventKind::{OffCpu, PageFault, StopTheWorldBegin as Begin, StopTheWorldEnd as End};
    let rows = [
        (1_000, Begin, 0, 0, 2, None),
        (1_005, PageFault, 100, 0x5000, 6, None),
        (1_050, PageFault, 100, 0x5000, 6, None),
        (1_100, End, 0, 0, 2, None),
        (1_205, OffCpu, 100, 0, 0, None),
        (3_000, Begin, 0, 0, 1, None),
        (3_500, End, 0, 0, 1, None),
        (3_600, OffCpu, 400, 0, 0, None),
        (9_000, Begin, 0, 0, 1, None),
        (9_050, End, 0, 0, 1, None),
    ];
    let sections = [
        throttled(500, 7),
        events(&rows),
        throttled(2_000, 7),
        throttled(4_000, 9),
    ];
    let all = report(ReportKind::Pauses, "", 2, &sections);
    let longest = &all.tables[0];
    let expected = [
        [
            "3000",
            "500",
            "GC mark termination",
            "none",
            "?",
            "1",
            "1 possibly",
        ],
        [
            "1000",
            "100",
            "GC sweep termination",
            "100, 100 more possibly",
            "?",
            "1 possibly",
            "none",
        ],
    ];
    assert_eq!(cells(longest), expected);
    assert_eq!(longest.left_out, 1);
    let by_reason = [
        ["GC mark termination", "2", "550", "500"],
        ["GC sweep termination", "1", "100", "100"],
    ];
    assert_eq!(cells(&all.tables[1]), by_reason);

    let some = report(ReportKind::Pauses, "SWEEP", 9, &sections);
    assert_eq!(cells(&some.tables[1]), [by_reason[1]]);

    // Nothing watched is not the same as nothing there.
    let bare = report(ReportKind::Pauses, "", 9, &[events(&rows[5..7])]);
    assert_eq!(cells(&bare.tables[0])[0][3..], ["?", "?", "?", "?"]);
}

#[test]
fn work_belongs_to_its_cycle_and_its_call_site() {
    use EventKind::{GcEnd, GcStart, GcWork};
    let rows = [
        (1_000, GcStart, 2, 0, 0, None),
        (1_200, GcWork, 50, 0, 0, Some(0)),
        (1_300, GcWork, 70, 0, 0, Some(0)),
        (1_400, GcEnd, 0, 0, 0, None),
        (1_700, GcWork, 30, 0, 1, Some(1)),
        (2_000, GcStart, 2, 0, 0, None),
    ];
    let report = report(ReportKind::Pauses, "", 9, &[events(&rows)]);
    assert_eq!(
        cells(&report.tables[2]),
        [["2000", "?", "0", "0"], ["1000", "400", "2", "120"]]
    );
    assert_eq!(cells(&report.tables[3]), [["main.a", "2", "120", "70"]]);
    assert_eq!(cells(&report.tables[4]), [["main.b", "1", "30", "30"]]);
    assert_eq!(report.tables[3].rows[0].stacks[0].1[0].function, "main.a");
}

#[test]
fn mappings_are_summed_by_call_site_and_faults_by_region() {
    use EventKind::{HugePage, Madvise, Mmap, PageFault};
    let rows = [
        (1, Mmap, 4_096, 0x1000, 3 << 32 | 0x22, Some(0)),
        (2, Mmap, 8_192, 0x9000, 3 << 32 | 0x22, Some(1)),
        (3, Madvise, 4_096, 0x1000, 14, Some(0)),
        (4, PageFault, 10, 0x1008, 6, Some(0)),
        (5, PageFault, 10, 0x1ff8, 6, Some(0)),
        (6, PageFault, 10, 0xf000, 6, None),
        (7, HugePage, 2 << 20, 0, 0, None),
        (8, HugePage, 2 << 20, 0x20_0000, 1, Some(1)),
    ];
    let regions = Section::Regions(Regions {
        timestamp_ns: 9,
        rows: vec![Region {
            start: 0x1000,
            end: 0x2000,
            kind: LedgerKind::NATIVE,
            permissions: "rw-p".to_owned(),
            name: String::new(),
            rss_bytes: 4_096,
            anon_huge_bytes: 0,
            swap_bytes: 0,
            lazy_free_bytes: 0,
            flags: String::new(),
            stack: None,
        }],
        other_regions: 0,
        other_rss_bytes: 0,
    });
    let sections = [events(&rows), regions];
    let all = report(ReportKind::Mappings, "", 9, &sections);
    assert_eq!(
        cells(&all.tables[0]),
        [
            ["mmap anonymous", "2", "12288"],
            ["madvise MADV_HUGEPAGE", "1", "4096"]
        ]
    );
    assert_eq!(
        cells(&all.tables[1]),
        [
            ["main.b", "mmap anonymous", "1", "8192"],
            ["main.a", "mmap anonymous", "1", "4096"],
            ["main.a", "madvise MADV_HUGEPAGE", "1", "4096"],
        ]
    );
    assert_eq!(
        cells(&all.tables[2]),
        [["main.a", "20", "2"], ["(no stack)", "10", "1"]]
    );
    assert_eq!(
        cells(&all.tables[3]),
        [
            [LedgerKind::NATIVE.label(), "4096", "4096", "20"],
            ["no region that was read", "?", "?", "10"],
        ]
    );
    assert_eq!(
        cells(&all.tables[4]),
        [
            ["8", "2097152", "could not", "MADV_COLLAPSE"],
            ["7", "?", "put together", "khugepaged"]
        ]
    );
    let some = report(ReportKind::Mappings, "MAIN.B", 9, &sections);
    assert_eq!(
        cells(&some.tables[1]),
        [["main.b", "mmap anonymous", "1", "8192"]]
    );
    assert!(some.tables[2].rows.is_empty());
}
