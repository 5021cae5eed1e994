//! A small identity provider: a real HTTPS server with keys of its own, that does what OpenID Connect asks for, or one
//! thing wrongly.

use super::common::authority::Authority;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const CLIENT: &str = "heaptide hub";
pub const SECRET: &str = "s3cr3t with a space";
pub const PUBLIC_URL: &str = "http://127.0.0.1:7070";

/// What is to be wrong.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// Instead of the right ones; null takes one away.
    pub claims: Value,
    pub signs: Signs,
    /// Calls itself otherwise in its description.
    pub calls_itself: Option<String>,
    pub public_client: bool,
    /// Sends people back without a code.
    pub declines: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signs {
    #[default]
    Es256,
    Rs256,
    /// `alg` none, without a signature.
    Not,
    /// With a key that is not the one it shows.
    Wrongly,
    /// Under the name of a key that it does not show.
    ByAnother,
}

pub struct Provider {
    pub issuer: String,
    /// Its authority's certificate.
    pub ca: PathBuf,
    pub manner: Arc<Mutex<Manner>>,
    /// Each request as it came: method and path.
    pub asked: Arc<Mutex<Vec<String>>>,
}

struct Keys {
    p256: EcdsaKeyPair,
    other: EcdsaKeyPair,
    rsa: RsaKeyPair,
    random: SystemRandom,
}

/// What it remembers of a code that it gave.
struct Granted {
    nonce: String,
    challenge: String,
    redirect: String,
}

impl Provider {
    pub async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://{}/realm", listener.local_addr().unwrap());
        let authority = Authority::new();
        let acceptor = TlsAcceptor::from(authority.server("127.0.0.1", true));
        let manner = Arc::new(Mutex::new(Manner::default()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own_issuer, own_manner, own_asked) = (issuer.clone(), Arc::clone(&manner), Arc::clone(&asked));
        tokio::spawn(async move {
            let known = Arc::new((Keys::new(), Mutex::new(HashMap::new())));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, known) = (acceptor.clone(), Arc::clone(&known));
                let (issuer, manner, asked) = (
                    own_issuer.clone(),
                    Arc::clone(&own_manner),
                    Arc::clone(&own_asked),
                );
                // Browsers open connections that they may never use.
                tokio::spawn(async move {
                    // Whoever doesn't believe the certificate is gone.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let (head, body) = request(&mut stream).await;
                    asked
                        .lock()
                        .unwrap()
                        .push(head.lines().next().unwrap().to_owned());
                    let manner = manner.lock().unwrap().clone();
                    let (keys, codes) = &*known;
                    let answer = answer(&issuer, &manner, keys, &mut codes.lock().unwrap(), &head, &body);
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            issuer,
            ca: authority.write(folder, "provider-ca.pem"),
            manner,
            asked,
        }
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn address(&self) -> SocketAddr {
        let rest = self.issuer.strip_prefix("https://").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = || {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        };
        let text = include_str!("rsa-for-tests.txt").replace('\n', "");
        let rsa = RsaKeyPair::from_pkcs8(&BASE64.decode(text.as_bytes()).unwrap()).unwrap();
        Self {
            p256: pair(),
            other: pair(),
            rsa,
            random,
        }
    }

    fn shown(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = self.p256.public_key().as_ref();
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "p256", "use": "sig", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
            { "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": encode(&rsa.n), "e": encode(&rsa.e) },
            { "kty": "oct", "kid": "shared", "k": "AAAA" },
        ]})
    }

    fn sign(&self, signs: Signs, claims: &Value) -> String {
        let (algorithm, key) = match signs {
            Signs::Rs256 => ("RS256", "rsa"),
            Signs::Not => ("none", "p256"),
            Signs::ByAnother => ("ES256", "unknown"),
            Signs::Es256 | Signs::Wrongly => ("ES256", "p256"),
        };
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = json!({ "alg": algorithm, "kid": key, "typ": "JWT" });
        let message = format!("{}.{}", encode(&head), encode(claims));
        let by = |pair: &EcdsaKeyPair| {
            let signature = pair.sign(&self.random, message.as_bytes()).unwrap();
            signature.as_ref().to_vec()
        };
        let signature = match signs {
            Signs::Not => Vec::new(),
            Signs::Es256 => by(&self.p256),
            Signs::Wrongly | Signs::ByAnother => by(&self.other),
            Signs::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let (random, message) = (&self.random, message.as_bytes());
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, random, message, &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

async fn request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        if count == 0 {
            return ("GET /nothing HTTP/1.1".to_owned(), String::new());
        }
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

/// The fields of a query or a form.
pub fn fields(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%' {
            let hex = std::str::from_utf8(&others[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &others[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(
    issuer: &str,
    manner: &Manner,
    keys: &Keys,
    codes: &mut HashMap<String, Granted>,
    head: &str,
    body: &str,
) -> String {
    let target = head.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let json = |status: u16, body: Value| {
        let body = body.to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    match path {
        "/realm/.well-known/openid-configuration" => json(
            200,
            json!({
                "issuer": manner.calls_itself.as_deref().unwrap_or(issuer),
                "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
            }),
        ),
        "/realm/keys" => json(200, keys.shown()),
        "/realm/authorize" => {
            let asked = fields(query);
            let of = |name: &str| asked[name].clone();
            assert_eq!(of("tenant"), "a");
            assert_eq!(
                (of("response_type"), of("client_id")),
                ("code".to_owned(), CLIENT.to_owned())
            );
            assert_eq!(of("code_challenge_method"), "S256");
            assert!(of("scope").split(' ').any(|scope| scope == "openid"));
            let (state, redirect) = (of("state"), of("redirect_uri"));
            let found = if manner.declines {
                "error=access_denied&error_description=No%0d%0aSuch".to_owned()
            } else {
                let code = format!("code-{}-{state}", codes.len());
                let granted = Granted {
                    nonce: of("nonce"),
                    challenge: of("code_challenge"),
                    redirect: redirect.clone(),
                };
                codes.insert(code.clone(), granted);
                format!("code={code}&session_state=1")
            };
            format!(
                "HTTP/1.1 302 Found\r\nLocation: {redirect}?{found}&state={state}\r\nContent-Length: 0\r\n\r\n"
            )
        }
        "/realm/token" => token(issuer, manner, keys, codes, head, &fields(body)).map_or_else(
            |error| json(400, json!({ "error": error })),
            |body| json(200, body),
        ),
        _ => json(404, json!({})),
    }
}

fn token(
    issuer: &str,
    manner: &Manner,
    keys: &Keys,
    codes: &mut HashMap<String, Granted>,
    head: &str,
    form: &HashMap<String, String>,
) -> Result<Value, &'static str> {
    let of = |name: &str| form.get(name).map(String::as_str);
    if manner.public_client {
        assert_eq!(
            (of("client_id"), header(head, "authorization")),
            (Some(CLIENT), None)
        );
    } else {
        let pair = header(head, "authorization").and_then(|value| value.strip_prefix("Basic "));
        let pair = BASE64.decode(pair.ok_or("invalid_client")?.as_bytes()).unwrap();
        let pair = String::from_utf8(pair).unwrap();
        let (client, secret) = pair.split_once(':').unwrap();
        if (decode(client).as_str(), decode(secret).as_str()) != (CLIENT, SECRET) {
            return Err("invalid_client");
        }
    }
    // Gone with its first use.
    let granted = of("code")
        .and_then(|code| codes.remove(code))
        .ok_or("invalid_grant")?;
    let hash = digest(&SHA256, of("code_verifier").unwrap_or_default().as_bytes());
    let proves = BASE64URL_NOPAD.encode(hash.as_ref()) == granted.challenge;
    if !proves || of("redirect_uri") != Some(granted.redirect.as_str()) {
        return Err("invalid_grant");
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT, "sub": "u-17", "nonce": granted.nonce, "iat": now_s, "exp": now_s + 300,
        "email": "ana@example.com", "email_verified": true, "groups": ["dev", "sre"],
    });
    for (name, value) in manner.claims.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    Ok(json!({
        "access_token": "nobody needs it", "token_type": "Bearer", "id_token": keys.sign(manner.signs, &claims),
    }))
}
