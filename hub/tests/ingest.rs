//! Taking frames in: acknowledgements, repeats, gaps, takeovers, and that payloads are left alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Seen, data, is_away, open, session, start, start_with};
use heaptide_protocol::control::{Ack, Pulse, RefuseCode, SessionState};
use heaptide_protocol::{FrameKind, SessionId};
use std::fs;
use std::path::Path;

/// What lies in a session's folder, all segments in order. Files only ever grow or are new.
fn on_disk(folder: &Path) -> Vec<u8> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "htl"))
        .collect();
    names.sort();
    names
        .into_iter()
        .flat_map(|name| fs::read(name).unwrap())
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn an_acknowledged_frame_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // A segment per commit, so that new files are part of it.
    let hub = start_with(folder.path(), |config| config.limits.segment_bytes = 1).await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    for seq in 1..=20 {
        let frame = data(id, seq, format!("frame {seq}").as_bytes());
        collector.send(frame.clone()).await;
        collector.acked(seq).await;
        assert!(
            contains(&on_disk(&hub.session_dir(id)), &frame),
            "frame {seq} was acknowledged and is not on disk"
        );
    }
    drop(collector);
    hub.stop().await;
}

#[tokio::test]
async fn a_repeat_is_ignored_and_acknowledged_again() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    for seq in 1..=3 {
        collector.data(id, seq, b"first").await;
        collector.acked(seq).await;
    }
    let before = on_disk(&hub.session_dir(id));
    for seq in [1, 3, 2, 3] {
        collector.data(id, seq, b"again").await;
        let ack: Ack = collector.expect(FrameKind::Ack).await;
        assert_eq!(ack.durable_seq, 3);
    }
    assert_eq!(on_disk(&hub.session_dir(id)), before);
    assert_eq!(hub.counter("frames_repeated").await, 4);
    // After a reconnection as well.
    let mut again = hub.collector().await;
    assert_eq!(again.open(id, 1).await, 3);
    again.data(id, 2, b"again").await;
    again.acked(3).await;
    again.data(id, 4, b"new").await;
    again.acked(4).await;
    drop((collector, again));
    hub.stop().await;
}

#[tokio::test]
async fn a_gap_is_refused_with_both_numbers_and_what_came_before_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    collector.data(id, 1, b"one").await;
    collector.acked(1).await;
    collector.data(id, 3, b"three").await;
    let sentence = collector.expect_refusal(RefuseCode::SequenceGap).await;
    assert!(sentence.contains("expected frame 2, got 3"), "{sentence}");
    assert!(matches!(collector.next().await, Seen::Closed(..)));

    // A collector that no longer has what the hub lacks can't go on with this session.
    for (number, first_seq, sentence) in [(1, 3, "up to frame 1"), (2, 7, "up to frame 0")] {
        let mut collector = hub.collector().await;
        collector
            .control(FrameKind::Open, session(number), &open(first_seq))
            .await;
        let got = collector.expect_refusal(RefuseCode::SequenceGap).await;
        assert!(
            got.contains(sentence) && got.contains(&format!("from frame {first_seq}")),
            "{got}"
        );
    }
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(id, 2).await, 1);
    // A liar does not push a session out that has no frames yet.
    assert_eq!(collector.open(session(3), 1).await, 0);
    let mut liar = hub.collector().await;
    liar.control(FrameKind::Open, session(3), &open(9)).await;
    liar.expect_refusal(RefuseCode::SequenceGap).await;
    assert!(
        hub.get("/api/v1/sessions")
            .await
            .contains(&session(3).to_string())
    );
    assert!(
        !hub.get("/api/v1/sessions")
            .await
            .contains(&session(2).to_string())
    );
    drop(collector);
    hub.stop().await;
}

#[tokio::test]
async fn a_frame_needs_an_open_session_and_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let cases: [(SessionId, u64, &str); 2] = [
        (session(2), 1, "was not opened on this connection"),
        (session(1), 0, "needs a sequence number"),
    ];
    for (id, seq, sentence) in cases {
        let mut collector = hub.collector().await;
        collector.open(session(1), 1).await;
        collector.data(id, seq, b"x").await;
        let got = collector.expect_refusal(RefuseCode::Malformed).await;
        assert!(got.contains(sentence), "{got}");
    }
    hub.stop().await;
}

/// A data frame by hand: its compression is a lie, its payload is noise.
fn noise(session: SessionId, seq: u8, compression: u8, raw_bytes: u32, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![FrameKind::Data as u8];
    body.extend_from_slice(&session.0);
    body.extend_from_slice(&[seq, 0, 0, compression]);
    let mut left = raw_bytes;
    while left > 0x7f {
        body.push(left as u8 | 0x80);
        left >>= 7;
    }
    body.push(left as u8);
    body.extend_from_slice(payload);
    let mut frame = b"HTD\x01".to_vec();
    frame.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    frame.extend_from_slice(&body);
    frame
}

#[tokio::test]
async fn invariant_5_ingest_decodes_no_events() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let garbage: Vec<u8> = (0..2000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    // No section, no dictionary, no compressed stream: any decoder would give up on these.
    let frames = [
        noise(id, 1, 0, 2000, &garbage),
        noise(id, 2, 1, 8 << 20, &garbage),
        noise(id, 3, 1, 0, b""),
        noise(id, 4, 1, 5, &[0xff; 64]),
        noise(id, 5, 0, 0, b""),
    ];
    let mut live = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    live.listed(id, |_| true).await;
    live.subscribe(id, 0).await;
    for frame in &frames {
        collector.send(frame.clone()).await;
    }
    collector.acked(5).await;
    assert!(
        frames
            .iter()
            .all(|frame| contains(&on_disk(&hub.session_dir(id)), frame))
    );
    let mut late = hub.console().await;
    late.subscribe(id, 0).await;
    for console in [&mut live, &mut late] {
        for frame in &frames {
            let got = loop {
                match console.next_but_lists().await {
                    Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Data => break bytes,
                    Seen::Frame(envelope, ..) if envelope.kind == FrameKind::CaughtUp => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(&got, frame);
        }
    }
    drop((live, late, collector));
    hub.stop().await;
}

/// The companion of the test above: a decoder whose error is ignored would pass that one.
#[test]
fn invariant_5_the_ingest_path_does_not_name_a_decoder() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = ["collector.rs", "peer.rs", "session.rs"]
        .map(|name| source.join(name))
        .into();
    for entry in fs::read_dir(source.join("store")).unwrap() {
        files.push(entry.unwrap().path());
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for name in [
            "section",
            "events::",
            "lifetimes::",
            "dictionary::",
            "gauges::",
            "loss::",
            ".raw(",
            "ruzstd",
            "zstd",
            "heaptide_analysis",
        ] {
            assert!(!text.contains(name), "{} names {name}", file.display());
        }
    }
}

#[tokio::test]
async fn a_newer_connection_takes_the_session_over() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut console = hub.console().await;
    let mut old = hub.collector().await;
    old.open(id, 1).await;
    old.data(id, 1, b"one").await;
    old.acked(1).await;
    let mut new = hub.collector().await;
    assert_eq!(new.open(id, 1).await, 1);
    let Seen::Closed(code, reason) = old.next_but_lists().await else {
        panic!("the old connection goes on");
    };
    assert_eq!(
        (code, reason.as_str()),
        (1008, "a newer connection of this session took over")
    );
    drop(old);
    // The end of the old connection doesn't make the session look away.
    new.data(id, 2, b"two").await;
    new.acked(2).await;
    console
        .listed(id, |summary| {
            summary.state == SessionState::Live && summary.frames == 2
        })
        .await;
    drop(new);
    console.listed(id, is_away).await;
    drop(console);
    hub.stop().await;
}

#[tokio::test]
async fn one_connection_carries_several_sessions_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.sessions_per_connection = 2;
        config.limits.sessions = 3;
    })
    .await;
    let mut collector = hub.collector().await;
    for number in 1..=2 {
        assert_eq!(collector.open(session(number), 1).await, 0);
        collector.data(session(number), 1, &[number]).await;
        collector.acked(1).await;
    }
    collector.control(FrameKind::Open, session(3), &open(1)).await;
    let sentence = collector.expect_refusal(RefuseCode::TooManySessions).await;
    assert!(sentence.contains("at most 2 sessions"), "{sentence}");
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(session(3), 1).await, 0);
    collector.control(FrameKind::Open, session(4), &open(1)).await;
    let sentence = collector.expect_refusal(RefuseCode::TooManySessions).await;
    assert!(sentence.contains("has 3 sessions"), "{sentence}");
    hub.stop().await;
}

#[tokio::test]
async fn a_pulse_reaches_the_list_and_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let pulse = Pulse {
        timestamp_ns: 1,
        rss_bytes: 2,
        live_bytes: 3.5,
        live_std_error_bytes: 0.5,
        allocated_bytes_per_s: 1e9,
        samples_per_s: 100.0,
        dropped: 0,
        seen: 10,
        sampling_rate_bytes: 512 << 10,
        collector_cpu_permille: 3,
        collector_rss_bytes: 20 << 20,
        sent_bytes_per_s: 0,
        host_available_bytes: 0,
        host_total_bytes: 0,
    };
    collector.control(FrameKind::Pulse, id, &pulse).await;
    let listed = console.listed(id, |summary| summary.pulse.is_some()).await;
    assert_eq!(listed.pulse, Some(pulse));
    assert_eq!(listed.frames, 0);
    drop((console, collector));
    hub.stop().await;
}
