//! The tables about exact windows, from a session of known objects.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, Report, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::Window;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::exact::{ExactEnd, ExactRow, ExactWindow, SamplingPhase};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, Frame, FrameId, SessionId, StackId, StringId, SymbolGen, TagId, frame};

const TICK_NS: u64 = 100_000_000;
const RATE: u64 = 1000;
const FIRST: u64 = 100;
const LAST: u64 = 120;

/// Stacks 0 and 1 are `main.a` through two callers, 2 is `main.b`; each twice, as the sampler and as the exact
/// probe see it.
fn dictionary() -> Section {
    let texts = [
        "main.main",
        "runtime.profilealloc",
        "runtime.mallocgc",
        "main.a",
        "main.b",
    ];
    let text = |(text, id): (&&str, u32)| StringDef {
        id: StringId(id),
        text: (*text).to_owned(),
    };
    let frame = |(id, function, line): (u32, u32, u32)| FrameDef {
        id: FrameId(id),
        function: StringId(function),
        file: StringId(0),
        line,
        inlined: false,
    };
    let stack = |(frames, id): (&[u32], u32)| StackDef {
        id: StackId(id),
        stack_trace_hash: u64::from(id),
        frames: frames.iter().map(|frame| FrameId(*frame)).collect(),
        truncated: false,
    };
    let stacks: [&[u32]; 6] = [
        &[2, 3, 0],
        &[2, 3, 5],
        &[2, 4, 0],
        &[1, 2, 3, 0],
        &[1, 2, 3, 5],
        &[1, 2, 4, 0],
    ];
    let frames = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 4), (4, 4, 5), (5, 0, 6)];
    Section::Dictionary(Dictionary {
        symbol_gen: SymbolGen(0),
        strings: texts.iter().zip(0..).map(text).collect(),
        frames: frames.into_iter().map(frame).collect(),
        stacks: stacks.into_iter().zip(0..).map(stack).collect(),
        tags: Vec::new(),
    })
}

/// Each sampled object of 1,000 bytes stands for 1,582: the sampler saw `count` of them.
fn sampled(tick: u64, stack: u32, count: u32) -> Section {
    Section::Lifetimes(LifetimeTable {
        tick,
        tick_ns: TICK_NS,
        symbol_gen: SymbolGen(0),
        newest_ns: tick * TICK_NS,
        rates_bytes: vec![RATE],
        births: vec![Birth {
            allotment: Allotment {
                stack: StackId(stack),
                heap_tag: TagId(0),
                size_bytes: 1000,
                rate_index: 0,
            },
            count,
        }],
        deaths: Vec::new(),
    })
}

fn row(stack: u32, type_name: &str, class_bytes: u32, objects: u64, bytes: u64) -> ExactRow {
    ExactRow {
        stack: Some(StackId(stack)),
        type_name: type_name.to_owned(),
        class_bytes,
        objects,
        bytes,
    }
}

fn window(runtime_objects: Option<u64>) -> Section {
    Section::Exact(ExactWindow {
        number: 3,
        from_ns: FIRST * TICK_NS + 40_000,
        to_ns: LAST * TICK_NS + 90_000,
        ended_by: ExactEnd::Time,
        probes: 18,
        objects: 1000,
        bytes: 950_000,
        objects_without_row: 10,
        runtime_objects,
        rows: vec![
            row(0, "main.node", 1024, 300, 290_000),
            row(1, "main.node", 1024, 200, 190_000),
            row(1, "", 1024, 90, 80_000),
            row(2, "uint8", 1024, 400, 380_000),
        ],
        phase: Some(SamplingPhase {
            rate_bytes: RATE,
            bins: vec![30; 20],
            bytes: 600_000,
        }),
    })
}

fn report(sections: &[Section]) -> Report {
    let mut writer = SectionWriter::default();
    for section in sections {
        writer.push(section).unwrap();
    }
    let envelope = Envelope::data(SessionId([1; 16]), 1, 0, LAST * TICK_NS);
    let bytes = frame::encode(envelope, &writer.take()).unwrap();
    let mut session = Session::new();
    session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    session.report(&query(""))
}

fn query(filter: &str) -> ReportQuery {
    ReportQuery {
        kind: ReportKind::Exact,
        window: Window {
            from_ns: 0,
            to_ns: u64::MAX,
        },
        filter: filter.to_owned(),
        limit: 100,
    }
}

fn gauges() -> Section {
    Section::Gauges(Gauges {
        timestamp_ns: FIRST * TICK_NS,
        values: vec![GaugeValue {
            gauge: Gauge::SAMPLING_RATE_BYTES,
            value: RATE,
        }],
    })
}

fn text(table: &Table, row: usize, column: usize) -> &str {
    match &table.rows[row].cells[column] {
        Cell::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn value(table: &Table, row: usize, column: usize) -> f64 {
    match &table.rows[row].cells[column] {
        Cell::Value(value) => *value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_window_tells_what_it_saw_and_of_how_much() {
    let report = report(&[dictionary(), window(Some(1001))]);
    let list = &report.tables[0];
    assert_eq!(list.rows.len(), 1);
    assert_eq!(text(list, 0, 3), "its time");
    assert!((value(list, 0, 7) - 0.99).abs() < 1e-9);
    assert!((value(list, 0, 9) - 1000.0 / 1001.0).abs() < 1e-9);

    let sites = &report.tables[1];
    let got: Vec<_> = (0..sites.rows.len())
        .map(|row| {
            (
                text(sites, row, 0),
                text(sites, row, 1),
                value(sites, row, 2),
                value(sites, row, 3),
            )
        })
        .collect();
    let expected = [
        ("main.a", "main.node", 500.0, 480_000.0),
        ("main.b", "uint8", 400.0, 380_000.0),
        ("main.a", "", 90.0, 80_000.0),
    ];
    assert_eq!(got, expected);
    let heaviest: Vec<&str> = sites.rows[0].stacks[0]
        .1
        .iter()
        .map(|frame| &*frame.function)
        .collect();
    assert_eq!(heaviest, ["main.a", "main.main"]);
    assert_eq!(sites.rows[0].stacks[0].1[1].line, 1);
}

#[test]
fn what_is_not_known_is_not_told() {
    let tables = report(&[dictionary(), window(None)]).tables;
    assert_eq!(tables[0].rows[0].cells[9], Cell::Unknown);
    assert_eq!(report(&[dictionary()]).tables, Vec::new());
}

#[test]
fn the_sampled_interval_is_held_against_the_truth() {
    // Site a took 604,160 bytes of the heap, b 409,600.
    let of = |a: [u32; 2], b: u32| {
        let mut sections = vec![dictionary(), gauges()];
        for (tick, stack, count) in [
            // Before and behind the window, not in it.
            (FIRST - 1, 3, 1000),
            (FIRST, 3, a[0]),
            (FIRST + 5, 4, a[1]),
            (LAST - 1, 5, b),
            (LAST, 5, 1000),
        ] {
            sections.push(sampled(tick, stack, count));
        }
        sections.push(window(None));
        let tables = report(&sections).tables;
        let rows = (0..tables[2].rows.len()).map(|row| {
            (
                text(&tables[2], row, 0).to_owned(),
                text(&tables[2], row, 3).to_owned(),
            )
        });
        rows.collect::<Vec<_>>()
    };
    let said = |all: &str, a: &str, b: &str| {
        [("all", all), ("main.a", a), ("main.b", b)].map(|(site, word)| (site.to_owned(), word.to_owned()))
    };
    assert_eq!(of([200, 180], 260), said("yes", "yes", "yes"));
    assert_eq!(of([20, 18], 260), said("no", "no", "yes"));
    assert_eq!(of([200, 180], 900), said("no", "yes", "no"));
}

#[test]
fn rows_are_filtered_and_cut() {
    let mut writer = SectionWriter::default();
    for section in [dictionary(), window(None)] {
        writer.push(&section).unwrap();
    }
    let bytes = frame::encode(
        Envelope::data(SessionId([1; 16]), 1, 0, LAST * TICK_NS),
        &writer.take(),
    )
    .unwrap();
    let mut session = Session::new();
    session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    let count = |query: &ReportQuery| {
        let table = &session.report(query).tables[1];
        (table.rows.len(), table.left_out)
    };
    assert_eq!(count(&query("NODE")), (1, 0));
    assert_eq!(count(&query("main.b")), (1, 0));
    assert_eq!(count(&query("nothing")), (0, 0));
    let cut = ReportQuery {
        limit: 1,
        ..query("")
    };
    assert_eq!(count(&cut), (1, 2));
    let before = ReportQuery {
        window: Window {
            from_ns: 0,
            to_ns: 10,
        },
        ..query("")
    };
    assert_eq!(session.report(&before).tables, Vec::new());
}
