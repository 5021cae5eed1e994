//! Dashboards: kept over a restart, changed by one at a time, noted in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::start;
use serde_json::{Value, json};

#[tokio::test]
async fn a_dashboard_is_kept_and_nobodys_change_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let path = "/api/v1/dashboards/shop-memory";
    let body = |from_revision: u64, title: &str| json!({ "from_revision": from_revision, "title": title, "view": { "by": ["zone"] }, "why": "w" });
    assert_eq!(hub.json("GET", path, None).await.0, 404);
    let (status, made) = hub.json("PUT", path, Some(&body(0, "Shop"))).await;
    assert_eq!(
        (status, &made["revision"], &made["who"]),
        (200, &json!(1), &json!("local")),
        "{made}"
    );
    let (status, late) = hub.json("PUT", path, Some(&body(0, "Other"))).await;
    assert_eq!((status, &late["newest"]), (409, &made));
    let (status, changed) = hub.json("PUT", path, Some(&body(1, "Other"))).await;
    assert_eq!((status, &changed["title"]), (200, &json!("Other")));
    hub.stop().await;

    let hub = start(folder.path()).await;
    assert_eq!(
        hub.json("GET", "/api/v1/dashboards", None).await.1,
        json!([changed])
    );
    for (from_revision, expected) in [(1, 409), (2, 200), (2, 404)] {
        let path = format!("{path}?from_revision={from_revision}&why=old");
        assert_eq!(hub.json("DELETE", &path, None).await.0, expected, "{path}");
    }
    let (_, audit) = hub.json("GET", "/api/v1/audit", None).await;
    let whats: Vec<&Value> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["what"])
        .collect();
    assert_eq!(
        whats,
        ["dashboard removed", "dashboard changed", "dashboard made"]
    );
    hub.stop().await;
}

#[tokio::test]
async fn what_is_no_dashboard_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let long = "x".repeat(64 << 10);
    for (name, body, expected) in [
        (
            "Shop",
            json!({ "from_revision": 0, "title": "a", "view": {} }),
            "name 'Shop': expected",
        ),
        (
            "a",
            json!({ "from_revision": 0, "title": "", "view": {} }),
            "title: expected 1 to 200 letters, got 0",
        ),
        (
            "a",
            json!({ "from_revision": 0, "title": "a", "view": { "x": long } }),
            "view: expected at most 65536",
        ),
    ] {
        let (status, told) = hub
            .json("PUT", &format!("/api/v1/dashboards/{name}"), Some(&body))
            .await;
        assert_eq!(status, 400, "{told}");
        assert!(told["error"].as_str().unwrap().contains(expected), "{told}");
    }
    assert_eq!(hub.json("GET", "/api/v1/dashboards", None).await.1, json!([]));
    hub.stop().await;
}
