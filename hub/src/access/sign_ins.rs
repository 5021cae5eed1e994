//! Browsers that signed in, by the hash of a random cookie.
//!
//! In memory only: after a restart of the hub, people sign in again. Both how many there are and how long each
//! lasts is bounded; one too many ends the one that would have ended first.

use super::Caller;
use super::token::{Digest, NoRandom, random_hex};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const COOKIE_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignIn {
    pub(crate) caller: Caller,
    pub(crate) by: By,
    pub(crate) expires_unix_ns: u64,
}

/// What a sign-in came of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// A token, without which it is worth nothing.
    Token(String),
    /// Somebody whom an identity provider knows, by its own name for them. It is not asked again.
    Person(String),
}

#[derive(Debug)]
pub(crate) struct SignIns {
    open: Mutex<HashMap<Digest, SignIn>>,
    capacity: usize,
    /// Of one token or person, so that nobody can end the sign-ins of others by signing in often.
    of_one: usize,
    lasts: Duration,
}

impl SignIns {
    pub(crate) fn new(capacity: usize, of_one: usize, lasts: Duration) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            capacity,
            of_one,
            lasts,
        }
    }

    pub(crate) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The cookie of a new sign-in, and how many others it ended.
    pub(crate) fn open(&self, caller: Caller, by: By, now_unix_ns: u64) -> Result<(String, u64), NoRandom> {
        let cookie = random_hex::<COOKIE_BYTES>()?;
        let lasts_ns = u64::try_from(self.lasts.as_nanos()).unwrap_or(u64::MAX);
        let mut all = self.lock();
        all.retain(|_, sign_in| now_unix_ns < sign_in.expires_unix_ns);
        let mut ended = 0;
        let of_this = all.values().filter(|other| other.by == by).count();
        if of_this >= self.of_one {
            ended += end_first(&mut all, |other| other.by == by);
        } else if all.len() >= self.capacity {
            ended += end_first(&mut all, |_| true);
        }
        all.insert(
            Digest::of(cookie.as_bytes()),
            SignIn {
                caller,
                by,
                expires_unix_ns: now_unix_ns.saturating_add(lasts_ns),
            },
        );
        Ok((cookie, ended))
    }

    pub(crate) fn get(&self, key: &Digest, now_unix_ns: u64) -> Option<SignIn> {
        self.lock()
            .get(key)
            .filter(|sign_in| now_unix_ns < sign_in.expires_unix_ns)
            .cloned()
    }

    pub(crate) fn close(&self, key: &Digest) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, SignIn>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_first(all: &mut HashMap<Digest, SignIn>, which: impl Fn(&SignIn) -> bool) -> u64 {
    let first = all
        .iter()
        .filter(|(_, sign_in)| which(sign_in))
        .min_by_key(|(_, sign_in)| sign_in.expires_unix_ns)
        .map(|(key, _)| *key);
    first.and_then(|key| all.remove(&key)).map_or(0, |_| 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sign_ins: &SignIns, token: &str, now: u64) -> (Digest, u64) {
        let (cookie, ended) = sign_ins
            .open(Caller::local(), By::Token(token.to_owned()), now)
            .unwrap();
        (Digest::of(cookie.as_bytes()), ended)
    }

    #[test]
    fn a_sign_in_ends_with_its_time_or_when_it_is_closed() {
        let sign_ins = SignIns::new(8, 4, Duration::from_nanos(100));
        let (key, _) = open(&sign_ins, "a", 1000);
        for (now, expected) in [(1000, true), (1099, true), (1100, false)] {
            assert_eq!(sign_ins.get(&key, now).is_some(), expected, "{now}");
        }
        sign_ins.close(&key);
        assert_eq!(sign_ins.get(&key, 1000), None);
        assert_eq!(sign_ins.get(&Digest::of(b""), 1000), None);
    }

    #[test]
    fn both_bounds_end_the_oldest() {
        let sign_ins = SignIns::new(8, 4, Duration::from_secs(1));
        let (first_a, _) = open(&sign_ins, "a", 0);
        let (first_b, _) = open(&sign_ins, "b", 1);
        for now in 2..5 {
            assert_eq!(open(&sign_ins, "a", now).1, 0);
        }
        assert_eq!(
            open(&sign_ins, "a", 5).1,
            1,
            "the fifth of one token ends its first"
        );
        assert_eq!(sign_ins.get(&first_a, 5), None);
        assert!(sign_ins.get(&first_b, 5).is_some());
        for now in 6..9 {
            assert_eq!(open(&sign_ins, "c", now).1, 0);
        }
        assert_eq!(open(&sign_ins, "d", 9).1, 1, "the ninth ends the first of all");
        assert_eq!(sign_ins.get(&first_b, 9), None);
        assert_eq!(sign_ins.lock().len(), 8);
    }
}
