//! A disk on which each write takes 20 ms and each sync half a second: acknowledgements come late, none is lost, whoever
//! else asks is answered meanwhile, memory stays bounded, and a shutdown waits for what was received.
//!
//! Four frames of a second session, each behind one sync at least; a hundred with `HEAPTIDE_FULL=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(target_os = "linux")]

mod common;

use common::disk::{Disk, Order};
use common::process::{HubProcess, be_a_hub};
use common::{Client, Seen, data, noise, open, session};
use heaptide_hub::HubConfig;
use heaptide_protocol::control::{Ack, CaughtUp, ClockPing, Role};
use heaptide_protocol::{Frame, FrameKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SLOW: Order = Order {
    write_ms: 20,
    sync_ms: 500,
    ..Order::FINE
};
const FRAME_BYTES: usize = 32 << 10;
/// What the hub holds of frames that are not durable yet.
const QUEUE_BYTES: usize = 4 << 20;
/// Frames under way: far more than the hub takes in, so that it has to stop reading.
const WINDOW_BYTES: u64 = 96 << 20;
/// What is queued, the buffer of the file, which is as large, what was read in one piece with it, and what the allocator
/// keeps; less than half of what would come if nothing held it back.
const MOST_MORE_BYTES: u64 = 48 << 20;

/// Not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part that other tests start"]
async fn hub_part() {
    be_a_hub(|config: &mut HubConfig| {
        config.limits.queue_bytes = QUEUE_BYTES;
        // Less than usual: waiting for the disk is no silence.
        config.limits.collector_silence = Duration::from_secs(20);
        // A busy machine may read slower than a disk of this test writes.
        config.limits.slow_reader_bytes = 256 << 20;
        config.limits.slow_reader_frames = 1 << 20;
        // However long that takes.
        config.limits.drain = Duration::from_secs(30);
        config.limits.segment_bytes = 24 << 20;
    })
    .await;
}

fn frame(number: u8, seq: u64) -> Vec<u8> {
    data(session(number), seq, &noise(seq, FRAME_BYTES))
}

/// Sends with a window until it is told to stop, and takes acknowledgements; what was sent and what was acknowledged.
async fn flood(collector: &mut Client, stop: &AtomicBool) -> (u64, u64) {
    let (mut sent, mut acked) = (0, 0);
    while !stop.load(Relaxed) {
        if (sent - acked) * (FRAME_BYTES as u64) < WINDOW_BYTES {
            sent += 1;
            collector.send(frame(1, sent)).await;
            if sent % 16 == 0 {
                // As a collector does, for its clock and to know that somebody is there.
                let ping = ClockPing { t1_ns: sent };
                collector
                    .control(FrameKind::ClockPing, Default::default(), &ping)
                    .await;
            }
        }
        // What is there already.
        while let Ok(ack) = tokio::time::timeout(Duration::ZERO, next_ack(collector, acked)).await {
            acked = ack;
        }
    }
    (sent, acked)
}

/// The next acknowledgement behind `acked`; answers to pings are passed over.
async fn next_ack(collector: &mut Client, acked: u64) -> u64 {
    loop {
        match collector.next_but_lists().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
                let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
                assert!(ack.durable_seq > acked, "{ack:?} after {acked}");
                return ack.durable_seq;
            }
            Seen::Frame(envelope, ..) if envelope.kind == FrameKind::ClockPong => {}
            other => panic!("{other:?} for a collector that does nothing wrong"),
        }
    }
}

/// Asks for the hub's health again and again; how many answers came.
async fn ask(address: SocketAddr, stop: Arc<AtomicBool>) -> u32 {
    let mut answers = 0;
    while !stop.load(Relaxed) {
        for path in ["/healthz", "/readyz"] {
            let answer = common::get(address, path, "").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            answers += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answers
}

/// Follows a session live; each frame once, in order and unchanged, up to `last`.
async fn follow(mut console: Client, number: u8, mut last: tokio::sync::watch::Receiver<Option<u64>>) -> u64 {
    let mut seen = 0;
    loop {
        let known = *last.borrow_and_update();
        if known.is_some_and(|last| seen >= last) {
            return seen;
        }
        tokio::select! {
            next = console.next_but_lists() => {
                let Seen::Frame(envelope, _, bytes) = next else {
                    panic!("the console's connection ended at frame {seen}");
                };
                assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, seen + 1), "session {number}");
                assert!(bytes == frame(number, seen + 1), "session {number}: frame {} changed", seen + 1);
                seen += 1;
            }
            changed = last.changed() => changed.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_acknowledgements_late_and_nothing_else() {
    let Some(disk) = Disk::make("a_slow_disk_makes_acknowledgements_late_and_nothing_else") else {
        return;
    };
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let syncs = if is_full { 100 } else { 4 };
    let place = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(place.path(), &disk.environment(&place.path().join("data"))).await;
    let mut collector = hub.collector().await;
    collector.open(session(1), 1).await;
    let mut other = hub.collector().await;
    other.open(session(2), 1).await;
    let mut followers = Vec::new();
    let (tell, told) = tokio::sync::watch::channel(None);
    let (tell_other, told_other) = tokio::sync::watch::channel(None);
    for (number, told) in [(1, told), (2, told_other)] {
        let mut console = hub.console().await;
        console.subscribe(session(number), 0).await;
        let _: CaughtUp = console.expect(FrameKind::CaughtUp).await;
        followers.push(tokio::spawn(follow(console, number, told)));
    }
    let before_bytes = hub.rss_bytes();
    disk.set(SLOW);
    let commits_before = hub.counter("commits").await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask(hub.address, Arc::clone(&stop)));
    let for_flood = Arc::clone(&stop);
    let flooding = tokio::spawn(async move {
        let counts = flood(&mut collector, &for_flood).await;
        (collector, counts)
    });
    // Another session meanwhile, a frame at a time: each waits for the disk, and for that alone.
    let mut most_bytes = 0;
    for seq in 1..=syncs {
        let since = Instant::now();
        other.send(frame(2, seq)).await;
        other.acked(seq).await;
        assert!(
            since.elapsed() >= Duration::from_millis(u64::from(SLOW.sync_ms)),
            "frame {seq} was acknowledged after {:?}",
            since.elapsed()
        );
        most_bytes = most_bytes.max(hub.rss_bytes());
    }
    // Which of them came in one commit is up to the scheduler, but a sync was never shared by more than two sessions.
    let rounds = (hub.counter("commits").await - commits_before).div_ceil(2);
    stop.store(true, Relaxed);
    let answers = common::patient(asking).await.unwrap();
    let (mut collector, (sent, mut acked)) = common::patient(flooding).await.unwrap();
    let grown_bytes = most_bytes.saturating_sub(before_bytes);
    println!(
        "{answers} answers in {rounds} rounds of syncs; {sent} frames sent, {acked} acknowledged; {} KiB resident, {} \
         more than before",
        most_bytes >> 10,
        grown_bytes >> 10
    );
    // Were an answer to wait for the disk, there would be one for each sync.
    assert!(
        u64::from(answers) > 4 * rounds,
        "{answers} answers in {rounds} rounds"
    );
    assert!(
        grown_bytes <= MOST_MORE_BYTES,
        "{before_bytes} bytes, then {most_bytes}"
    );
    assert!(sent > acked, "everything was acknowledged at once");
    assert_eq!(hub.counter("frames_abandoned").await, 0, "{}", hub.logged());
    assert_eq!(hub.counter("peers_refused").await, 0, "{}", hub.logged());

    // Browsers have followed live.
    tell.send(Some(acked)).unwrap();
    tell_other.send(Some(syncs)).unwrap();
    for (follower, last) in followers.into_iter().zip([acked, syncs]) {
        assert!(common::patient(follower).await.unwrap() >= last);
    }

    // Going down, the hub makes durable what it has received, says so, and only then closes.
    let stopping = tokio::spawn(hub.stop());
    let code = loop {
        match collector.next_but_lists().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
                let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
                assert!(ack.durable_seq >= acked && ack.durable_seq <= sent, "{ack:?}");
                acked = ack.durable_seq;
            }
            Seen::Frame(envelope, ..) if envelope.kind == FrameKind::ClockPong => {}
            Seen::Closed(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1001);
    assert!(common::patient(stopping).await.unwrap().success());
    drop((collector, other));

    // All of that, and no frame more, for a hub on a fast disk. A console that was away gets the rest there.
    let hub = common::start(&place.path().join("data")).await;
    let mut again = Client::connect(hub.address, Role::Collector).await;
    again.control(FrameKind::Open, session(1), &open(acked + 1)).await;
    let ack: Ack = again.expect(FrameKind::Ack).await;
    assert_eq!(ack.durable_seq, acked, "what was durable was acknowledged");
    let mut console = hub.console().await;
    console.subscribe(session(1), 0).await;
    for seq in 1..=acked {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended at frame {seq}");
        };
        assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, seq));
        assert!(bytes == frame(1, seq), "frame {seq} changed");
    }
    drop((console, again));
    hub.stop().await;
}
