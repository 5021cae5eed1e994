//! The gate of a hub: what somebody presents, and who that makes them.
//!
//! Until a first token exists, a hub is open to the one person at it. From then on there are four ways in: a token
//! in a header or in a collector's `Hello`, the cookie of a browser that signed in with one or with an identity provider,
//! and a collector's certificate. What opened a connection is remembered as a [`Grant`], so that the connection ends with it.

use super::lockout::{Lockout, Origin};
use super::rate::{Bucket, Rate, Rates};
use super::sign_ins::{By, SignIns};
use super::token::Digest;
use super::tokens::{Found, Tokens, Worthless};
use super::{Caller, Role};
use crate::catalog::{Catalog, CatalogError};
use crate::config::Limits;
use crate::stats::Stats;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A clock may be set; a connection looks again at least so often whether it may stay.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Refusals that are written down: so many at once, and then one a minute.
const TOLD_REFUSALS: Rate = Rate {
    per_s: 1.0 / 60.0,
    burst: 30.0,
};

/// Said of every token that opens nothing, so that nobody learns which kind of wrong it is.
pub(crate) const WRONG_TOKEN: &str =
    "this token opens nothing here: ask an admin of this hub for another, and mind that it is copied whole";
pub(crate) const NO_TOKEN: &str = "this hub asks for a token: browsers sign in, programs send it with --token, HEAPTIDE_TOKEN or an Authorization \
     header; an admin of this hub creates one";
pub(crate) const NO_LONGER: &str =
    "what opened this connection is no longer valid: sign in again, or ask an admin of this hub";

/// Where somebody comes from, and the certificate that they proved to have.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) origin: Origin,
    pub(crate) address: std::net::IpAddr,
    pub(crate) certificate: Option<ClientCertificate>,
}

/// A collector's certificate that this hub's client authority has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) subject: String,
    pub(crate) expires_unix_ns: u64,
}

/// Somebody, and what they are let in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    pub(crate) grant: Grant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The hub asks nobody for anything.
    Open,
    Token {
        id: String,
    },
    SignIn {
        key: Digest,
    },
    Certificate {
        expires_unix_ns: u64,
    },
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    Wrong,
    /// Too many wrong ones came from there.
    Wait(Duration),
}

/// What a refusal adds to the log and the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) denied: Denied,
    /// A sentence, if this one is to be written down.
    pub(crate) line: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    pub(crate) sign_ins: SignIns,
    lockout: Mutex<Lockout>,
    rates: Mutex<Rates<(String, Origin)>>,
    told: Mutex<(Bucket, u64)>,
    /// Ask for a token although none exists yet.
    require: bool,
    changed: watch::Sender<()>,
    stats: Arc<Stats>,
}

impl Access {
    pub(crate) fn open(
        catalog: &Catalog,
        require: bool,
        limits: &Limits,
        stats: Arc<Stats>,
    ) -> Result<Self, CatalogError> {
        let rate = Rate {
            per_s: limits.requests_per_s.into(),
            burst: limits.requests_burst.into(),
        };
        Ok(Self {
            tokens: Tokens::open(catalog, limits.tokens)?,
            sign_ins: SignIns::new(limits.sign_ins, limits.sign_ins_of_one, limits.sign_in_lasts),
            lockout: Mutex::new(Lockout::new(limits.remembered_addresses)),
            rates: Mutex::new(Rates::new(rate, limits.remembered_addresses)),
            told: Mutex::new((Bucket::full(TOLD_REFUSALS, Instant::now()), 0)),
            require,
            changed: watch::Sender::new(()),
            stats,
        })
    }

    /// Whether everyone who reaches the hub may do everything.
    pub(crate) fn is_open(&self) -> bool {
        !self.require && !self.tokens.any()
    }

    /// After a change of tokens: connections look whether they may stay.
    pub(crate) fn tell_changed(&self) {
        self.changed.send_replace(());
    }

    /// How long nothing is taken from there.
    pub(crate) fn locked_out(&self, visitor: &Visitor) -> Option<Duration> {
        lock(&self.lockout).wait(visitor.origin, Instant::now())
    }

    /// Looks at a token. While an address is locked out, also a right one is not looked at.
    pub(crate) fn token(&self, visitor: &Visitor, text: &str) -> Result<Identity, Refused> {
        let now = Instant::now();
        if let Some(left) = lock(&self.lockout).wait(visitor.origin, now) {
            return Err(Refused {
                denied: Denied::Wait(left),
                line: None,
            });
        }
        match self.tokens.check(text, crate::clock::unix_ns()) {
            Ok(Found { id, caller }) => Ok(Identity {
                caller,
                grant: Grant::Token { id },
            }),
            Err(worthless) => {
                // A token that was one once shows a collector that was forgotten, not somebody who guesses.
                let waits = (worthless == Worthless::Guess)
                    .then(|| self.mistake(visitor, now))
                    .flatten();
                Err(Refused {
                    denied: Denied::Wrong,
                    line: self.tell(worthless.words(), waits, now),
                })
            }
        }
    }

    /// Whoever signed in and got this cookie.
    pub(crate) fn cookie(&self, cookie: &str) -> Option<Identity> {
        let key = Digest::of(cookie.as_bytes());
        let grant = Grant::SignIn { key };
        let now = crate::clock::unix_ns();
        let sign_in = self.sign_ins.get(&key, now)?;
        self.holds_until(&grant, now)?;
        Some(Identity {
            caller: sign_in.caller,
            grant,
        })
    }

    /// A browser's cookie for a token that was found to hold, and how many others had to end for it.
    pub(crate) fn sign_in(&self, identity: &Identity) -> Result<(String, u64), String> {
        let Grant::Token { id } = &identity.grant else {
            return Err("only a token signs in".to_owned());
        };
        let now = crate::clock::unix_ns();
        let by = By::Token(id.clone());
        let opened = self.sign_ins.open(identity.caller.clone(), by, now);
        opened.map_err(|error| error.to_string())
    }

    /// The same for somebody whom the identity provider vouches for.
    pub(crate) fn sign_in_person(&self, caller: Caller, subject: String) -> Result<(String, u64), String> {
        let opened = self
            .sign_ins
            .open(caller, By::Person(subject), crate::clock::unix_ns());
        opened.map_err(|error| error.to_string())
    }

    /// Without asking anything: on an open hub, or a collector by its certificate.
    pub(crate) fn unasked(&self, visitor: &Visitor) -> Option<Identity> {
        if self.is_open() {
            return Some(Identity {
                caller: Caller::local(),
                grant: Grant::Open,
            });
        }
        let certificate = visitor.certificate.as_ref()?;
        let grant = Grant::Certificate {
            expires_unix_ns: certificate.expires_unix_ns,
        };
        self.holds_until(&grant, crate::clock::unix_ns())?;
        Some(Identity {
            caller: Caller {
                name: certificate.subject.clone(),
                role: Role::Collector,
            },
            grant,
        })
    }

    /// Or how long to wait. Whoever has no name shares a bucket with all at their address who have none.
    pub(crate) fn take_turn(&self, visitor: &Visitor, identity: Option<&Identity>) -> Result<(), Duration> {
        let name = match identity {
            Some(identity) if identity.grant == Grant::Open => return Ok(()),
            Some(identity) => identity.caller.name.clone(),
            None => String::new(),
        };
        let mut rates = lock(&self.rates);
        let before = rates.forgotten();
        let taken = rates.take((name, visitor.origin), Instant::now());
        self.stats.addresses_forgotten.add(rates.forgotten() - before);
        taken
    }

    /// Resolves when the grant is worth nothing any more.
    pub(crate) async fn lost(&self, grant: &Grant) {
        let mut changed = self.changed.subscribe();
        loop {
            let now = crate::clock::unix_ns();
            let Some(until) = self.holds_until(grant, now) else {
                return;
            };
            let left = Duration::from_nanos(until.saturating_sub(now)).min(LOOK_AGAIN);
            tokio::select! {
                // The sender lives as long as `self`.
                _ = changed.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Until when a grant holds, if it still does.
    pub(crate) fn holds_until(&self, grant: &Grant, now_unix_ns: u64) -> Option<u64> {
        match grant {
            Grant::Open => self.is_open().then_some(u64::MAX),
            Grant::Token { id } => self.tokens.holds_until(id, now_unix_ns),
            Grant::SignIn { key } => {
                let sign_in = self.sign_ins.get(key, now_unix_ns)?;
                match &sign_in.by {
                    By::Token(id) => {
                        let token = self.tokens.holds_until(id, now_unix_ns)?;
                        Some(token.min(sign_in.expires_unix_ns))
                    }
                    By::Person(_) => Some(sign_in.expires_unix_ns),
                }
            }
            Grant::Certificate { expires_unix_ns } => {
                (now_unix_ns < *expires_unix_ns).then_some(*expires_unix_ns)
            }
        }
    }

    /// Somebody came with the secret of a link that nobody was ever given, or a code that is none.
    pub(crate) fn guessed(&self, visitor: &Visitor) {
        self.mistake(visitor, Instant::now());
    }

    fn mistake(&self, visitor: &Visitor, now: Instant) -> Option<Duration> {
        let mut lockout = lock(&self.lockout);
        let before = lockout.forgotten();
        let waits = lockout.mistake(visitor.origin, now);
        self.stats.addresses_forgotten.add(lockout.forgotten() - before);
        waits
    }

    /// What to write down of a refusal that is no token's.
    pub(crate) fn tell_refusal(&self, line: String) -> Option<String> {
        self.tell(line, None, Instant::now())
    }

    /// What to write down of a refusal. Somebody who fails often must not fill a disk.
    fn tell(&self, mut line: String, waits: Option<Duration>, now: Instant) -> Option<String> {
        let (bucket, left_out) = &mut *lock(&self.told);
        if bucket.take(TOLD_REFUSALS, now).is_err() {
            *left_out += 1;
            return None;
        }
        if let Some(waits) = waits {
            line += &format!("; nothing is taken from there for {} s", waits.as_secs());
        }
        if *left_out > 0 {
            line += &format!("; {left_out} refusals before this one were not written down");
            *left_out = 0;
        }
        Some(line)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
