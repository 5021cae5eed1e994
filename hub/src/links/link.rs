//! A link as the catalogue keeps it.

use crate::catalog::Entry;
use crate::excerpt::Redactor;
use crate::secret::Hash;
use heaptide_protocol::SessionId;
use heaptide_protocol::report::Window;
use heaptide_protocol::session::PlatformSignature;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Public: in lists and in the audit log. Has nothing to do with the secret.
    pub(crate) id: String,
    /// Of the text that stands in the address.
    pub(crate) secret_hash: Hash,
    pub(crate) session: SessionId,
    pub(crate) frozen: bool,
    pub(crate) from_ns: u64,
    /// The greatest number for a live link that goes on.
    pub(crate) to_ns: u64,
    /// The console's own view state; not understood here.
    pub(crate) view: String,
    pub(crate) redact: bool,
    /// Patterns of words that are taken away as well.
    pub(crate) hide: Vec<String>,
    pub(crate) salt: [u8; 16],
    pub(crate) created_unix_ns: u64,
    pub(crate) created_by: String,
    pub(crate) expires_unix_ns: u64,
    #[serde(default)]
    pub(crate) revoked: Option<Revoked>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revoked {
    pub(crate) unix_ns: u64,
    pub(crate) by: String,
}

impl Entry for Link {
    const TABLE: &'static str = "links";
}

impl Link {
    pub(crate) fn is_open(&self, now_unix_ns: u64) -> bool {
        self.revoked.is_none() && now_unix_ns < self.expires_unix_ns
    }

    pub(crate) fn window(&self) -> Window {
        Window {
            from_ns: self.from_ns,
            to_ns: self.to_ns,
        }
    }

    pub(crate) fn redactor(&self, signature: &PlatformSignature) -> Option<Redactor> {
        self.redact
            .then(|| Redactor::new(self.salt, signature, &self.hide))
    }

    /// Of what is kept for the next question, which is this link's. Ids are random and never used twice.
    pub(crate) fn report_key(&self) -> [u8; 16] {
        self.id
            .parse::<SessionId>()
            .map_or(self.salt, |SessionId(bytes)| bytes)
    }
}
