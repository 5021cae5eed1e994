//! The identity provider as the hub sees it: its description and keys, which are asked for and remembered, and the
//! exchange of a code for what it says of somebody.

use super::id_token::{self, Key};
use super::{OidcConfig, endpoint, percent};
use crate::outgoing::{Answer, Outgoing, Target};
use data_encoding::BASE64;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer; a few kilobytes are usual.
const MOST_BYTES: usize = 256 << 10;
/// For so long a description and keys are taken as they are.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// An unknown key has them asked for again, but not more often.
const AGAIN: Duration = Duration::from_secs(60);
/// After a failure nobody asks again for a moment, however many people want to sign in.
const RESTS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Provider {
    issuer: String,
    client_id: String,
    secret: Option<Secret>,
    outgoing: Outgoing,
    known: Mutex<Known>,
}

/// What a client proves itself with.
pub(super) struct Secret(pub(super) String);

#[derive(Debug, Default)]
struct Known {
    described: Option<(Arc<Described>, Instant)>,
    failed: Option<(String, Instant)>,
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3), as far as it is used, and its keys.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) authorization: String,
    pub(super) keys: Vec<Key>,
    token: Target,
    /// The secret goes into the body, because the provider takes it nowhere else.
    secret_in_body: bool,
}

/// Why there is nothing to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The provider doesn't take the code, and says why in a word.
    Refused(String),
    Unavailable(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Provider {
    pub(super) fn new(config: &OidcConfig, secret: Option<Secret>, outgoing: Outgoing) -> Self {
        Self {
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            secret,
            outgoing,
            known: Mutex::default(),
        }
    }

    pub(super) async fn described(&self) -> Result<Arc<Described>, String> {
        self.not_older_than(FRESH).await
    }

    /// After a token by a key that is not known: the provider may have changed it.
    pub(super) async fn described_again(&self) -> Result<Arc<Described>, String> {
        self.not_older_than(AGAIN).await
    }

    /// One asks at a time, and the others get what it learns.
    async fn not_older_than(&self, age: Duration) -> Result<Arc<Described>, String> {
        let mut known = self.known.lock().await;
        if let Some((described, at)) = &known.described
            && at.elapsed() < age
        {
            return Ok(Arc::clone(described));
        }
        if let Some((why, at)) = &known.failed
            && at.elapsed() < RESTS
        {
            return Err(why.clone());
        }
        match self.describe().await {
            Ok(described) => {
                let described = Arc::new(described);
                *known = Known {
                    described: Some((Arc::clone(&described), Instant::now())),
                    failed: None,
                };
                Ok(described)
            }
            Err(why) => {
                known.failed = Some((why.clone(), Instant::now()));
                Err(why)
            }
        }
    }

    async fn describe(&self) -> Result<Described, String> {
        let url = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let told = self
            .get("its description", &endpoint("oidc-issuer", &url)?)
            .await?;
        let text = |name: &str| {
            let text = told.get(name).and_then(Value::as_str);
            text.ok_or_else(|| format!("its description lacks {name}"))
        };
        let issuer = text("issuer")?;
        if issuer != self.issuer {
            return Err(format!(
                "it calls itself {:?}, expected {:?}: --oidc-issuer has to be written exactly as the provider writes it",
                issuer.chars().take(200).collect::<String>(),
                self.issuer
            ));
        }
        let authorization = text("authorization_endpoint")?.to_owned();
        endpoint("authorization_endpoint", &authorization)?;
        if authorization.contains('#') {
            return Err("authorization_endpoint: has a fragment, which no request can carry".to_owned());
        }
        let keys = self
            .get("its keys", &endpoint("jwks_uri", text("jwks_uri")?)?)
            .await?;
        let methods = told.get("token_endpoint_auth_methods_supported");
        let takes = |method: &str| {
            let methods = methods.and_then(Value::as_array);
            methods.map(|all| all.iter().any(|one| one == method))
        };
        Ok(Described {
            token: endpoint("token_endpoint", text("token_endpoint")?)?,
            keys: id_token::keys(&keys),
            secret_in_body: takes("client_secret_basic") == Some(false)
                && takes("client_secret_post") == Some(true),
            authorization,
        })
    }

    async fn get(&self, what: &str, target: &Target) -> Result<Value, String> {
        let request = Request::get(target.path()).header("accept", "application/json");
        let answer = self.ask(target, request, Bytes::new()).await;
        let answer = answer.map_err(|why| format!("{what}: {why}"))?;
        if answer.status != 200 {
            return Err(format!(
                "{what}: {} answered with status {}",
                target.authority(),
                answer.status
            ));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{what}: {error}"))
    }

    async fn ask(
        &self,
        target: &Target,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, String> {
        let asked = tokio::time::timeout(PATIENCE, self.outgoing.ask(target, request, body, MOST_BYTES));
        let late = || {
            format!(
                "{} did not answer within {} s",
                target.authority(),
                PATIENCE.as_secs()
            )
        };
        asked.await.map_err(|_| late())?
    }

    /// The ID token for a code (OpenID Connect Core 1.0, section 3.1.3). Whatever else comes with it is not looked at.
    pub(super) async fn redeem(
        &self,
        described: &Described,
        code: &str,
        verifier: &str,
        redirect: &str,
    ) -> Result<String, NoToken> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect),
        ];
        let mut request = Request::post(described.token.path())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        match &self.secret {
            Some(Secret(secret)) if !described.secret_in_body => {
                // RFC 6749, section 2.3.1: both are encoded as in a form first.
                let pair = format!("{}:{}", percent(&self.client_id), percent(secret));
                let value = format!("Basic {}", BASE64.encode(pair.as_bytes()));
                request = request.header("authorization", value);
            }
            secret => {
                fields.push(("client_id", &self.client_id));
                fields.extend(secret.as_ref().map(|secret| ("client_secret", secret.0.as_str())));
            }
        }
        let form: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect();
        let answer = self
            .ask(&described.token, request, form.join("&").into())
            .await
            .map_err(|why| NoToken::Unavailable(format!("the exchange of the code: {why}")))?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| told.get(name).and_then(Value::as_str);
        match (answer.status, text("error"), text("id_token")) {
            (200, None, Some(token)) => Ok(token.to_owned()),
            (200, None, None) => Err(NoToken::Unavailable(
                "the exchange of the code: the answer has no id_token; the scope 'openid' has to be allowed for this \
                 client"
                    .to_owned(),
            )),
            (_, Some(error), _) => Err(NoToken::Refused(word(error))),
            (status, ..) => Err(NoToken::Unavailable(format!(
                "the exchange of the code: it answered with status {status}"
            ))),
        }
    }
}

/// A code of an error as RFC 6749 has them, and nothing that could be more.
pub(super) fn word(text: &str) -> String {
    let letters = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    letters.take(64).collect()
}
