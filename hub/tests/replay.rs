//! What consoles get: everything once and in order, however late they come; and what a slow one is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Seen, data, noise, session, start, start_with};
use heaptide_protocol::control::{CaughtUp, Missed, MissedReason, Notice};
use heaptide_protocol::{Frame, FrameKind, SessionId};

/// Reads until `last_seq`, checking that each frame comes once, in order and unchanged.
async fn read_all(mut console: Client, id: SessionId, after_seq: u64, last_seq: u64, length: usize) -> u64 {
    console.subscribe(id, after_seq).await;
    let mut next_seq = after_seq + 1;
    let mut caught_up = 0;
    while next_seq <= last_seq || caught_up == 0 {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended at frame {next_seq}");
        };
        match envelope.kind {
            FrameKind::Data => {
                assert_eq!(envelope.seq, next_seq);
                assert_eq!(bytes, data(id, next_seq, &noise(next_seq, length)));
                next_seq += 1;
            }
            FrameKind::CaughtUp => {
                let told: CaughtUp = Frame::parse(&bytes).unwrap().control("CaughtUp").unwrap();
                // Everything before was sent; a console that is ahead of the disk learns how far that is.
                let ahead = next_seq == after_seq + 1 && told.last_seq < after_seq;
                assert!(
                    told.last_seq == next_seq - 1 || ahead,
                    "{told:?} before frame {next_seq}"
                );
                caught_up += 1;
            }
            other => panic!("unexpected {other:?} at frame {next_seq}"),
        }
    }
    assert_eq!(caught_up, 1);
    next_seq - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_consoles_get_every_frame_once_while_frames_come_in() {
    const FRAMES: u64 = 3000;
    const LENGTH: usize = 1500;
    let folder = tempfile::tempdir().unwrap();
    // Small segments and a small tail, so that readers cross from disk to memory and between files.
    let hub = start_with(folder.path(), |config| {
        config.limits.segment_bytes = 300_000;
        config.limits.tail_bytes = 20_000;
        config.limits.slow_reader_bytes = 64 << 20;
        config.limits.slow_reader_frames = FRAMES;
    })
    .await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let mut readers = Vec::new();
    let mut acked = 0;
    for seq in 1..=FRAMES {
        collector.data(id, seq, &noise(seq, LENGTH)).await;
        if seq % 300 == 1 {
            // From the start, and from somewhere in the middle; some of it not durable yet.
            for after_seq in [0, seq / 2, seq] {
                let console = hub.console().await;
                readers.push(tokio::spawn(read_all(console, id, after_seq, FRAMES, LENGTH)));
            }
        }
        // A bounded window, as a collector has.
        while seq - acked > 200 {
            let ack: heaptide_protocol::control::Ack = collector.expect(FrameKind::Ack).await;
            assert!(ack.durable_seq > acked && ack.durable_seq <= seq);
            acked = ack.durable_seq;
        }
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), FRAMES);
    }
    drop(collector);
    // And once more from disk alone, after a restart.
    hub.stop().await;
    let hub = start(folder.path()).await;
    for after_seq in [0, 1, FRAMES / 3, FRAMES - 1, FRAMES] {
        let console = hub.console().await;
        assert_eq!(read_all(console, id, after_seq, FRAMES, LENGTH).await, FRAMES);
    }
    hub.stop().await;
}

/// Sends a frame of a session; the console gets it, unless it is of session 3.
async fn pass(number: u8, seq: u64, collector: &mut Client, console: &mut Client) {
    collector.data(session(number), seq, &[number]).await;
    collector.acked(seq).await;
    if number == 3 {
        return;
    }
    let Seen::Frame(envelope, got, _) = console.next_but_lists().await else {
        panic!("the console's connection ended");
    };
    assert_eq!(
        (envelope.session, envelope.seq, got),
        (session(number), seq, vec![number])
    );
}

#[tokio::test]
async fn sessions_are_followed_side_by_side_and_let_go_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.subscriptions_per_connection = 2;
    })
    .await;
    let mut collector = hub.collector().await;
    let mut console = hub.console().await;
    for number in 1..=3 {
        collector.open(session(number), 1).await;
    }
    for number in 1..=2 {
        console.subscribe(session(number), 0).await;
        let _: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    }
    console.subscribe(session(3), 0).await;
    let notice: Notice = console.expect(FrameKind::Notice).await;
    assert!(notice.message.contains("at most 2"), "{notice:?}");
    pass(1, 1, &mut collector, &mut console).await;
    pass(2, 1, &mut collector, &mut console).await;
    pass(3, 1, &mut collector, &mut console).await;
    pass(1, 2, &mut collector, &mut console).await;
    console.control(FrameKind::Unsubscribe, session(1), &()).await;
    // The place is free again, and what comes of session 1 stays away.
    console.subscribe(session(3), 0).await;
    let Seen::Frame(envelope, ..) = console.next_but_lists().await else {
        panic!("the console's connection ended");
    };
    assert_eq!((envelope.session, envelope.seq), (session(3), 1));
    let _: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    collector.data(session(1), 3, b"unseen").await;
    collector.acked(3).await;
    pass(2, 2, &mut collector, &mut console).await;
    drop((console, collector));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_6_a_slow_console_is_told_what_it_missed_and_ingest_goes_on() {
    const FRAMES: u64 = 600;
    const LENGTH: usize = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.slow_reader_bytes = 512 << 10;
    })
    .await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let mut slow = hub.console().await;
    slow.subscribe(id, 0).await;
    let _: CaughtUp = slow.expect(FrameKind::CaughtUp).await;
    // 38 MB while the console reads nothing: far more than sockets hold. Each is acknowledged in turn.
    for seq in 1..=FRAMES {
        collector.data(id, seq, &noise(seq, LENGTH)).await;
        collector.acked(seq).await;
    }
    let mut next_seq = 1;
    let (mut got, mut missed) = (0, 0);
    while next_seq <= FRAMES {
        let Seen::Frame(envelope, _, bytes) = slow.next_but_lists().await else {
            panic!("the console's connection ended at frame {next_seq}");
        };
        match envelope.kind {
            FrameKind::Data => {
                assert_eq!(bytes, data(id, next_seq, &noise(next_seq, LENGTH)));
                got += 1;
                next_seq += 1;
            }
            FrameKind::Missed => {
                let told: Missed = Frame::parse(&bytes).unwrap().control("Missed").unwrap();
                assert_eq!((told.from_seq, told.reason), (next_seq, MissedReason::SlowReader));
                assert!(told.to_seq >= told.from_seq, "{told:?}");
                missed += told.to_seq - told.from_seq + 1;
                next_seq = told.to_seq + 1;
            }
            other => panic!("unexpected {other:?} at frame {next_seq}"),
        }
    }
    assert_eq!(got + missed, FRAMES);
    assert!(missed > 0 && got > 0, "{got} frames, {missed} missed");
    assert_eq!(hub.counter("frames_missed_slow").await, missed);
    // From here on it keeps up, and what it missed can be asked for.
    collector.data(id, FRAMES + 1, b"newest").await;
    let Seen::Frame(envelope, ..) = slow.next_but_lists().await else {
        panic!("the console's connection ended");
    };
    assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, FRAMES + 1));
    slow.subscribe(id, FRAMES - 2).await;
    for seq in FRAMES - 1..=FRAMES + 1 {
        let Seen::Frame(envelope, ..) = slow.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, seq));
    }
    drop((slow, collector));
    hub.stop().await;
}

#[tokio::test]
async fn a_session_list_too_long_for_a_frame_is_shortened_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    let mut open = common::open(1);
    for number in 1..=40 {
        // 60 kB each, all different, so that 20 of them exceed a frame, and a compressed one by far.
        let text: String = noise(number.into(), 60_000)
            .into_iter()
            .map(|byte| char::from(b'!' + byte % 90))
            .collect();
        open.signature.command_line = vec![text];
        collector.control(FrameKind::Open, session(number), &open).await;
        let _: heaptide_protocol::control::Ack = collector.expect(FrameKind::Ack).await;
    }
    while hub.counter("session_lists_shortened").await == 0 {
        let Seen::Frame(envelope, ..) = console.next().await else {
            panic!("the console's connection ended");
        };
        assert_eq!(envelope.kind, FrameKind::Sessions);
    }
    drop((console, collector));
    hub.stop().await;
}
