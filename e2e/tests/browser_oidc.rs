//! Signing in through an identity provider in a real browser, which comes back from another site: with a cookie for this
//! one alone, and to pages that then are let in.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test, with parts of the hub's"
)]

#[path = "../../hub/tests/common/authority.rs"]
mod authority;
mod common {
    pub(crate) use super::authority;
}
#[path = "../../hub/tests/oidc/provider.rs"]
mod provider;

use heaptide_e2e::browser::by_id;
use heaptide_e2e::{Browser, Hub, machine, until};
use provider::{CLIENT, Manner, Provider, SECRET};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};

/// One that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn me(browser: &Browser) -> Value {
    browser
        .script_async("return (await fetch('/api/v1/me')).json();", &[])
        .unwrap()
}

#[test]
fn one_signs_in_through_a_provider_and_stays_in() {
    let test = "browser (identity provider)";
    let Some(binary) = machine::binary() else {
        return machine::skip(test, "HEAPTIDE_BIN names no heaptide binary");
    };
    let Some(browser) = Browser::start(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(folder.path()));
    let secret = folder.path().join("client.secret");
    std::fs::write(&secret, SECRET).unwrap();
    let (listen, ca) = (free(), provider.ca.to_str().unwrap());
    let options = [
        ("--public-url", format!("http://{listen}")),
        ("--oidc-issuer", provider.issuer.clone()),
        ("--oidc-client-id", CLIENT.to_owned()),
        ("--oidc-client-secret-file", secret.to_str().unwrap().to_owned()),
        ("--oidc-role", "groups=sre:admin".to_owned()),
        ("--oidc-scope", "groups".to_owned()),
        ("--oidc-ca", ca.to_owned()),
    ]
    .map(|(flag, value)| format!("{flag}={value}"));
    let hub = Hub::start_with(&binary, listen, &options);
    let base = format!("http://{}", hub.address);

    let way_in = "a[href=\"/api/v1/oidc/start\"]";
    browser.open(&base);
    browser.until_text(way_in, "Sign in with your organization");
    browser.shots("sign-in-provider");
    browser.click(way_in);
    until("the fleet's page, connected", || {
        let url = browser.url();
        let is_in = url.starts_with(&base) && me(&browser)["role"] == "admin";
        if is_in { Ok(()) } else { Err(url) }
    });
    browser.until_text(&by_id("connection"), "Connected");
    assert_eq!(me(&browser)["name"], "oidc:ana@example.com");
    // Scripts can't read it, and it is for this site alone.
    assert_eq!(browser.script("return document.cookie;", &[]).unwrap(), json!(""));
    browser.open(&base);
    browser.until_text(&by_id("connection"), "Connected");

    // A link to what is no page of the console leaves it.
    browser.open(&format!("{base}/hub"));
    let schema = "a[href=\"/api/v1/policy/schema\"]";
    browser.until_text(schema, "What can stand in it");
    browser.click(schema);
    browser.until_text("body", "\"$schema\"");

    // Without a role nobody is let in, and is told so.
    provider.behave(Manner {
        claims: json!({ "groups": ["other"], "email": "eve@example.com" }),
        ..Manner::default()
    });
    browser.open(&format!("{base}/api/v1/oidc/start"));
    browser.until_text("body", "role");
}
