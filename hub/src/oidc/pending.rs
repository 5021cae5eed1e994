//! Sign-ins that were begun: what the hub has to know again when the browser comes back from the provider.
//!
//! In memory, bounded in time and number, and of each address; each is worth something once, and to the browser that
//! began it, which a cookie tells. The moment is an argument, so that tests need not wait.

use crate::access::{Digest, NoRandom, Origin, random_hex};
use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For signing in at the provider, a second factor included.
pub(super) const LASTS: Duration = Duration::from_secs(10 * 60);
const CAPACITY: usize = 4_096;
/// Of one address, so that nobody can make the hub forget what others have begun.
const OF_ONE: usize = 64;
const RANDOM_BYTES: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Mutex<HashMap<Digest, Begun>>,
}

/// What the answer has to fit to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    browser: Digest,
    origin: Origin,
    until: Instant,
    pub(super) nonce: String,
    /// RFC 7636: the code is worth nothing without it.
    pub(super) verifier: String,
}

/// What goes out with the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) challenge: String,
    /// The browser keeps it.
    pub(super) cookie: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// Never, too long ago, or it was used.
    Unknown,
    OtherBrowser,
}

impl Pending {
    pub(super) fn begin(&self, origin: Origin, now: Instant) -> Result<Ticket, NoRandom> {
        let state = random_hex::<RANDOM_BYTES>()?;
        let nonce = random_hex::<RANDOM_BYTES>()?;
        let cookie = random_hex::<RANDOM_BYTES>()?;
        // 64 characters: RFC 7636 wants 43 to 128.
        let verifier = random_hex::<RANDOM_BYTES>()?;
        let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref());
        let begun = Begun {
            browser: Digest::of(cookie.as_bytes()),
            origin,
            until: now + LASTS,
            nonce: nonce.clone(),
            verifier,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, begun| now < begun.until);
        let of_this = waiting.values().filter(|begun| begun.origin == origin).count();
        if of_this >= OF_ONE {
            forget_first(&mut waiting, |begun| begun.origin == origin);
        } else if waiting.len() >= CAPACITY {
            forget_first(&mut waiting, |_| true);
        }
        waiting.insert(Digest::of(state.as_bytes()), begun);
        Ok(Ticket {
            state,
            nonce,
            challenge,
            cookie,
        })
    }

    /// The browser is back. Another one leaves what was begun to whom it belongs.
    pub(super) fn take(&self, state: &str, cookie: Option<&str>, now: Instant) -> Result<Begun, NotBegun> {
        let key = Digest::of(state.as_bytes());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = waiting.get(&key).filter(|begun| now < begun.until);
        let begun = begun.ok_or(NotBegun::Unknown)?;
        let shown = Digest::of(cookie.unwrap_or_default().as_bytes());
        if !begun.browser.is(&shown) {
            return Err(NotBegun::OtherBrowser);
        }
        waiting.remove(&key).ok_or(NotBegun::Unknown)
    }
}

fn forget_first(waiting: &mut HashMap<Digest, Begun>, which: impl Fn(&Begun) -> bool) {
    let first = waiting
        .iter()
        .filter(|(_, begun)| which(begun))
        .min_by_key(|(_, begun)| begun.until)
        .map(|(key, _)| *key);
    if let Some(key) = first {
        waiting.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u32) -> Origin {
        Origin::of(std::net::IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn what_was_begun_is_worth_something_once_and_to_its_own_browser() {
        let pending = Pending::default();
        let now = Instant::now();
        let ticket = pending.begin(origin(1), now).unwrap();
        let other = pending.begin(origin(1), now).unwrap();
        let take = |state: &str, cookie: Option<&str>, now| pending.take(state, cookie, now).map(|_| ());
        for (state, cookie, expected) in [
            (ticket.state.as_str(), None, NotBegun::OtherBrowser),
            (&ticket.state, Some(other.cookie.as_str()), NotBegun::OtherBrowser),
            (&ticket.state, Some(""), NotBegun::OtherBrowser),
            ("", Some(&ticket.cookie), NotBegun::Unknown),
            (&ticket.cookie, Some(&ticket.cookie), NotBegun::Unknown),
        ] {
            assert_eq!(take(state, cookie, now), Err(expected), "{state} {cookie:?}");
        }
        assert_eq!(
            take(&other.state, Some(&other.cookie), now + LASTS),
            Err(NotBegun::Unknown)
        );
        assert_eq!(take(&ticket.state, Some(&ticket.cookie), now), Ok(()));
        let again = take(&ticket.state, Some(&ticket.cookie), now);
        assert_eq!(again, Err(NotBegun::Unknown));
    }

    /// RFC 7636, appendix B, checks the same function of another verifier; here it is computed from what is kept.
    #[test]
    fn the_challenge_is_the_hash_of_the_verifier() {
        let pending = Pending::default();
        let now = Instant::now();
        let ticket = pending.begin(origin(1), now).unwrap();
        let begun = pending.take(&ticket.state, Some(&ticket.cookie), now).unwrap();
        assert!((43..=128).contains(&begun.verifier.len()));
        let hash = digest(&SHA256, begun.verifier.as_bytes());
        assert_eq!(ticket.challenge, BASE64URL_NOPAD.encode(hash.as_ref()));
        assert_eq!(begun.nonce, ticket.nonce);
    }

    #[test]
    fn one_address_can_not_make_the_hub_forget_what_others_began() {
        let pending = Pending::default();
        let now = Instant::now();
        let ticket = pending.begin(origin(1), now).unwrap();
        for _ in 0..2 * CAPACITY {
            pending.begin(origin(2), now).unwrap();
        }
        assert_eq!(pending.waiting.lock().unwrap().len(), 1 + OF_ONE);
        assert!(pending.take(&ticket.state, Some(&ticket.cookie), now).is_ok());
        for number in 0..2 * CAPACITY as u32 {
            pending.begin(origin(number), now).unwrap();
        }
        assert_eq!(pending.waiting.lock().unwrap().len(), CAPACITY);
    }
}
