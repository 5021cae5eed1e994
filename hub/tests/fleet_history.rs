//! Sums over the fleet that reach further back than pulses: from what is stored, also of sessions that have ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::bearer::now_unix_ns;
use common::ticks::frame;
use common::{Running, session, start_with};
use heaptide_hub::HubConfig;
use heaptide_protocol::control::{Ack, Open};
use heaptide_protocol::{FrameKind, SessionId};
use serde_json::Value;
use std::time::Duration;

/// Ten minutes.
const TICKS: u64 = 6_000;
const BATCH: u64 = 100;
/// How long ago the sessions began.
const AGO_S: u64 = 3_000;
/// By the rule of the frames.
const LIVE_BYTES: f64 = 30_000.0;
const ALLOCATED_BYTES_PER_S: f64 = 60_000.0;

fn small(config: &mut HubConfig) {
    config.limits.segment_bytes = 1_700 * frame(session(1), 9).len() as u64;
    config.limits.level_interval = Duration::from_millis(5);
}

/// A session of ten minutes, `late_s` after the first, that has ended by now.
async fn session_of(hub: &Running, id: SessionId, zone: &str, late_s: u64) {
    let mut opening: Open = common::open(1);
    opening.labels = [("zone".to_owned(), zone.to_owned())].into_iter().collect();
    opening.signature.clock.session_ns = 0;
    opening.signature.clock.unix_ns = now_unix_ns() - (AGO_S - late_s) * 1_000_000_000;
    let mut collector = hub.collector().await;
    collector.control(FrameKind::Open, id, &opening).await;
    let _: Ack = collector.expect(FrameKind::Ack).await;
    for first in (1..=TICKS).step_by(BATCH as usize) {
        for seq in first..first + BATCH {
            collector.send(frame(id, seq)).await;
        }
        collector.acked(first + BATCH - 1).await;
    }
    collector.end("told").await;
}

async fn ask(hub: &Running, query: &str) -> Value {
    let (status, told) = hub
        .json("GET", &format!("/api/v1/fleet/range?{query}"), None)
        .await;
    assert_eq!(status, 200, "{told}");
    told
}

fn points<'a>(told: &'a Value, zone: &str) -> &'a Vec<Value> {
    let groups = told["groups"].as_array().unwrap();
    let of_zone = groups.iter().find(|group| group["labels"]["zone"] == zone);
    of_zone.unwrap()["points"].as_array().unwrap()
}

#[tokio::test]
async fn what_is_stored_is_summed_up_by_label_at_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), small).await;
    for (number, zone, late_s) in [(1, "a", 0), (2, "a", 300), (3, "b", 0)] {
        session_of(&hub, session(number), zone, late_s).await;
    }

    let told = ask(&hub, "seconds=14400&step_s=10&by=zone").await;
    assert_eq!(told["source"], "levels");
    assert_eq!(told["sessions_left_out"], 0);
    let begins = told["from_unix_s"].as_u64().unwrap();
    let expected = now_unix_ns() / 1_000_000_000 - AGO_S;
    assert!(begins.abs_diff(expected) < 60, "{begins}, expected {expected}");
    // Fifteen minutes of the one zone, of which the middle five are those of both its sessions; ten of the other.
    for (zone, steps, of_two) in [("a", 90, 30), ("b", 60, 0)] {
        let points = points(&told, zone);
        assert!(
            points.len().abs_diff(steps) <= 2,
            "{zone}: {} steps",
            points.len()
        );
        let two = points.iter().filter(|point| point["sessions"] == 2).count();
        assert!(two.abs_diff(of_two) <= 2, "{zone}: {two} steps of two sessions");
        // A session's first half second, and the steps in which one begins or ends, differ.
        let (mut whole, mut rss_before) = (0, 0.0);
        for point in points.iter().skip(1) {
            let sessions = point["sessions"].as_f64().unwrap();
            let close = |name: &str, each: f64| {
                let got = point[name].as_f64().unwrap();
                (got - sessions * each).abs() <= 0.03 * sessions * each
            };
            whole += usize::from(
                close("live_bytes", LIVE_BYTES) && close("allocated_bytes_per_s", ALLOCATED_BYTES_PER_S),
            );
            assert_eq!(point["sent_bytes_per_s"], Value::Null);
            let rss = point["rss_bytes"].as_f64().unwrap();
            if sessions == 1.0 && zone == "b" {
                assert!(rss > rss_before, "it grows by the rule: {rss} after {rss_before}");
                rss_before = rss;
            }
        }
        assert!(whole + 5 >= points.len(), "{zone}: {whole} of {}", points.len());
    }

    // Its length is the hub's choice, so that there is a screenful.
    let told = ask(&hub, "seconds=604800&by=zone").await;
    assert!(
        (10..=11).contains(&told["step_s"].as_u64().unwrap()),
        "{}",
        told["step_s"]
    );
    let wide = ask(&hub, "seconds=86400&step_s=300&by=zone").await;
    let all: Vec<_> = points(&wide, "b")
        .iter()
        .map(|point| &point["rss_bytes"])
        .collect();
    assert!((2..=3).contains(&all.len()), "{all:?}");
    assert_eq!(*all.last().unwrap(), &Value::from(TICKS << 20));

    // What is over is in no shorter span.
    let told = ask(&hub, "seconds=1200&step_s=10&by=zone").await;
    assert_eq!(told["groups"].as_array().unwrap().len(), 0);
    let told = ask(&hub, "seconds=300&by=zone").await;
    assert_eq!(
        (&told["source"], told["groups"].as_array().unwrap().len()),
        (&Value::from("pulses"), 0)
    );

    let (status, body) = hub
        .json("GET", "/api/v1/fleet/range?seconds=86400&step_s=1", None)
        .await;
    assert_eq!(status, 400, "{body}");
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("at most 2000 steps in 86400 s, got 86400"),
        "{body}"
    );
    hub.stop().await;
}
