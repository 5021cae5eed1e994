//! Tables of goroutines from made-up censuses whose truth is known.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, Report, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::Window;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, GoroutineDetail, OtherRow};
use heaptide_protocol::goroutines::{GoroutineCensus, GoroutineGroup, GoroutineState};
use heaptide_protocol::lifetimes::LifetimeTable;
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, Frame, FrameId, SessionId, StackId, StringId, SymbolGen, frame};

const SECOND_NS: u64 = 1_000_000_000;
const CREATORS: [&str; 4] = ["main.leak", "main.pool", "main.serve", "main.fill"];

/// Stack and frame `n` are that of creator `n`; stack 9 is where all wait.
fn dictionary() -> Section {
    let texts = CREATORS.iter().copied().chain(["main.go", "main.wait"]);
    let frame = |id: u32, function: u32| FrameDef {
        id: FrameId(id),
        function: StringId(function),
        file: StringId(4),
        line: 10 + id,
        inlined: false,
    };
    let stack = |id: u32| StackDef {
        id: StackId(id),
        stack_trace_hash: id.into(),
        frames: vec![FrameId(id)],
        truncated: false,
    };
    Section::Dictionary(Dictionary {
        symbol_gen: SymbolGen(0),
        strings: texts
            .zip(0..)
            .map(|(text, id)| StringDef {
                id: StringId(id),
                text: text.to_owned(),
            })
            .collect(),
        frames: (0..4).map(|id| frame(id, id)).chain([frame(4, 5)]).collect(),
        stacks: (0..5).map(stack).collect(),
        tags: Vec::new(),
    })
}

/// So many of a creator, with so many of them in each class of age.
fn group(creator: u32, state: GoroutineState, ages: &[u32], young: u64, oldest_s: u64) -> GoroutineGroup {
    let aged: u64 = ages.iter().map(|count| u64::from(*count)).sum();
    let mut ages = ages.to_vec();
    ages.resize(16, 0);
    GoroutineGroup {
        creator: Some(StackId(creator)),
        creator_is_whole: creator == 0,
        entry: None,
        wait: Some(StackId(4)),
        state,
        wait_reason: if state == GoroutineState::Running {
            ""
        } else {
            "chan receive"
        }
        .to_owned(),
        count: aged + young,
        stack_bytes: 2048 * (aged + young),
        oldest_seen_ns: oldest_s * SECOND_NS,
        ages,
    }
}

fn census(at_s: u64, groups: Vec<GoroutineGroup>) -> Section {
    let grouped: u64 = groups.iter().map(|group| group.count).sum();
    Section::Goroutines(GoroutineCensus {
        timestamp_ns: at_s * SECOND_NS,
        took_ns: 1_000,
        goroutines: grouped + 1,
        dead: 7,
        torn: 1,
        ungrouped: 0,
        inferred: 0,
        groups,
    })
}

/// 1 to 17 s in steps of 4: `leak` gets ten more each time and keeps all, `pool` stays, `serve` comes and goes,
/// `fill` gets more and keeps few.
fn session() -> Session {
    use GoroutineState::{Leaked, Running, Waiting};
    // It spans 21 s.
    let tick = |tick| {
        Section::Lifetimes(LifetimeTable {
            symbol_gen: SymbolGen(0),
            tick,
            tick_ns: SECOND_NS,
            newest_ns: 0,
            rates_bytes: vec![1],
            births: Vec::new(),
            deaths: Vec::new(),
        })
    };
    let mut sections = vec![tick(0), dictionary(), tick(20)];
    for step in 0..5_u64 {
        let leaked = |in_class: [u32; 5]| in_class[..].to_vec();
        // Seen at 1, 5, 9, 13, 17 s: 16, 12, 8, 4 and 0 s old in the last census.
        let mut groups = vec![group(1, Waiting, &[0, 0, 0, 5], 0, 1)];
        match step {
            4 => {
                groups.push(group(0, Waiting, &leaked([0, 0, 10, 20, 0]), 10, 1));
                groups.push(group(0, Leaked, &leaked([0, 0, 0, 0, 10]), 0, 1));
            }
            step => groups.push(group(0, Waiting, &[], 10 * (step + 1), 1)),
        }
        groups.push(group(2, Running, &[1], [3, 8, 1, 6, 4][step as usize], 16));
        groups.push(group(3, Waiting, &[0, 0, 0, 0, 1], 5 + step, 1));
        sections.push(census(1 + 4 * step, groups));
    }
    let mut events = EventBatch::new(1, SECOND_NS, SymbolGen(0), 1, false);
    for (at_s, detail, before, after) in [
        (2, GoroutineDetail::Created, 0, 2048),
        (3, GoroutineDetail::Created, 0, 2048),
        (3, GoroutineDetail::StackGrown, 2048, 8192),
        (4, GoroutineDetail::Exited, 8192, 0),
    ] {
        let row = OtherRow {
            size_bytes: before,
            address: after,
            detail: detail as u64,
            goroutine_id: 5,
            ..OtherRow::default()
        };
        events.push(at_s * SECOND_NS, 1, EventKind::Goroutine, EventBody::Other(row));
    }
    sections.push(Section::Events(events));
    let mut writer = SectionWriter::default();
    for section in &sections {
        writer.push(section).unwrap();
    }
    let envelope = Envelope::data(SessionId([1; 16]), 1, 0, 20 * SECOND_NS);
    let bytes = frame::encode(envelope, &writer.take()).unwrap();
    let mut session = Session::new();
    session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    session
}

fn report(from_s: u64, to_s: u64, filter: &str) -> Report {
    session().report(&ReportQuery {
        kind: ReportKind::Goroutines,
        window: Window {
            from_ns: from_s * SECOND_NS,
            to_ns: to_s * SECOND_NS,
        },
        filter: filter.to_owned(),
        limit: 100,
    })
}

/// Cells as text: what is not known is `?`.
fn cells(table: &Table) -> Vec<Vec<String>> {
    let text = |cell: &Cell| match cell {
        Cell::Unknown => "?".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Value(value) => value.to_string(),
        Cell::Figure(figure) => figure.value.to_string(),
    };
    let rows = table.rows.iter();
    rows.map(|row| row.cells.iter().map(text).collect()).collect()
}

fn titles(report: &Report) -> Vec<&str> {
    report.tables.iter().map(|table| &*table.title).collect()
}

#[test]
fn a_creator_that_keeps_what_it_gets_is_suspect_and_a_pool_is_not() {
    let all = report(0, 20, "");
    assert_eq!(
        titles(&all),
        [
            "Goroutines by creator",
            "Goroutines by state",
            "Censuses",
            "Goroutine events"
        ]
    );
    let sixteen_s = "16000000000";
    let expected = [
        // Go says that 10 of the 50 leaked; the others of the program are mostly younger than a second.
        [
            "main.leak main.go:10",
            "50",
            "40",
            "102400",
            "waiting: chan receive",
            sixteen_s,
            "0.8",
            "outlives others",
            "10",
        ],
        [
            "main.fill main.go:13",
            "10",
            "4",
            "20480",
            "waiting: chan receive",
            sixteen_s,
            "0.1",
            "",
            "0",
        ],
        [
            "main.pool main.go:11",
            "5",
            "0",
            "10240",
            "waiting: chan receive",
            sixteen_s,
            "1",
            "",
            "0",
        ],
        [
            "main.serve main.go:12",
            "5",
            "1",
            "10240",
            "running",
            "1000000000",
            "0",
            "",
            "0",
        ],
    ];
    let mut got = cells(&all.tables[0]);
    // What is older than the others is looked at below.
    for row in &mut got {
        let share: f64 = row[6].parse().unwrap();
        assert!((0.0..=1.0).contains(&share), "{row:?}");
    }
    for (got, expected) in got.iter_mut().zip(&expected) {
        got[6] = expected[6].to_owned();
        assert_eq!(got, expected);
    }
    assert_eq!(got.len(), expected.len());
    let stacks: Vec<&str> = all.tables[0].rows[0]
        .stacks
        .iter()
        .map(|(what, _)| &**what)
        .collect();
    assert_eq!(stacks, ["created by", "starts in", "stands in"]);

    // Two censuses are too few to call anything a leak; one says nothing of change.
    for (from, to, change) in [(12, 20, "10"), (16, 20, "?")] {
        let rows = cells(&report(from, to, "").tables[0]);
        assert_eq!(
            (&*rows[0][0], &*rows[0][2], &*rows[0][7]),
            ("main.leak main.go:10", change, "")
        );
    }
    // A window without a census is told what the one before said; one before all of them nothing.
    assert_eq!(cells(&report(18, 19, "").tables[0]).len(), 4);
    assert_eq!(cells(&report(0, 1, "").tables[0]), Vec::<Vec<String>>::new());
}

#[test]
fn states_censuses_and_events_are_told() {
    let all = report(0, 20, "");
    let states = [
        ["waiting: chan receive", "55", "34", "112640", "16000000000"],
        ["leaked: chan receive", "10", "10", "20480", "16000000000"],
        ["running", "5", "1", "10240", "1000000000"],
    ];
    assert_eq!(cells(&all.tables[1]), states);
    assert_eq!(
        cells(&all.tables[2])[0],
        ["17000000000", "1000", "71", "7", "1", "0", "0"]
    );
    assert_eq!(all.tables[2].rows.len(), 5);
    let events = [
        ["created", "2", "4096"],
        ["ended", "1", "8192"],
        ["stack grown", "1", "6144"],
        ["stack halved", "0", "0"],
    ];
    let whole = report(0, u64::MAX / SECOND_NS, "");
    let got: Vec<Vec<String>> = cells(whole.tables.last().unwrap());
    let got: Vec<[&str; 3]> = got.iter().map(|row| [&*row[0], &*row[1], &*row[3]]).collect();
    assert_eq!(got, events);
    assert_eq!(titles(&report(10, 12, "")).len(), 3, "no event, no table");
}

#[test]
fn a_filter_keeps_what_matches_and_the_limit_says_what_it_cut() {
    for (filter, expected) in [
        ("POOL", 1),
        ("main.", 4),
        ("main.wait", 4),
        ("chan recei", 3),
        ("nothing", 0),
    ] {
        assert_eq!(
            cells(&report(0, 20, filter).tables[0]).len(),
            expected,
            "{filter}"
        );
    }
    let cut = session().report(&ReportQuery {
        kind: ReportKind::Goroutines,
        window: Window {
            from_ns: 0,
            to_ns: u64::MAX,
        },
        filter: String::new(),
        limit: 1,
    });
    assert_eq!((cut.tables[0].rows.len(), cut.tables[0].left_out), (1, 3));
}

#[test]
fn the_goroutines_of_a_creator_are_counted_in_the_newest_census() {
    let session = session();
    for (text, expected) in [
        ("main.leak", 50.0),
        ("MAIN.Pool", 5.0),
        ("main.", 70.0),
        ("nobody", 0.0),
    ] {
        let told = session.goroutines_created_by(text).unwrap();
        assert_eq!((told.value, told.at_ns), (expected, 17 * SECOND_NS), "{text}");
    }
    assert_eq!(Session::new().goroutines_created_by(""), None);
}
