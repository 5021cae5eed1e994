//! Where notices go, and one attempt to bring one there: an HTTP POST.
//!
//! Only an admin sets the address. Of an answer nothing but the status is told to anybody.

use crate::catalog::Entry;
use crate::outgoing::{Outgoing, Target};
use hyper::Request;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const SECRET_BYTES: usize = 1_024;

/// The one webhook of a hub.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) revision: u64,
    pub(crate) who: String,
    pub(crate) unix_ns: u64,
    pub(crate) url: String,
    /// Signs what is sent.
    pub(crate) secret: Option<String>,
    /// Goes as `Authorization: Bearer`.
    pub(crate) bearer: Option<String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An address may hold a secret, too.
        write!(f, "Webhook(revision {})", self.revision)
    }
}

impl Entry for Webhook {
    const TABLE: &'static str = "alert_webhook";
}

/// What of a webhook can't be, as a sentence.
pub(crate) fn problem(url: &str, secret: Option<&str>, bearer: Option<&str>) -> Option<String> {
    if let Err(why) = Target::parse("url", url) {
        return Some(why);
    }
    let is_long = |text: &&str| text.is_empty() || text.len() > SECRET_BYTES;
    if secret.filter(is_long).is_some() {
        return Some(format!("secret: expected 1 to {SECRET_BYTES} bytes"));
    }
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if bearer.is_some_and(|text| is_long(&text) || !is_word(text)) {
        return Some(format!(
            "bearer: expected 1 to {SECRET_BYTES} visible ASCII letters without spaces"
        ));
    }
    None
}

/// One notice, ready to be sent.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The same at each attempt, so that a receiver can tell a repetition.
    pub(crate) id: String,
    pub(crate) unix_s: u64,
    pub(crate) body: Bytes,
}

/// `sha256=…` over `SECONDS.BODY`, as in `Heaptide-Signature`.
pub(crate) fn signature(secret: &str, unix_s: u64, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = ring::hmac::Context::with_key(&key);
    context.update(format!("{unix_s}.").as_bytes());
    context.update(body);
    format!(
        "sha256={}",
        data_encoding::HEXLOWER.encode(context.sign().as_ref())
    )
}

/// Brings one there, or tells why not.
pub(crate) async fn post(
    webhook: &Webhook,
    parcel: &Parcel,
    patience: Duration,
    outgoing: &Outgoing,
) -> Result<(), String> {
    let target = Target::parse("url", &webhook.url)?;
    let mut request = Request::post(target.path())
        .header("content-type", "application/json")
        .header("heaptide-delivery", &parcel.id)
        .header("heaptide-timestamp", parcel.unix_s);
    if let Some(secret) = &webhook.secret {
        request = request.header(
            "heaptide-signature",
            signature(secret, parcel.unix_s, &parcel.body),
        );
    }
    if let Some(bearer) = &webhook.bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    let attempt = outgoing.ask(&target, request, parcel.body.clone(), 0);
    match tokio::time::timeout(patience, attempt).await {
        Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
        Ok(Ok(answer)) => Err(format!("it answered with status {}", answer.status)),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs_f32())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_secret_is_told() {
        let long = "x".repeat(SECRET_BYTES + 1);
        for (secret, bearer, expected) in [
            (None, None, None),
            (Some("s p a c e"), Some("word"), None),
            (Some(""), None, Some("secret: ")),
            (Some(long.as_str()), None, Some("secret: ")),
            (None, Some("two words"), Some("bearer: ")),
            (None, Some("a\r\nb"), Some("bearer: ")),
        ] {
            let got = problem("http://hooks/", secret, bearer);
            assert_eq!(got.is_some(), expected.is_some(), "{got:?}");
            assert!(got.unwrap_or_default().starts_with(expected.unwrap_or_default()));
        }
    }

    /// `printf '7.{}' | openssl dgst -sha256 -hmac key`
    #[test]
    fn a_signature_as_openssl_makes_it() {
        assert_eq!(signature("key", 7, b"{}"), OPENSSL);
    }

    const OPENSSL: &str = "sha256=77bc83bd1f40422311e47918b203449aecf84b02c1568bb1b570ac2a474cc2d8";
}
