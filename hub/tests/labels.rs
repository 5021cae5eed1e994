//! Labels from a collector's first word to the search, over a restart, and those that are refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Running, open, session, start};
use heaptide_policy::Labels;
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{Ack, RefuseCode, Role};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

async fn opened(hub: &Running, number: u8, pairs: &[(&str, &str)]) -> Client {
    let mut collector = hub.collector().await;
    let mut hello = open(1);
    hello.labels = labels(pairs);
    collector.control(FrameKind::Open, session(number), &hello).await;
    let _: Ack = collector.expect(FrameKind::Ack).await;
    collector
}

async fn found(hub: &Running, query: &str) -> Vec<String> {
    let (status, body) = hub.json("GET", &format!("/api/v1/sessions?{query}"), None).await;
    assert_eq!(status, 200, "{body}");
    let mut ids: Vec<String> = body
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["session"].as_str().unwrap()[..2].to_owned())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn sessions_are_found_by_their_labels_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let _shop = opened(&hub, 1, &[("service", "shop"), ("zone", "a b")]).await;
    let cart = opened(&hub, 2, &[("service", "cart")]).await;
    cart.end("ended").await;
    for (query, expected) in [
        ("", &["01", "02"][..]),
        ("label=service=shop", &["01"]),
        ("label=zone=a%20b&state=live", &["01"]),
        ("state=ended", &["02"]),
        ("text=CART", &["02"]),
    ] {
        assert_eq!(found(&hub, query).await, expected, "{query}");
    }
    let (_, counted) = hub.json("GET", "/api/v1/labels", None).await;
    assert_eq!(counted[0]["key"], "service");
    assert_eq!(counted[0]["sessions"], 2);
    let (status, body) = hub.json("GET", "/api/v1/sessions?lable=a=b", None).await;
    assert_eq!(status, 400);
    assert!(
        body["error"].as_str().unwrap().contains("'lable' is not known"),
        "{body}"
    );
    hub.stop().await;

    let hub = start(folder.path()).await;
    assert_eq!(found(&hub, "label=service=shop&state=away").await, ["01"]);
    hub.stop().await;
}

#[tokio::test]
async fn labels_out_of_bounds_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let many: Vec<(String, String)> = (0..33).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    for (bad, expected) in [
        (labels(&[("Service", "shop")]), "label key 'Service'"),
        (labels(&[("service", "")]), "value of label 'service' has 0 bytes"),
        (many.into_iter().collect(), "33 labels: expected at most 32"),
    ] {
        let mut collector = Client::connect(hub.address, Role::Collector).await;
        let mut hello = open(1);
        hello.labels = bad;
        collector.control(FrameKind::Open, session(1), &hello).await;
        let why = collector.expect_refusal(RefuseCode::Malformed).await;
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(found(&hub, "").await, [] as [&str; 0]);
    hub.stop().await;
}
