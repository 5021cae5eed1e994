//! Resuming with the real hub, which is killed with `kill -9` while frames are appended.

use super::hub::{Console, HubProcess};
use super::*;
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{PolicyOutcome, PolicyPropose, PolicyResult, Pulse, SessionState};
use heaptide_protocol::frame::encode_control;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

fn expected(number: u8, seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    seqs.map(|seq| (seq, data(number, seq))).collect()
}

fn new_spool(root: &Path, number: u8, frames: u64) -> Arc<Mutex<Spool>> {
    let mut spool = Spool::create(root, head(number), MANY_BYTES).unwrap();
    for seq in 1..=frames {
        spool.append(seq, &data(number, seq)).unwrap();
    }
    Arc::new(Mutex::new(spool))
}

async fn wait_for(
    events: &mut mpsc::Receiver<UplinkEvent>,
    wanted: impl Fn(&UplinkEvent) -> bool,
) -> UplinkEvent {
    soon("an event", async {
        loop {
            let event = events.recv().await.expect("the uplink stopped");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// Invariants: an acknowledged frame survives `kill -9` of the hub; a collector resumes without gap or repeat.
#[tokio::test]
async fn every_frame_arrives_once_and_in_order_though_the_hub_is_killed() {
    for (seed, frames, kills) in [(1_u64, 600, 4), (2, 1500, 6)] {
        let dir = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut hub = HubProcess::start(dir.path()).await;
        let spool = new_spool(root.path(), 1, 0);
        let (handle, mut events) = Uplink::start(hub.config(), Arc::clone(&spool));
        let watcher = tokio::spawn(async move {
            let (mut acked, mut connections) = (0, 0);
            while let Some(event) = events.recv().await {
                match event {
                    UplinkEvent::Acked(seq) => {
                        assert!(seq >= acked, "{seq} acknowledged after {acked}");
                        acked = seq;
                    }
                    UplinkEvent::Connected { durable_seq, .. } => {
                        assert!(
                            durable_seq >= acked,
                            "{acked} was acknowledged, {durable_seq} is there"
                        );
                        connections += 1;
                    }
                    UplinkEvent::Refused { fatal: true, .. }
                    | UplinkEvent::SessionUnknown { .. }
                    | UplinkEvent::SpoolUnreadable { .. }
                    | UplinkEvent::Spool(_) => panic!("{event:?}"),
                    _ => {}
                }
            }
            (acked, connections)
        });
        let mut random = seed;
        let mut next_random = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut kill_at: Vec<u64> = (0..kills).map(|_| 1 + next_random(frames)).collect();
        kill_at.sort_unstable();
        kill_at.dedup();
        for seq in 1..=frames {
            spool.lock().unwrap().append(seq, &data(1, seq)).unwrap();
            handle.notify();
            if next_random(4) == 0 {
                tokio::time::sleep(Duration::from_micros(next_random(8000))).await;
            }
            if kill_at.contains(&seq) {
                // Not before something was acknowledged since the last time.
                let acked = handle.stats().acked_seq;
                soon("an acknowledgement", async {
                    while handle.stats().acked_seq <= acked && handle.stats().acked_seq < seq {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
                .await;
                hub.kill();
                let acked = handle.stats().acked_seq;
                hub.restart().await;
                let stored = Console::stored(hub.address, session(1)).await;
                assert!(
                    stored.len() as u64 >= acked,
                    "{acked} acknowledged, {} stored",
                    stored.len()
                );
                assert_eq!(stored, expected(1, 1..=stored.len() as u64), "seed {seed}");
            }
        }
        assert_eq!(soon("finishing", handle.finish(PATIENCE)).await, Outcome::Ended);
        assert_eq!(
            Console::stored(hub.address, session(1)).await,
            expected(1, 1..=frames),
            "seed {seed}"
        );
        let (acked, connections) = watcher.await.unwrap();
        assert_eq!(acked, frames);
        assert!(
            connections > kill_at.len(),
            "{connections} connections for {} kills",
            kill_at.len()
        );
        assert!(
            !spool.lock().unwrap().dir().exists(),
            "an ended session leaves nothing"
        );
        let mut console = Console::connect(hub.address).await;
        console
            .until(session(1), |summary| summary.state == SessionState::Ended)
            .await;
    }
}

#[tokio::test]
async fn an_absent_hub_is_reported_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::start(dir.path()).await;
    hub.kill();
    let (handle, mut events) = Uplink::start(hub.config(), new_spool(root.path(), 1, 20));
    for _ in 0..2 {
        let event = wait_for(&mut events, |_| true).await;
        let UplinkEvent::Disconnected { error, .. } = event else {
            panic!("{event:?}")
        };
        assert!(
            error.contains("refused") && error.contains(&hub.address.to_string()),
            "{error}"
        );
    }
    hub.restart().await;
    wait_for(&mut events, |event| *event == UplinkEvent::Acked(20)).await;
    assert_eq!(soon("finishing", handle.finish(PATIENCE)).await, Outcome::Ended);
}

#[tokio::test]
async fn closing_without_an_end_leaves_the_session_away_and_its_frames_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(dir.path()).await;
    let spool = new_spool(root.path(), 1, 20);
    let (handle, mut events) = Uplink::start(hub.config(), Arc::clone(&spool));
    wait_for(&mut events, |event| *event == UplinkEvent::Acked(20)).await;
    let mut console = Console::connect(hub.address).await;
    console
        .until(session(1), |summary| summary.state == SessionState::Live)
        .await;
    assert_eq!(
        soon("closing", handle.close()).await,
        Outcome::Left { unacked_frames: 0 }
    );
    console
        .until(session(1), |summary| {
            matches!(summary.state, SessionState::Away { .. })
        })
        .await;
    // Another connection goes on where this one stopped.
    let (handle, _events) = Uplink::start(hub.config(), Arc::clone(&spool));
    for seq in 21..=30 {
        spool.lock().unwrap().append(seq, &data(1, seq)).unwrap();
    }
    handle.notify();
    assert_eq!(soon("finishing", handle.finish(PATIENCE)).await, Outcome::Ended);
    assert_eq!(
        Console::stored(hub.address, session(1)).await,
        expected(1, 1..=30)
    );
    // Dropping the handle does the same as closing.
    let (handle, mut events) = Uplink::start(hub.config(), new_spool(root.path(), 2, 5));
    wait_for(&mut events, |event| *event == UplinkEvent::Acked(5)).await;
    drop(handle);
    console
        .until(session(2), |summary| {
            matches!(summary.state, SessionState::Away { .. })
        })
        .await;
}

#[tokio::test]
async fn a_session_that_the_hub_has_lost_is_unknown() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(dir.path()).await;
    // Files of 64 KiB, so that acknowledged frames are really gone.
    let mut spool = Spool::create(root.path(), head(1), 256 << 10).unwrap();
    for seq in 1..=100 {
        spool.append(seq, &data(1, seq)).unwrap();
    }
    let spool = Arc::new(Mutex::new(spool));
    let (handle, mut events) = Uplink::start(hub.config(), Arc::clone(&spool));
    wait_for(&mut events, |event| *event == UplinkEvent::Acked(100)).await;
    soon("closing", handle.close()).await;
    assert!(spool.lock().unwrap().first_seq() > 1);
    let empty_hub = HubProcess::start(other.path()).await;
    let (handle, mut events) = Uplink::start(empty_hub.config(), spool);
    wait_for(&mut events, |event| {
        matches!(event, UplinkEvent::SessionUnknown { .. })
    })
    .await;
    assert!(matches!(
        soon("finishing", handle.finish(PATIENCE)).await,
        Outcome::Left { .. }
    ));
}

#[tokio::test]
async fn policy_and_pulse_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(dir.path()).await;
    let (handle, mut events) = Uplink::start(hub.config(), new_spool(root.path(), 1, 1));
    let clock = wait_for(&mut events, |event| matches!(event, UplinkEvent::Clock(_))).await;
    let UplinkEvent::Clock(offset) = clock else {
        panic!("{clock:?}")
    };
    // Hub and collector share a machine here, so the truth is known.
    let truth_ns = clock::unix_ns() as i64 - clock::session_ns() as i64;
    assert!(
        offset.offset_ns.abs_diff(truth_ns) <= offset.error_ns + 50_000_000,
        "{offset:?}, truth {truth_ns}"
    );
    let mut console = Console::connect(hub.address).await;
    console
        .until(session(1), |summary| summary.state == SessionState::Live)
        .await;
    let policy = Policy {
        sampling_rate_bytes: Some(4096),
        ..Policy::default()
    };
    console
        .send(FrameKind::PolicyPropose, session(1), &PolicyPropose { policy })
        .await;
    let set = wait_for(&mut events, |event| matches!(event, UplinkEvent::PolicySet(_))).await;
    let UplinkEvent::PolicySet(policy) = set else {
        panic!("{set:?}")
    };
    assert_eq!((policy.sampling_rate_bytes, policy.revision), (Some(4096), 1));
    let outcome = PolicyOutcome {
        timestamp_ns: 5,
        revision: policy.revision,
        result: PolicyResult::Applied {
            policy: policy.clone(),
            rate_before_bytes: 524_288,
            rate_after_bytes: 4096,
        },
    };
    assert!(handle.send_control(encode_control(FrameKind::PolicyOutcome, session(1), &outcome).unwrap()));
    let pulse = Pulse {
        timestamp_ns: 6,
        rss_bytes: 12_345,
        live_bytes: 0.0,
        live_std_error_bytes: 0.0,
        allocated_bytes_per_s: 0.0,
        samples_per_s: 0.0,
        dropped: 0,
        seen: 0,
        sampling_rate_bytes: 4096,
        collector_cpu_permille: 0,
        collector_rss_bytes: 0,
        sent_bytes_per_s: 0,
        host_available_bytes: 0,
        host_total_bytes: 0,
    };
    assert!(handle.send_control(encode_control(FrameKind::Pulse, session(1), &pulse).unwrap()));
    assert!(!handle.send_control(b"no frame".to_vec()));
    let summary = console
        .until(session(1), |summary| {
            summary.policy.applied.is_some() && summary.pulse.is_some()
        })
        .await;
    assert_eq!(summary.policy.applied, Some(policy));
    assert_eq!(summary.pulse.map(|pulse| pulse.rss_bytes), Some(12_345));
}

/// As many reports as there are dead collectors; see [`only_orphan`] for why one may be missed at first.
async fn uploaded(root: &Path, config: &UplinkConfig, count: usize) -> Vec<OrphanReport> {
    let mut reports = Vec::new();
    while reports.len() < count {
        reports.extend(upload_orphans(root, config).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    reports
}

#[tokio::test]
async fn what_killed_collectors_left_is_uploaded_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::start(dir.path()).await;
    // The first was half sent, the second never, the third has nothing, the fourth has a torn tail, the
    // fifth a damaged head; the sixth lives.
    let (handle, mut events) = Uplink::start(hub.config(), new_spool(root.path(), 1, 20));
    wait_for(&mut events, |event| *event == UplinkEvent::Acked(20)).await;
    soon("closing", handle.close()).await;
    drop((handle, events));
    let mut first = only_orphan(root.path()).open().unwrap();
    first.set_max_bytes(MANY_BYTES);
    for seq in 21..=30 {
        first.append(seq, &data(1, seq)).unwrap();
    }
    drop(first);
    drop(new_spool(root.path(), 2, 500));
    drop(new_spool(root.path(), 3, 0));
    let torn = new_spool(root.path(), 4, 9).lock().unwrap().dir();
    let file = torn.join(format!("{:020}.frames", 1));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let headless = new_spool(root.path(), 5, 9).lock().unwrap().dir();
    std::fs::write(headless.join("open"), "no frame").unwrap();
    let living = new_spool(root.path(), 6, 9);
    let config = hub.config();
    // The hub is away at first.
    hub.kill();
    let folder = root.path().to_owned();
    let upload = tokio::spawn(async move { uploaded(&folder, &config, 5).await });
    hub.restart().await;
    let mut reports = soon("the upload", upload).await.unwrap();
    reports.sort_by_key(|report| report.session);
    let fates: Vec<OrphanFate> = reports.into_iter().map(|report| report.fate).collect();
    let [one, two, three, four, five] = fates.as_slice() else {
        panic!("{fates:?}")
    };
    assert_eq!(
        *one,
        OrphanFate::Uploaded {
            frames: 30,
            cut_bytes: 0
        }
    );
    assert_eq!(
        *two,
        OrphanFate::Uploaded {
            frames: 500,
            cut_bytes: 0
        }
    );
    assert_eq!(
        *three,
        OrphanFate::Uploaded {
            frames: 0,
            cut_bytes: 0
        }
    );
    let cut_bytes = data(4, 9).len() as u64 - 1;
    assert_eq!(*four, OrphanFate::Uploaded { frames: 8, cut_bytes });
    assert!(
        matches!(five, OrphanFate::Discarded { why, .. } if why.contains("no usable spool")),
        "{five:?}"
    );
    for (number, frames) in [(1, 30), (2, 500), (4, 8)] {
        assert_eq!(
            Console::stored(hub.address, session(number)).await,
            expected(number, 1..=frames)
        );
        let mut console = Console::connect(hub.address).await;
        console
            .until(session(number), |summary| summary.state == SessionState::Ended)
            .await;
    }
    let left: Vec<_> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let lives = living.lock().unwrap().dir();
    assert!(left.contains(&lives) && left.len() == 2, "{left:?}");
    assert_eq!(upload_orphans(root.path(), &hub.config()).await.unwrap(), []);
}

#[tokio::test]
async fn frames_of_another_hub_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(dir.path()).await;
    let mut spool = Spool::create(root.path(), head(1), 256 << 10).unwrap();
    for seq in 1..=100 {
        spool.append(seq, &data(1, seq)).unwrap();
    }
    spool.ack(60);
    assert!(spool.first_seq() > 1);
    let spool_dir = spool.dir();
    drop(spool);
    let reports = soon("the upload", uploaded(root.path(), &hub.config(), 1)).await;
    assert!(
        matches!(&reports[0].fate, OrphanFate::Kept { why } if why.contains(&spool_dir.display().to_string())),
        "{reports:?}"
    );
    assert!(spool_dir.exists());
}
