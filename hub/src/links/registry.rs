//! The links that open something, in memory, and the lookup that every bearer goes through.

use super::Link;
use crate::catalog::{Catalog, CatalogError};
use crate::secret;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Semaphore, watch};

/// A secret is 22 characters; what is much longer is not looked at.
const MAX_SECRET_BYTES: usize = 64;

/// Why a secret opens nothing; told to nobody who has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It was a link's, which has expired or was revoked.
    Ended,
    Guess,
}

#[derive(Debug)]
pub(crate) struct Links {
    /// Also those that ended, for as long as they are listed.
    known: RwLock<Vec<Arc<Link>>>,
    /// Counts changes, for those who follow a link that may end.
    changed: watch::Sender<u64>,
    /// One at a time is created or revoked: both change files and the catalogue.
    pub(super) turn: Arc<Semaphore>,
    /// Where frozen copies lie.
    pub(super) folder: PathBuf,
}

impl Links {
    /// Blocks.
    pub(crate) fn load(catalog: &Catalog, data_dir: &Path) -> Result<Self, CatalogError> {
        let known = catalog.list::<Link>()?.into_iter();
        Ok(Self {
            known: RwLock::new(known.map(|(_, link)| Arc::new(link)).collect()),
            changed: watch::Sender::new(0),
            turn: Arc::new(Semaphore::new(1)),
            folder: data_dir.join("links"),
        })
    }

    /// The link of a secret. To its bearer, all wrong ones are the same.
    pub(super) fn open(&self, secret: &str) -> Result<Arc<Link>, Wrong> {
        self.find(secret, crate::clock::unix_ns())
    }

    fn find(&self, secret: &str, now_unix_ns: u64) -> Result<Arc<Link>, Wrong> {
        let cut = secret.floor_char_boundary(MAX_SECRET_BYTES);
        let hash = secret::hash(&secret[..cut]);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that the time says nothing of which one it is.
        let mut found = None;
        for link in known.iter() {
            if secret::is_same(&link.secret_hash, &hash) {
                found = Some(link);
            }
        }
        let link = found.filter(|_| secret.len() == cut).ok_or(Wrong::Guess)?;
        if link.is_open(now_unix_ns) {
            Ok(Arc::clone(link))
        } else {
            Err(Wrong::Ended)
        }
    }

    /// Whether a link that was open still is.
    pub(crate) fn is_open(&self, id: &str) -> bool {
        let now_unix_ns = crate::clock::unix_ns();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .any(|link| link.id == id && link.is_open(now_unix_ns))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn add(&self, link: Link) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.push(Arc::new(link));
    }

    /// Takes the place of the one with the same id, which has ended.
    pub(super) fn end(&self, link: Link) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.iter_mut().find(|known| known.id == link.id) {
            *place = Arc::new(link);
        }
        drop(known);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn forget(&self, id: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|link| link.id != id);
    }

    /// Of the frozen copy of a link, without saying that there is one.
    pub(crate) fn copy(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.htl"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Revoked;
    use super::*;
    use heaptide_protocol::SessionId;

    const NOW: u64 = 1_000;

    fn link(number: u8, secret: &str) -> Link {
        Link {
            id: SessionId([number; 16]).to_string(),
            secret_hash: secret::hash(secret),
            session: SessionId([number; 16]),
            frozen: false,
            from_ns: 0,
            to_ns: u64::MAX,
            view: String::new(),
            redact: true,
            hide: Vec::new(),
            salt: [0; 16],
            created_unix_ns: 0,
            created_by: "test".to_owned(),
            expires_unix_ns: NOW + 1,
            revoked: None,
        }
    }

    fn with(links: &[Link]) -> Links {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let save = |change: &mut crate::catalog::Change| {
            links.iter().try_for_each(|link| change.put(&link.id, link))
        };
        catalog.change_now(save).unwrap();
        Links::load(&catalog, folder.path()).unwrap()
    }

    #[test]
    fn only_the_right_secret_of_an_open_link_opens_it() {
        let expired = Link {
            expires_unix_ns: NOW,
            ..link(2, "expired")
        };
        let revoked = Link {
            revoked: Some(Revoked {
                unix_ns: 1,
                by: "x".to_owned(),
            }),
            ..link(3, "revoked")
        };
        let links = with(&[
            link(1, "right"),
            expired,
            revoked.clone(),
            link(4, "gone"),
            link(5, "ended"),
        ]);
        links.forget(&SessionId([4; 16]).to_string());
        links.end(Link {
            revoked: revoked.revoked,
            ..link(5, "ended")
        });
        use Wrong::{Ended, Guess};
        let long = "right".to_owned() + &"x".repeat(1000);
        let cases = [
            ("right", Ok(1)),
            ("righ", Err(Guess)),
            ("Right", Err(Guess)),
            ("right ", Err(Guess)),
            ("", Err(Guess)),
            ("expired", Err(Ended)),
            ("revoked", Err(Ended)),
            ("ended", Err(Ended)),
            ("gone", Err(Guess)),
            (&long, Err(Guess)),
            // 64 bytes in, in the middle of a letter.
            (&("x".repeat(63) + "é"), Err(Guess)),
            (&SessionId([1; 16]).to_string(), Err(Guess)),
        ];
        for (secret, expected) in cases {
            let found = links.find(secret, NOW).map(|link| link.session.0[0]);
            assert_eq!(found, expected, "{secret:?}");
        }
    }

    #[test]
    fn a_million_guesses_open_nothing() {
        let secrets: Vec<_> = (0..8).map(|number: u32| format!("secret-of-{number}")).collect();
        let links: Vec<_> = secrets
            .iter()
            .zip(1..)
            .map(|(secret, number)| link(number, secret))
            .collect();
        let links = with(&links);
        let mut guess = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..1_000_000 {
            guess ^= guess << 13;
            guess ^= guess >> 7;
            guess ^= guess << 17;
            let text = data_encoding::BASE64URL_NOPAD.encode(&[guess, !guess].map(u64::to_le_bytes).concat());
            assert_eq!(links.find(&text, NOW), Err(Wrong::Guess), "{text}");
        }
        for secret in &secrets {
            assert!(links.find(secret, NOW).is_ok(), "{secret}");
        }
        // By the clock of today they have all expired.
        assert_eq!(links.open(&secrets[0]), Err(Wrong::Ended));
    }

    #[test]
    fn hostile_secrets_open_nothing() {
        let secrets: Vec<String> = (0..8)
            .map(|_| data_encoding::BASE64URL_NOPAD.encode(&secret::random().unwrap()))
            .collect();
        let links: Vec<_> = secrets
            .iter()
            .zip(1..)
            .map(|(secret, number)| link(number, secret))
            .collect();
        let links = with(&links);
        let seeds: Vec<&[u8]> = secrets.iter().map(String::as_bytes).collect();
        crate::hostile::attack(&seeds, false, 1, |bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let is_real = secrets.contains(&text);
            assert_eq!(links.find(&text, NOW).is_ok(), is_real, "{text:?}");
        });
    }
}
