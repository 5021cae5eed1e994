//! Alerts from a collector's pulses and frames to a real listener: told once, over a restart, and again where nobody
//! listens yet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test"
)]

mod common;

use common::{Client, Running, patient, start_with, story};
use heaptide_protocol::frame::encode;
use heaptide_protocol::ledger::Ledger;
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, FrameKind, SessionId};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const ID: SessionId = SessionId([7; 16]);

async fn hub(folder: &Path) -> Running {
    start_with(folder, |config| {
        let limits = &mut config.limits;
        limits.alert_interval = Duration::from_millis(10);
        limits.alert_read_interval = Duration::from_millis(20);
        limits.alert_retry = Duration::from_millis(10);
        // The tests ask often.
        limits.requests_per_s = 100_000;
        limits.requests_burst = 100_000;
    })
    .await
}

/// A request as it arrived: its head in small letters, and its body.
struct Arrived {
    head: String,
    body: Value,
    raw: String,
}

impl Arrived {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Listens for HTTP, and answers the requests with these statuses, the last of which is for all that follow.
async fn listener(listener: TcpListener, statuses: Vec<u16>) -> mpsc::UnboundedReceiver<Arrived> {
    let (send, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        let mut status = statuses.next().unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, length) = loop {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).await.unwrap();
                assert_ne!(count, 0, "half a request: {}", String::from_utf8_lossy(&bytes));
                bytes.extend_from_slice(&piece[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length: usize = head
                        .lines()
                        .find_map(|line| {
                            line.to_ascii_lowercase()
                                .strip_prefix("content-length: ")
                                .map(str::to_owned)
                        })
                        .unwrap()
                        .parse()
                        .unwrap();
                    if body.len() >= length {
                        break (head.to_owned(), length);
                    }
                }
            };
            let raw = String::from_utf8(bytes[bytes.len() - length..].to_vec()).unwrap();
            let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let body = serde_json::from_str(&raw).unwrap();
            if send.send(Arrived { head, body, raw }).is_err() {
                return;
            }
            status = statuses.next().unwrap_or(status);
        }
    });
    arrived
}

async fn free() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?key=k", listener.local_addr().unwrap());
    (listener, url)
}

async fn set_rules(hub: &Running, from_revision: u64, rules: Value) -> Value {
    let body = json!({ "from_revision": from_revision, "document": { "rules": rules }, "why": "test" });
    let (status, told) = hub.json("POST", "/api/v1/alerts/rules", Some(&body)).await;
    assert_eq!(status, 200, "{told}");
    told
}

async fn set_webhook(hub: &Running, from_revision: u64, url: &str) {
    let body = json!({ "from_revision": from_revision, "url": url, "secret": "sesame", "bearer": "b" });
    let (status, told) = hub.json("PUT", "/api/v1/alerts/webhook", Some(&body)).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["url"], &told["has_secret"]), (&json!(url), &json!(true)));
    assert!(!told.to_string().contains("sesame"), "{told}");
}

fn above(name: &str, figure: &Value, threshold: f64) -> Value {
    json!({ "name": name, "figure": figure, "when": "above", "threshold": threshold, "labels": { "service": "shop" } })
}

/// Opens the session, whose labels are those of `story`, or comes back to it.
async fn collector(hub: &Running, label: &str) -> Client {
    let mut client = hub.collector().await;
    let mut open = common::open(1);
    open.labels.insert("service", label).unwrap();
    client.control(FrameKind::Open, ID, &open).await;
    let _: heaptide_protocol::control::Ack = client.expect(FrameKind::Ack).await;
    client
}

async fn pulse(client: &mut Client, second: u64, rss_bytes: u64) {
    let pulse = common::story::pulse(second, rss_bytes);
    client.control(FrameKind::Pulse, ID, &pulse).await;
}

/// Asks until an alert is in this state.
async fn until(hub: &Running, rule: &str, state: &str) -> Value {
    patient(async {
        loop {
            let (status, told) = hub.json("GET", "/api/v1/alerts", None).await;
            assert_eq!(status, 200);
            let alerts = told["alerts"].as_array().unwrap();
            if let Some(found) = alerts
                .iter()
                .find(|one| one["rule"] == rule && one["state"] == state)
            {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_alert_is_told_once_when_it_fires_over_a_restart_and_once_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, url) = free().await;
    let mut arrived = listener(socket, vec![204]).await;
    let running = hub(folder.path()).await;
    set_webhook(&running, 0, &url).await;
    set_rules(
        &running,
        0,
        json!([above("big", &json!({ "name": "rss_bytes" }), 1000.0)]),
    )
    .await;
    let mut client = collector(&running, "shop").await;
    assert!(until(&running, "big", "no_data").await["no_data"].is_string());
    pulse(&mut client, 1, 900).await;
    until(&running, "big", "ok").await;
    pulse(&mut client, 2, 1536).await;
    let shown = until(&running, "big", "firing").await;
    assert_eq!(
        (
            &shown["value_words"],
            &shown["threshold_words"],
            &shown["service"]
        ),
        (&json!("1.5 KiB"), &json!("above 1000 B"), &json!("shop"))
    );
    let first = patient(arrived.recv()).await.unwrap();
    assert_eq!(
        (&first.body["event"], &first.body["why"], &first.body["value"]),
        (&json!("firing"), &json!(null), &json!(1536.0))
    );
    assert_eq!(first.body["rule"]["name"], "big");
    assert_eq!(first.body["session"]["id"], ID.to_string());
    assert_eq!(first.header("heaptide-delivery"), first.body["id"].as_str());
    assert_eq!(first.header("authorization"), Some("Bearer b"));
    assert!(
        first.head.starts_with("POST /hook?key=k HTTP/1.1"),
        "{}",
        first.head
    );
    assert_eq!(first.header("heaptide-signature"), Some(signed(&first).as_str()));
    patient(async {
        while running.counter("alert_notices_sent").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(client);
    running.stop().await;

    let running = hub(folder.path()).await;
    // Its collector is away, which is no reason to think that all is well.
    let shown = until(&running, "big", "firing").await;
    assert_eq!(shown["since_unix_ns"], first.body["at_unix_ns"]);
    let mut client = collector(&running, "shop").await;
    pulse(&mut client, 3, 2048).await;
    patient(async { while until(&running, "big", "firing").await["value"] != json!(2048.0) {} }).await;
    pulse(&mut client, 4, 10).await;
    until(&running, "big", "resolved").await;
    // The very next one is the end: nothing was told a second time.
    let last = patient(arrived.recv()).await.unwrap();
    assert_eq!(
        (&last.body["event"], &last.body["why"], &last.body["value"]),
        (&json!("resolved"), &json!("cleared"), &json!(10.0))
    );
    assert_eq!(last.body["firing_since_unix_ns"], first.body["at_unix_ns"]);
    assert_ne!(last.body["id"], first.body["id"]);
    let metrics = running.get("/metrics").await;
    for line in [
        "heaptide_hub_alerts{state=\"resolved\"} 1",
        "heaptide_hub_alerts_resolved_total 1",
        "heaptide_hub_alerts_fired_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    running.stop().await;
    assert!(arrived.try_recv().is_err());
}

/// By the receiver's own reckoning: `openssl dgst -sha256 -hmac` of the moment and the body.
fn signed(arrived: &Arrived) -> String {
    let moment = arrived.header("heaptide-timestamp").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"sesame");
    let tag = ring::hmac::sign(&key, format!("{moment}.{}", arrived.raw).as_bytes());
    let hex: Vec<String> = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", hex.concat())
}

#[tokio::test]
async fn a_webhook_that_is_down_or_refuses_is_told_again_until_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there yet.
    let (socket, url) = free().await;
    let address: SocketAddr = socket.local_addr().unwrap();
    drop(socket);
    let running = hub(folder.path()).await;
    set_webhook(&running, 0, &url).await;
    set_rules(
        &running,
        0,
        json!([above("big", &json!({ "name": "rss_bytes" }), 1000.0)]),
    )
    .await;
    let mut client = collector(&running, "shop").await;
    pulse(&mut client, 1, 2000).await;
    patient(async {
        while running.counter("alert_attempts_failed").await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (_, told) = running.json("GET", "/api/v1/alerts", None).await;
    assert_eq!(told["webhook"]["waiting"], 1);
    let why = told["webhook"]["last_failure"].as_str().unwrap();
    assert!(why.contains("can't connect"), "{why}");
    // What waits outlives the hub.
    drop(client);
    running.stop().await;
    let running = hub(folder.path()).await;
    let socket = TcpListener::bind(address).await.unwrap();
    let mut arrived = listener(socket, vec![500, 302, 200]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let one = patient(arrived.recv()).await.unwrap();
        ids.push((one.body["event"].clone(), one.body["id"].clone()));
    }
    // The same one each time, and a redirection was not followed.
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(ids[0].0, "firing");
    patient(async {
        while running.counter("alert_notices_sent").await != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (_, told) = running.json("GET", "/api/v1/alerts", None).await;
    assert_eq!(
        (&told["webhook"]["waiting"], &told["webhook"]["failures_in_a_row"]),
        (&json!(0), &json!(0))
    );
    running.stop().await;
    assert!(arrived.try_recv().is_err());
}

#[tokio::test]
async fn the_end_of_a_rule_or_a_session_ends_its_alerts_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, url) = free().await;
    let mut arrived = listener(socket, vec![200]).await;
    let running = hub(folder.path()).await;
    set_webhook(&running, 0, &url).await;
    let rule = |name: &str| above(name, &json!({ "name": "rss_bytes" }), 1000.0);
    set_rules(&running, 0, json!([rule("a"), rule("b"), rule("c")])).await;
    let mut client = collector(&running, "shop").await;
    pulse(&mut client, 1, 2000).await;
    let mut fired = Vec::new();
    for _ in 0..3 {
        fired.push(patient(arrived.recv()).await.unwrap().body["rule"]["name"].clone());
    }
    assert_eq!(fired, ["a", "b", "c"]);
    let mut other = rule("b");
    other["labels"] = json!({ "service": "cart" });
    set_rules(&running, 1, json!([other, rule("c")])).await;
    let mut ends = Vec::new();
    for _ in 0..2 {
        let one = patient(arrived.recv()).await.unwrap().body;
        ends.push((one["rule"]["name"].clone(), one["why"].clone()));
    }
    assert_eq!(
        ends,
        [
            (json!("a"), json!("rule_removed")),
            (json!("b"), json!("no_longer_matches"))
        ]
    );
    client.end("ended").await;
    let last = patient(arrived.recv()).await.unwrap().body;
    assert_eq!(
        (&last["rule"]["name"], &last["why"]),
        (&json!("c"), &json!("session_ended"))
    );
    running.stop().await;
}

#[tokio::test]
async fn figures_of_stored_frames_are_read_beside_the_ingest_path() {
    let folder = tempfile::tempdir().unwrap();
    let running = hub(folder.path()).await;
    set_rules(
        &running,
        0,
        json!([
            above("unexplained", &json!({ "name": "unaccounted_share" }), 0.2),
            above(
                "pauses",
                &json!({ "name": "pause_p99", "window_seconds": 60 }),
                1.0
            ),
            above(
                "leak",
                &json!({ "name": "goroutines", "creator": "main.leak" }),
                10.0
            ),
        ]),
    )
    .await;
    let mut client = collector(&running, "shop").await;
    let mut frames = Vec::new();
    frames.push(story::frame(ID, 1, 99));
    let mut writer = SectionWriter::default();
    writer
        .push(&Section::Ledger(Ledger {
            timestamp_ns: story::at(2),
            took_ns: 1,
            rss_bytes: 1_000,
            rss_after_bytes: 1_000,
            remainder_bytes: -250,
            lines: Vec::new(),
        }))
        .unwrap();
    let envelope = Envelope::data(ID, 2, story::at(2), story::at(3) - 1);
    frames.push(encode(envelope, &writer.take()).unwrap());
    for frame in frames {
        client.send(frame).await;
    }
    client.acked(2).await;
    let shown = until(&running, "unexplained", "firing").await;
    assert_eq!(
        (&shown["value"], &shown["value_words"]),
        (&json!(0.25), &json!("25 %"))
    );
    for (rule, why) in [
        ("pauses", "no pause was seen in the last 60 s"),
        ("leak", "no census of goroutines has been taken in this session"),
    ] {
        patient(async {
            while until(&running, rule, "no_data").await["no_data"] != why {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn nobodys_change_is_lost_and_what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let running = hub(folder.path()).await;
    let told = set_rules(&running, 0, json!([])).await;
    assert_eq!((&told["revision"], &told["who"]), (&json!(1), &json!("local")));
    let bad = above("a", &json!({ "name": "live_slope", "window_seconds": 1 }), 1.0);
    for (method, path, body, status, expected) in [
        (
            "POST",
            "/api/v1/alerts/rules",
            json!({ "from_revision": 0, "document": {} }),
            409,
            "but 1 (by local) is the newest",
        ),
        (
            "POST",
            "/api/v1/alerts/rules",
            json!({ "from_revision": 1, "document": { "rules": [bad] } }),
            400,
            "rules[0].figure.window_seconds: expected 10 to 240, got 1",
        ),
        (
            "POST",
            "/api/v1/alerts/rules",
            json!({ "from_revision": 1, "document": { "rulez": [] } }),
            422,
            "unknown field `rulez`",
        ),
        (
            "PUT",
            "/api/v1/alerts/webhook",
            json!({ "from_revision": 0, "url": "gopher://x/" }),
            400,
            "url: is neither http nor https",
        ),
        (
            "PUT",
            "/api/v1/alerts/webhook",
            json!({ "from_revision": 4, "url": "http://x/" }),
            409,
            "but 0 is the newest",
        ),
        (
            "DELETE",
            "/api/v1/alerts/webhook?from_revision=0",
            Value::Null,
            404,
            "no webhook is set",
        ),
        (
            "GET",
            "/api/v1/alerts?state=happy",
            Value::Null,
            400,
            "unknown variant `happy`",
        ),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (got, told) = running.json(method, path, body.as_ref()).await;
        assert_eq!(got, status, "{method} {path}: {told}");
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    set_webhook(&running, 0, "http://127.0.0.1:9/").await;
    let (status, told) = running
        .json("DELETE", "/api/v1/alerts/webhook?from_revision=1&why=over", None)
        .await;
    assert_eq!((status, &told["revision"]), (200, &json!(0)), "{told}");
    let (_, audit) = running.json("GET", "/api/v1/audit", None).await;
    let lines = audit.as_array().unwrap().iter();
    let whats: Vec<&Value> = lines.map(|line| &line["what"]).collect();
    assert_eq!(
        whats,
        [
            "alert webhook removed",
            "alert webhook set",
            "alert rules changed"
        ]
    );
    assert!(!audit.to_string().contains("sesame"), "{audit}");
    running.stop().await;
}
