//! A disk that answers with EIO, from the first write on or in the middle: nothing is acknowledged that isn't durable,
//! everybody is told once, and it goes on by itself. After a failed sync what was written before it is gone, as with
//! a kernel that drops such pages; `common/disk.c` is that disk.
//!
//! Three rounds of trouble each; 100 with `HEAPTIDE_FULL=1`.

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
use heaptide_protocol::control::{Ack, Notice, Refuse, RefuseCode};
use heaptide_protocol::{Frame, FrameKind};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Frames under way, as with a collector.
const WINDOW: u64 = 8;

/// Not a test by itself.
#[tokio::test]
#[ignore = "a part that other tests start"]
async fn hub_part() {
    be_a_hub(small).await;
}

fn small(config: &mut HubConfig) {
    // So that trouble hits the change of segments too, and what is made of closed ones.
    config.limits.segment_bytes = 60_000;
    config.limits.level_interval = Duration::from_millis(20);
}

fn payload(seq: u64) -> Vec<u8> {
    noise(seq, 100 + (seq.wrapping_mul(7919) % 3000) as usize)
}

/// What came of sending.
#[derive(Debug)]
enum Pushed {
    All,
    /// Acknowledged up to here, and the hub's sentence.
    Refused(u64, String),
}

/// Sends frames until all up to `last` are acknowledged, or the hub refuses.
async fn push(collector: &mut Client, mut acked: u64, last: u64) -> Pushed {
    let mut next_seq = acked + 1;
    while acked < last {
        while next_seq <= last && next_seq <= acked + WINDOW {
            collector
                .try_send(data(session(1), next_seq, &payload(next_seq)))
                .await;
            next_seq += 1;
        }
        match collector.next_but_lists().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
                let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
                assert!(ack.durable_seq >= acked, "{ack:?} after {acked}");
                acked = ack.durable_seq;
            }
            Seen::Frame(_, _, bytes) => {
                let refuse: Refuse = Frame::parse(&bytes).unwrap().control("Refuse").unwrap();
                assert_eq!(refuse.code, RefuseCode::StorageFull, "{refuse:?}");
                return Pushed::Refused(acked, refuse.message);
            }
            other => panic!("{other:?} instead of a refusal"),
        }
    }
    Pushed::All
}

/// Opens the session from behind what was acknowledged. What is durable of it, or the refusal's sentence.
async fn try_open(hub: &HubProcess, acked: u64) -> Result<(Client, u64), String> {
    let mut collector = hub.collector().await;
    collector
        .control(FrameKind::Open, session(1), &open(acked + 1))
        .await;
    let Seen::Frame(envelope, _, bytes) = collector.next_but_lists().await else {
        panic!("neither taken nor refused");
    };
    if envelope.kind == FrameKind::Ack {
        let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
        return Ok((collector, ack.durable_seq));
    }
    let refuse: Refuse = Frame::parse(&bytes).unwrap().control("Refuse").unwrap();
    assert_eq!(refuse.code, RefuseCode::StorageFull, "{refuse:?}");
    Err(refuse.message)
}

/// As a collector does: again and again, until the hub takes it.
async fn open_at_last(hub: &HubProcess, acked: u64) -> (Client, u64) {
    let opened = async {
        loop {
            match try_open(hub, acked).await {
                Ok(opened) => return opened,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    common::patient(opened).await
}

/// Everything up to `last`, each once, in order, unchanged, and nothing else.
async fn check_stored(console: &mut Client, last: u64) {
    console.subscribe(session(1), 0).await;
    for seq in 1..=last {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended at frame {seq}");
        };
        assert_eq!((envelope.kind, envelope.seq), (FrameKind::Data, seq));
        assert_eq!(bytes, data(session(1), seq, &payload(seq)), "frame {seq}");
    }
    let Seen::Frame(envelope, ..) = console.next_but_lists().await else {
        panic!("the console's connection ended");
    };
    assert_eq!(envelope.kind, FrameKind::CaughtUp);
}

/// What is there for a hub on a good disk, which finds nothing wrong.
async fn check_with_another_hub(place: &Path, last: u64) {
    let hub = common::start_with(&place.join("data"), small).await;
    let mut console = hub.console().await;
    check_stored(&mut console, last).await;
    assert_eq!(hub.counter("damaged_places").await, 0, "{}", hub.logged());
    drop(console);
    hub.stop().await;
}

const DASHBOARD: &str = "/api/v1/dashboards/shop-memory";

async fn put_dashboard(hub: &HubProcess, from_revision: u64) -> u16 {
    let body =
        json!({ "from_revision": from_revision, "title": "T", "view": { "by": ["zone"] }, "why": "w" });
    common::call_json(hub.address, "PUT", DASHBOARD, &body).await.0
}

async fn dashboard_revision(hub: &HubProcess) -> u64 {
    let (status, dashboard) = common::call_json(hub.address, "GET", DASHBOARD, &json!(null)).await;
    assert_eq!(status, 200, "{dashboard}");
    dashboard["revision"].as_u64().unwrap()
}

#[tokio::test]
async fn a_disk_with_errors_acknowledges_nothing_and_recovers_by_itself() {
    let Some(disk) = Disk::make("a_disk_with_errors_acknowledges_nothing_and_recovers_by_itself") else {
        return;
    };
    let spared = |order, spared| Order { spared, ..order };
    let cases = [
        ("writes, at first", Order::WRITES_FAIL, 0),
        ("syncs, at first", Order::SYNCS_FAIL, 0),
        ("writes", Order::WRITES_FAIL, 30),
        ("writes, a little later", spared(Order::WRITES_FAIL, 5), 30),
        ("syncs", Order::SYNCS_FAIL, 30),
        ("syncs, a little later", spared(Order::SYNCS_FAIL, 5), 30),
        ("both", spared(Order::ALL_FAILS, 9), 30),
    ];
    for (name, order, before) in cases {
        disk.set(Order::FINE);
        let told_before = disk.told();
        let place = tempfile::tempdir().unwrap();
        let hub = HubProcess::start(place.path(), &disk.environment(&place.path().join("data"))).await;
        let mut console = hub.console().await;
        assert_eq!(put_dashboard(&hub, 0).await, 200, "{name}");
        let mut acked = before;
        let sentence = if before == 0 {
            disk.set(order);
            let refused = try_open(&hub, 0).await.map(|(_, durable_seq)| durable_seq);
            let listed = hub.get("/api/v1/sessions").await;
            assert!(!listed.contains(&session(1).to_string()), "{name}: {listed}");
            refused.expect_err(name)
        } else {
            let (mut collector, _) = try_open(&hub, 0).await.expect(name);
            let pushed = push(&mut collector, 0, before).await;
            assert!(matches!(pushed, Pushed::All), "{name}: {pushed:?}");
            disk.set(order);
            let Pushed::Refused(still, sentence) = push(&mut collector, before, u64::MAX).await else {
                panic!("{name}: everything was taken");
            };
            acked = still;
            sentence
        };
        assert!(
            sentence.contains("check the disk and its file system"),
            "{name}: {sentence}"
        );
        let notice: Notice = console.expect(FrameKind::Notice).await;
        assert!(
            notice.message.contains("can't store new data"),
            "{name}: {notice:?}"
        );
        assert!(hub.get("/readyz").await.starts_with("HTTP/1.1 503"), "{name}");
        assert!(hub.get("/healthz").await.starts_with("HTTP/1.1 200"), "{name}");
        // What people decide is refused too, and not lost in silence.
        assert_eq!(put_dashboard(&hub, 1).await, 503, "{name}");
        // Again and again while it fails: nothing is taken, and the log is not flooded.
        let failed_before = disk.told();
        while disk.told().failed_writes + disk.told().failed_syncs
            < failed_before.failed_writes + failed_before.failed_syncs + 4
        {
            if let Ok((mut collector, durable_seq)) = try_open(&hub, acked).await {
                assert_eq!(durable_seq, acked, "{name}");
                let pushed = push(&mut collector, acked, u64::MAX).await;
                assert!(
                    matches!(pushed, Pushed::Refused(still, _) if still == acked),
                    "{name}: {pushed:?} after {acked}"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = |what: &str| hub.logged().matches(what).count();
        assert_eq!(told("can't store frames"), 1, "{name}: {}", hub.logged());
        assert!(told("can't write levels") <= 1, "{name}: {}", hub.logged());

        disk.set(Order::FINE);
        let (mut collector, durable_seq) = open_at_last(&hub, acked).await;
        assert_eq!(durable_seq, acked, "{name}");
        if before == 0 {
            // No frame was refused, so none has to come.
            assert!(hub.get("/readyz").await.starts_with("HTTP/1.1 200"), "{name}");
        }
        let last = acked + 40;
        let pushed = push(&mut collector, acked, last).await;
        assert!(matches!(pushed, Pushed::All), "{name}: {pushed:?}");
        let notice: Notice = console.expect(FrameKind::Notice).await;
        assert!(
            notice.message.contains("stores new data again"),
            "{name}: {notice:?}"
        );
        assert!(hub.get("/readyz").await.starts_with("HTTP/1.1 200"), "{name}");
        assert_eq!(told("stored again"), 1, "{name}: {}", hub.logged());
        // The change that was refused may be there all the same, as the sync failed of what was written.
        let revision = dashboard_revision(&hub).await;
        assert!((1..=2).contains(&revision), "{name}: {revision}");
        assert_eq!(put_dashboard(&hub, revision).await, 200, "{name}");
        check_stored(&mut console, last).await;
        let now = disk.told();
        let (failed_writes, failed_syncs, dropped) = (
            now.failed_writes > told_before.failed_writes,
            now.failed_syncs > told_before.failed_syncs,
            now.dropped_bytes > told_before.dropped_bytes,
        );
        assert!(!order.writes_fail || failed_writes, "{name}: {now:?}");
        assert!(order.writes_fail || failed_syncs, "{name}: {now:?}");
        assert!(order.writes_fail || before == 0 || dropped, "{name}: {now:?}");
        drop((console, collector));
        assert!(hub.stop().await.success(), "{name}");
        check_with_another_hub(place.path(), last).await;
    }
}

/// xorshift64: the same trouble in every run.
fn random(state: &mut u64, below: u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u32 % below
}

#[tokio::test]
async fn what_was_acknowledged_outlives_any_trouble_with_the_disk_also_a_kill_in_it() {
    let name = "what_was_acknowledged_outlives_any_trouble_with_the_disk_also_a_kill_in_it";
    let Some(disk) = Disk::make(name) else { return };
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let rounds = if is_full { 100 } else { 3 };
    let place = tempfile::tempdir().unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let mut acked = 0;
    let mut hub = HubProcess::start(place.path(), &disk.environment(&place.path().join("data"))).await;
    for round in 0..rounds * 3 {
        let order = [Order::SYNCS_FAIL, Order::WRITES_FAIL, Order::ALL_FAILS][round % 3];
        let (mut collector, durable_seq) = open_at_last(&hub, acked).await;
        // An acknowledgement may have been on its way when the connection ended.
        assert!(durable_seq >= acked, "round {round}: {durable_seq} after {acked}");
        acked = durable_seq;
        disk.set(Order {
            spared: random(&mut seed, 40),
            ..order
        });
        let Pushed::Refused(still, _) = push(&mut collector, acked, u64::MAX).await else {
            panic!("round {round}: everything was taken");
        };
        acked = still;
        for _ in 0..random(&mut seed, 4) {
            if let Ok((mut collector, durable_seq)) = try_open(&hub, acked).await {
                assert!(durable_seq >= acked, "round {round}: {durable_seq} after {acked}");
                acked = durable_seq;
                if let Pushed::Refused(still, _) = push(&mut collector, acked, u64::MAX).await {
                    acked = still;
                }
            }
        }
        let killed = random(&mut seed, 2) == 0;
        if killed {
            hub.kill().await;
        }
        disk.set(Order::FINE);
        if killed {
            hub = HubProcess::start(place.path(), &disk.environment(&place.path().join("data"))).await;
        }
        // The first frame after the trouble, and a kill right behind it: nothing proves that but the file.
        let (mut collector, durable_seq) = open_at_last(&hub, acked).await;
        assert!(durable_seq >= acked, "round {round}: {durable_seq} after {acked}");
        acked = durable_seq + 1;
        let pushed = push(&mut collector, durable_seq, acked).await;
        assert!(matches!(pushed, Pushed::All), "round {round}: {pushed:?}");
        if random(&mut seed, 2) == 0 {
            hub.kill().await;
            hub = HubProcess::start(place.path(), &disk.environment(&place.path().join("data"))).await;
            let (again, durable_seq) = open_at_last(&hub, acked).await;
            assert_eq!(durable_seq, acked, "round {round}: {}", hub.logged());
            collector = again;
        }
        let pushed = push(&mut collector, acked, acked + 20).await;
        assert!(matches!(pushed, Pushed::All), "round {round}: {pushed:?}");
        acked += 20;
        let mut console = hub.console().await;
        check_stored(&mut console, acked).await;
    }
    let told = disk.told();
    assert!(
        told.failed_writes > 0 && told.torn_writes > 0 && told.failed_syncs > 0 && told.dropped_bytes > 0,
        "{told:?}"
    );
    assert!(hub.stop().await.success());
    check_with_another_hub(place.path(), acked).await;
    println!("{} rounds, {acked} frames, {told:?}", rounds * 3);
}
