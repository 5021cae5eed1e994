//! What an identity provider says of somebody: a signed token, and every reason not to believe it.
//!
//! Two signatures are believed, RS256 and ES256 (RFC 7518, section 3.1), by `ring`, which rustls computes with anyway:
//! what picks an algorithm is a list of two here, and never the token. Encrypted tokens, keys in the token's own head
//! and symmetric signatures are left out on purpose. The checks are those of OpenID Connect Core 1.0, section 3.1.3.7.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

/// Clocks of two machines may differ by so much.
const LEEWAY_S: u64 = 60;
/// Of a value that is told back.
const TOLD_CHARS: usize = 100;
const MAX_KEYS: usize = 64;
const MAX_SUBJECT_BYTES: usize = 255;

/// A public key of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
}

/// What has to be in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now_unix_s: u64,
}

/// Why it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("it is no signed token: {0}")]
    Form(&'static str),
    #[error(
        "it is signed by {got:?}, and only RS256 and ES256 are believed: have the provider sign with one of them"
    )]
    Algorithm { got: String },
    #[error("it is signed with key {got:?}, which is none of the provider's")]
    Key { got: String },
    #[error("its signature is wrong")]
    Signature,
    #[error(
        "it is of issuer {got:?}, expected {expected:?}: --oidc-issuer has to be written exactly as the provider writes it"
    )]
    Issuer { expected: String, got: String },
    #[error("it is for {got}, expected {expected:?}: look at --oidc-client-id")]
    Audience { expected: String, got: String },
    #[error("it expired {late_s} s ago: look at the clocks of the hub and the provider")]
    Expired { late_s: u64 },
    #[error("it is from {early_s} s in the future: look at the clocks of the hub and the provider")]
    Early { early_s: u64 },
    #[error("it is the answer to another sign-in: its nonce is not the one of this")]
    Nonce,
    #[error("it lacks {0}, or has it in another form")]
    Lacks(&'static str),
}

/// Those of a key set (RFC 7517) that can be used here.
pub(super) fn keys(set: &Value) -> Vec<Key> {
    let all = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    all.take(MAX_KEYS).filter_map(key).collect()
}

fn key(value: &Value) -> Option<Key> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let (material, algorithm) = match text("kty")? {
        "RSA" => {
            let without_zeros = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            let material = Material::Rsa {
                n: without_zeros(bytes("n")?),
                e: without_zeros(bytes("e")?),
            };
            (material, "RS256")
        }
        "EC" if text("crv") == Some("P-256") => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            (Material::P256([vec![4], x, y].concat()), "ES256")
        }
        _ => return None,
    };
    if text("alg").is_some_and(|alg| alg != algorithm) {
        return None;
    }
    Some(Key {
        id: text("kid").map(str::to_owned),
        material,
    })
}

/// The claims, if all is as it has to be.
pub(super) fn check(text: &str, keys: &[Key], expected: &Expected<'_>) -> Result<Map<String, Value>, Wrong> {
    let payload = signed(text, keys)?;
    let Ok(Value::Object(claims)) = serde_json::from_slice(&payload) else {
        return Err(Wrong::Form("its claims are no JSON object"));
    };
    believe(&claims, expected)?;
    Ok(claims)
}

/// The payload, if one of the keys has signed it.
fn signed(text: &str, keys: &[Key]) -> Result<Vec<u8>, Wrong> {
    let (message, signature) = text
        .rsplit_once('.')
        .ok_or(Wrong::Form("it has no signature part"))?;
    let (head, payload) = message
        .split_once('.')
        .filter(|(_, payload)| !payload.contains('.'))
        .ok_or(Wrong::Form("it has not three parts"))?;
    let decode = |part: &str| {
        BASE64URL_NOPAD
            .decode(part.as_bytes())
            .map_err(|_| Wrong::Form("a part of it is not base64url"))
    };
    let Ok(Value::Object(head)) = serde_json::from_slice(&decode(head)?) else {
        return Err(Wrong::Form("its head is no JSON object"));
    };
    let algorithm = match head.get("alg").and_then(Value::as_str) {
        Some("RS256") => Algorithm::Rs256,
        Some("ES256") => Algorithm::Es256,
        other => {
            return Err(Wrong::Algorithm {
                got: told(other.unwrap_or_default()),
            });
        }
    };
    // RFC 7515, section 4.1.11: whoever doesn't understand all of these has to refuse.
    if head.contains_key("crit") {
        return Err(Wrong::Form(
            "its head has parts that have to be understood and are not",
        ));
    }
    let id = head.get("kid").and_then(Value::as_str);
    let mut fitting = keys
        .iter()
        .filter(|key| key.may_have_signed(algorithm, id))
        .peekable();
    if fitting.peek().is_none() {
        return Err(Wrong::Key {
            got: told(id.unwrap_or_default()),
        });
    }
    let signature = decode(signature)?;
    if fitting.any(|key| key.has_signed(message.as_bytes(), &signature)) {
        decode(payload)
    } else {
        Err(Wrong::Signature)
    }
}

impl Key {
    fn may_have_signed(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let fits = match self.material {
            Material::Rsa { .. } => algorithm == Algorithm::Rs256,
            Material::P256(_) => algorithm == Algorithm::Es256,
        };
        let is_named = match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        };
        fits && is_named
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

fn believe(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Wrong> {
    let text = |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(Wrong::Lacks(name));
    let issuer = text("iss")?;
    if issuer != expected.issuer {
        return Err(Wrong::Issuer {
            expected: expected.issuer.to_owned(),
            got: told(issuer),
        });
    }
    audience(claims, expected)?;
    let now_s = expected.now_unix_s;
    let expires_s = seconds(claims, "exp")?;
    if now_s >= expires_s.saturating_add(LEEWAY_S) {
        return Err(Wrong::Expired {
            late_s: now_s - expires_s,
        });
    }
    let issued_s = seconds(claims, "iat")?;
    let from_s = match claims.get("nbf") {
        None => issued_s,
        Some(_) => issued_s.max(seconds(claims, "nbf")?),
    };
    if from_s > now_s.saturating_add(LEEWAY_S) {
        return Err(Wrong::Early {
            early_s: from_s - now_s,
        });
    }
    if text("nonce")? != expected.nonce {
        return Err(Wrong::Nonce);
    }
    let subject = text("sub")?;
    if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES {
        return Err(Wrong::Lacks("sub"));
    }
    Ok(())
}

/// For this hub, and where it is for others too, given to this hub.
fn audience(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Wrong> {
    let wrong = |got: &Value| Wrong::Audience {
        expected: expected.client_id.to_owned(),
        got: told(&got.to_string()),
    };
    let audience = claims.get("aud").ok_or(Wrong::Lacks("aud"))?;
    let own = Value::from(expected.client_id);
    let is_shared = match audience {
        Value::Array(all) if all.contains(&own) => all.len() > 1,
        one if *one == own => false,
        other => return Err(wrong(other)),
    };
    match claims.get("azp") {
        Some(party) if *party != own => Err(wrong(party)),
        None if is_shared => Err(Wrong::Lacks("azp")),
        _ => Ok(()),
    }
}

/// Seconds since 1970; some providers write fractions.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<u64, Wrong> {
    let value = claims.get(name).and_then(Value::as_f64);
    let value = value.filter(|value| (0.0..1e12).contains(value));
    value.map(|value| value as u64).ok_or(Wrong::Lacks(name))
}

/// What others wrote, short and on one line.
fn told(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(TOLD_CHARS).collect()
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
