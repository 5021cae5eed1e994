//! A browser that stops reading while a million events a second pour in: the hub's memory stays as it is, and when the
//! browser reads on it is told exactly what it missed, then follows live.
//!
//! Five seconds as fast as the hub takes them; ten minutes at a million a second with `HEAPTIDE_FULL=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(target_os = "linux")]

mod common;

use common::process::{HubProcess, be_a_hub};
use common::{Client, Seen, session};
use heaptide_protocol::control::{Ack, CaughtUp, Missed, MissedReason};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind};
use heaptide_protocol::frame::encode;
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, Frame, FrameKind, StackId, SymbolGen, TagId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Of one program's tick of 100 ms, when it allocates a million times a second.
const EVENTS: u32 = 100_000;
const TICK: Duration = Duration::from_millis(100);
/// What a collector sends without an acknowledgement.
const WINDOW_BYTES: usize = 4 << 20;
const MOST_MORE_BYTES: u64 = 16 << 20;

/// Not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part that other tests start"]
async fn hub_part() {
    // What is made of closed segments is made piece by piece, and the hub ends behind a piece.
    be_a_hub(|config| config.limits.segment_bytes = 8 << 20).await;
}

/// A tick's events, as a collector sends them.
struct Ticks {
    template: Vec<u8>,
}

impl Ticks {
    fn new() -> Self {
        let mut batch = EventBatch::new(1, 1_000_000, SymbolGen(0), 1, false);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for number in 0..EVENTS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let body = EventBody::Alloc {
                alloc_size_bytes: 16 << (state % 7),
                stack: StackId((state >> 8) as u32 % 300),
                heap_tag: TagId(0),
                goroutine_id: (state >> 20) % 50 + 1,
                address: None,
            };
            let at_ns = 1_000_000 + u64::from(number) * 1000 + (state >> 32) % 1000;
            batch.push(at_ns, (state >> 40) as u32 % 8, EventKind::Alloc, body);
        }
        let mut sections = SectionWriter::default();
        sections.push(&Section::Events(batch)).unwrap();
        let envelope = Envelope::data(session(1), 1, 0, 0);
        Self {
            template: encode(envelope, &sections.take()).unwrap(),
        }
    }

    fn frame(&self, seq: u64) -> Vec<u8> {
        let template = Frame::parse(&self.template).unwrap();
        let ns = seq * TICK.as_nanos() as u64;
        let envelope = Envelope {
            seq,
            first_ns: ns,
            last_ns: ns + TICK.as_nanos() as u64 - 1,
            ..template.envelope
        };
        template.readdressed(envelope).unwrap()
    }
}

/// What the sender is to do.
const POUR: u8 = 0;
const TRICKLE: u8 = 1;
const STOP: u8 = 2;

/// Pours frames in with a collector's window, at most at `pace`; how many are acknowledged in the end.
async fn pour(mut collector: Client, ticks: Arc<Ticks>, pace: Duration, wanted: Arc<AtomicU8>) -> u64 {
    let window = (WINDOW_BYTES / ticks.template.len()) as u64;
    let (mut sent, mut acked) = (0, 0);
    let mut next_at = Instant::now();
    loop {
        let now = wanted.load(Relaxed);
        if now == STOP && acked == sent {
            return sent;
        }
        if now != STOP && sent < acked + window {
            let pace = if now == POUR { pace } else { TICK };
            tokio::time::sleep_until(next_at.into()).await;
            // Not faster for having been slow before.
            next_at = (next_at + pace).max(Instant::now());
            sent += 1;
            collector.send(ticks.frame(sent)).await;
        }
        // Takes what is there; waits only if there is nothing to send.
        let must_wait = now == STOP || sent >= acked + window;
        while let Some(ack) = next_ack(&mut collector, must_wait && acked < sent).await {
            assert!(ack.durable_seq >= acked && ack.durable_seq <= sent, "{ack:?}");
            acked = ack.durable_seq;
            if must_wait {
                break;
            }
        }
    }
}

async fn next_ack(collector: &mut Client, waits: bool) -> Option<Ack> {
    let next = collector.next_but_lists();
    let seen = if waits {
        next.await
    } else {
        tokio::time::timeout(Duration::ZERO, next).await.ok()?
    };
    match seen {
        Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
            Some(Frame::parse(&bytes).unwrap().control("Ack").unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// What a console was given and told, without a gap between.
#[derive(Debug, Default)]
struct Given {
    frames: u64,
    missed: u64,
    gaps: u64,
}

impl Given {
    fn seqs(&self) -> u64 {
        self.frames + self.missed
    }

    async fn take_one(&mut self, console: &mut Client, ticks: &Ticks) {
        let next_seq = self.seqs() + 1;
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended at frame {next_seq}");
        };
        match envelope.kind {
            FrameKind::Data => {
                assert_eq!(envelope.seq, next_seq);
                assert!(bytes == ticks.frame(next_seq), "frame {next_seq} changed");
                self.frames += 1;
            }
            FrameKind::Missed => {
                let told: Missed = Frame::parse(&bytes).unwrap().control("Missed").unwrap();
                assert_eq!((told.from_seq, told.reason), (next_seq, MissedReason::SlowReader));
                assert!(told.to_seq >= told.from_seq, "{told:?}");
                self.missed += told.to_seq - told.from_seq + 1;
                self.gaps += 1;
            }
            other => panic!("unexpected {other:?} at frame {next_seq}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_stops_reading_costs_no_memory_and_learns_what_it_missed() {
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let (length, pace) = if is_full {
        (Duration::from_secs(600), TICK)
    } else {
        (Duration::from_secs(5), Duration::ZERO)
    };
    let place = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(place.path(), &[]).await;
    let ticks = Arc::new(Ticks::new());
    let mut collector = hub.collector().await;
    collector.open(session(1), 1).await;
    let mut console = hub.console().await;
    console.subscribe(session(1), 0).await;
    let _: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    let wanted = Arc::new(AtomicU8::new(POUR));
    let pouring = tokio::spawn(pour(collector, Arc::clone(&ticks), pace, Arc::clone(&wanted)));

    // It reads for a while, so that what the hub needs for that is there.
    let mut given = Given::default();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) || given.frames < 20 {
        given.take_one(&mut console, &ticks).await;
    }
    let before_bytes = hub.rss_bytes();
    let mut most_bytes = before_bytes;
    let frames_before = hub.counter("frames_durable").await;
    let begin = Instant::now();
    while begin.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most_bytes = most_bytes.max(hub.rss_bytes());
    }
    let frames = hub.counter("frames_durable").await - frames_before;
    let spent_s = begin.elapsed().as_secs_f64();

    // Now it reads on, while a little comes in: one frame after another, and nothing missed any more.
    wanted.store(TRICKLE, Relaxed);
    let reached = hub.counter("frames_durable").await;
    while given.seqs() < reached {
        given.take_one(&mut console, &ticks).await;
    }
    let missed = given.missed;
    let live = given.frames;
    while given.frames < live + 10 {
        given.take_one(&mut console, &ticks).await;
    }
    most_bytes = most_bytes.max(hub.rss_bytes());
    wanted.store(STOP, Relaxed);
    let last = common::patient(pouring).await.unwrap();
    while given.seqs() < last {
        given.take_one(&mut console, &ticks).await;
    }
    println!(
        "frames of {} bytes, {:.2} million events a second; {last} sent, {given:?}; resident {} KiB, at most {} more",
        ticks.template.len(),
        frames as f64 * f64::from(EVENTS) / spent_s / 1e6,
        before_bytes >> 10,
        (most_bytes - before_bytes) >> 10
    );
    assert!(given.gaps > 0 && given.missed > 0, "{given:?}");
    assert_eq!(given.seqs(), last, "{given:?}");
    assert_eq!(given.missed, missed, "it was behind again: {given:?}");
    assert_eq!(hub.counter("frames_missed_slow").await, given.missed);
    assert!(
        most_bytes - before_bytes <= MOST_MORE_BYTES,
        "{before_bytes} bytes, then {most_bytes}"
    );
    drop(console);
    assert!(hub.stop().await.success());
}
