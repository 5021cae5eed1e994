//! Memory read without probes, as a viewer gets it: one source counts the heap, the ledger adds up, and the
//! samples are held against Go's own count.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::{Metric, ProfileQuery, Window};
use heaptide_policy::{Policy, Sources};
use heaptide_protocol::control::{PolicyOutcome, PolicyResult};
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef, TagDef};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::ledger::{Ledger, LedgerKind, LedgerLine, Region, Regions};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};
use heaptide_protocol::{Envelope, Frame, FrameId, SessionId, StackId, StringId, SymbolGen, TagId, frame};

const TICK_NS: u64 = 100_000_000;
const PROBES: u32 = 0;
const BUCKETS: u32 = 1;

fn policy(probes: bool, buckets: bool) -> Policy {
    Policy {
        sources: Sources {
            sampled_heap: probes,
            bucket_heap: buckets,
            ..Sources::default()
        },
        ..Policy::default()
    }
}

fn start(policy: Policy) -> Section {
    let signature = PlatformSignature {
        os: String::new(),
        os_version: String::new(),
        kernel: String::new(),
        architecture: String::new(),
        cpus: 1,
        page_size_bytes: 4096,
        huge_page_mode: String::new(),
        libc: String::new(),
        runtime: String::new(),
        runtime_version: String::new(),
        build_id: String::new(),
        host_name: String::new(),
        boot_id: String::new(),
        pid: 1,
        executable: String::new(),
        command_line: Vec::new(),
        collector_version: String::new(),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: 0,
            unix_ns: 0,
            error_ns: 0,
        },
    };
    Section::Start(SessionStart {
        signature,
        labels: Default::default(),
        capabilities: Vec::new(),
        policy,
    })
}

fn dictionary() -> Section {
    let strings = ["go.heap", "go.heap.buckets", "main.grow", "main.go"];
    let strings = strings.iter().zip(0..).map(|(text, id)| StringDef {
        id: StringId(id),
        text: (*text).to_owned(),
    });
    Section::Dictionary(Dictionary {
        symbol_gen: SymbolGen(0),
        strings: strings.collect(),
        frames: vec![FrameDef {
            id: FrameId(0),
            function: StringId(2),
            file: StringId(3),
            line: 7,
            inlined: false,
        }],
        stacks: vec![StackDef {
            id: StackId(0),
            stack_trace_hash: 1,
            frames: vec![FrameId(0)],
            truncated: false,
        }],
        tags: [PROBES, BUCKETS]
            .into_iter()
            .map(|id| TagDef {
                id: TagId(id),
                name: StringId(id),
            })
            .collect(),
    })
}

/// Objects of 100 bytes, each seen: (born, died) by the probes and by buckets.
fn rows(tick: u64, counts: [(u32, u32); 2]) -> Section {
    let allotment = |tag| Allotment {
        stack: StackId(0),
        heap_tag: TagId(tag),
        size_bytes: 100,
        rate_index: 0,
    };
    let all = || [PROBES, BUCKETS].into_iter().zip(counts);
    Section::Lifetimes(LifetimeTable {
        symbol_gen: SymbolGen(0),
        tick,
        tick_ns: TICK_NS,
        newest_ns: 0,
        rates_bytes: vec![1],
        births: all()
            .filter(|(_, (born, _))| *born > 0)
            .map(|(tag, (born, _))| Birth {
                allotment: allotment(tag),
                count: born,
            })
            .collect(),
        deaths: all()
            .filter(|(_, (_, died))| *died > 0)
            .map(|(tag, (_, died))| Death {
                allotment: allotment(tag),
                age_ticks: 0,
                count: died,
            })
            .collect(),
    })
}

fn gauge(tick: u64, gauge: Gauge, value: u64) -> Section {
    Section::Gauges(Gauges {
        timestamp_ns: tick * TICK_NS,
        values: vec![GaugeValue { gauge, value }],
    })
}

fn ledger(tick: u64, in_use: u64, native: u64, remainder_bytes: i64) -> Section {
    let line = |kind, bytes| LedgerLine { kind, bytes };
    let rss_bytes = (in_use + native).saturating_add_signed(remainder_bytes);
    Section::Ledger(Ledger {
        timestamp_ns: tick * TICK_NS,
        took_ns: 1,
        rss_bytes,
        rss_after_bytes: rss_bytes,
        remainder_bytes,
        lines: vec![
            line(LedgerKind::GO_HEAP_IN_USE, in_use),
            line(LedgerKind::NATIVE, native),
        ],
    })
}

fn play(frames: &[(u64, Vec<Section>)]) -> Session {
    let mut session = Session::new();
    for ((tick, sections), seq) in frames.iter().zip(1..) {
        let mut writer = SectionWriter::default();
        sections.iter().for_each(|section| writer.push(section).unwrap());
        let envelope = Envelope::data(SessionId([1; 16]), seq, tick * TICK_NS, (tick + 1) * TICK_NS);
        let bytes = frame::encode(envelope, &writer.take()).unwrap();
        session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    }
    session
}

fn allocated(session: &Session, ticks: u64) -> f64 {
    let query = ProfileQuery {
        window: Window {
            from_ns: 0,
            to_ns: ticks * TICK_NS,
        },
        metric: Metric::Allocated,
        filter: String::new(),
        limit: 10,
    };
    session.sites(&query).total.value
}

fn table(session: &Session, title: &str, filter: &str) -> Table {
    let query = ReportQuery {
        kind: ReportKind::Ledger,
        window: Window {
            from_ns: 0,
            to_ns: 100 * TICK_NS,
        },
        filter: filter.to_owned(),
        limit: 10,
    };
    let report = session.report(&query);
    report
        .tables
        .into_iter()
        .find(|table| table.title == title)
        .unwrap()
}

/// Each cell as text, enough to compare.
fn cells(table: &Table) -> Vec<Vec<String>> {
    let cell = |cell: &Cell| match cell {
        Cell::Unknown => "?".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Value(value) => format!("{value}"),
        Cell::Figure(figure) => format!("{}", figure.value),
    };
    table
        .rows
        .iter()
        .map(|row| row.cells.iter().map(cell).collect())
        .collect()
}

#[test]
fn one_source_counts_the_heap_and_a_change_of_it_is_no_seam() {
    for (probes, buckets, expected) in [
        (true, false, [500.0, 300.0]),
        (true, true, [500.0, 300.0]),
        (false, true, [700.0, 600.0]),
    ] {
        let session = play(&[
            (0, vec![start(policy(probes, buckets)), dictionary()]),
            (1, vec![rows(1, [(5, 2), (7, 1)])]),
        ]);
        let headline = session.headline();
        let got = [allocated(&session, 2), headline.live.value];
        assert_eq!(got, expected, "probes {probes}, buckets {buckets}");
    }

    let mut then = policy(false, true);
    then.revision = 1;
    let switched = Section::PolicyOutcome(PolicyOutcome {
        timestamp_ns: 2 * TICK_NS,
        revision: 1,
        result: PolicyResult::Applied {
            policy: then,
            rate_before_bytes: 1,
            rate_after_bytes: 1,
        },
    });
    let session = play(&[
        (0, vec![start(policy(true, true)), dictionary()]),
        (1, vec![rows(1, [(5, 0), (7, 0)]), switched]),
        (2, vec![rows(2, [(0, 0), (2, 1)])]),
    ]);
    assert_eq!(session.headline_at(2 * TICK_NS).live.value, 500.0);
    assert_eq!(session.headline().live.value, 800.0);
    // Allocated in the last moments: of one source at both ends.
    let headline = session.headline();
    let seconds = (headline.rate_window.to_ns - headline.rate_window.from_ns) as f64 / 1e9;
    assert!(
        (headline.allocated_per_s.value * seconds - 900.0).abs() < 1e-6,
        "{headline:?}"
    );
}

#[test]
fn coverage_is_between_two_readings_of_gos_own_count() {
    let read = |tick, bytes| gauge(tick, Gauge::GO_ALLOCATED_BYTES, bytes);
    let session = play(&[
        (0, vec![start(policy(true, true)), dictionary()]),
        // What the first reading of the buckets found live is of before.
        (1, vec![rows(1, [(0, 0), (90, 0)]), read(1, 1_000_000)]),
        (2, vec![rows(2, [(40, 0), (42, 0)])]),
        (3, vec![rows(3, [(10, 0), (8, 0)]), read(3, 1_005_000)]),
        // After the last reading nobody knows.
        (4, vec![rows(4, [(70, 0), (70, 0)])]),
    ]);
    assert_eq!(
        cells(&table(&session, "Coverage", "")),
        [
            ["Probes", "5000", "5000", "1"],
            ["Go's own heap profile", "5000", "5000", "1"]
        ]
    );
}

#[test]
fn the_ledger_adds_up_and_says_how_it_changed() {
    let region = |start: u64, name: &str, stack| Region {
        start,
        end: start + 0x2000,
        kind: LedgerKind::NATIVE,
        permissions: "rw-p".to_owned(),
        name: name.to_owned(),
        rss_bytes: 4096,
        anon_huge_bytes: 0,
        swap_bytes: 1,
        lazy_free_bytes: 2,
        flags: "hg".to_owned(),
        stack,
    };
    let regions = Section::Regions(Regions {
        timestamp_ns: 0,
        rows: vec![
            region(0x1000, "", Some(StackId(0))),
            region(0x8000, "/lib/x.so", None),
        ],
        other_regions: 3,
        other_rss_bytes: 9,
    });
    let session = play(&[
        (0, vec![start(policy(true, false)), dictionary()]),
        (1, vec![ledger(1, 600, 400, 0), regions]),
        (
            2,
            vec![ledger(2, 900, 300, -200), gauge(2, Gauge::GO_STACKS_BYTES, 5)],
        ),
    ]);
    let resident = table(&session, "Resident memory", "");
    let source = |kind: LedgerKind| kind.source().to_owned();
    let expected: Vec<Vec<String>> = [
        [
            "Go heap in use",
            "900",
            "0.9",
            "300",
            &source(LedgerKind::GO_HEAP_IN_USE),
        ],
        [
            "Native and cgo heap",
            "300",
            "0.3",
            "-100",
            &source(LedgerKind::NATIVE),
        ],
        ["Remainder", "-200", "-0.2", "-200", "RSS less the lines"],
        ["RSS", "1000", "1", "0", "/proc/PID/smaps"],
    ]
    .iter()
    .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
    .collect();
    assert_eq!(cells(&resident), expected);

    let largest = table(&session, "Largest regions", "");
    assert_eq!((largest.rows.len(), largest.left_out), (2, 3));
    let (made, frames) = &largest.rows[0].stacks[0];
    assert_eq!(
        (made.as_str(), frames[0].function.as_str()),
        ("mapped by", "main.grow")
    );
    // By what is in the stack or in the name.
    for (filter, start) in [("GROW", 0x1000), ("x.so", 0x8000)] {
        let filtered = table(&session, "Largest regions", filter);
        assert_eq!(filtered.rows.len(), 1, "{filter}");
        assert_eq!(
            filtered.rows[0].cells[0],
            Cell::Value(f64::from(start)),
            "{filter}"
        );
    }
    assert_eq!(
        cells(&table(&session, "Go's own statistics", "")),
        [["Goroutine stacks", "5", "runtime.memstats.heapStats.inStacks"]]
    );
}
