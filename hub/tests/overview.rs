//! A long session in steps, for a console that asks for an overview: few bytes, the same sums, each frame where it is
//! looked at closely, and then live.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::bearer::share;
use common::ticks::{TICK_NS, frame};
use common::{Client, Running, Seen, session, start_with};
use heaptide_analysis::Session;
use heaptide_analysis::views::{Metric, ProfileQuery, Window};
use heaptide_hub::HubConfig;
use heaptide_protocol::control::{Overview, Stretch};
use heaptide_protocol::{Frame, FrameKind, SessionId};
use serde_json::json;
use std::time::Duration;

/// Ten minutes.
const TICKS: u64 = 6_000;
const BATCH: u64 = 100;
const CLOSED_SEGMENTS: u64 = 3;
const ID: SessionId = SessionId([1; 16]);

/// Several segments, the last of which stays open.
fn small(config: &mut HubConfig) {
    let each = frame(ID, 9).len() as u64;
    config.limits.segment_bytes = 1_700 * each;
    config.limits.newest_bytes = 200 * each;
    config.limits.level_interval = Duration::from_millis(5);
}

/// A hub that has all of it, with levels.
async fn filled(folder: &std::path::Path) -> (Running, Client) {
    let hub = start_with(folder, small).await;
    let mut collector = hub.collector().await;
    collector.open(ID, 1).await;
    for first in (1..=TICKS).step_by(BATCH as usize) {
        for seq in first..first + BATCH {
            collector.send(frame(ID, seq)).await;
        }
        collector.acked(first + BATCH - 1).await;
    }
    // Of all but the newest frames.
    let reached = async {
        let mut console = hub.console().await;
        while hub.counter("level_parts").await < CLOSED_SEGMENTS
            || overview(&mut console, 20 << 10, 0..0).await.frames >= 500
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    common::patient(reached).await;
    (hub, collector)
}

struct Told {
    data: Session,
    bytes: usize,
    frames: u64,
    stretches: Vec<Stretch>,
}

/// Reads on until all is told. What comes before the beginning belongs to nobody.
async fn read(console: &mut Client) -> Told {
    let begin: Stretch = loop {
        match console.next_but_lists().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Stretch => {
                break Frame::parse(&bytes).unwrap().control("test").unwrap();
            }
            Seen::Frame(..) => {}
            other => panic!("expected a beginning, got {other:?}"),
        }
    };
    assert_eq!(begin, Stretch::BEGIN);
    let mut told = Told {
        data: Session::new(),
        bytes: 0,
        frames: 0,
        stretches: Vec::new(),
    };
    loop {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the hub went away");
        };
        let parsed = Frame::parse(&bytes).unwrap();
        told.bytes += bytes.len();
        match envelope.kind {
            FrameKind::Data => {
                told.frames += 1;
                told.data.apply(&parsed).unwrap();
            }
            FrameKind::Stretch => {
                let stretch: Stretch = parsed.control("test").unwrap();
                assert_eq!(stretch.from_seq, told.data.last_seq() + 1);
                told.data
                    .stretch(stretch.from_seq, stretch.to_seq, stretch.step_ns);
                told.stretches.push(stretch);
            }
            FrameKind::CaughtUp => return told,
            other => panic!("{other:?}"),
        }
    }
}

async fn overview(console: &mut Client, past_bytes: u64, close_ticks: std::ops::Range<u64>) -> Told {
    let ask = Overview {
        past_bytes,
        close_from_ns: close_ticks.start * TICK_NS,
        close_to_ns: close_ticks.end.saturating_mul(TICK_NS),
    };
    console.control(FrameKind::Overview, ID, &ask).await;
    read(console).await
}

fn query(ticks: std::ops::Range<u64>, metric: Metric) -> ProfileQuery {
    ProfileQuery {
        window: Window {
            from_ns: ticks.start * TICK_NS,
            to_ns: ticks.end * TICK_NS,
        },
        metric,
        filter: String::new(),
        limit: 10,
    }
}

/// Bytes allocated, freed and live by the rule that the frames follow.
fn check(told: &Told, ticks: std::ops::Range<u64>, what: &str) {
    let count = ticks.end - ticks.start;
    let freed = (ticks.start.max(6)..ticks.end).count() as u64;
    for (metric, expected) in [
        (Metric::Allocated, count),
        (Metric::Freed, freed),
        (Metric::Live, 5),
    ] {
        let got = told.data.sites(&query(ticks.clone(), metric)).total.value;
        assert_eq!(got, expected as f64 * 6_000.0, "{what}: {metric:?} in {ticks:?}");
    }
    assert_eq!(told.data.missed_frames(), 0, "{what}");
}

#[tokio::test]
async fn a_long_past_comes_in_steps_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, mut collector) = filled(folder.path()).await;
    let stored: u64 = TICKS * frame(ID, 9).len() as u64;
    let mut console = hub.console().await;

    // All of it, where there is room for it.
    let exact = overview(&mut console, u64::MAX, 0..0).await;
    assert_eq!((exact.frames, exact.stretches.len()), (TICKS, 0));
    check(&exact, 1..TICKS + 1, "exact");

    let counted_before = hub.counter("frames_told_in_steps").await;
    // In steps of ten seconds: the newest frames come as they are.
    let wide = overview(&mut console, stored / 4, 0..0).await;
    assert!(wide.frames < 500, "{} frames", wide.frames);
    assert!(
        wide.bytes as u64 <= stored / 4,
        "{} of {stored} bytes",
        wide.bytes
    );
    check(&wide, 1..TICKS + 1, "wide");
    for (from, to) in [(100, 200), (1_000, 3_000), (5_000, 5_100)] {
        check(&wide, from..to, "wide");
    }
    assert!(
        wide.stretches
            .iter()
            .all(|stretch| stretch.step_ns == 10_000_000_000)
    );
    assert_eq!(
        hub.counter("frames_told_in_steps").await - counted_before,
        wide.data.last_seq() - tail(&wide)
    );

    // Each frame of a range, from the middle of a step on.
    let close = overview(&mut console, stored / 4, 2_345..2_399).await;
    for (from, to) in [(2_345, 2_399), (2_350, 2_351), (2_300, 2_400), (1, TICKS + 1)] {
        check(&close, from..to, "close");
    }
    let window = |from: u64, to: u64| Window {
        from_ns: from * TICK_NS,
        to_ns: to * TICK_NS,
    };
    assert_eq!(close.data.step_in(window(2_345, 2_399)), 0);
    assert_eq!(close.data.step_in(window(2_100, 2_399)), 10_000_000_000);
    assert!(close.frames < wide.frames + 120, "{} frames", close.frames);

    // Steps of minutes outside, of ten seconds inside, if there is room for nothing else.
    let smallest = overview(&mut console, 12 << 10, 1_800..4_200).await;
    check(&smallest, 1..TICKS + 1, "smallest");
    check(&smallest, 1_800..4_200, "smallest");
    let widths: std::collections::BTreeSet<u64> =
        smallest.stretches.iter().map(|stretch| stretch.step_ns).collect();
    assert!(widths.len() > 1, "{widths:?}");

    // It goes on live.
    collector.send(frame(ID, TICKS + 1)).await;
    match console.next_but_lists().await {
        Seen::Frame(envelope, ..) => assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, TICKS + 1)),
        other => panic!("{other:?}"),
    }
    hub.stop().await;
}

/// How many frames at its end came as they were.
fn tail(told: &Told) -> u64 {
    told.data.last_seq() - told.stretches.last().unwrap().to_seq
}

#[tokio::test]
async fn a_link_shows_a_long_past_in_steps_and_none_of_them_goes_across_an_edge_of_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _collector) = filled(folder.path()).await;
    let stored: u64 = TICKS * frame(ID, 9).len() as u64;
    let wish = json!({ "session": ID.to_string(), "kind": "live", "redact": true });

    let (_, secret) = share(&hub, wish.clone()).await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let whole = overview(&mut bearer, stored / 4, 2_345..2_399).await;
    assert!(whole.frames < 700, "{} frames", whole.frames);
    check(&whole, 1..TICKS + 1, "whole");
    check(&whole, 2_350..2_351, "whole");

    let mut part = wish;
    part["from_ns"] = (1_003 * TICK_NS).into();
    part["to_ns"] = (4_567 * TICK_NS).into();
    let (_, secret) = share(&hub, part).await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let exact = overview(&mut bearer, u64::MAX, 0..0).await;
    assert_eq!(exact.stretches.len(), 0);
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let told = overview(&mut bearer, stored / 4, 0..0).await;
    assert!(
        told.frames < exact.frames / 8,
        "{} of {} frames",
        told.frames,
        exact.frames
    );
    assert_eq!(told.data.missed_frames(), 0);
    assert_eq!(told.data.span(), exact.data.span());
    for (from, to) in [(0, TICKS), (1_000, 1_010), (4_560, 4_567), (2_000, 3_000)] {
        for metric in [Metric::Allocated, Metric::Freed, Metric::Live] {
            let total = |of: &Told| of.data.sites(&query(from..to, metric)).total.value;
            assert_eq!(total(&told), total(&exact), "{metric:?} from {from} to {to}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_report_of_a_long_session_reads_what_it_is_about_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _collector) = filled(folder.path()).await;
    let ask = async |hub: &Running, from: u64, to: u64| {
        let (from_ns, to_ns) = (from * TICK_NS, to * TICK_NS);
        let path = format!("/api/v1/sessions/{ID}/report?kind=drift&from_ns={from_ns}&to_ns={to_ns}");
        let (status, told) = hub.json("GET", &path, None).await;
        assert_eq!(status, 200, "{told}");
        told
    };
    let exact = ask(&hub, 2_345, 2_999).await;
    hub.stop().await;

    let short = |config: &mut HubConfig| {
        small(config);
        config.limits.report_bytes = TICKS * frame(ID, 9).len() as u64 * 3 / 4;
    };
    let hub = start_with(folder.path(), short).await;
    let lacks = |told: &serde_json::Value| {
        let tables = told["tables"].as_array().unwrap();
        let notes = tables.iter().map(|table| table["note"].as_str().unwrap());
        notes.filter(|note| note.contains("in steps of 10 s")).count() == tables.len()
    };
    let whole = ask(&hub, 0, TICKS + 1).await;
    assert!(lacks(&whole), "{whole}");
    let narrow = ask(&hub, 2_345, 2_999).await;
    assert!(!lacks(&narrow), "{narrow}");
    assert_eq!(narrow, exact);
    // The newest is read whole whatever was asked about before.
    let newest = ask(&hub, TICKS - 50, TICKS).await;
    assert!(!lacks(&newest), "{newest}");

    let path = format!("/api/v1/overlaps?a={ID}&b={ID}&what=pauses");
    let (status, told) = hub.json("GET", &path, None).await;
    assert_eq!(status, 200, "{told}");
    let known_from = told["a_known_after_ns"].as_u64().unwrap() / TICK_NS;
    assert!((4_000..TICKS).contains(&known_from), "{told}");
    let range = format!("&from_ns={}&to_ns={}", 2_345 * TICK_NS, 2_999 * TICK_NS);
    let (_, told) = hub.json("GET", &format!("{path}{range}"), None).await;
    assert_eq!(told["a_known_after_ns"], 0, "{told}");
    hub.stop().await;
}

#[tokio::test]
async fn without_its_files_and_after_a_restart_each_frame_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _collector) = filled(folder.path()).await;
    let levels = hub.session_dir(ID).join("levels");
    let steps = || {
        let all = std::fs::read_dir(&levels)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("steps-"))
            .collect::<Vec<_>>()
    };
    let mut console = hub.console().await;
    // One is cut off, the others are gone.
    for (nth, path) in steps().into_iter().enumerate() {
        if nth == 0 {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    let told = overview(&mut console, 20 << 10, 0..0).await;
    check(&told, 1..TICKS + 1, "without files");
    hub.stop().await;

    let hub = start_with(folder.path(), small).await;
    let mut console = hub.console().await;
    let told = overview(&mut console, 20 << 10, 0..0).await;
    check(&told, 1..TICKS + 1, "restarted");
    hub.stop().await;
}

#[tokio::test]
async fn an_overview_of_what_is_not_there_or_empty_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), small).await;
    let mut console = hub.console().await;
    let ask = Overview {
        past_bytes: 0,
        close_from_ns: 9,
        close_to_ns: 3,
    };
    console.control(FrameKind::Overview, session(7), &ask).await;
    match console.next_but_lists().await {
        Seen::Frame(envelope, ..) => assert_eq!(envelope.kind, FrameKind::Notice),
        other => panic!("{other:?}"),
    }
    let mut collector = hub.collector().await;
    collector.open(ID, 1).await;
    console.control(FrameKind::Overview, ID, &ask).await;
    let told = read(&mut console).await;
    assert_eq!((told.frames, told.stretches.len()), (0, 0));
    hub.stop().await;
}
