//! Annotations over HTTP: kept, changed by two at once, told in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{call_json, session, start};
use serde_json::{Value, json};

#[tokio::test]
async fn annotations_are_kept_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let address = hub.address;
    let path = format!("/api/v1/sessions/{id}/annotations");
    let words = |text: &str| json!({ "from_ns": 5, "to_ns": 9, "text": text });
    let (status, first) = call_json(address, "POST", &path, &words("a leak?")).await;
    assert_eq!(
        (status, &first["author"], &first["revision"]),
        (201, &json!("local"), &json!(1))
    );
    let own = format!("{path}/{}", first["id"]);
    let cases: [(&str, String, Value, u16); 9] = [
        (
            "POST",
            path.clone(),
            json!({ "from_ns": 9, "to_ns": 5, "text": "x" }),
            400,
        ),
        ("POST", path.clone(), words(""), 400),
        ("POST", path.clone(), json!({ "from_ns": 9 }), 400),
        (
            "POST",
            format!("/api/v1/sessions/{}/annotations", session(2)),
            words("x"),
            404,
        ),
        ("PUT", format!("{own}?revision=1"), words("yes, a leak"), 200),
        ("PUT", format!("{own}?revision=1"), words("no leak"), 409),
        ("PUT", own.clone(), words("no leak"), 400),
        ("DELETE", format!("{own}?revision=1"), Value::Null, 409),
        ("DELETE", format!("{path}/77?revision=1"), Value::Null, 404),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = call_json(address, method, &path, &body).await;
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
    }
    let (_, list) = call_json(address, "GET", &path, &Value::Null).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(
        (&list[0]["text"], &list[0]["revision"]),
        (&json!("yes, a leak"), &json!(2))
    );
    drop(collector);
    hub.stop().await;
    let hub = start(folder.path()).await;
    let (status, gone) = call_json(hub.address, "DELETE", &format!("{own}?revision=2"), &Value::Null).await;
    assert_eq!((status, &gone["text"]), (200, &json!("yes, a leak")));
    let (_, list) = call_json(hub.address, "GET", &path, &Value::Null).await;
    assert_eq!(list, json!([]));
    let (_, audit) = call_json(hub.address, "GET", "/api/v1/audit", &Value::Null).await;
    let what: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        what,
        ["annotation deleted", "annotation changed", "annotation added"]
    );
    hub.stop().await;
}
