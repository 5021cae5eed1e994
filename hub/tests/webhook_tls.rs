//! Notices to a webhook over TLS: which certificates are believed, and what is said of the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test"
)]

mod common;

use common::authority::Authority;
use common::{Running, patient, session, start_with};
use heaptide_hub::{Hub, HubConfig};
use heaptide_protocol::FrameKind;
use rustls::ServerConfig;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// Takes every request that comes over TLS. What came, as text.
async fn receiver(config: Arc<ServerConfig>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Whoever doesn't believe the certificate goes.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut text = String::new();
            let mut piece = [0; 4096];
            // The body is an object, and the last that comes.
            while !text.ends_with("}}") {
                let Ok(count @ 1..) = stream.read(&mut piece).await else {
                    break;
                };
                text += &String::from_utf8_lossy(&piece[..count]);
            }
            let _ = stream
                .write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
                .await;
            let _ = stream.shutdown().await;
            if send.send(text).is_err() {
                return;
            }
        }
    });
    (port, arrived)
}

async fn start(folder: &Path, ca: Option<&Path>) -> Running {
    let ca = ca.map(Path::to_owned);
    start_with(folder, |config| {
        config.webhook_ca = ca;
        config.limits.alert_interval = Duration::from_millis(10);
        config.limits.alert_retry = Duration::from_millis(10);
        config.limits.requests_per_s = 100_000;
        config.limits.requests_burst = 100_000;
    })
    .await
}

/// A rule that fires, and where that is told.
async fn fire(hub: &Running, url: &str) {
    let body = json!({ "from_revision": 0, "url": url, "secret": "sesame" });
    let (status, told) = hub.json("PUT", "/api/v1/alerts/webhook", Some(&body)).await;
    assert_eq!(status, 200, "{told}");
    let rule =
        json!({ "name": "any", "figure": { "name": "rss_bytes" }, "when": "above", "threshold": -1.0 });
    let body = json!({ "from_revision": 0, "document": { "rules": [rule] }, "why": "test" });
    let (status, told) = hub.json("POST", "/api/v1/alerts/rules", Some(&body)).await;
    assert_eq!(status, 200, "{told}");
}

/// As `heaptide alerts list` shows it, once an attempt has been made.
async fn delivery(hub: &Running, counter: &str) -> Value {
    patient(async {
        while hub.counter(counter).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    hub.json("GET", "/api/v1/alerts", None).await.1["webhook"].clone()
}

#[tokio::test]
async fn a_webhook_is_told_over_tls_only_where_its_certificate_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = authority.write(folder.path(), "hooks.pem");
    // A name that leads to this machine everywhere, and an address.
    let cases = [
        ("localhost", authority.server("localhost", true), Some(&ca), None),
        ("127.0.0.1", authority.server("127.0.0.1", true), Some(&ca), None),
        (
            "localhost",
            authority.server("localhost", true),
            None,
            Some("--webhook-ca FILE names another"),
        ),
        (
            "localhost",
            stranger.server("localhost", true),
            Some(&ca),
            Some("of no authority that this hub believes"),
        ),
        (
            "localhost",
            authority.server("hooks.example", true),
            Some(&ca),
            Some("the certificate is not for the name localhost"),
        ),
        (
            "127.0.0.1",
            authority.server("localhost", true),
            Some(&ca),
            Some("the certificate is not for the name 127.0.0.1"),
        ),
        (
            "localhost",
            authority.server("localhost", false),
            Some(&ca),
            Some("has expired"),
        ),
    ];
    for (number, (host, config, ca, wrong)) in cases.into_iter().enumerate() {
        let hub = start(
            &folder.path().join(number.to_string()),
            ca.map(std::path::PathBuf::as_path),
        )
        .await;
        let (port, mut arrived) = receiver(config).await;
        fire(&hub, &format!("https://{host}:{port}/hook")).await;
        let mut collector = hub.collector().await;
        let id = session(1);
        collector.open(id, 1).await;
        let pulse = common::story::pulse(1, 4096);
        collector.control(FrameKind::Pulse, id, &pulse).await;
        match wrong {
            None => {
                let text = patient(arrived.recv()).await.unwrap();
                assert!(text.starts_with("POST /hook HTTP/1.1\r\n"), "{text}");
                assert!(text.contains(&format!("host: {host}:{port}\r\n")), "{text}");
                assert!(text.contains("heaptide-signature: sha256="), "{text}");
                let told = delivery(&hub, "alert_notices_sent").await;
                assert_eq!(
                    (&told["waiting"], &told["last_failure"]),
                    (&json!(0), &json!(null))
                );
                assert!(told["last_sent_unix_ns"].is_u64(), "{told}");
            }
            Some(sentence) => {
                let told = delivery(&hub, "alert_attempts_failed").await;
                let why = told["last_failure"].as_str().unwrap();
                assert!(
                    why.contains(sentence),
                    "case {number}: {why:?} lacks {sentence:?}"
                );
                assert_eq!(told["waiting"], 1, "case {number}: it is not given up: {told}");
                assert!(hub.complained().contains(sentence), "{}", hub.complained());
                assert!(arrived.try_recv().is_err(), "case {number}: something was sent");
            }
        }
        drop(collector);
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_hub_without_its_authorities_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.pem");
    std::fs::write(&text, "no certificate").unwrap();
    for (file, expected) in [
        (text, "no certificate in it"),
        (folder.path().join("missing.pem"), "missing.pem"),
    ] {
        let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder.path().join("data"));
        config.webhook_ca = Some(file);
        let error = Hub::bind(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let problems = heaptide_hub::check_config(&config, true).join("; ");
        assert!(problems.contains(expected), "{problems}");
    }
}
