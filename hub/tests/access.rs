//! Who is let in, for what, and until when.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Seen, ask, bearer, make_token, session, start, start_with};
use heaptide_hub::{Role as Access, TokenFile};
use heaptide_policy::Policy;
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{PolicyPropose, PolicyState, RefuseCode, Role, Welcome};
use std::time::Duration;

const WRONG: &str = "this token opens nothing here";

#[tokio::test]
async fn invariant_9_each_role_may_do_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let (_, tuner) = make_token(at, &admin, "tuner", "tuner").await;
    let (_, viewer) = make_token(at, &admin, "viewer", "viewer").await;
    let (_, collector) = make_token(at, &admin, "collector", "collector").await;
    let mut source = Client::connect_with(at, Role::Collector, &collector).await;
    for number in 1..=4 {
        source.open(session(number), 1).await;
    }
    let report = format!("/api/v1/sessions/{}/report?kind=pauses", session(1));
    let body = "{\"name\": \"x y z\", \"role\": \"nobody\"}";
    // In each row: nobody, collector, viewer, tuner, admin.
    let cases = [
        ("GET", "/healthz", [200, 200, 200, 200, 200]),
        ("GET", "/readyz", [200, 200, 200, 200, 200]),
        ("GET", "/api/v1/sign-in", [200, 200, 200, 200, 200]),
        ("GET", "/api/v1/oidc/start", [404, 404, 404, 404, 404]),
        ("GET", "/api/v1/oidc/callback", [404, 404, 404, 404, 404]),
        ("GET", "/api/v1/me", [401, 200, 200, 200, 200]),
        ("POST", "/api/v1/sign-out", [401, 204, 204, 204, 204]),
        ("GET", "/metrics", [401, 403, 200, 200, 200]),
        ("GET", "/api/v1/stats", [401, 403, 200, 200, 200]),
        ("GET", "/api/v1/sessions", [401, 403, 200, 200, 200]),
        ("GET", &report, [401, 403, 200, 200, 200]),
        ("GET", "/api/v1/audit", [401, 403, 403, 200, 200]),
        ("GET", "/api/v1/tokens", [401, 403, 403, 403, 200]),
        // 400 is past the question of who asks.
        ("POST", "/api/v1/tokens", [401, 403, 403, 403, 400]),
        ("DELETE", "/api/v1/tokens/none", [401, 403, 403, 403, 404]),
        ("GET", "/api/v1/alerts", [401, 403, 200, 200, 200]),
        ("GET", "/api/v1/alerts/rules", [401, 403, 200, 200, 200]),
        ("POST", "/api/v1/alerts/rules", [401, 403, 403, 422, 422]),
        ("GET", "/api/v1/alerts/webhook", [401, 403, 403, 403, 200]),
        ("PUT", "/api/v1/alerts/webhook", [401, 403, 403, 403, 422]),
        (
            "DELETE",
            "/api/v1/alerts/webhook?from_revision=0",
            [401, 403, 403, 403, 404],
        ),
        ("GET", "/api/v1/openapi.json", [401, 200, 200, 200, 200]),
        // No file has a secret in it; this hub has none at all.
        ("GET", "/", [404, 404, 404, 404, 404]),
    ];
    for (method, path, expected) in cases {
        let headers = ["", &collector, &viewer, &tuner, &admin];
        for (token, expected) in headers.iter().zip(expected) {
            let headers = if token.is_empty() {
                String::new()
            } else {
                bearer(token)
            };
            let answer = ask(at, method, path, &headers, body).await;
            assert_eq!(answer.status, expected, "{method} {path} {headers}: {answer:?}");
        }
    }
    // The sockets: collector, console, and a proposal on the console.
    for (number, token, may_send, may_look, may_tune) in [
        (1, &collector, true, false, false),
        (2, &viewer, false, true, false),
        (3, &tuner, false, true, true),
        (4, &admin, true, true, true),
    ] {
        let id = session(number);
        for (role, may) in [(Role::Collector, may_send), (Role::Console, may_look)] {
            let mut client = Client::present(at, role, Some(token)).await;
            if may {
                let _: Welcome = client.expect(FrameKind::Welcome).await;
            } else {
                let sentence = client.expect_refusal(RefuseCode::Forbidden).await;
                assert!(sentence.contains("ask an admin"), "{sentence}");
            }
        }
        if may_look {
            let mut console = Client::connect_with(at, Role::Console, token).await;
            let policy = Policy::default();
            console
                .control(FrameKind::PolicyPropose, id, &PolicyPropose { policy })
                .await;
            let state: PolicyState = console.expect(FrameKind::PolicyState).await;
            assert_eq!(state.refused.is_none(), may_tune, "{state:?}");
            assert_eq!(state.pending.is_some(), may_tune, "{state:?}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn nobody_reaches_a_described_path_but_the_sign_in_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let description = ask(hub.address, "GET", "/api/v1/openapi.json", "", "")
        .await
        .json();
    make_token(hub.address, "", "admin", "admin").await;
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        for method in methods.as_object().unwrap().keys() {
            let answer = ask(hub.address, &method.to_uppercase(), &path, "", "{}").await;
            let expected = match (method.as_str(), path.as_str()) {
                ("get", "/api/v1/sign-in") => 200,
                ("post", "/api/v1/sign-in") => 400,
                // Its secret is in the address, and this one is none.
                ("get", "/api/v1/shared/secret") => 404,
                // This hub has no identity provider.
                ("get", "/api/v1/oidc/start" | "/api/v1/oidc/callback") => 404,
                _ => 401,
            };
            assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
            let policy = answer
                .head
                .lines()
                .find(|line| line.starts_with("content-security-policy"));
            let policy = policy.unwrap_or_else(|| panic!("{answer:?}"));
            assert!(policy.contains("'wasm-unsafe-eval'"), "{policy}");
            assert!(
                !policy.replace("'wasm-unsafe-eval'", "").contains("unsafe"),
                "{policy}"
            );
            if expected == 401 {
                assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
                assert!(answer.body.contains("asks for a token"), "{answer:?}");
            }
            asked += 1;
        }
    }
    assert!(asked >= 10, "only {asked} paths were asked");
    hub.stop().await;
}

#[tokio::test]
async fn a_wrong_expired_or_revoked_token_opens_nothing_and_learns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (admin, revoked, expired) = {
        let file = TokenFile::open(folder.path()).unwrap();
        let brief = file.create("brief", Access::Admin, Some(Duration::from_nanos(1)), "");
        assert!(brief.unwrap_err().to_string().contains("expired already"));
        let brief = file.create("brief", Access::Admin, Some(Duration::from_millis(20)), "");
        let admin = file.create("admin", Access::Admin, None, "").unwrap();
        let revoked = file.create("revoked", Access::Admin, None, "").unwrap();
        file.revoke(&revoked.info.id, "").unwrap();
        (admin.token, revoked.token, brief.unwrap().token)
    };
    tokio::time::sleep(Duration::from_millis(25)).await;
    let last = if admin.ends_with('0') { '1' } else { '0' };
    let one_off = format!("{}{last}", &admin[..admin.len() - 1]);
    for text in [
        expired.as_str(),
        &revoked,
        &admin[..admin.len() - 1],
        &one_off,
        "ht_0123456789abcdef_0000000000000000000000000000000000000000000000000000000000000000",
        "password",
        "",
        "\u{fc}",
    ] {
        // A new hub each time, which remembers no mistakes.
        let hub = start(folder.path()).await;
        let at = hub.address;
        let by_header = ask(at, "GET", "/api/v1/sessions", &bearer(text), "").await;
        let body = serde_json::json!({ "token": text }).to_string();
        let by_form = ask(at, "POST", "/api/v1/sign-in", "", &body).await;
        for answer in [&by_header, &by_form] {
            assert_eq!(answer.status, 401, "{text:?}: {answer:?}");
            assert!(answer.body.contains(WRONG), "{text:?}: {answer:?}");
            assert!(!answer.head.contains("set-cookie"), "{answer:?}");
        }
        for role in [Role::Collector, Role::Console] {
            let mut client = Client::present(at, role, Some(text)).await;
            let sentence = client.expect_refusal(RefuseCode::Forbidden).await;
            assert!(sentence.contains(WRONG), "{text:?}: {sentence}");
            assert!(matches!(client.next().await, Seen::Closed(1008, _)));
        }
        hub.stop().await;
    }
    let hub = start(folder.path()).await;
    let me = ask(hub.address, "GET", "/api/v1/me", &bearer(&admin), "").await;
    assert_eq!(me.status, 200, "{me:?}");
    hub.stop().await;
}

#[tokio::test]
async fn an_open_hub_says_so_and_closes_with_its_first_token() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    assert!(hub.logged().contains("this hub is open"), "{}", hub.logged());
    let me = ask(at, "GET", "/api/v1/me", "", "").await.json();
    assert_eq!(
        (me["name"].as_str(), me["by"].as_str()),
        (Some("local"), Some("open"))
    );
    assert!(me["warning"].as_str().unwrap().contains("token create"), "{me}");
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(session(1), 1).await;

    let viewer_first = "{\"name\": \"v\", \"role\": \"viewer\"}";
    let refused = ask(at, "POST", "/api/v1/tokens", "", viewer_first).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(ask(at, "GET", "/api/v1/sessions", "", "").await.status, 200);

    let (id, admin) = make_token(at, "", "admin", "admin").await;
    for client in [&mut console, &mut collector] {
        let sentence = client.expect_refusal(RefuseCode::Forbidden).await;
        assert!(sentence.contains("no longer valid"), "{sentence}");
    }
    assert_eq!(ask(at, "GET", "/api/v1/sessions", "", "").await.status, 401);
    let last = ask(at, "DELETE", &format!("/api/v1/tokens/{id}"), &bearer(&admin), "").await;
    assert_eq!(last.status, 409, "the last admin: {last:?}");
    hub.stop().await;
    // Also with no token left it stays closed.
    TokenFile::open(folder.path())
        .unwrap()
        .revoke(&id, "gone")
        .unwrap();
    let hub = start(folder.path()).await;
    let answer = ask(hub.address, "GET", "/api/v1/sessions", "", "").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_may_be_told_to_ask_before_there_is_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| config.require_token = true).await;
    assert!(hub.logged().contains("none exists"), "{}", hub.logged());
    let answer = ask(hub.address, "GET", "/api/v1/me", "", "").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let mut collector = Client::present(hub.address, Role::Collector, None).await;
    let sentence = collector.expect_refusal(RefuseCode::Forbidden).await;
    assert!(sentence.contains("--token"), "{sentence}");
    hub.stop().await;
}

#[tokio::test]
async fn a_revoked_token_closes_what_it_opened_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let (id, leaving) = make_token(at, &admin, "leaving", "admin").await;
    let mut stays = Client::connect_with(at, Role::Console, &admin).await;
    let mut console = Client::connect_with(at, Role::Console, &leaving).await;
    let mut collector = Client::connect_with(at, Role::Collector, &leaving).await;
    collector.open(session(1), 1).await;
    let body = format!("{{\"token\": \"{leaving}\"}}");
    let cookie = ask(at, "POST", "/api/v1/sign-in", "", &body).await.cookie();
    let cookie = format!("Cookie: {cookie}\r\n");
    assert_eq!(ask(at, "GET", "/api/v1/me", &cookie, "").await.status, 200);

    let path = format!("/api/v1/tokens/{id}?why=left%20us");
    let revoked = ask(at, "DELETE", &path, &bearer(&admin), "").await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert!(revoked.json()["revoked_unix_ns"].is_u64(), "{revoked:?}");
    for client in [&mut console, &mut collector] {
        client.expect_refusal(RefuseCode::Forbidden).await;
        assert!(matches!(client.next().await, Seen::Closed(1008, _)));
    }
    for headers in [&cookie, &bearer(&leaving)] {
        let answer = ask(at, "GET", "/api/v1/me", headers, "").await;
        assert_eq!(answer.status, 401, "{headers}: {answer:?}");
    }
    // The session is away, and whoever stays is told.
    stays.listed(session(1), common::is_away).await;
    let stats = ask(at, "GET", "/api/v1/stats", &bearer(&admin), "").await.json();
    assert_eq!(stats["counters"]["grants_lost"], 2, "{stats}");
    let audit = ask(at, "GET", "/api/v1/audit", &bearer(&admin), "").await.json();
    let told = audit.as_array().unwrap().iter().map(|line| {
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        (text("who"), text("what"), text("why"))
    });
    let told: Vec<_> = told.collect();
    let line = |who: &str, what: &str, why: &str| (who.to_owned(), what.to_owned(), why.to_owned());
    for expected in [
        line("local", "token created", ""),
        line("admin", "token created", ""),
        line("leaving", "signed in", ""),
        line("admin", "token revoked", "left us"),
        line("nobody", "refused", "the token of leaving, which is revoked"),
    ] {
        assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_closes_what_it_opened() {
    let folder = tempfile::tempdir().unwrap();
    let brief = {
        let file = TokenFile::open(folder.path()).unwrap();
        file.create("brief", Access::Collector, Some(Duration::from_secs(2)), "")
            .unwrap()
    };
    let hub = start(folder.path()).await;
    let mut collector = Client::connect_with(hub.address, Role::Collector, &brief.token).await;
    let sentence = collector.expect_refusal(RefuseCode::Forbidden).await;
    assert!(sentence.contains("no longer valid"), "{sentence}");
    hub.stop().await;
}
