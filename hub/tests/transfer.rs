//! Sessions as files: what is exported is what was there, a part of it stands for itself, and what comes in is checked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Running, call, call_json, patient, session, start, start_with, story};
use heaptide_analysis::Session;
use heaptide_analysis::views::{Headline, Metric, ProfileQuery, Window};
use heaptide_protocol::Frame;
use heaptide_protocol::control::{CaughtUp, Missed, SessionState};
use heaptide_protocol::{FrameKind, SessionId};
use serde_json::Value;

const FRAMES: u64 = 20;

/// A hub that has the story as a session that is over.
async fn with_story(folder: &std::path::Path, id: SessionId) -> Running {
    let hub = start(folder).await;
    let mut collector = hub.collector().await;
    collector.control(FrameKind::Open, id, &story::open()).await;
    let _: heaptide_protocol::control::Ack = collector.expect(FrameKind::Ack).await;
    story::send(&mut collector, id, 1, FRAMES, FRAMES).await;
    collector.end("ended").await;
    hub
}

async fn export(hub: &Running, id: SessionId, query: &str) -> (u16, Vec<u8>) {
    call(
        hub.address,
        "GET",
        &format!("/api/v1/sessions/{id}/export{query}"),
        "",
        b"",
    )
    .await
}

async fn import(hub: &Running, query: &str, file: &[u8]) -> (u16, Value) {
    let (status, answer) = call(hub.address, "POST", &format!("/api/v1/import{query}"), "", file).await;
    (status, serde_json::from_slice(&answer).unwrap())
}

fn read(recording: &[u8]) -> Session {
    let mut session = Session::new();
    for frame in story::frames_of(recording) {
        session.apply(&Frame::parse(&frame).unwrap()).unwrap();
    }
    session
}

#[tokio::test]
async fn what_is_exported_is_what_was_sent_and_comes_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = with_story(&folder.path().join("one"), id).await;
    let (status, file) = export(&hub, id, "").await;
    assert_eq!(status, 200);
    assert_eq!(file, story::recording(id, FRAMES));
    let (status, answer) = import(&hub, "", &file).await;
    assert_eq!(status, 409);
    assert!(
        answer["error"].as_str().unwrap().contains("new_id=true"),
        "{answer}"
    );
    // Beside it, as another session.
    let (status, answer) = import(&hub, "?new_id=true", &file).await;
    assert_eq!(
        (status, answer["frames"].as_u64()),
        (201, Some(FRAMES)),
        "{answer}"
    );
    let other: SessionId = answer["session"].as_str().unwrap().parse().unwrap();
    assert_ne!(other, id);
    let (_, copy) = export(&hub, other, "").await;
    let (ours, theirs) = (story::frames_of(&file), story::frames_of(&copy));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let (ours, theirs) = (Frame::parse(ours).unwrap(), Frame::parse(theirs).unwrap());
        assert_eq!(
            (ours.payload, ours.envelope.seq),
            (theirs.payload, theirs.envelope.seq)
        );
        assert_eq!(theirs.envelope.session, other);
    }
    hub.stop().await;

    let second = folder.path().join("two");
    let hub = start_with(&second, |config| config.limits.segment_bytes = 1 << 10).await;
    let (status, answer) = import(&hub, "", &file).await;
    assert_eq!(
        (status, answer["flaws"].as_array().unwrap().len()),
        (201, 0),
        "{answer}"
    );
    let (_, again) = export(&hub, id, "").await;
    assert_eq!(again, file);
    let (_, audit) = call_json(hub.address, "GET", "/api/v1/audit", &Value::Null).await;
    assert_eq!(audit[0]["what"], "session imported");
    assert_eq!(audit[0]["subject"], id.to_string());
    assert_eq!(hub.counter("sessions_imported").await, 1);
    hub.stop().await;
    // In several segments, and read after a restart as any other session.
    assert!(
        std::fs::read_dir(second.join("sessions").join(id.to_string()))
            .unwrap()
            .count()
            > 3
    );
    let hub = start(&second).await;
    let mut console = hub.console().await;
    let listed = console.listed(id, |_| true).await;
    assert_eq!((listed.state, listed.frames), (SessionState::Ended, FRAMES));
    assert_eq!(
        (listed.signature, listed.capabilities),
        (story::who(), story::capabilities())
    );
    console.subscribe(id, FRAMES - 1).await;
    let common::Seen::Frame(_, _, bytes) = console.next_but_lists().await else {
        panic!("the console's connection ended");
    };
    assert_eq!(bytes, story::frame(id, FRAMES, FRAMES));
    assert_eq!(
        std::fs::read_dir(second.join("incoming")).map_or(0, Iterator::count),
        0
    );
    drop(console);
    hub.stop().await;
}

#[tokio::test]
async fn a_range_stands_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(2);
    let hub = with_story(folder.path(), id).await;
    let whole = read(&story::recording(id, FRAMES));
    for (from, to) in [(1, 8), (2, FRAMES), (7, 15), (10, 11), (20, FRAMES)] {
        let (from_ns, to_ns) = (story::at(from), story::at(to) + story::TICK_NS);
        let (status, file) = export(&hub, id, &format!("?from_ns={from_ns}&to_ns={to_ns}")).await;
        assert_eq!(status, 200, "{from} to {to}");
        let part = read(&file);
        assert_eq!(part.missed_frames(), 0, "{from} to {to}");
        for seq in from..=to {
            let at_ns = story::at(seq) + story::TICK_NS;
            let (ours, theirs) = (part.headline_at(at_ns), whole.headline_at(at_ns));
            // Sums of the same numbers in another order.
            let of = |headline: &Headline| {
                let live = headline.live;
                let rounded = [live.value, live.low, live.high].map(f64::round);
                (rounded, headline.live_samples, headline.rss)
            };
            assert_eq!(of(&ours), of(&theirs), "frame {seq} of {from} to {to}");
        }
        // The same call sites by the same names, also of what was there before.
        let query = |metric| ProfileQuery {
            metric,
            window: Window { from_ns, to_ns },
            filter: String::new(),
            limit: 100,
        };
        for metric in [Metric::Live, Metric::Allocated, Metric::Freed, Metric::Kept] {
            let of = |session: &Session| {
                let rows = session.sites(&query(metric)).rows.into_iter();
                let mut rows: Vec<_> = rows
                    .map(|row| (row.function, row.file, row.samples, row.bytes.value.round()))
                    .collect();
                rows.sort_by(|one, other| one.0.cmp(&other.0));
                rows
            };
            let (ours, theirs) = (of(&part), of(&whole));
            assert!(
                !theirs.is_empty() || metric == Metric::Freed,
                "{metric:?} of {from} to {to}"
            );
            assert_eq!(ours, theirs, "{metric:?} of {from} to {to}");
        }
        // Nothing of other times but what was there when it began.
        let base_ns = from_ns - story::TICK_NS;
        for frame in story::frames_of(&file) {
            let envelope = Frame::parse(&frame).unwrap().envelope;
            assert!(
                envelope.first_ns >= base_ns && envelope.first_ns < to_ns,
                "{envelope:?}"
            );
        }
        let start = part.start().unwrap();
        let clock = &start.signature.clock;
        let moved = clock.session_ns - story::who().clock.session_ns;
        assert_eq!(
            clock.unix_ns - story::who().clock.unix_ns,
            moved,
            "{from} to {to}"
        );
    }
    for query in [
        "?from_ns=1&to_ns=2",
        "?from_ns=9000000000000",
        "?from_ns=5&to_ns=5",
        "?from=1",
    ] {
        let (status, answer) = export(&hub, id, query).await;
        assert_eq!(status, 400, "{query}: {}", String::from_utf8_lossy(&answer));
    }
    let (status, _) = export(&hub, session(9), "").await;
    assert_eq!(status, 404);
    hub.stop().await;
}

#[tokio::test]
async fn what_comes_in_is_checked_and_its_flaws_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.import_bytes = 20_000;
        config.limits.sessions = 4;
    })
    .await;
    let frames = |id, numbers: &[u64]| {
        let frames: Vec<_> = numbers.iter().map(|seq| story::frame(id, *seq, FRAMES)).collect();
        story::records(frames.iter().map(Vec::as_slice))
    };
    let id = session;
    let mut mixed = frames(id(1), &[1, 2]);
    mixed.extend_from_slice(&frames(id(2), &[3])[8..]);
    let mut newer = frames(id(1), &[1]);
    newer[7] = 2;
    let refused: [(&[u8], u16, &str); 8] = [
        (b"", 400, "no recording"),
        (b"GIF89a, and so on", 400, "no recording"),
        (&newer, 400, "version 2"),
        (b"HEAPLOG\x01", 400, "no whole frame"),
        (&frames(id(1), &[4, 5]), 400, "begins with frame 4"),
        (&frames(id(1), &[1, 3, 2]), 400, "frame 2 comes after frame 3"),
        (&mixed, 400, "one session"),
        (&story::recording(id(1), 300), 413, "20000 bytes"),
    ];
    for (file, expected, word) in refused {
        let (status, answer) = import(&hub, "", file).await;
        assert_eq!(status, expected, "{word}: {answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(word),
            "{word}: {answer}"
        );
    }
    assert_eq!(hub.counter("sessions_imported").await, 0);
    // With flaws, but readable: torn at the end; a frame missing.
    let whole = frames(id(3), &[1, 2, 3]);
    let (status, answer) = import(&hub, "", &whole[..whole.len() - 5]).await;
    assert_eq!((status, answer["frames"].as_u64()), (201, Some(2)), "{answer}");
    assert_eq!(answer["flaws"].as_array().unwrap().len(), 2, "{answer}");
    let (status, answer) = import(&hub, "", &frames(id(4), &[1, 2, 5])).await;
    assert_eq!(status, 201, "{answer}");
    assert!(answer["flaws"].to_string().contains("2 in all"), "{answer}");
    let mut console = hub.console().await;
    console.subscribe(id(4), 2).await;
    let missed: Missed = console.expect(FrameKind::Missed).await;
    assert_eq!((missed.from_seq, missed.to_seq), (3, 4));
    let _ = console.next_but_lists().await;
    let told: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    assert_eq!(told.last_seq, 5);
    // No more than the hub may have.
    for number in 5..=6 {
        let (status, answer) = import(&hub, "", &frames(id(number), &[1])).await;
        assert_eq!(status, 201, "{answer}");
    }
    let (status, answer) = import(&hub, "", &frames(id(7), &[1])).await;
    assert_eq!(status, 503, "{answer}");
    drop(console);
    hub.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_sent_to_its_end_is_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let file = story::recording(session(1), FRAMES);
    let mut request = format!(
        "POST /api/v1/import HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        hub.address,
        file.len()
    )
    .into_bytes();
    request.extend_from_slice(&file[..file.len() / 2]);
    {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = tokio::net::TcpStream::connect(hub.address).await.unwrap();
        patient(stream.write_all(&request)).await.unwrap();
        patient(stream.shutdown()).await.unwrap();
    }
    let (status, answer) = import(&hub, "", &file).await;
    assert_eq!(status, 201, "{answer}");
    let (_, sessions) = call_json(hub.address, "GET", "/api/v1/sessions", &Value::Null).await;
    assert_eq!(sessions.as_array().unwrap().len(), 1);
    hub.stop().await;
    assert_eq!(
        std::fs::read_dir(folder.path().join("incoming")).map_or(0, Iterator::count),
        0
    );
}

#[tokio::test]
async fn a_hub_shows_the_files_that_it_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.htl"), story::recording(session(1), 5)).unwrap();
    std::fs::write(path("b.htl"), story::recording(session(2), 6)).unwrap();
    let hub = start_with(&path("data"), |config| {
        config.open = vec![path("a.htl"), path("b.htl")];
    })
    .await;
    let mut console = hub.console().await;
    for (id, frames) in [(session(1), 5), (session(2), 6)] {
        assert_eq!(console.listed(id, |_| true).await.frames, frames);
    }
    drop(console);
    hub.stop().await;
    std::fs::write(path("c.htl"), b"nothing of the kind").unwrap();
    for (open, word) in [("c.htl", "HEAPLOG"), ("d.htl", "No such file")] {
        let data = path(&format!("data-{open}"));
        let mut config = heaptide_hub::HubConfig::new(([127, 0, 0, 1], 0).into(), data);
        config.open = vec![path(open)];
        let error = heaptide_hub::Hub::bind(config).await.unwrap_err().to_string();
        assert!(error.contains(open) && error.contains(word), "{error}");
    }
}
