//! A session's views against a plain list of objects: whatever was born and died, in whatever order frames
//! come, the store must say what the list says.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::report::{Cell, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::{Metric, ProfileQuery, TimelineQuery, Window};
use heaptide_analysis::{AnalysisError, Session, parity};
use heaptide_policy::Policy;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::session::{Clock, ClockKind, Method, PlatformSignature};
use heaptide_protocol::{Envelope, Frame, FrameId, SessionId, StackId, StringId, SymbolGen, TagId, frame};

#[path = "session/expired.rs"]
mod expired;
#[path = "session/levels.rs"]
mod levels;
#[path = "session/past.rs"]
mod past;
#[path = "session/steps.rs"]
mod steps;

const TICK_NS: u64 = 100_000_000;
const ORIGIN_TICK: u64 = 50;
const SITES: u32 = 4;

/// One object: call site, size, tick of birth, tick of death.
#[derive(Debug, Clone, Copy)]
struct Object {
    site: u32,
    size_bytes: u64,
    born: u64,
    died: Option<u64>,
}

/// SplitMix64, seeded.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn objects(seed: u64, count: usize, ticks: u64) -> Vec<Object> {
    let mut random = Seeded(seed);
    (0..count)
        .map(|_| {
            let born = random.below(ticks);
            let died = born + random.below(ticks);
            Object {
                site: random.below(u64::from(SITES)) as u32,
                size_bytes: 16 << random.below(8),
                born,
                died: (died < ticks).then_some(died),
            }
        })
        .collect()
}

fn start() -> Section {
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
            session_ns: ORIGIN_TICK * TICK_NS + 7,
            unix_ns: 0,
            error_ns: 0,
        },
    };
    Section::Start(SessionStart {
        signature,
        labels: Default::default(),
        capabilities: Vec::new(),
        policy: Policy::default(),
    })
}

/// Site `n` is allocated by `main.siteN`, called by `main.main`, through `runtime.mallocgc`.
fn dictionary() -> Section {
    let mut texts = vec![
        "main.main".to_owned(),
        "main.go".to_owned(),
        "runtime.mallocgc".to_owned(),
    ];
    texts.extend((0..SITES).map(|site| format!("main.site{site}")));
    let strings = texts
        .into_iter()
        .zip(0..)
        .map(|(text, id)| StringDef {
            id: StringId(id),
            text,
        })
        .collect();
    let frame = |id: u32, function: u32| FrameDef {
        id: FrameId(id),
        function: StringId(function),
        file: StringId(1),
        line: id,
        inlined: false,
    };
    let frames = [frame(0, 0), frame(1, 2)]
        .into_iter()
        .chain((0..SITES).map(|site| frame(site + 2, site + 3)))
        .collect();
    let stacks = (0..SITES)
        .map(|site| StackDef {
            id: StackId(site),
            stack_trace_hash: u64::from(site),
            frames: vec![FrameId(1), FrameId(site + 2), FrameId(0)],
            truncated: false,
        })
        .collect();
    Section::Dictionary(Dictionary {
        symbol_gen: SymbolGen(0),
        strings,
        frames,
        stacks,
        tags: Vec::new(),
    })
}

fn table(objects: &[Object], tick: u64, rate_bytes: u64) -> Section {
    let allotment = |object: &Object| Allotment {
        stack: StackId(object.site),
        heap_tag: TagId(0),
        size_bytes: object.size_bytes,
        rate_index: 0,
    };
    let births = objects
        .iter()
        .filter(|object| object.born == tick)
        .map(|object| Birth {
            allotment: allotment(object),
            count: 1,
        })
        .collect();
    let deaths = objects
        .iter()
        .filter(|object| object.died == Some(tick))
        .map(|object| Death {
            allotment: allotment(object),
            age_ticks: (tick - object.born) as u32,
            count: 1,
        })
        .collect();
    Section::Lifetimes(LifetimeTable {
        symbol_gen: SymbolGen(0),
        tick: tick + ORIGIN_TICK,
        tick_ns: TICK_NS,
        newest_ns: 0,
        rates_bytes: vec![rate_bytes],
        births,
        deaths,
    })
}

fn encode(seq: u64, tick: u64, sections: &[Section]) -> Vec<u8> {
    let mut writer = SectionWriter::default();
    for section in sections {
        writer.push(section).unwrap();
    }
    let at = (tick + ORIGIN_TICK) * TICK_NS;
    frame::encode(
        Envelope::data(SessionId([1; 16]), seq, at, at + TICK_NS),
        &writer.take(),
    )
    .unwrap()
}

fn frames(objects: &[Object], ticks: u64, rate_bytes: u64) -> Vec<Vec<u8>> {
    let mut frames = vec![encode(1, 0, &[start(), dictionary()])];
    frames.extend((0..ticks).map(|tick| encode(tick + 2, tick, &[table(objects, tick, rate_bytes)])));
    frames
}

fn play<'a>(frames: impl IntoIterator<Item = &'a Vec<u8>>) -> Session {
    let mut session = Session::new();
    for bytes in frames {
        session.apply(&Frame::parse(bytes).unwrap()).unwrap();
    }
    session
}

fn window(from_tick: u64, to_tick: u64) -> Window {
    Window {
        from_ns: (from_tick + ORIGIN_TICK) * TICK_NS,
        to_ns: (to_tick + ORIGIN_TICK) * TICK_NS,
    }
}

fn counts(object: &Object, metric: Metric, from: u64, to: u64) -> bool {
    let dead_by_end = object.died.is_some_and(|died| died < to);
    match metric {
        Metric::Live => object.born < to && !dead_by_end,
        Metric::Kept => (from..to).contains(&object.born) && !dead_by_end,
        Metric::Allocated => (from..to).contains(&object.born),
        Metric::Freed => object.died.is_some_and(|died| (from..to).contains(&died)),
    }
}

#[test]
fn every_metric_of_every_window_equals_a_plain_list() {
    const TICKS: u64 = 60;
    for seed in 0..20 {
        let list = objects(seed, 500, TICKS);
        let session = play(&frames(&list, TICKS, 1));
        for (from, to) in [
            (0, TICKS),
            (0, 1),
            (10, 30),
            (29, 30),
            (TICKS - 1, TICKS),
            (30, 30),
        ] {
            for metric in [Metric::Live, Metric::Kept, Metric::Allocated, Metric::Freed] {
                let query = ProfileQuery {
                    window: window(from, to),
                    metric,
                    filter: String::new(),
                    limit: 100,
                };
                let sites = session.sites(&query);
                for site in 0..SITES {
                    let expected: u64 = list
                        .iter()
                        .filter(|object| object.site == site && counts(object, metric, from, to))
                        .map(|object| object.size_bytes)
                        .sum();
                    let name = format!("main.site{site}");
                    let got = sites
                        .rows
                        .iter()
                        .find(|row| row.function == name)
                        .map_or(0.0, |row| row.bytes.value);
                    assert_eq!(
                        got, expected as f64,
                        "seed {seed}, {metric:?} of {name} in {from}..{to}"
                    );
                }
                let flame = session.flame(&query);
                assert_eq!(flame.total.value, sites.total.value, "{metric:?} in {from}..{to}");
                let roots: f64 = flame
                    .nodes
                    .iter()
                    .filter(|node| node.depth == 0)
                    .map(|node| node.total_bytes)
                    .sum();
                assert_eq!(roots, flame.total.value);
                let samples = session.samples(query.window);
                let bytes = samples.iter().map(|row| {
                    let count = match metric {
                        Metric::Live => row.live,
                        Metric::Kept => row.kept,
                        Metric::Allocated => row.allocated,
                        Metric::Freed => row.freed,
                    };
                    row.weight() * (count * row.size_bytes) as f64
                });
                assert_eq!(
                    bytes.sum::<f64>(),
                    sites.total.value,
                    "{metric:?} in {from}..{to}"
                );
            }
        }
    }
}

#[test]
fn headline_and_timeline_agree_with_the_profile() {
    const TICKS: u64 = 50;
    let list = objects(3, 2_000, TICKS);
    let session = play(&frames(&list, TICKS, 1));
    let live: u64 = list
        .iter()
        .filter(|object| object.died.is_none())
        .map(|object| object.size_bytes)
        .sum();
    let headline = session.headline();
    assert_eq!(headline.live.value, live as f64);
    assert_eq!(headline.span, window(0, TICKS));
    let timeline = session.timeline(&TimelineQuery {
        window: headline.span,
        points: 10,
    });
    assert_eq!(timeline.points.len(), 10);
    assert_eq!(timeline.points.last().unwrap().live_bytes, live as f64);
    let allocated: f64 = timeline
        .points
        .iter()
        .map(|point| point.allocated_per_s * timeline.step_ns as f64 / 1e9)
        .sum();
    let expected: u64 = list.iter().map(|object| object.size_bytes).sum();
    assert!(
        (allocated - expected as f64).abs() < 1e-6 * expected as f64,
        "{allocated} against {expected}"
    );
}

#[test]
fn a_repeated_frame_changes_nothing() {
    let list = objects(5, 300, 20);
    let all = frames(&list, 20, 524_288);
    let once = parity::digest(&play(&all));
    let twice: Vec<_> = all.iter().flat_map(|bytes| [bytes, bytes]).chain(&all).collect();
    assert_eq!(parity::digest(&play(twice)), once);
}

#[test]
fn a_missing_frame_is_a_gap_and_is_counted() {
    let all = frames(&objects(5, 300, 20), 20, 1);
    let session = play(
        all.iter()
            .enumerate()
            .filter(|(at, _)| !(8..11).contains(at))
            .map(|(_, bytes)| bytes),
    );
    let timeline = session.timeline(&TimelineQuery {
        window: window(0, 20),
        points: 20,
    });
    assert_eq!(timeline.gaps, [window(7, 10)]);
    let trimmed = session.headline().trimmed;
    assert_eq!(
        trimmed
            .iter()
            .find(|trim| trim.what.contains("missed"))
            .map(|trim| trim.count),
        Some(3)
    );
}

#[test]
fn a_damaged_frame_is_counted_and_the_next_ones_are_read() {
    let all = frames(&objects(5, 300, 20), 20, 1);
    let mut session = Session::new();
    let mut damaged = 0;
    for (at, bytes) in all.iter().enumerate() {
        let parsed = Frame::parse(bytes).unwrap();
        // A hostile peer's payload: the checksum was right when it came.
        let cut = Frame {
            payload: &parsed.payload[..parsed.payload.len() / 2],
            ..parsed
        };
        let frame = if at == 9 { cut } else { parsed };
        damaged += u64::from(session.apply(&frame).is_err());
    }
    assert_eq!((damaged, session.headline().damaged_frames), (1, 1));
    assert_eq!(session.last_seq(), all.len() as u64);
}

#[test]
fn a_dictionary_gap_is_an_error_not_a_panic() {
    let far = Dictionary {
        strings: vec![StringDef {
            id: StringId(u32::MAX),
            text: "x".into(),
        }],
        ..Dictionary::default()
    };
    let bytes = encode(1, 0, &[Section::Dictionary(far)]);
    let error = Session::new().apply(&Frame::parse(&bytes).unwrap()).unwrap_err();
    assert!(matches!(error, AnalysisError::DictionaryGap { .. }), "{error}");
}

/// A week in a browser: the store stays bounded, and what it says of whole windows stays exact.
#[test]
fn invariant_6_the_store_is_bounded_and_totals_survive_coarsening() {
    let sections = |tick: u64| {
        let object = Object {
            site: (tick % 4) as u32,
            size_bytes: 64,
            born: tick,
            died: None,
        };
        let freed = Object {
            site: 0,
            size_bytes: 32,
            born: tick.saturating_sub(3),
            died: Some(tick),
        };
        table(&[object, freed], tick, 1)
    };
    let mut session = Session::new();
    let first = encode(1, 0, &[start(), dictionary()]);
    session.apply(&Frame::parse(&first).unwrap()).unwrap();
    // One tick a minute for a year's worth of minutes goes far past the hour that full resolution holds.
    let ticks: Vec<u64> = (0..200_000).map(|at| at * 600).collect();
    for (at, tick) in ticks.iter().enumerate() {
        let bytes = encode(at as u64 + 2, *tick, &[sections(*tick)]);
        session.apply(&Frame::parse(&bytes).unwrap()).unwrap();
    }
    let headline = session.headline();
    assert!(headline.tick_ns > TICK_NS, "the ticks should have merged");
    let allocated = ProfileQuery {
        window: headline.span,
        metric: Metric::Allocated,
        filter: String::new(),
        limit: 10,
    };
    // The object that dies in tick 0 is also born there.
    assert_eq!(
        session.sites(&allocated).total.value,
        64.0 * ticks.len() as f64 + 32.0
    );
    let freed = ProfileQuery {
        metric: Metric::Freed,
        ..allocated
    };
    assert_eq!(session.sites(&freed).total.value, 32.0 * ticks.len() as f64);
}

#[test]
fn invariant_1_sampled_figures_carry_rate_and_interval() {
    let session = play(&frames(&objects(9, 3_000, 30), 30, 524_288));
    let query = ProfileQuery {
        window: window(0, 30),
        metric: Metric::Allocated,
        filter: String::new(),
        limit: 10,
    };
    let table = session.sites(&query);
    for figure in table.rows.iter().flat_map(|row| [row.bytes, row.objects]) {
        assert!(
            figure.low < figure.value && figure.value < figure.high,
            "{figure:?}"
        );
    }
    // No rate was told by a gauge, so the total must not claim to be exact.
    let told = session.headline().live;
    assert!(told.high > told.value, "{told:?}");
    assert!(
        matches!(
            table.rows[0].bytes.method,
            Method::Sampled { rate_bytes: 524_288 }
        ),
        "{:?}",
        table.rows[0].bytes
    );
}

#[test]
fn the_filter_keeps_whole_stacks_and_counts_the_rest() {
    let list = objects(2, 400, 10);
    let session = play(&frames(&list, 10, 1));
    let query = ProfileQuery {
        window: window(0, 10),
        metric: Metric::Allocated,
        filter: "SITE2".into(),
        limit: 100,
    };
    let flame = session.flame(&query);
    let names: Vec<&str> = flame
        .nodes
        .iter()
        .map(|node| flame.strings[node.function as usize].as_str())
        .collect();
    assert_eq!(names, ["main.main", "main.site2"]);
    let all: u64 = list.iter().map(|object| object.size_bytes).sum();
    assert_eq!(flame.total.value + flame.hidden_bytes, all as f64);
}

#[test]
fn a_limited_flame_keeps_the_heaviest_and_their_parents() {
    let session = play(&frames(&objects(2, 400, 10), 10, 1));
    let query = ProfileQuery {
        window: window(0, 10),
        metric: Metric::Allocated,
        filter: String::new(),
        limit: 3,
    };
    let flame = session.flame(&query);
    assert_eq!((flame.nodes.len(), flame.merged_nodes), (3, 2));
    assert!(
        flame
            .nodes
            .iter()
            .enumerate()
            .all(|(at, node)| node.parent as usize <= at)
    );
    assert!(flame.nodes[1].total_bytes >= flame.nodes[2].total_bytes);
}

/// The drift table of a window, each row as its site and its word.
fn drift(session: &Session, from: u64, to: u64, filter: &str, limit: u32) -> (Table, Vec<String>) {
    let report = session.report(&ReportQuery {
        kind: ReportKind::Drift,
        window: window(from, to),
        filter: filter.to_owned(),
        limit,
    });
    let table = report.tables.into_iter().next().unwrap();
    let text = |cell: &Cell| match cell {
        Cell::Text(words) => words.clone(),
        _ => String::new(),
    };
    let rows = table
        .rows
        .iter()
        .map(|row| format!("{}: {}", text(&row.cells[0]), text(&row.cells[1])))
        .collect();
    (table, rows)
}

#[test]
fn drift_names_what_moved_and_calls_the_rest_noise() {
    const TICKS: u64 = 40;
    const RATE_BYTES: u64 = 524_288;
    // Samples of each site in the first half and in the second.
    let samples = [(20, 200), (50, 58), (0, 1), (300, 90)];
    let mut list = Vec::new();
    for (site, (before, after)) in (0..).zip(samples) {
        for (first, count) in [(0, before), (TICKS / 2, after)] {
            list.extend((0..count).map(|number| Object {
                site,
                size_bytes: 64,
                born: first + number % (TICKS / 2),
                died: None,
            }));
        }
    }
    let session = play(&frames(&list, TICKS, RATE_BYTES));
    let expected = [
        "main.site3 main.go:5: down",
        "main.site0 main.go:2: up",
        "main.site1 main.go:3: within noise",
        "main.site2 main.go:4: within noise",
    ];
    let (table, rows) = drift(&session, TICKS / 2, TICKS, "", 100);
    assert_eq!(rows, expected);
    assert!(table.note.contains("2 of 4 call sites moved"), "{}", table.note);
    assert!(
        !table.note.contains("halved") && !table.note.contains("missing"),
        "{}",
        table.note
    );
    assert_eq!(
        table.method,
        Method::Sampled {
            rate_bytes: RATE_BYTES
        }
    );
    let Cell::Figure(difference) = &table.rows[1].cells[4] else {
        panic!("{:?}", table.rows[1]);
    };
    assert!(0.0 < difference.low && difference.low < difference.value && difference.value < difference.high);
    assert_eq!(table.rows[0].stacks[0].1[0].function, "main.site3");
    // The whole session has nothing before it: its halves are the same two windows.
    let (halved, rows) = drift(&session, 0, TICKS, "", 100);
    assert_eq!(rows, expected);
    assert!(halved.note.contains("halved"), "{}", halved.note);
    // What is left out is counted, and a filter does not change what is called moved.
    let (cut, rows) = drift(&session, TICKS / 2, TICKS, "", 3);
    assert_eq!((rows.len(), cut.left_out), (3, 1));
    let (filtered, rows) = drift(&session, TICKS / 2, TICKS, "SITE0", 100);
    assert_eq!(rows, expected[1..2]);
    assert!(filtered.note.contains("2 of 4"), "{}", filtered.note);
}
