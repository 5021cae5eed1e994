//! What must not expire, by whatever limit: each kind of thing that needs stored data says so by a predicate.

use heaptide_protocol::SessionId;
use std::fmt;
use std::sync::{PoisonError, RwLock};

type IsPinned = dyn Fn(SessionId, u64, u64) -> bool + Send + Sync;

#[derive(Default)]
pub(crate) struct Pins(RwLock<Vec<Box<IsPinned>>>);

impl Pins {
    /// `is_pinned(session, from_ns, to_ns)`: whether anything of that session time is needed.
    #[cfg_attr(not(test), expect(dead_code, reason = "share links will pin what they froze"))]
    pub(crate) fn add(&self, is_pinned: impl Fn(SessionId, u64, u64) -> bool + Send + Sync + 'static) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(is_pinned));
    }

    pub(crate) fn is_pinned(&self, session: SessionId, from_ns: u64, to_ns: u64) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|is_pinned| is_pinned(session, from_ns, to_ns))
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_needs_it_is_enough() {
        let pins = Pins::default();
        let session = SessionId([1; 16]);
        assert!(!pins.is_pinned(session, 0, 10));
        pins.add(move |of, from_ns, to_ns| of == session && from_ns <= 5 && 5 <= to_ns);
        pins.add(|_, _, _| false);
        assert!(pins.is_pinned(session, 0, 10));
        assert!(!pins.is_pinned(session, 6, 10));
        assert!(!pins.is_pinned(SessionId([2; 16]), 0, 10));
    }
}
