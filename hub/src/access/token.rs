//! A token: its text, and what the hub keeps of it.
//!
//! The text is `ht_<id>_<secret>`. The id is public and finds the entry; of the secret, 256 random bits, the hub
//! keeps a SHA-256 only. A slow hash would guard against guessing what a person chose, and nobody chose this.

use super::Role;
use crate::catalog::Entry;
use crate::oidc::NAME_PREFIX;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

const PREFIX: &str = "ht_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const NAME_CHARS: usize = 64;
/// Names that the audit log uses for something else.
const RESERVED: [&str; 2] = ["local", "nobody"];

/// The system has no random numbers to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this system gives no random numbers: check /dev/urandom")]
pub(crate) struct NoRandom;

/// A SHA-256 of something secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

/// A token's two halves, as somebody presents them.
pub(crate) struct Presented {
    pub(crate) id: String,
    pub(crate) secret: Digest,
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenEntry {
    pub(crate) name: String,
    pub(crate) role: Role,
    secret_sha256: String,
    pub(crate) created_unix_ns: u64,
    pub(crate) created_by: String,
    pub(crate) expires_unix_ns: Option<u64>,
    pub(crate) last_used_unix_ns: Option<u64>,
    pub(crate) revoked_unix_ns: Option<u64>,
}

/// What anyone who administers a hub may know of a token: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// The middle part of the token's text.
    pub id: String,
    pub name: String,
    pub role: Role,
    pub created_unix_ns: u64,
    pub created_by: String,
    /// Without it, it holds until it is revoked.
    pub expires_unix_ns: Option<u64>,
    /// To a minute.
    pub last_used_unix_ns: Option<u64>,
    pub revoked_unix_ns: Option<u64>,
}

/// A token that was made just now. Its text is not kept anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    pub token: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

impl Entry for TokenEntry {
    const TABLE: &'static str = "tokens";
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

impl Digest {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// In a time that does not depend on where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Presented {
    /// `None` if the text is no token at all.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str, bytes: usize| {
            text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then(|| Self {
            id: id.to_owned(),
            secret: Digest::of(secret.as_bytes()),
        })
    }
}

impl TokenEntry {
    /// A new one: its id, what is kept, and its text.
    pub(crate) fn create(
        name: &str,
        role: Role,
        created_by: &str,
        now_unix_ns: u64,
        expires_unix_ns: Option<u64>,
    ) -> Result<(String, Self, String), NoRandom> {
        let id = random_hex::<ID_BYTES>()?;
        let secret = random_hex::<SECRET_BYTES>()?;
        let text = format!("{PREFIX}{id}_{secret}");
        let entry = Self {
            name: name.to_owned(),
            role,
            secret_sha256: HEXLOWER.encode(&Digest::of(secret.as_bytes()).0),
            created_unix_ns: now_unix_ns,
            created_by: created_by.to_owned(),
            expires_unix_ns,
            last_used_unix_ns: None,
            revoked_unix_ns: None,
        };
        Ok((id, entry, text))
    }

    /// What a presented secret is compared with. An entry that was damaged matches nothing.
    pub(crate) fn secret(&self) -> Option<Digest> {
        let bytes = HEXLOWER.decode(self.secret_sha256.as_bytes()).ok()?;
        Some(Digest(bytes.try_into().ok()?))
    }

    pub(crate) fn info(&self, id: &str) -> TokenInfo {
        TokenInfo {
            id: id.to_owned(),
            name: self.name.clone(),
            role: self.role,
            created_unix_ns: self.created_unix_ns,
            created_by: self.created_by.clone(),
            expires_unix_ns: self.expires_unix_ns,
            last_used_unix_ns: self.last_used_unix_ns,
            revoked_unix_ns: self.revoked_unix_ns,
        }
    }

    pub(crate) fn holds(&self, now_unix_ns: u64) -> bool {
        self.revoked_unix_ns.is_none() && self.expires_unix_ns.is_none_or(|expires| now_unix_ns < expires)
    }
}

/// A sentence if a token can't be called so.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.trim() != name {
        return Err(
            "a token needs a name, without spaces around it: whose is it, or what is it for?".to_owned(),
        );
    }
    let chars = name.chars().count();
    if chars > NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!(
            "expected a name of at most {NAME_CHARS} printable characters, got {chars}"
        ));
    }
    // Whoever signs in with an identity provider is called so.
    if RESERVED.contains(&name) || name.starts_with(NAME_PREFIX) {
        return Err(format!(
            "{name:?} has a meaning of its own in the audit log: choose another name"
        ));
    }
    Ok(())
}

pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, NoRandom> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_are_tokens() {
        let id = "0123456789abcdef";
        let secret = "5".repeat(64);
        for (text, expected) in [
            (format!("ht_{id}_{secret}"), true),
            (format!("ht_{id}_{secret}5"), false),
            (format!("ht_{id}_{}", &secret[1..]), false),
            (format!("ht_{}_{secret}", &id[1..]), false),
            (format!("HT_{id}_{secret}"), false),
            (format!("ht_{}_{secret}", id.to_uppercase()), false),
            (format!("ht_{id}_{}g", &secret[1..]), false),
            (format!("ht_{id}{secret}"), false),
            (format!("ht_{id}__{secret}"), false),
            (format!(" ht_{id}_{secret}"), false),
            ("ht__".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Presented::parse(&text).is_some(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_entry_knows_its_own_text_and_does_not_hold_it() {
        let (id, entry, text) = TokenEntry::create("ci", Role::Viewer, "local", 7, None).unwrap();
        let presented = Presented::parse(&text).unwrap();
        assert_eq!(presented.id, id);
        assert!(entry.secret().unwrap().is(&presented.secret));
        let secret = text.rsplit('_').next().unwrap();
        let kept = serde_json::to_string(&entry).unwrap();
        assert!(!kept.contains(secret), "{kept}");
        let (_, other, _) = TokenEntry::create("ci", Role::Viewer, "local", 7, None).unwrap();
        assert!(!other.secret().unwrap().is(&presented.secret));
    }

    #[test]
    fn names_as_a_table() {
        for (name, right) in [
            ("ci", true),
            ("Ana's laptop", true),
            ("", false),
            (" ci", false),
            ("a\nb", false),
            ("local", false),
            ("oidc:ana@example.com", false),
        ] {
            assert_eq!(check_name(name).is_ok(), right, "{name:?}");
        }
        assert!(check_name(&"x".repeat(64)).is_ok());
        assert!(check_name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn when_a_token_holds() {
        let (_, entry, _) = TokenEntry::create("ci", Role::Viewer, "local", 7, Some(100)).unwrap();
        let revoked = TokenEntry {
            revoked_unix_ns: Some(50),
            ..entry.clone()
        };
        for (entry, now, expected) in [(&entry, 99, true), (&entry, 100, false), (&revoked, 60, false)] {
            assert_eq!(entry.holds(now), expected, "{entry:?} at {now}");
        }
    }
}
