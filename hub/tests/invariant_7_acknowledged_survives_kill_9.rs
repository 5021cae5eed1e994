//! Invariant 7: an acknowledged frame survives `kill -9` of the hub.
//!
//! This test starts itself again as a child that runs a hub, loads it, kills it at a random moment, and
//! starts it anew on the same folder. `HEAPTIDE_KILLS` sets how often (10 if unset, 200 with `HEAPTIDE_FULL`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Seen, data, open, session};
use heaptide_hub::{Hub, HubConfig};
use heaptide_protocol::control::{Ack, Role};
use heaptide_protocol::{Frame, FrameKind};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const FOLDER: &str = "HEAPTIDE_KILL_TEST_FOLDER";
const MARK: &str = "hub listens on ";

/// Not a test by itself: the hub that the test below starts and kills.
#[tokio::test]
#[ignore = "started by invariant_7_acknowledged_survives_kill_9 with a folder of its own"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder);
    // Small, so that kills hit the change of segments too.
    config.limits.segment_bytes = 200_000;
    // And what is made of closed segments.
    config.limits.level_interval = Duration::from_millis(1);
    let hub = Hub::bind(config).await.unwrap();
    println!("\n{MARK}{}", hub.address());
    hub.run(std::future::pending()).await;
}

async fn start_child(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = common::patient(lines.next_line())
            .await
            .unwrap()
            .expect("the hub ended before it listened");
        if let Some(address) = line.strip_prefix(MARK) {
            return (child, address.parse().unwrap());
        }
    }
}

fn payload(seq: u64) -> Vec<u8> {
    let length = 100 + (seq.wrapping_mul(7919) % 3000) as usize;
    (0..length as u64)
        .map(|n| (n ^ seq).wrapping_mul(131) as u8)
        .collect()
}

/// xorshift64: the same moments in every run, as far as the scheduler lets them be.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Sends from `next_seq` on until the connection breaks; returns the last acknowledged number.
async fn load(mut collector: Client, mut next_seq: u64) -> u64 {
    const WINDOW: u64 = 200;
    let id = session(1);
    let mut acked = next_seq - 1;
    loop {
        while next_seq <= acked + WINDOW {
            if !collector.try_send(data(id, next_seq, &payload(next_seq))).await {
                break;
            }
            next_seq += 1;
        }
        match collector.next().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
                let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
                assert!(
                    ack.durable_seq >= acked,
                    "acknowledgements go back: {acked}, {}",
                    ack.durable_seq
                );
                acked = ack.durable_seq;
            }
            Seen::Closed(..) | Seen::Broken => return acked,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_7_acknowledged_survives_kill_9() {
    let usual = if std::env::var_os("HEAPTIDE_FULL").is_some_and(|full| full == "1") {
        200
    } else {
        10
    };
    let kills: u32 = std::env::var("HEAPTIDE_KILLS").map_or(usual, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let (mut acked, mut checked) = (0, 0);
    for kill in 0..=kills {
        let (mut child, address) = start_child(folder.path()).await;
        let mut collector = Client::connect(address, Role::Collector).await;
        collector.control(FrameKind::Open, id, &open(acked + 1)).await;
        let ack: Ack = collector.expect(FrameKind::Ack).await;
        assert!(
            ack.durable_seq >= acked,
            "kill {kill}: {acked} was acknowledged, {} is there",
            ack.durable_seq
        );
        acked = ack.durable_seq;
        let mut console = Client::connect(address, Role::Console).await;
        // What a kill could have touched; everything now and then, and at the end.
        let is_whole = kills <= 20 || kill % 20 == 0 || kill == kills;
        let after_seq = if is_whole { 0 } else { checked };
        checked = acked.saturating_sub(2000);
        console.subscribe(id, after_seq).await;
        for seq in after_seq + 1..=acked {
            let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
                panic!("kill {kill}: the replay ended before frame {seq} of {acked}");
            };
            assert_eq!(
                (envelope.kind, envelope.seq),
                (FrameKind::Data, seq),
                "kill {kill}"
            );
            assert_eq!(
                bytes,
                data(id, seq, &payload(seq)),
                "kill {kill}: frame {seq} changed"
            );
        }
        let Seen::Frame(envelope, ..) = console.next_but_lists().await else {
            panic!("kill {kill}: the replay ended without an end");
        };
        assert_eq!(
            envelope.kind,
            FrameKind::CaughtUp,
            "kill {kill}: more than was acknowledged at the start"
        );
        if kill == kills {
            break;
        }
        let loading = tokio::spawn(load(collector, acked + 1));
        tokio::time::sleep(Duration::from_micros(5_000 + random(&mut seed) % 100_000)).await;
        child.kill().await.unwrap();
        acked = common::patient(loading).await.unwrap();
    }
    assert!(
        acked > u64::from(kills),
        "the load was none: {acked} frames in {kills} runs"
    );
}
