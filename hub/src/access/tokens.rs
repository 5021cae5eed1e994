//! All tokens of a hub: in memory to be compared with, in the catalogue to last.
//!
//! Changes block until they are durable, and a revoked token is worth nothing from then on. They run on a thread
//! that may block, so that a caller that goes away half way leaves no difference between the two.

use super::token::{NewToken, NoRandom, Presented, TokenEntry, TokenInfo, check_name};
use super::{Caller, Role};
use crate::catalog::{Catalog, CatalogError};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<String, Known>>,
    /// Held through a whole change, so that each starts from the end of the one before.
    changing: Mutex<()>,
    capacity: usize,
}

#[derive(Debug)]
struct Known {
    entry: TokenEntry,
    /// Gone with this run of the hub: it is in no catalogue.
    lent: bool,
    used_since_saved: bool,
}

/// What somebody wants a token to be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) expires_unix_ns: Option<u64>,
}

/// A token that was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) caller: Caller,
}

/// Why a presented token opens nothing. For the hub's log; the one who presented it isn't told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Worthless {
    /// Nobody was given this.
    Guess,
    /// It was a token once.
    Past { name: String, revoked: bool },
}

impl Worthless {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Guess => "a token that nobody was given".to_owned(),
            Self::Past { name, revoked: true } => format!("the token of {name}, which is revoked"),
            Self::Past { name, revoked: false } => format!("the token of {name}, which has expired"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Conflict(String),
    #[error("there is no token {0}: list them, and give the id")]
    Unknown(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

impl Tokens {
    pub(crate) fn open(catalog: &Catalog, capacity: usize) -> Result<Self, CatalogError> {
        let known = catalog.list::<TokenEntry>()?.into_iter().map(|(id, entry)| {
            let known = Known {
                entry,
                lent: false,
                used_since_saved: false,
            };
            (id, known)
        });
        Ok(Self {
            known: Mutex::new(known.collect()),
            changing: Mutex::new(()),
            capacity,
        })
    }

    /// Whether any was ever made. A hub that had tokens stays closed when the last of them is revoked.
    pub(crate) fn any(&self) -> bool {
        self.known().values().any(|known| !known.lent)
    }

    pub(crate) fn check(&self, text: &str, now_unix_ns: u64) -> Result<Found, Worthless> {
        let presented = Presented::parse(text).ok_or(Worthless::Guess)?;
        let mut all = self.known();
        let known = all.get_mut(&presented.id).ok_or(Worthless::Guess)?;
        let entry = &mut known.entry;
        if !entry.secret().is_some_and(|secret| secret.is(&presented.secret)) {
            return Err(Worthless::Guess);
        }
        if !entry.holds(now_unix_ns) {
            return Err(Worthless::Past {
                name: entry.name.clone(),
                revoked: entry.revoked_unix_ns.is_some(),
            });
        }
        entry.last_used_unix_ns = Some(now_unix_ns);
        known.used_since_saved = true;
        Ok(Found {
            id: presented.id,
            caller: Caller {
                name: entry.name.clone(),
                role: entry.role,
            },
        })
    }

    /// Until when a token holds that was found before; `None` if it doesn't any more.
    pub(crate) fn holds_until(&self, id: &str, now_unix_ns: u64) -> Option<u64> {
        let known = self.known();
        let entry = &known.get(id)?.entry;
        entry
            .holds(now_unix_ns)
            .then(|| entry.expires_unix_ns.unwrap_or(u64::MAX))
    }

    /// The newest first.
    pub(crate) fn list(&self) -> Vec<TokenInfo> {
        let known = self.known();
        let kept = known.iter().filter(|(_, known)| !known.lent);
        let mut all: Vec<_> = kept.map(|(id, known)| known.entry.info(id)).collect();
        all.sort_by(|a, b| (Reverse(a.created_unix_ns), &a.id).cmp(&(Reverse(b.created_unix_ns), &b.id)));
        all
    }

    /// Makes a token. Blocks.
    pub(crate) fn create(
        &self,
        catalog: &Catalog,
        by: &Caller,
        wanted: &Wanted,
        why: &str,
    ) -> Result<NewToken, TokenError> {
        let now = crate::clock::unix_ns();
        check_name(&wanted.name).map_err(TokenError::Wrong)?;
        if wanted.expires_unix_ns.is_some_and(|expires| expires <= now) {
            return Err(TokenError::Wrong(
                "this token would have expired already".to_owned(),
            ));
        }
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.room(&wanted.name, now)?;
        let (id, entry, token) =
            TokenEntry::create(&wanted.name, wanted.role, &by.name, now, wanted.expires_unix_ns)?;
        let subject = subject(&id, &entry);
        catalog.change_now(|change| {
            for id in &gone {
                change.remove::<TokenEntry>(id)?;
            }
            if !gone.is_empty() {
                change.audit(
                    by,
                    "dead tokens forgotten",
                    &gone.len().to_string(),
                    "to make room",
                )?;
            }
            change.put(&id, &entry)?;
            change.audit(by, "token created", &subject, why)
        })?;
        let info = entry.info(&id);
        let mut known = self.known();
        for id in &gone {
            known.remove(id);
        }
        known.insert(
            id,
            Known {
                entry,
                lent: false,
                used_since_saved: false,
            },
        );
        Ok(NewToken { token, info })
    }

    /// Ends a token. Blocks. `may_be_last` allows it for the last one that could make another.
    pub(crate) fn revoke(
        &self,
        catalog: &Catalog,
        by: &Caller,
        id: &str,
        why: &str,
        may_be_last: bool,
    ) -> Result<TokenInfo, TokenError> {
        let now = crate::clock::unix_ns();
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = {
            let known = self.known();
            let found = known.get(id).filter(|known| !known.lent);
            let entry = found.map(|known| known.entry.clone());
            let entry = entry.ok_or_else(|| TokenError::Unknown(id.chars().take(80).collect()))?;
            let is_admin = |entry: &TokenEntry| entry.role == Role::Admin && entry.holds(now);
            let others = known
                .iter()
                .any(|(other, known)| other != id && !known.lent && is_admin(&known.entry));
            if is_admin(&entry) && !others && !may_be_last {
                return Err(TokenError::Conflict(
                    "this is the last admin token, and without one nobody could make another: create the next one \
                     first"
                        .to_owned(),
                ));
            }
            entry
        };
        if entry.revoked_unix_ns.is_none() {
            entry.revoked_unix_ns = Some(now);
            catalog.change_now(|change| {
                change.put(id, &entry)?;
                change.audit(by, "token revoked", &subject(id, &entry), why)
            })?;
        }
        if let Some(known) = self.known().get_mut(id) {
            known.entry.revoked_unix_ns = entry.revoked_unix_ns;
        }
        Ok(entry.info(id))
    }

    /// A token for this run of the hub only, that is listed nowhere.
    pub(crate) fn lend(&self, name: &str, role: Role) -> Result<String, NoRandom> {
        let now = crate::clock::unix_ns();
        let (id, entry, token) = TokenEntry::create(name, role, "the hub", now, None)?;
        self.known().insert(
            id,
            Known {
                entry,
                lent: true,
                used_since_saved: false,
            },
        );
        Ok(token)
    }

    /// Writes down when tokens were used last. Blocks.
    pub(crate) fn save_uses(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let used: Vec<_> = {
            let mut known = self.known();
            let used = known
                .iter_mut()
                .filter(|(_, known)| known.used_since_saved && !known.lent);
            used.map(|(id, known)| {
                known.used_since_saved = false;
                (id.clone(), known.entry.clone())
            })
            .collect()
        };
        if used.is_empty() {
            return Ok(());
        }
        catalog.change_now(|change| used.iter().try_for_each(|(id, entry)| change.put(id, entry)))
    }

    /// Whether there is room for one of this name, and which dead ones have to go for it.
    fn room(&self, name: &str, now: u64) -> Result<Vec<String>, TokenError> {
        let known = self.known();
        let kept = || known.iter().filter(|(_, known)| !known.lent);
        if kept().any(|(_, known)| known.entry.name == name && known.entry.holds(now)) {
            return Err(TokenError::Conflict(format!(
                "there is a token called {name:?} already: revoke it, or choose another name"
            )));
        }
        if kept().count() < self.capacity {
            return Ok(Vec::new());
        }
        let dead: Vec<_> = kept()
            .filter(|(_, known)| !known.entry.holds(now))
            .map(|(id, _)| id.clone())
            .collect();
        if dead.is_empty() {
            return Err(TokenError::Conflict(format!(
                "the hub has {} tokens, which is its limit: revoke some",
                self.capacity
            )));
        }
        Ok(dead)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject(id: &str, entry: &TokenEntry) -> String {
    format!("{} ({}, {id})", entry.name, entry.role.name())
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
