//! Sign-in through an identity provider: OpenID Connect's authorization code flow, with PKCE. Off unless it is set.
//!
//! A browser is sent to the provider with a state, a nonce and a challenge, and comes back with a code, which the hub
//! itself exchanges for a signed token. The token says who it is, the settings say what role that is, and from then on it
//! is a sign-in like one by token: a cookie. No access token is kept, nobody is looked up later, and nobody has a role
//! without a rule for it.
//!
//! The flow is written here and not taken from a crate because of what those bring: the common ones come with RSA in
//! plain Rust, which has an open advisory (RUSTSEC-2023-0071), or with a second library for what `ring` does already.

mod id_token;
mod pending;
mod provider;
mod roles;

pub use roles::RoleRule;

use crate::access::{Origin, Role};
use crate::outgoing::{Outgoing, Target};
use id_token::{Expected, Wrong};
use pending::{NotBegun, Pending};
use provider::{NoToken, Provider, Secret};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Below the hub's public address; what has to be registered at the provider.
pub(crate) const CALLBACK: &str = "/api/v1/oidc/callback";
/// Begins the names of people who sign in so, in the audit log and wherever else a name stands.
pub(crate) const NAME_PREFIX: &str = "oidc:";
const CA_SETTING: &str = "oidc-ca";
const SCOPES: [&str; 3] = ["openid", "email", "profile"];
/// Exchanges at once; each is a connection to the provider.
const EXCHANGES: usize = 16;
const SECRET_BYTES: usize = 4_096;
const CODE_BYTES: usize = 4_096;
const NAME_CHARS: usize = 128;

/// What a hub has to know of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// As the provider writes it, to the letter.
    pub issuer: String,
    pub client_id: String,
    /// A file with the client's secret; a public client has none.
    pub client_secret: Option<PathBuf>,
    /// The address under which browsers see this hub, without a path.
    pub public_url: String,
    /// Who has which role. Nobody else gets in.
    pub roles: Vec<RoleRule>,
    /// What to ask for beside openid, email and profile.
    pub scopes: Vec<String>,
    /// Authorities, in PEM, to believe beside those of the system.
    pub ca: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Oidc {
    config: OidcConfig,
    redirect: String,
    /// Cookies may be sent in the clear, because the public address is.
    is_plain: bool,
    provider: Provider,
    pending: Pending,
    exchanges: Semaphore,
}

/// What a browser brings back from the provider. It may bring more.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Back {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
}

/// Somebody whom the provider knows and the settings give a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    /// The same at each sign-in, whatever else changes.
    pub(crate) subject: String,
    pub(crate) role: Role,
}

/// Why somebody is not signed in, as a sentence for the one who tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "this sign-in is not one that this browser has begun here, or it took too long, or it was used already: begin again at {public_url}"
    )]
    NotBegun { public_url: String },
    #[error(
        "the identity provider did not sign you in ({error}): begin again at {public_url}, or ask whoever runs the provider"
    )]
    Declined { error: String, public_url: String },
    #[error(
        "the identity provider does not take the code that came with you ({error}): begin again at {public_url}"
    )]
    Code { error: String, public_url: String },
    #[error(
        "what the identity provider says of you is not believed, because {0}. An admin of this hub has to look at this"
    )]
    Token(String),
    #[error(
        "{name} is known to the identity provider, and has no role here: ask an admin of this hub for a --oidc-role that fits"
    )]
    NoRole { name: String },
    #[error("the identity provider can't be asked now: {0}. Try again, or sign in with a token")]
    Unavailable(String),
}

impl Fault {
    /// Whether a log should say so: the first can be caused by anybody at any rate.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self, Self::NotBegun { .. })
    }
}

impl Oidc {
    /// Reads the files; asks nobody anything. Blocks.
    pub(crate) fn open(config: OidcConfig) -> Result<Self, String> {
        let public = endpoint("public-url", &config.public_url)?;
        let base = config.public_url.trim_end_matches('/');
        if public.path() != "/" || base.contains(['?', '#']) {
            return Err("public-url: has a path; expected https://HOST[:PORT] alone".to_owned());
        }
        let issuer = endpoint("oidc-issuer", &config.issuer)?;
        if config.issuer.contains(['?', '#']) {
            return Err(format!(
                "oidc-issuer: has a query or fragment behind {}; expected the provider's issuer as it writes it",
                issuer.authority()
            ));
        }
        if config.client_id.is_empty() || config.client_id.chars().any(char::is_control) {
            return Err(
                "oidc-client-id: expected what the provider calls this hub, got nothing usable".to_owned(),
            );
        }
        if config.roles.is_empty() {
            return Err(
                "oidc-role: there is none, so that nobody could get in; give one as groups=sre:admin"
                    .to_owned(),
            );
        }
        let is_scope =
            |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(wrong) = config.scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!(
                "oidc-scope: {wrong:?} can't be one: expected a word without spaces"
            ));
        }
        let secret = config.client_secret.as_deref().map(read_secret).transpose()?;
        let outgoing = Outgoing::new(config.ca.as_deref(), CA_SETTING)?;
        Ok(Self {
            redirect: format!("{base}{CALLBACK}"),
            is_plain: !public.is_tls(),
            provider: Provider::new(&config, secret, outgoing),
            pending: Pending::default(),
            exchanges: Semaphore::new(EXCHANGES),
            config,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Whether browsers reach this hub without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub(crate) fn cookie_lasts_s(&self) -> u64 {
        pending::LASTS.as_secs()
    }

    /// Where to send a browser, and the cookie that it has to come back with.
    pub(crate) async fn begin(&self, origin: Origin) -> Result<(String, String), Fault> {
        let described = self.provider.described().await.map_err(Fault::Unavailable)?;
        let ticket = self.pending.begin(origin, Instant::now());
        let ticket = ticket.map_err(|error| Fault::Unavailable(error.to_string()))?;
        let scopes: Vec<&str> = SCOPES
            .into_iter()
            .chain(self.config.scopes.iter().map(String::as_str))
            .collect();
        let mut address = described.authorization.clone();
        address.push(if address.contains('?') { '&' } else { '?' });
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", self.config.client_id.as_str()),
            ("redirect_uri", &self.redirect),
            ("scope", &scopes.join(" ")),
            ("state", &ticket.state),
            ("nonce", &ticket.nonce),
            ("code_challenge", &ticket.challenge),
        ] {
            // Writing to a string can't fail.
            let _ = write!(address, "{name}={}&", percent(value));
        }
        address += "code_challenge_method=S256";
        Ok((address, ticket.cookie))
    }

    /// Who came back.
    pub(crate) async fn finish(&self, back: Back, cookie: Option<&str>) -> Result<Person, Fault> {
        let public_url = || self.config.public_url.clone();
        let state = back.state.unwrap_or_default();
        let taken = self.pending.take(&state, cookie, Instant::now());
        // Which of the two it was would only help whoever has no business here.
        let begun = taken.map_err(|_: NotBegun| Fault::NotBegun {
            public_url: public_url(),
        })?;
        if let Some(issuer) = back.iss.filter(|issuer| *issuer != self.config.issuer) {
            let got = issuer.chars().filter(|c| !c.is_control()).take(200).collect();
            let expected = self.config.issuer.clone();
            return Err(Fault::Token(Wrong::Issuer { expected, got }.to_string()));
        }
        let code = match (back.error, back.code) {
            (None, Some(code)) if !code.is_empty() && code.len() <= CODE_BYTES => code,
            (error, _) => {
                return Err(Fault::Declined {
                    error: provider::word(error.as_deref().unwrap_or("no_code")),
                    public_url: public_url(),
                });
            }
        };
        let Ok(_turn) = self.exchanges.try_acquire() else {
            return Err(Fault::Unavailable(
                "too many people sign in at this moment".to_owned(),
            ));
        };
        let described = self.provider.described().await.map_err(Fault::Unavailable)?;
        let redeemed = self
            .provider
            .redeem(&described, &code, &begun.verifier, &self.redirect);
        let token = redeemed.await.map_err(|no| match no {
            NoToken::Refused(error) => Fault::Code {
                error,
                public_url: public_url(),
            },
            NoToken::Unavailable(why) => Fault::Unavailable(why),
        })?;
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &begun.nonce,
            now_unix_s: crate::clock::unix_ns() / 1_000_000_000,
        };
        let mut checked = id_token::check(&token, &described.keys, &expected);
        if let Err(Wrong::Key { .. }) = checked {
            let described = self
                .provider
                .described_again()
                .await
                .map_err(Fault::Unavailable)?;
            checked = id_token::check(&token, &described.keys, &expected);
        }
        let claims = checked.map_err(|wrong| Fault::Token(wrong.to_string()))?;
        let name = name(&claims);
        match roles::role_of(&self.config.roles, &claims) {
            Some(role) => Ok(Person {
                subject: subject(&claims).to_owned(),
                name,
                role,
            }),
            None => Err(Fault::NoRole { name }),
        }
    }
}

fn subject(claims: &Map<String, Value>) -> &str {
    claims.get("sub").and_then(Value::as_str).unwrap_or_default()
}

/// What nobody else can have: an address that the provider vouches for, or its own name for somebody.
fn name(claims: &Map<String, Value>) -> String {
    let own = roles::verified_email(claims).unwrap_or_else(|| subject(claims));
    let printable = own.chars().filter(|c| !c.is_control());
    let own: String = printable.take(NAME_CHARS).collect();
    format!("{NAME_PREFIX}{own}")
}

/// An address that may be talked to: what goes there is worth an account, so in the clear only within one machine.
fn endpoint(field: &str, url: &str) -> Result<Target, String> {
    let target = Target::parse(field, url)?;
    if target.is_tls() || target.is_loopback() {
        Ok(target)
    } else {
        Err(format!(
            "{field}: {url} is not https, and would tell everybody on the way who signs in"
        ))
    }
}

fn read_secret(path: &Path) -> Result<Secret, String> {
    let wrong = |why: String| format!("oidc-client-secret-file: {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    match text.trim() {
        "" => Err(wrong("there is nothing in it".to_owned())),
        secret if secret.len() > SECRET_BYTES => Err(wrong(format!(
            "has {} bytes; expected a secret of at most {SECRET_BYTES}",
            secret.len()
        ))),
        secret => Ok(Secret(secret.to_owned())),
    }
}

/// RFC 3986, section 2.1: all but the unreserved is encoded, which is right in a query and in a form.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OidcConfig {
        OidcConfig {
            issuer: "https://id.example".to_owned(),
            client_id: "heaptide".to_owned(),
            client_secret: None,
            public_url: "https://hub.example:7070".to_owned(),
            roles: vec!["groups=sre:admin".parse().unwrap()],
            scopes: Vec::new(),
            ca: None,
        }
    }

    #[test]
    fn settings_that_can_not_be_are_told_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, " \n").unwrap();
        let missing = folder.path().join("missing");
        type Change = Box<dyn Fn(&mut OidcConfig)>;
        let cases: Vec<(Change, Option<&str>)> = vec![
            (Box::new(|_| ()), None),
            (Box::new(|config| config.public_url += "/"), None),
            (
                Box::new(|config| config.issuer = "http://127.0.0.1:1/realms/a".to_owned()),
                None,
            ),
            (
                Box::new(|config| config.public_url += "/hub"),
                Some("public-url: has a path"),
            ),
            (
                Box::new(|config| config.public_url = "http://hub.example".to_owned()),
                Some("public-url: http://hub.example is not https"),
            ),
            (
                Box::new(|config| config.public_url = "hub.example".to_owned()),
                Some("public-url: "),
            ),
            (
                Box::new(|config| config.issuer = "http://id.example".to_owned()),
                Some("oidc-issuer: http://id.example is not https"),
            ),
            (
                Box::new(|config| config.issuer += "?a=b"),
                Some("oidc-issuer: has a query"),
            ),
            (
                Box::new(|config| config.client_id.clear()),
                Some("oidc-client-id: "),
            ),
            (
                Box::new(|config| config.roles.clear()),
                Some("oidc-role: there is none"),
            ),
            (
                Box::new(|config| config.scopes.push("a b".to_owned())),
                Some("oidc-scope: "),
            ),
            (
                Box::new(move |config| config.client_secret = Some(empty.clone())),
                Some("there is nothing in it"),
            ),
            (
                Box::new(move |config| config.client_secret = Some(missing.clone())),
                Some("oidc-client-secret-file: "),
            ),
        ];
        for (change, expected) in cases {
            let mut config = config();
            change(&mut config);
            match (Oidc::open(config.clone()), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => {
                    assert!(error.contains(expected), "{error} lacks {expected:?}");
                }
                (got, _) => panic!("{config:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_sent_is_encoded() {
        assert_eq!(percent("a-Z0.9_~"), "a-Z0.9_~");
        assert_eq!(percent("a b&c=d/é+%"), "a%20b%26c%3Dd%2F%C3%A9%2B%25");
    }

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cr3t\n").unwrap();
        let config = OidcConfig {
            client_secret: Some(file),
            ..config()
        };
        let oidc = Oidc::open(config).unwrap();
        assert!(!format!("{oidc:?}").contains("s3cr3t"));
    }
}
