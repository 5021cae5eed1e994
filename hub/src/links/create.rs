//! Making a link, and taking it back.

use super::frozen::{self, FreezeError};
use super::{Frozen, Link, Revoked};
use crate::access::Caller;
use crate::catalog::CatalogError;
use crate::hub::Hub;
use crate::secret;
use crate::session::Session;
use data_encoding::BASE64URL_NOPAD;
use heaptide_protocol::SessionId;
use std::sync::Arc;

/// Of the console's own address, which is bounded to the same.
const MAX_VIEW_BYTES: usize = 8 << 10;
const MAX_PATTERNS: usize = 32;
const MAX_PATTERN_BYTES: usize = 100;
const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;
const DEFAULT_DAYS: u64 = 30;
const MAX_DAYS: u64 = 366;

/// What somebody wants to share.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) frozen: bool,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) view: String,
    pub(crate) redact: bool,
    pub(crate) hide: Vec<String>,
    pub(crate) expires_unix_ns: Option<u64>,
    pub(crate) why: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("a range from {from_ns} to {to_ns} is empty: it ends before or when it begins")]
    Range { from_ns: u64, to_ns: u64 },
    #[error("the view state has at most {MAX_VIEW_BYTES} bytes, got {got}")]
    View { got: usize },
    #[error("a link hides at most {MAX_PATTERNS} patterns, got {got}")]
    Patterns { got: usize },
    #[error(
        "the pattern {got:?} can't be used: expected 1 to {MAX_PATTERN_BYTES} bytes with a letter or digit, such as \
         customer-*"
    )]
    Pattern { got: String },
    #[error("a link can expire from now on to {MAX_DAYS} days from now, and is to expire {when}")]
    Expires { when: &'static str },
    #[error("this hub has {count} links that are open, which is its limit: revoke one first")]
    Full { count: usize },
    #[error("the frozen copies of this hub have {bytes} bytes, which is its limit: revoke a link first")]
    CopiesFull { bytes: u64 },
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("{0}")]
    Unavailable(String),
}

impl Wish {
    fn check(&self, now_unix_ns: u64) -> Result<u64, CreateError> {
        let (from_ns, to_ns) = (self.from_ns, self.to_ns);
        if from_ns >= to_ns {
            return Err(CreateError::Range { from_ns, to_ns });
        }
        if self.view.len() > MAX_VIEW_BYTES {
            return Err(CreateError::View { got: self.view.len() });
        }
        if self.hide.len() > MAX_PATTERNS {
            return Err(CreateError::Patterns { got: self.hide.len() });
        }
        let is_bad = |pattern: &&String| {
            pattern.len() > MAX_PATTERN_BYTES || !pattern.chars().any(char::is_alphanumeric)
        };
        if let Some(bad) = self.hide.iter().find(is_bad) {
            let got = bad.chars().take(MAX_PATTERN_BYTES).collect();
            return Err(CreateError::Pattern { got });
        }
        let expires = self
            .expires_unix_ns
            .unwrap_or(now_unix_ns.saturating_add(DEFAULT_DAYS * DAY_NS));
        if expires <= now_unix_ns {
            return Err(CreateError::Expires { when: "before now" });
        }
        if expires > now_unix_ns.saturating_add(MAX_DAYS * DAY_NS) {
            return Err(CreateError::Expires { when: "later" });
        }
        Ok(expires)
    }
}

/// The link, and its secret, which is told this once.
pub(crate) async fn create(
    hub: &Arc<Hub>,
    caller: Caller,
    session: Arc<Session>,
    wish: Wish,
) -> Result<(Link, String), CreateError> {
    let now_unix_ns = crate::clock::unix_ns();
    let expires_unix_ns = wish.check(now_unix_ns)?;
    let random = || secret::random().map_err(CreateError::Unavailable);
    let secret = BASE64URL_NOPAD.encode(&random()?);
    let to_ns = if wish.frozen {
        wish.to_ns.min(session.summary().last_ns.saturating_add(1))
    } else {
        wish.to_ns
    };
    let link = Link {
        id: SessionId(random()?).to_string(),
        secret_hash: secret::hash(&secret),
        session: session.id,
        frozen: wish.frozen,
        from_ns: wish.from_ns,
        to_ns,
        view: wish.view,
        redact: wish.redact,
        hide: wish.hide,
        salt: random()?,
        created_unix_ns: now_unix_ns,
        created_by: caller.name.clone(),
        expires_unix_ns,
        revoked: None,
    };
    let hub = Arc::clone(hub);
    let stopped = || CreateError::Unavailable("the hub is shutting down".to_owned());
    let turn = Arc::clone(&hub.links.turn).acquire_owned();
    let turn = turn.await.map_err(|_| stopped())?;
    let made = tokio::task::spawn_blocking(move || {
        // Also when whoever asked is gone meanwhile.
        let _turn = turn;
        store(&hub, &caller, &session, link, &wish.why)
    });
    let link = made.await.map_err(|_| stopped())??;
    Ok((link, secret))
}

fn store(
    hub: &Hub,
    caller: &Caller,
    session: &Arc<Session>,
    link: Link,
    why: &str,
) -> Result<Link, CreateError> {
    let limits = &hub.config.limits;
    let all = hub.catalog.list::<Link>()?;
    let now_unix_ns = crate::clock::unix_ns();
    let count = all.iter().filter(|(_, link)| link.is_open(now_unix_ns)).count();
    if count >= limits.links {
        return Err(CreateError::Full { count });
    }
    let ended = all.len() - count;
    if ended >= limits.links {
        forget_oldest(hub, all, now_unix_ns)?;
    }
    let copy = if link.frozen {
        let bytes = frozen::stored_bytes(&hub.links);
        if bytes >= limits.all_frozen_bytes {
            return Err(CreateError::CopiesFull { bytes });
        }
        Some(frozen::freeze(hub, session, &link)?)
    } else {
        None
    };
    let saved = hub.catalog.change_now(|change| {
        change.put(&link.id, &link)?;
        if let Some(copy) = &copy {
            change.put(&link.id, copy)?;
        }
        let subject = format!("{} of session {}", link.id, link.session);
        change.audit(caller, "link created", &subject, why)
    });
    if let Err(error) = saved {
        // Swept away later if this fails.
        let _ = std::fs::remove_file(hub.links.copy(&link.id));
        return Err(error.into());
    }
    hub.links.add(link.clone());
    Ok(link)
}

/// Of those that have ended and are only listed.
fn forget_oldest(hub: &Hub, all: Vec<(String, Link)>, now_unix_ns: u64) -> Result<(), CatalogError> {
    let ended = all.into_iter().filter(|(_, link)| !link.is_open(now_unix_ns));
    let Some((id, _)) = ended.min_by_key(|(_, link)| link.created_unix_ns) else {
        return Ok(());
    };
    hub.catalog.change_now(|change| {
        change.remove::<Frozen>(&id)?;
        change.remove::<super::Openings>(&id)?;
        change.remove::<Link>(&id)
    })?;
    hub.links.forget(&id);
    // A copy without an entry is swept away.
    Ok(())
}

/// Ends a link at once, also for those who have it open. `None` if there is no such link; nothing changes if it was
/// revoked before.
pub(crate) async fn revoke(
    hub: &Arc<Hub>,
    caller: Caller,
    id: String,
    why: String,
) -> Result<Option<Link>, CatalogError> {
    let turn = hub.links.turn.acquire().await;
    let key = id.clone();
    let link = hub
        .catalog
        .change(move |change| {
            let Some(mut link) = change.get::<Link>(&key)? else {
                return Ok(None);
            };
            if link.revoked.is_none() {
                link.revoked = Some(Revoked {
                    unix_ns: crate::clock::unix_ns(),
                    by: caller.name.clone(),
                });
                change.put(&key, &link)?;
                change.remove::<Frozen>(&key)?;
                change.audit(&caller, "link revoked", &key, &why)?;
            }
            Ok(Some(link))
        })
        .await?;
    if let Some(link) = &link {
        hub.links.end(link.clone());
        // Nobody finds it any more; what can't be deleted now is swept away later.
        let _ = tokio::fs::remove_file(hub.links.copy(&id)).await;
    }
    drop(turn);
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_bounded() {
        let now = 1_700_000_000_000_000_000;
        let good = Wish {
            frozen: true,
            from_ns: 1,
            to_ns: 2,
            view: "x".repeat(MAX_VIEW_BYTES),
            redact: true,
            hide: vec!["customer-*".to_owned(); MAX_PATTERNS],
            expires_unix_ns: None,
            why: String::new(),
        };
        assert_eq!(good.check(now).unwrap(), now + DEFAULT_DAYS * DAY_NS);
        let expiring = |expires_unix_ns| Wish {
            expires_unix_ns: Some(expires_unix_ns),
            ..good.clone()
        };
        assert_eq!(expiring(now + 1).check(now).unwrap(), now + 1);
        let hiding = |pattern: &str| Wish {
            hide: vec![pattern.to_owned()],
            ..good.clone()
        };
        let cases = [
            (
                Wish {
                    to_ns: 1,
                    ..good.clone()
                },
                "when it begins",
            ),
            (
                Wish {
                    view: "x".repeat(MAX_VIEW_BYTES + 1),
                    ..good.clone()
                },
                "8192 bytes",
            ),
            (
                Wish {
                    hide: vec!["a".to_owned(); MAX_PATTERNS + 1],
                    ..good.clone()
                },
                "32 patterns",
            ),
            (hiding("*"), "pattern"),
            (hiding(""), "pattern"),
            (hiding(&"a".repeat(MAX_PATTERN_BYTES + 1)), "pattern"),
            (expiring(now), "before now"),
            (expiring(0), "before now"),
            (expiring(now + MAX_DAYS * DAY_NS + 1), "later"),
            (expiring(u64::MAX), "later"),
        ];
        for (wish, word) in cases {
            let error = wish.check(now).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
