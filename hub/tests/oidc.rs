//! Signing in through an identity provider: a real one over TLS, small, with keys of its own; and everything that must
//! not open anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test"
)]

mod common;
#[path = "oidc/provider.rs"]
mod provider;

use common::{Running, ask, patient, start_with};
use heaptide_hub::{HubConfig, OidcConfig};
use provider::{CLIENT, Manner, PUBLIC_URL, Provider, SECRET, Signs, fields, header};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CALLBACK: &str = "/api/v1/oidc/callback";

fn config(folder: &Path, provider: &Provider) -> OidcConfig {
    let secret = folder.join("client.secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let rules = [
        "groups=sre:admin",
        "groups=dev:viewer",
        "email=*@example.org:tuner",
    ];
    OidcConfig {
        issuer: provider.issuer.clone(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(secret),
        public_url: PUBLIC_URL.to_owned(),
        roles: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        scopes: vec!["groups".to_owned()],
        ca: Some(provider.ca.clone()),
    }
}

async fn start(folder: &Path, provider: &Provider, change: impl FnOnce(&mut HubConfig)) -> Running {
    let oidc = config(folder, provider);
    start_with(&folder.join("data"), |config| {
        config.oidc = Some(oidc);
        change(config);
    })
    .await
}

/// A head as it came, since what is in an address has capital letters.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// `name=value` of each cookie that is set to something.
    fn cookies(&self) -> Vec<String> {
        let set = self
            .head
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
        let pairs = set.map(|line| line["set-cookie: ".len()..].split(';').next().unwrap().to_owned());
        pairs.filter(|pair| !pair.ends_with('=')).collect()
    }
}

async fn get(hub: SocketAddr, path: &str, cookie: &str) -> Answer {
    let cookie = if cookie.is_empty() {
        String::new()
    } else {
        format!("Cookie: theme=dark; {cookie}\r\n")
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {hub}\r\nConnection: close\r\n{cookie}\r\n");
    Answer::of(&common::raw(hub, &request).await)
}

/// The only cookie that an answer gives, which must have these attributes.
fn the_cookie(answer: &Answer, attributes: [&str; 4]) -> String {
    let mut cookies = answer.cookies();
    assert_eq!(cookies.len(), 1, "{}", answer.head);
    let cookie = cookies.remove(0);
    let line = answer.head.lines().find(|line| line.contains(&cookie)).unwrap();
    for part in attributes {
        assert!(line.contains(part), "{part}: {line}");
    }
    cookie
}

/// The browser is sent to the provider: where to, and the cookie that it keeps.
async fn begin(hub: SocketAddr) -> (String, String) {
    let answer = get(hub, "/api/v1/oidc/start", "").await;
    assert_eq!(answer.status, 303, "{} {}", answer.head, answer.body);
    let own = the_cookie(&answer, ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"]);
    let address = header(&answer.head, "location").unwrap().to_owned();
    (address, own)
}

/// What the browser does at the provider; the path on the hub that it is sent back to.
async fn at_provider(provider: &Provider, address: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&provider.ca).unwrap())
        .unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(provider.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = patient(connector.connect(name, stream)).await.unwrap();
    let path = address.split_once("/realm").unwrap().1;
    let request = format!("GET /realm{path} HTTP/1.1\r\nHost: provider\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    patient(stream.read_to_end(&mut bytes)).await.unwrap();
    let answer = Answer::of(&bytes);
    let back = header(&answer.head, "location").unwrap();
    back.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

/// From the button to the answer of the hub.
async fn sign_in(hub: SocketAddr, provider: &Provider) -> Answer {
    let (address, cookie) = begin(hub).await;
    let back = at_provider(provider, &address).await;
    get(hub, &back, &cookie).await
}

fn opened_nothing(answer: &Answer, status: u16, sentence: &str) {
    assert_eq!(answer.status, status, "{} {}", answer.head, answer.body);
    assert!(
        answer.body.contains(sentence),
        "{:?} lacks {sentence:?}",
        answer.body
    );
    assert!(answer.cookies().is_empty(), "{}", answer.head);
    assert!(header(&answer.head, "location").is_none(), "{}", answer.head);
}

#[tokio::test]
async fn somebody_with_a_role_signs_in_and_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |_| ()).await;
    let at = hub.address;
    // Nobody gets in unasked although there is no token.
    let ways = ask(at, "GET", "/api/v1/sign-in", "", "").await.json();
    let of = |name: &str| ways[name].as_bool();
    assert_eq!(
        ["open", "known", "oidc"].map(of),
        [Some(false), Some(false), Some(true)]
    );
    assert_eq!(get(at, "/api/v1/sessions", "").await.status, 401);

    let (address, _) = begin(at).await;
    let sent = fields(address.split_once('?').unwrap().1);
    assert_eq!(sent["redirect_uri"], format!("{PUBLIC_URL}{CALLBACK}"));
    assert_eq!(sent["scope"], "openid email profile groups");
    assert_eq!(sent["code_challenge_method"], "S256");

    for signs in [Signs::Es256, Signs::Rs256] {
        provider.behave(Manner {
            signs,
            ..Manner::default()
        });
        let answer = sign_in(at, &provider).await;
        assert_eq!(answer.status, 303, "{signs:?}: {} {}", answer.head, answer.body);
        assert_eq!(header(&answer.head, "location"), Some("/"));
        let own = the_cookie(
            &answer,
            ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"],
        );
        let cookie = format!("Cookie: {}\r\nOrigin: http://{at}\r\n", own);
        let ways = ask(at, "GET", "/api/v1/sign-in", &cookie, "").await.json();
        assert_eq!(ways["known"], json!(true));
        let me = ask(at, "GET", "/api/v1/me", &cookie, "").await.json();
        assert_eq!(
            (&me["name"], &me["role"], &me["by"]),
            (&json!("oidc:ana@example.com"), &json!("admin"), &json!("sign_in"))
        );
        // An admin like any other, whom the audit log calls by name.
        let body = json!({ "name": format!("{signs:?}"), "role": "collector" }).to_string();
        assert_eq!(
            ask(at, "POST", "/api/v1/tokens", &cookie, &body).await.status,
            201
        );
        let audit = ask(at, "GET", "/api/v1/audit", &cookie, "").await.json();
        let lines = audit.to_string();
        assert!(lines.contains("by the identity provider"), "{lines}");
        assert!(lines.contains("oidc:ana@example.com"), "{lines}");
        assert_eq!(ask(at, "POST", "/api/v1/sign-out", &cookie, "").await.status, 204);
        assert_eq!(ask(at, "GET", "/api/v1/me", &cookie, "").await.status, 401);
    }
    assert_eq!(hub.counter_of("sign_ins", &provider).await, 3);
    hub.stop().await;
}

trait Counts {
    async fn counter_of(&self, name: &str, provider: &Provider) -> u64;
}

impl Counts for Running {
    /// Signs in to look.
    async fn counter_of(&self, name: &str, provider: &Provider) -> u64 {
        provider.behave(Manner::default());
        let cookie = sign_in(self.address, provider).await.cookies().remove(0);
        let answer = get(self.address, "/api/v1/stats", &cookie).await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        body["counters"][name].as_u64().unwrap()
    }
}

#[tokio::test]
async fn roles_are_those_of_the_rules_and_a_public_client_needs_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |config| {
        if let Some(oidc) = &mut config.oidc {
            oidc.client_secret = None;
        }
    })
    .await;
    for (claims, role, name) in [
        (json!({ "groups": ["dev"] }), "viewer", "oidc:ana@example.com"),
        (
            json!({ "groups": "nobody", "email": "Bo@Example.org" }),
            "tuner",
            "oidc:Bo@Example.org",
        ),
        // An address that the provider doesn't vouch for is nobody's name.
        (json!({ "email_verified": false }), "admin", "oidc:u-17"),
    ] {
        provider.behave(Manner {
            claims,
            public_client: true,
            ..Manner::default()
        });
        let cookie = sign_in(hub.address, &provider).await.cookies().remove(0);
        let me: Value = serde_json::from_str(&get(hub.address, "/api/v1/me", &cookie).await.body).unwrap();
        assert_eq!((&me["role"], &me["name"]), (&json!(role), &json!(name)));
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_is_wrong_about_an_answer_opens_nothing_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |_| ()).await;
    let claims = |claims: Value| Manner {
        claims,
        ..Manner::default()
    };
    let signs = |signs| Manner {
        signs,
        ..Manner::default()
    };
    let cases = [
        (
            claims(json!({ "nonce": "another" })),
            "the answer to another sign-in",
        ),
        (
            claims(json!({ "aud": "another hub" })),
            "look at --oidc-client-id",
        ),
        (claims(json!({ "aud": [CLIENT, "another"] })), "lacks azp"),
        (claims(json!({ "exp": 1_000_000_000 })), "look at the clocks"),
        (
            claims(json!({ "iss": "https://evil.example" })),
            "exactly as the provider writes it",
        ),
        (signs(Signs::Wrongly), "its signature is wrong"),
        (signs(Signs::ByAnother), "none of the provider's"),
        (signs(Signs::Not), "signed by \"none\""),
        (
            claims(json!({ "groups": ["other"] })),
            "oidc:ana@example.com is known to the identity provider, and has no role here",
        ),
        (
            claims(json!({ "groups": [], "email": "bo@example.org", "email_verified": false })),
            "has no role here",
        ),
        (
            Manner {
                declines: true,
                ..Manner::default()
            },
            "did not sign you in (access_denied)",
        ),
    ];
    let count = cases.len() as u64;
    for (manner, sentence) in cases {
        provider.behave(manner);
        let answer = sign_in(hub.address, &provider).await;
        opened_nothing(&answer, 403, sentence);
        assert!(
            hub.complained().contains(sentence),
            "{sentence}: {}",
            hub.complained()
        );
    }
    assert_eq!(hub.counter_of("sign_ins_refused", &provider).await, count);
    hub.stop().await;
}

#[tokio::test]
async fn an_answer_is_worth_something_once_and_to_the_browser_that_began() {
    const NOT_BEGUN: &str = "begin again at http://127.0.0.1:7070";
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |_| ()).await;
    let at = hub.address;
    let (address, cookie) = begin(at).await;
    let (other_address, other_cookie) = begin(at).await;
    let back = at_provider(&provider, &address).await;
    let state = fields(back.split_once('?').unwrap().1)["state"].clone();
    let asked = provider.asked.lock().unwrap().len();
    for (path, cookie) in [
        (back.clone(), other_cookie.as_str()),
        (back.clone(), ""),
        (CALLBACK.to_owned(), &cookie),
        (format!("{CALLBACK}?code=a"), &cookie),
        (format!("{CALLBACK}?code=a&state=b"), &cookie),
        (format!("{back}&state={state}"), &cookie),
    ] {
        let answer = get(at, &path, cookie).await;
        opened_nothing(&answer, 400, NOT_BEGUN);
    }
    // Nobody who has not begun makes the hub ask the provider anything.
    assert_eq!(provider.asked.lock().unwrap().len(), asked);
    assert_eq!(get(at, &back, &cookie).await.status, 303);
    let answer = get(at, &back, &cookie).await;
    opened_nothing(&answer, 400, NOT_BEGUN);

    // A code that was given to another browser: the provider asks for what only that one's sign-in knows.
    let (third_address, _) = begin(at).await;
    let stolen = fields(
        at_provider(&provider, &third_address)
            .await
            .split_once('?')
            .unwrap()
            .1,
    )["code"]
        .clone();
    let own = fields(
        at_provider(&provider, &other_address)
            .await
            .split_once('?')
            .unwrap()
            .1,
    )["state"]
        .clone();
    let answer = get(
        at,
        &format!("{CALLBACK}?code={stolen}&state={own}"),
        &other_cookie,
    )
    .await;
    opened_nothing(
        &answer,
        403,
        "does not take the code that came with you (invalid_grant)",
    );

    // An answer that names another provider.
    let (address, cookie) = begin(at).await;
    let back = at_provider(&provider, &address).await;
    let answer = get(at, &format!("{back}&iss=https%3A%2F%2Fevil.example"), &cookie).await;
    opened_nothing(&answer, 403, "https://evil.example");
    hub.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_not_the_one_is_not_gone_to() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    provider.behave(Manner {
        calls_itself: Some("https://evil.example".to_owned()),
        ..Manner::default()
    });
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    type Change = fn(&mut OidcConfig, SocketAddr);
    let cases: [(Change, &str); 3] = [
        (|_, _| (), "calls itself \"https://evil.example\""),
        (|oidc, _| oidc.ca = None, "--oidc-ca FILE names another"),
        (
            |oidc, nobody| oidc.issuer = format!("https://{nobody}/realm"),
            "can't connect",
        ),
    ];
    for (change, sentence) in cases {
        let hub = start(folder.path(), &provider, |config| {
            if let Some(oidc) = &mut config.oidc {
                change(oidc, nobody);
            }
        })
        .await;
        let answer = get(hub.address, "/api/v1/oidc/start", "").await;
        opened_nothing(&answer, 503, sentence);
        hub.stop().await;
    }
    // The description says where to send the secret, so it is believed by its certificate alone.
    let asked = provider.asked.lock().unwrap();
    assert!(
        asked.iter().all(|line| line.contains("openid-configuration")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn sign_ins_of_people_are_bounded_and_expire_like_those_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |config| {
        config.limits.sign_ins_of_one = 2;
    })
    .await;
    let mut cookies = Vec::new();
    for _ in 0..3 {
        cookies.push(sign_in(hub.address, &provider).await.cookies().remove(0));
    }
    for (cookie, expected) in cookies.iter().zip([401, 200, 200]) {
        assert_eq!(get(hub.address, "/api/v1/me", cookie).await.status, expected);
    }
    hub.stop().await;
    let hub = start(folder.path(), &provider, |config| {
        config.limits.sign_in_lasts = std::time::Duration::from_millis(500);
    })
    .await;
    let cookie = sign_in(hub.address, &provider).await.cookies().remove(0);
    patient(async {
        while get(hub.address, "/api/v1/me", &cookie).await.status == 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(get(hub.address, "/api/v1/me", &cookie).await.status, 401);
    hub.stop().await;
}

#[tokio::test]
async fn behind_tls_both_cookies_are_for_tls_alone() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let hub = start(folder.path(), &provider, |config| {
        if let Some(oidc) = &mut config.oidc {
            oidc.public_url = "https://hub.example".to_owned();
        }
    })
    .await;
    let answer = get(hub.address, "/api/v1/oidc/start", "").await;
    let cookie = answer.cookies().remove(0);
    assert!(cookie.starts_with("__Host-heaptide-"), "{cookie}");
    assert!(answer.head.contains("; Secure"), "{}", answer.head);
    hub.stop().await;
}
