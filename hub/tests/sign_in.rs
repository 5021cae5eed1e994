//! Browsers that sign in: cookies and who may use them, and what happens to those who guess or ask too often.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Answer, Client, Seen, answer_in, ask, bearer, make_token, patient, start, start_with};
use heaptide_hub::HubConfig;
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{RefuseCode, Role, Sessions};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

async fn sign_in(address: SocketAddr, token: &str, headers: &str) -> Answer {
    let body = serde_json::json!({ "token": token }).to_string();
    ask(address, "POST", "/api/v1/sign-in", headers, &body).await
}

/// Status of opening the console's socket as a browser's page does.
async fn open_console(address: SocketAddr, origin: &str, cookie: &str) -> Result<Client, u16> {
    let mut request = format!("ws://{address}/ws/console")
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", origin.parse().unwrap());
    headers.insert("cookie", cookie.parse().unwrap());
    Client::request(request).await
}

#[tokio::test]
async fn a_cookie_opens_the_pages_of_this_hub_until_signing_out() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let nothing = sign_in(at, "anything", "").await;
    assert_eq!(nothing.status, 409, "an open hub: {nothing:?}");
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let (_, viewer) = make_token(at, &admin, "viewer", "viewer").await;
    let (_, collector) = make_token(at, &admin, "collector", "collector").await;

    let refused = sign_in(at, &collector, "").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let answer = sign_in(at, &viewer, &format!("Origin: http://{at}\r\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let me = answer.json();
    assert_eq!(
        (me["name"].as_str(), me["role"].as_str(), me["by"].as_str()),
        (Some("viewer"), Some("viewer"), Some("sign_in"))
    );
    assert!(me["expires_unix_ns"].is_u64(), "{me}");
    for part in ["httponly", "samesite=strict", "path=/", "max-age=43200"] {
        assert!(answer.head.contains(part), "{part}: {answer:?}");
    }
    assert!(!answer.head.contains("; secure"), "not under TLS: {answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    let cookie = answer.cookie();
    assert!(
        cookie.starts_with(&format!("heaptide-{}=", at.port())),
        "{cookie}"
    );

    let origin = format!("http://{at}");
    let mut console = open_console(at, &origin, &cookie).await.unwrap();
    console
        .control(
            FrameKind::Hello,
            heaptide_protocol::SessionId::default(),
            &common::hello(Role::Console),
        )
        .await;
    let _: Sessions = console.after_welcome().await;
    let headers = format!("Cookie: theme=dark; {cookie}\r\nOrigin: {origin}\r\n");
    assert_eq!(ask(at, "GET", "/api/v1/sessions", &headers, "").await.status, 200);
    let out = ask(at, "POST", "/api/v1/sign-out", &headers, "").await;
    assert_eq!(out.status, 204, "{out:?}");
    assert!(out.head.contains("max-age=0"), "{out:?}");
    assert_eq!(ask(at, "GET", "/api/v1/sessions", &headers, "").await.status, 401);
    console.expect_refusal(RefuseCode::Forbidden).await;
    assert!(matches!(console.next().await, Seen::Closed(1008, _)));
    hub.stop().await;
}

#[tokio::test]
async fn a_cookie_from_another_origin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let cookie = sign_in(at, &admin, "").await.cookie();
    let own = format!("http://{at}");
    let other_port = format!("http://127.0.0.1:{}", at.port() ^ 1);
    let with = |origin: &str| {
        let origin = if origin.is_empty() {
            String::new()
        } else {
            format!("Origin: {origin}\r\n")
        };
        format!("Cookie: {cookie}\r\n{origin}")
    };
    let body = "{\"name\": \"x\", \"role\": \"nobody\"}";
    // What a read and a change answer: 400 is past the question of who asks.
    for (origin, read, change) in [
        (own.as_str(), 200, 400),
        // A browser says where a change comes from, and may not for a read of its own page.
        ("", 200, 403),
        ("http://evil.example", 403, 403),
        (other_port.as_str(), 403, 403),
        ("null", 403, 403),
    ] {
        let got = ask(at, "GET", "/api/v1/tokens", &with(origin), "").await;
        assert_eq!(got.status, read, "{origin:?}: {got:?}");
        let got = ask(at, "POST", "/api/v1/tokens", &with(origin), body).await;
        assert_eq!(got.status, change, "{origin:?}: {got:?}");
        let opened = open_console(at, if origin.is_empty() { "null" } else { origin }, &cookie).await;
        let expected = if origin == own { None } else { Some(403) };
        assert_eq!(opened.err(), expected, "{origin:?}");
    }
    // Nor can another page sign somebody in, or change anything on an open hub.
    let foreign = "Origin: http://evil.example\r\n";
    assert_eq!(sign_in(at, &admin, foreign).await.status, 403);
    let open_folder = tempfile::tempdir().unwrap();
    let open = start(open_folder.path()).await;
    let made = "{\"name\": \"x\", \"role\": \"admin\"}";
    let got = ask(open.address, "POST", "/api/v1/tokens", foreign, made).await;
    assert_eq!(got.status, 403, "{got:?}");
    assert_eq!(ask(open.address, "GET", "/api/v1/me", "", "").await.status, 200);
    open.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn who_guesses_waits_and_who_is_in_stays_in() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let cookie = sign_in(at, &admin, "").await.cookie();
    let mut console = Client::connect_with(at, Role::Console, &admin).await;
    let guess = format!("ht_0123456789abcdef_{}", "0".repeat(64));
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(ask(at, "GET", "/api/v1/me", &bearer(&guess), "").await);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(&statuses[..6], [401; 6], "{statuses:?}");
    assert!(statuses[6..].contains(&429), "{statuses:?}");
    let waiting = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(waiting.head.contains("retry-after: "), "{waiting:?}");
    // Until the wait is long enough for all that comes below.
    for _ in 0..100_000 {
        let answer = ask(at, "GET", "/api/v1/me", &bearer(&guess), "").await;
        let wait: u64 = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("retry-after: "))
            .map_or(0, |seconds| seconds.parse().unwrap());
        if wait >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Also the right token is not looked at, wherever it is shown.
    assert_eq!(
        ask(at, "GET", "/api/v1/me", &bearer(&admin), "").await.status,
        429
    );
    assert_eq!(sign_in(at, &admin, "").await.status, 429);
    for role in [Role::Collector, Role::Console] {
        assert_eq!(Client::try_open(at, role).await.err(), Some(429));
    }
    // Whoever is in is not shut out by others at the same address.
    let headers = format!("Cookie: {cookie}\r\n");
    let stats = ask(at, "GET", "/api/v1/stats", &headers, "").await;
    assert_eq!(stats.status, 200, "{stats:?}");
    assert!(stats.json()["counters"]["tokens_refused"].as_u64().unwrap() >= 20);
    let _: Sessions = console.expect(FrameKind::Sessions).await;
    let audit = ask(at, "GET", "/api/v1/audit", &headers, "").await.json();
    let refused: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["what"] == "refused")
        .collect();
    assert!(!refused.is_empty() && refused.len() <= 31, "{refused:?}");
    assert!(
        refused[0]["why"]
            .as_str()
            .unwrap()
            .contains("nothing is taken from there"),
        "{refused:?}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_waits_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config: &mut HubConfig| {
        config.limits.requests_burst = 5;
        // So slow that no machine is slower.
        config.limits.requests_per_s = 0;
    })
    .await;
    let at = hub.address;
    for _ in 0..10 {
        // An open hub is one person's.
        assert_eq!(ask(at, "GET", "/api/v1/me", "", "").await.status, 200);
    }
    let (_, admin) = make_token(at, "", "admin", "admin").await;
    let (_, viewer) = make_token(at, &admin, "viewer", "viewer").await;
    let asks = async |headers: String| {
        let mut statuses = Vec::new();
        for _ in 0..7 {
            statuses.push(ask(at, "GET", "/api/v1/me", &headers, "").await.status);
        }
        statuses
    };
    assert_eq!(asks(bearer(&viewer)).await, [200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(asks(bearer(&admin)).await, [200, 200, 200, 200, 429, 429, 429]);
    assert_eq!(ask(at, "GET", "/healthz", "", "").await.status, 200);
    assert_eq!(ask(at, "GET", "/api/v1/sign-in", "", "").await.status, 200);
    hub.stop().await;
}

#[tokio::test]
async fn nobody_keeps_the_hub_waiting_before_it_is_known_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.handshake = Duration::from_millis(200);
        config.require_token = true;
    })
    .await;
    let at = hub.address;
    let large = format!("{{\"token\": \"{}\"}}", "x".repeat(2000));
    let answer = ask(at, "POST", "/api/v1/sign-in", "", &large).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(!answer.body.contains("xxx"), "{answer:?}");
    let mut slow = tokio::net::TcpStream::connect(at).await.unwrap();
    let head = format!(
        "POST /api/v1/sign-in HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: 90\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    patient(slow.read_to_string(&mut text)).await.unwrap();
    assert_eq!(answer_in(&text).status, 408, "{text}");
    // A socket that says nothing is closed, too.
    let mut silent = Client::open_socket(at, Role::Collector).await;
    let sentence = silent.expect_refusal(RefuseCode::Malformed).await;
    assert!(sentence.contains("expected Hello within"), "{sentence}");
    hub.stop().await;
}
