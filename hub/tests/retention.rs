//! What has expired is gone in whole segments, oldest first; what is left can be read, and readers know what
//! they miss.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Running, Seen, noise, session, start_with};
use heaptide_hub::HubConfig;
use heaptide_protocol::control::{CaughtUp, Missed, MissedReason};
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::frame::encode;
use heaptide_protocol::lifetimes::{Allotment, Birth, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{
    Envelope, Frame, FrameId, FrameKind, SessionId, StackId, StringId, SymbolGen, TagId,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A frame that defines one call site and allocates one object there.
fn site(id: SessionId, seq: u64) -> Vec<u8> {
    let own = u32::try_from(seq - 1).unwrap();
    let mut writer = SectionWriter::default();
    let dictionary = Dictionary {
        symbol_gen: SymbolGen(0),
        strings: vec![StringDef {
            id: StringId(own),
            text: format!("main.site{seq}"),
        }],
        frames: vec![FrameDef {
            id: FrameId(own),
            function: StringId(own),
            file: StringId(own),
            line: 1,
            inlined: false,
        }],
        stacks: vec![StackDef {
            id: StackId(own),
            stack_trace_hash: seq,
            frames: vec![FrameId(own)],
            truncated: false,
        }],
        tags: Vec::new(),
    };
    writer.push(&Section::Dictionary(dictionary)).unwrap();
    let table = LifetimeTable {
        tick: seq,
        tick_ns: 100_000_000,
        rates_bytes: vec![1],
        births: vec![Birth {
            allotment: Allotment {
                stack: StackId(own),
                heap_tag: TagId(0),
                size_bytes: 1000,
                rate_index: 0,
            },
            count: 1,
        }],
        ..LifetimeTable::default()
    };
    writer.push(&Section::Lifetimes(table)).unwrap();
    let at = seq * 100_000_000;
    encode(Envelope::data(id, seq, at, at + 99_999_999), &writer.take()).unwrap()
}

/// Segments of one commit each, and a look at what has expired every few milliseconds.
fn small(config: &mut HubConfig) {
    config.limits.segment_bytes = 1;
    config.limits.retention_interval = Duration::from_millis(5);
    config.limits.away_patience = Duration::ZERO;
}

async fn send(hub: &Running, id: SessionId, seqs: std::ops::RangeInclusive<u64>) -> Client {
    let mut collector = hub.collector().await;
    collector.open(id, *seqs.start()).await;
    for seq in seqs {
        collector.send(site(id, seq)).await;
        collector.acked(seq).await;
    }
    collector
}

/// Data frames and what is told to be missing, up to `CaughtUp`.
async fn replay(hub: &Running, id: SessionId) -> (Vec<Vec<u8>>, Vec<Missed>, u64) {
    let mut console = hub.console().await;
    console.subscribe(id, 0).await;
    let (mut frames, mut missed) = (Vec::new(), Vec::new());
    loop {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        match envelope.kind {
            FrameKind::Data => frames.push(bytes),
            FrameKind::Missed => missed.push(Frame::parse(&bytes).unwrap().control("Missed").unwrap()),
            FrameKind::CaughtUp => {
                let told: CaughtUp = Frame::parse(&bytes).unwrap().control("CaughtUp").unwrap();
                return (frames, missed, told.last_seq);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn until(hub: &Running, counter: &str, at_least: u64) {
    let reached = async {
        while hub.counter(counter).await < at_least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(reached).await;
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|name| name.ends_with(".htl"))
        .collect();
    names.sort();
    names
}

/// The live heap by call site, from the frames that a console got.
fn live_sites(frames: &[Vec<u8>]) -> Vec<String> {
    use heaptide_analysis::Session;
    use heaptide_analysis::views::{Metric, ProfileQuery};
    let mut session = Session::new();
    for bytes in frames {
        session.apply(&Frame::parse(bytes).unwrap()).unwrap();
    }
    let query = ProfileQuery {
        window: session.span(),
        metric: Metric::Live,
        filter: String::new(),
        limit: 1000,
    };
    let rows = session.sites(&query).rows;
    let mut names: Vec<String> = rows
        .into_iter()
        .filter(|row| row.bytes.value == 1000.0)
        .map(|row| row.function)
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_oldest_segments_go_and_their_names_stay() {
    const FRAMES: u64 = 30;
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let limit = 20 * site(id, 20).len() as u64;
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.retention.max_session_bytes = Some(limit);
    })
    .await;
    let collector = send(&hub, id, 1..=FRAMES).await;
    // A replay that is overtaken misses something; this one is to be whole.
    let shortened = async {
        loop {
            let answer = hub.get("/api/v1/sessions").await;
            let body: serde_json::Value =
                serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            if body[0]["stored_bytes"].as_u64().unwrap() <= limit {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(shortened).await;
    assert!(hub.counter("segments_expired").await >= 5);
    let mut sites: Vec<String> = (1..=FRAMES).map(|seq| format!("main.site{seq}")).collect();
    sites.sort();
    // Twice: as the hub sees it, and as it finds it at its next start.
    let (frames, missed, last_seq) = replay(&hub, id).await;
    assert_eq!(last_seq, FRAMES);
    let told = missed.first().unwrap();
    assert_eq!((told.from_seq, told.reason), (1, MissedReason::Expired));
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert_eq!(told.to_seq + frames.len() as u64, FRAMES);
    assert_eq!(live_sites(&frames), sites);
    assert!(hub.counter("frames_missed_expired").await > 0);
    assert_eq!(hub.counter("summaries_failed").await, 0, "{}", hub.logged());
    assert_eq!(hub.counter("frames_missed_damaged").await, 0);
    let newest = site(id, FRAMES);
    assert_eq!(frames.last(), Some(&newest));
    drop(collector);
    hub.stop().await;

    let hub = start_with(folder.path(), |config| config.limits.segment_bytes = 1).await;
    assert_eq!(hub.complained(), "");
    let (again, missed_again, _) = replay(&hub, id).await;
    assert_eq!(live_sites(&again), sites);
    assert_eq!(again.len() as u64 + missed_again[0].to_seq, FRAMES);
    drop(send(&hub, id, FRAMES + 1..=FRAMES + 1).await);
    hub.stop().await;
}

#[tokio::test]
async fn a_report_that_was_begun_before_is_right_after() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.retention.max_session_bytes = Some(1);
        config.limits.retention_interval = Duration::from_millis(300);
    })
    .await;
    let path = format!("/api/v1/sessions/{id}/report?kind=drift");
    let mut collector = send(&hub, id, 1..=2).await;
    assert!(hub.get(&path).await.starts_with("HTTP/1.1 200"));
    for seq in 3..=12 {
        collector.send(site(id, seq)).await;
        collector.acked(seq).await;
    }
    until(&hub, "segments_expired", 9).await;
    assert!(hub.get(&path).await.starts_with("HTTP/1.1 200"));
    drop(collector);
    hub.stop().await;
}

#[tokio::test]
async fn a_session_that_is_over_goes_with_its_folder_and_a_live_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.retention.max_age = Some(Duration::ZERO);
    })
    .await;
    send(&hub, session(1), 1..=3).await.end("ended").await;
    let mut live = send(&hub, session(2), 1..=3).await;
    until(&hub, "sessions_expired", 1).await;
    assert!(!hub.session_dir(session(1)).exists());
    let listed = hub.get("/api/v1/sessions").await;
    assert!(
        !listed.contains(&session(1).to_string()) && listed.contains(&session(2).to_string()),
        "{listed}"
    );
    live.send(site(session(2), 4)).await;
    live.acked(4).await;
    assert_eq!(
        files(&hub.session_dir(session(2))).last().unwrap(),
        "log-00000000000000000004.htl"
    );
    // The same session may come anew.
    drop(send(&hub, session(1), 1..=1).await);
    drop(live);
    hub.stop().await;
}

#[tokio::test]
async fn the_oldest_of_all_sessions_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.limits.retention_interval = Duration::from_millis(50);
        config.retention.max_total_bytes = Some(14 * 4300);
    })
    .await;
    let (mut first, mut second) = (hub.collector().await, hub.collector().await);
    for (number, collector) in [(1, &mut first), (2, &mut second)] {
        collector.open(session(number), 1).await;
        for seq in 1..=10 {
            collector.data(session(number), seq, &noise(seq, 4200)).await;
            collector.acked(seq).await;
        }
    }
    until(&hub, "segments_expired", 6).await;
    let (_, missed, _) = replay(&hub, session(1)).await;
    assert_eq!(missed[0].reason, MissedReason::Expired);
    let (frames, missed, _) = replay(&hub, session(2)).await;
    assert_eq!((frames.len(), missed.len()), (10, 0));
    drop((first, second));
    hub.stop().await;
}

#[tokio::test]
async fn a_crash_between_summary_and_deletion_leaves_one_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), |config| config.limits.segment_bytes = 1).await;
    drop(send(&hub, id, 1..=10).await);
    hub.stop().await;
    let sessions = folder.path().join("sessions").join(id.to_string());
    let before: Vec<_> = files(&sessions)
        .into_iter()
        .map(|name| (name.clone(), fs::read(sessions.join(name)).unwrap()))
        .collect();
    let meta = fs::read(sessions.join("meta.json")).unwrap();
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.retention.max_session_bytes = Some(1);
    })
    .await;
    until(&hub, "segments_expired", 9).await;
    hub.stop().await;
    // The segments and the list of them come back; the summary is there.
    for (name, bytes) in &before {
        fs::write(sessions.join(name), bytes).unwrap();
    }
    fs::write(sessions.join("meta.json"), meta).unwrap();
    let hub = start_with(folder.path(), |config| config.limits.segment_bytes = 1).await;
    assert!(files(&sessions).len() < before.len(), "{:?}", files(&sessions));
    let (frames, missed, last_seq) = replay(&hub, id).await;
    assert_eq!(
        (
            missed[0].from_seq,
            missed[0].to_seq + frames.len() as u64,
            last_seq
        ),
        (1, 10, 10)
    );
    assert_eq!(live_sites(&frames).len(), 10);

    hub.stop().await;
}
