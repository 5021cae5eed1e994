//! One number for everything a session says, to hold two builds of this crate against each other.

use crate::Session;
use crate::views::{Metric, ProfileQuery, TimelineQuery, Window};
use serde::Serialize;

const POINTS: u32 = 500;
const LIMIT: u32 = 2_000;

/// FNV-1a over the postcard bytes of all views, over the whole span and over its middle third.
pub fn digest(session: &Session) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let span = session.span();
    let third = (span.to_ns - span.from_ns) / 3;
    let middle = Window {
        from_ns: span.from_ns + third,
        to_ns: span.to_ns - third,
    };
    for window in [span, middle] {
        hash.add(&session.headline_at(window.to_ns));
        hash.add(&session.timeline(&TimelineQuery {
            window,
            points: POINTS,
        }));
        for metric in [Metric::Live, Metric::Kept, Metric::Allocated, Metric::Freed] {
            let query = ProfileQuery {
                window,
                metric,
                filter: String::new(),
                limit: LIMIT,
            };
            hash.add(&session.flame(&query));
            hash.add(&session.sites(&query));
        }
    }
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn add<T: Serialize>(&mut self, value: &T) {
        // Views hold nothing that postcard can't write; if they did, the digest would say so by its constancy.
        for byte in postcard::to_allocvec(value).unwrap_or_default() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
