//! The fleet's policy from a person's draft to forty collectors, and back when it harms.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test"
)]

mod actor;
#[path = "../common/mod.rs"]
mod common;

use actor::{Actor, Part};
use common::{Running, patient, start_with};
use heaptide_policy::Policy;
use heaptide_protocol::control::{PolicyPropose, PolicyState};
use heaptide_protocol::{FrameKind, SessionId};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

async fn hub(folder: &Path) -> Running {
    start_with(folder, |config| {
        config.limits.policy_interval = Duration::from_millis(20);
        config.limits.policy_settle = Duration::ZERO;
        // The tests ask often.
        config.limits.requests_per_s = 100_000;
        config.limits.requests_burst = 100_000;
    })
    .await
}

fn id(number: u8) -> SessionId {
    SessionId([number; 16])
}

async fn actors(hub: &Running, count: u8) -> Vec<Actor> {
    let mut actors = Vec::new();
    for number in 1..=count {
        let zone = if number % 2 == 0 { "even" } else { "odd" };
        let labels = [("service", "shop"), ("zone", zone)];
        actors.push(Actor::start(hub.address, id(number), &labels, Arc::default()).await);
    }
    actors
}

fn document(percent: u8, healthy_seconds: u32) -> Value {
    json!({
        "rules": [{
            "name": "shop",
            "labels": { "service": "shop" },
            "set": { "tiers": { "hashed_percent": percent } }
        }],
        "rollout": { "healthy_seconds": healthy_seconds }
    })
}

async fn submit(hub: &Running, from_revision: u64, document: &Value, why: &str) -> (u16, Value) {
    let body = json!({ "from_revision": from_revision, "document": document, "why": why });
    hub.json("POST", "/api/v1/policy", Some(&body)).await
}

async fn rollout(hub: &Running) -> Value {
    hub.json("GET", "/api/v1/policy/rollout", None).await.1
}

/// Looks at the roll-out until it is as wanted.
async fn until(hub: &Running, wanted: impl Fn(&Value) -> bool) -> Value {
    patient(async {
        loop {
            let told = rollout(hub).await;
            if wanted(&told) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

fn stage(told: &Value) -> &str {
    told["rollout"]["stage"]["name"].as_str().unwrap()
}

/// Of the collectors, how many have which share in force.
fn with(actors: &[Actor], percent: u8) -> usize {
    actors.iter().filter(|actor| actor.percent() == percent).count()
}

fn first(actors: &[Actor], told: &Value) -> Vec<usize> {
    let chosen = told["rollout"]["chosen"].as_array().unwrap();
    let is_first = |actor: &Actor| chosen.iter().any(|id| *id == actor.id.to_string());
    let all = actors.iter().enumerate();
    all.filter(|(_, actor)| is_first(actor))
        .map(|(index, _)| index)
        .collect()
}

#[tokio::test]
async fn a_revision_goes_to_a_few_then_to_all_and_one_that_costs_too_much_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let actors = actors(&hub, 40).await;

    // Healthy: two of forty first, then all.
    let (status, body) = submit(&hub, 0, &document(30, 60), "more rows").await;
    assert_eq!((status, &body["revision"]), (200, &json!(1)), "{body}");
    let told = until(&hub, |told| {
        let sessions = told["sessions"].as_array().unwrap();
        let done = |one: &&Value| one["is_first"] == true && one["standing"] == "applied";
        sessions.iter().filter(done).count() == 2
    })
    .await;
    assert_eq!(stage(&told), "first");
    let chosen = first(&actors, &told);
    assert_eq!((chosen.len(), with(&actors, 30)), (2, 2));
    assert!(chosen.iter().all(|index| actors[*index].percent() == 30));
    let promote = json!({ "revision": 1, "action": "promote", "why": "sure" });
    let (status, _) = hub.json("POST", "/api/v1/policy/rollout", Some(&promote)).await;
    assert_eq!(status, 200);
    until(&hub, |told| {
        told["counts"]["applied"] == 40 && stage(told) == "everywhere"
    })
    .await;
    assert_eq!(with(&actors, 30), 40);

    // Two people at once: the slower one sees what the faster one did, and decides again.
    let (anna, berta) = (document(40, 60), document(50, 60));
    let (a, b) = tokio::join!(
        submit(&hub, 1, &anna, "anna's"),
        submit(&hub, 1, &berta, "berta's")
    );
    let (won, lost, lost_document) = if a.0 == 200 { (a, b, &berta) } else { (b, a, &anna) };
    assert_eq!((won.0, lost.0), (200, 409), "{won:?} {lost:?}");
    assert_eq!(lost.1["newest"]["document"], won.1["document"]);
    assert_eq!(lost.1["from"]["revision"], 1);
    let changes = lost.1["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["field"], "rules['shop'].set.tiers.hashed_percent");
    assert_eq!(changes[0]["before"], 30);
    let (status, again) = submit(&hub, 2, lost_document, "seen, and still").await;
    assert_eq!((status, &again["revision"]), (200, &json!(3)), "{again}");
    let tried = lost_document["rules"][0]["set"]["tiers"]["hashed_percent"]
        .as_u64()
        .unwrap() as u8;

    // The same two are first again; one of them costs too much, so all go back.
    let told = until(&hub, |_| with(&actors, tried) == 2).await;
    assert_eq!(first(&actors, &told), chosen);
    actors[chosen[0]].part.cpu_permille.store(900, Relaxed);
    let told = until(&hub, |told| told["rollout"]["revision"] == 4).await;
    assert_eq!(stage(&told), "settled");
    until(&hub, |told| told["counts"]["applied"] == 40).await;
    assert_eq!(with(&actors, 30), 40);
    let (_, newest) = hub.json("GET", "/api/v1/policy", None).await;
    assert_eq!(
        (&newest["who"], &newest["reverts_to"]),
        (&json!("hub"), &json!(1)),
        "{newest}"
    );
    let (_, history) = hub.json("GET", "/api/v1/policy/history", None).await;
    assert_eq!(history[1]["fate"]["name"], "rolled_back");
    assert_eq!(history[1]["fate"]["session"], actors[chosen[0]].id.to_string());
    let why = history[1]["fate"]["why"].as_str().unwrap();
    assert!(
        why.contains("900 thousandths of a core") && why.contains("at most 100"),
        "{why}"
    );
    assert_eq!(
        history[2]["fate"],
        json!({ "name": "replaced", "by_revision": 3 })
    );

    // All of it with names, newest first.
    let (_, audit) = hub.json("GET", "/api/v1/audit", None).await;
    let lines: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} {} {}", line["who"], line["what"], line["subject"]).replace('"', ""))
        .collect();
    assert_eq!(
        lines,
        [
            "hub policy rolled back revision 3",
            "local policy changed revision 3",
            "local policy changed revision 2",
            "local policy went to all revision 1",
            "local policy changed revision 1",
        ]
    );
    assert_eq!(hub.counter("policy_roll_backs").await, 1);
    for actor in actors {
        actor.stop().await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_healthy_revision_settles_by_itself_and_can_be_reverted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let actors = actors(&hub, 3).await;
    submit(&hub, 0, &document(30, 1), "").await;
    let told = until(&hub, |told| stage(told) == "settled").await;
    assert_eq!((&told["counts"]["applied"], with(&actors, 30)), (&json!(3), 3));
    let body = json!({ "from_revision": 1, "to_revision": 0, "why": "enough" });
    let (status, body) = hub.json("POST", "/api/v1/policy/revert", Some(&body)).await;
    assert_eq!((status, &body["reverts_to"]), (200, &json!(0)), "{body}");
    let promote = json!({ "revision": 2, "action": "promote" });
    for expected in [200, 200, 409] {
        let (status, told) = hub.json("POST", "/api/v1/policy/rollout", Some(&promote)).await;
        assert_eq!(status, expected, "{told}");
    }
    until(&hub, |told| {
        stage(told) == "settled" && told["counts"]["applied"] == 3
    })
    .await;
    assert_eq!(with(&actors, Policy::default().tiers.hashed_percent), 3);
    hub.stop().await;
}

#[tokio::test]
async fn a_roll_out_goes_on_after_a_restart_and_a_refusal_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let first_hub = hub(folder.path()).await;
    let actors_before = actors(&first_hub, 6).await;
    submit(&first_hub, 0, &document(30, 600), "").await;
    until(&first_hub, |_| with(&actors_before, 30) == 1).await;
    let before = rollout(&first_hub).await;
    let mut parts = Vec::new();
    for actor in actors_before {
        parts.push((actor.id, actor.stop().await));
    }
    first_hub.stop().await;

    let hub = hub(folder.path()).await;
    let told = rollout(&hub).await;
    assert_eq!(told["rollout"]["chosen"], before["rollout"]["chosen"]);
    assert_eq!((&told["counts"]["away"], stage(&told)), (&json!(6), "first"));
    let mut actors = Vec::new();
    for (id, part) in parts {
        actors.push(Actor::start(hub.address, id, &[("service", "shop")], part).await);
    }
    until(&hub, |told| told["counts"]["applied"] == 6).await;
    assert_eq!(with(&actors, 30), 1);

    // The next one is not taken by the one that gets it first.
    let chosen = first(&actors, &told)[0];
    actors[chosen].part.refuses.store(true, Relaxed);
    submit(&hub, 1, &document(60, 600), "").await;
    until(&hub, |told| told["rollout"]["revision"] == 3).await;
    let (_, history) = hub.json("GET", "/api/v1/policy/history", None).await;
    let why = history[1]["fate"]["why"].as_str().unwrap();
    assert!(
        why.contains("did not take it") && why.contains("--allow-rate-write"),
        "{why}"
    );
    // Back to what held before revision 1, which had not settled.
    assert_eq!(history[0]["reverts_to"], 0);
    hub.stop().await;
}

#[tokio::test]
async fn one_session_changed_by_hand_keeps_that_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let actors = actors(&hub, 2).await;
    let mut console = hub.console().await;
    let mut mine = Policy::default();
    mine.tiers.hashed_percent = 77;
    console
        .control(FrameKind::PolicyPropose, id(1), &PolicyPropose { policy: mine })
        .await;
    let state: PolicyState = console.expect(FrameKind::PolicyState).await;
    assert_eq!((state.refused, state.is_overridden), (None, true));
    submit(&hub, 0, &document(30, 1), "").await;
    let told = until(&hub, |told| stage(told) == "settled").await;
    assert_eq!((actors[0].percent(), actors[1].percent()), (77, 30));
    let sessions = told["sessions"].as_array().unwrap();
    let by_hand = sessions
        .iter()
        .find(|one| one["session"] == id(1).to_string())
        .unwrap();
    assert_eq!(by_hand["overridden"], json!(["tiers.hashed_percent"]));
    assert_eq!(
        (&by_hand["overridden_by"], &told["counts"]["overridden"]),
        (&json!("local"), &json!(1))
    );

    let path = format!("/api/v1/sessions/{}/override?why=done", id(1));
    let (status, _) = hub.json("DELETE", &path, None).await;
    assert_eq!(status, 200);
    until(&hub, |told| {
        told["counts"]["overridden"] == 0 && told["counts"]["applied"] == 2
    })
    .await;
    assert_eq!(with(&actors, 30), 2);
    assert_eq!(hub.json("DELETE", &path, None).await.0, 409);
    let (_, audit) = hub.json("GET", "/api/v1/audit", None).await;
    assert!(
        audit.to_string().contains("policy of one session released"),
        "{audit}"
    );
    assert!(
        audit.to_string().contains("policy of one session changed"),
        "{audit}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_host_that_runs_out_of_memory_gets_tighter_tiers_and_later_its_own_back() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let part = Arc::new(Part::default());
    part.available_percent.store(50, Relaxed);
    let actor = Actor::start(hub.address, id(1), &[("service", "shop")], Arc::clone(&part)).await;
    let document = json!({
        "rules": [{
            "name": "all",
            "memory_pressure": { "available_below_percent": 10, "calm_seconds": 0 }
        }],
        "rollout": { "healthy_seconds": 1 }
    });
    submit(&hub, 0, &document, "").await;
    until(&hub, |told| stage(told) == "settled").await;
    assert_eq!(actor.percent(), 15);
    for (available, is_short, percent) in [(9, 1, 5), (11, 1, 5), (12, 0, 15)] {
        part.available_percent.store(available, Relaxed);
        until(&hub, |told| {
            told["counts"]["short_of_memory"] == is_short && actor.percent() == percent
        })
        .await;
    }
    assert_eq!(
        *part.policy.lock().unwrap(),
        Policy {
            revision: 2,
            ..Policy::default()
        }
    );
    hub.stop().await;
}

#[tokio::test]
async fn drafts_that_can_not_be_are_refused_by_field_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    for (document, status, expected) in [
        (
            document(101, 1),
            400,
            "rules[0].set.tiers.hashed_percent: expected 0 to 100, got 101",
        ),
        (
            json!({ "rulez": [] }),
            422,
            "document.rulez: unknown field `rulez`",
        ),
        (
            json!({ "rules": [{ "name": "a", "set": { "tiers": { "hashed_percent": 300 } } }] }),
            422,
            "document.rules[0].set.tiers.hashed_percent: invalid value: integer `300`, expected u8",
        ),
    ] {
        let (got, body) = submit(&hub, 0, &document, "").await;
        let sentence = body["error"].as_str().unwrap();
        assert_eq!(got, status, "{sentence}");
        assert!(sentence.contains(expected), "{sentence:?} lacks {expected:?}");
    }
    let (status, body) = submit(&hub, 7, &document(1, 1), "").await;
    assert_eq!(status, 409, "{body}");
    let body = json!({ "from_revision": 0, "to_revision": 9 });
    assert_eq!(
        hub.json("POST", "/api/v1/policy/revert", Some(&body)).await.0,
        404
    );
    assert_eq!(hub.json("GET", "/api/v1/policy/history/x", None).await.0, 400);
    let (_, newest) = hub.json("GET", "/api/v1/policy", None).await;
    assert_eq!(
        (&newest["revision"], &newest["document"]["rules"]),
        (&json!(0), &json!([]))
    );
    let _one = actors(&hub, 1).await;
    let body = json!({ "document": document(30, 1) });
    let checked = patient(async {
        loop {
            let (status, checked) = hub.json("POST", "/api/v1/policy/check", Some(&body)).await;
            assert_eq!(status, 200, "{checked}");
            if checked["matching"]["shop"] == 1 {
                return checked;
            }
        }
    })
    .await;
    assert_eq!(
        (&checked["changed_sessions"], &checked["problems"]),
        (&json!(1), &json!([]))
    );
    let changes = checked["changes"].as_array().unwrap();
    let fields: Vec<_> = changes
        .iter()
        .map(|change| change["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["rollout.healthy_seconds", "rules['shop']"]);
    hub.stop().await;
}

#[tokio::test]
async fn sums_by_label_of_live_sessions_carry_their_error() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let actors = actors(&hub, 3).await;
    for actor in &actors {
        actor.part.live_bytes.store(100, Relaxed);
    }
    let path = "/api/v1/fleet/range?label=service=shop&by=zone&seconds=60&step_s=60";
    let told = patient(async {
        loop {
            let (status, told) = hub.json("GET", path, None).await;
            assert_eq!(status, 200, "{told}");
            let last = told["groups"][0]["points"]
                .as_array()
                .and_then(|points| points.last().cloned());
            if last.is_some_and(|sum| sum["sessions"] == 2 && sum["live_bytes"] == 200.0) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let groups = told["groups"].as_array().unwrap();
    let zones: Vec<_> = groups.iter().map(|group| &group["labels"]["zone"]).collect();
    assert_eq!(zones, ["odd", "even"]);
    let sum = groups[0]["points"].as_array().unwrap().last().unwrap();
    let error = sum["live_std_error_bytes"].as_f64().unwrap();
    assert!(
        (error - 18_f64.sqrt()).abs() < 1e-9,
        "two errors of 3 in quadrature: {error}"
    );
    assert_eq!(sum["rss_bytes"], 2000);
    for (query, expected) in [
        ("seconds=0", "seconds: expected 1 to 63244800, got '0'"),
        ("step_s=x", "step_s: expected 1 to 63244800, got 'x'"),
        ("buy=zone", "parameter 'buy' is not known here"),
    ] {
        let (status, body) = hub
            .json("GET", &format!("/api/v1/fleet/range?{query}"), None)
            .await;
        assert_eq!(status, 400, "{body}");
        assert!(body["error"].as_str().unwrap().contains(expected), "{body}");
    }
    hub.stop().await;
}
