//! Addresses from which wrong tokens came, and how long each has to wait.
//!
//! Some mistakes are free; after them each doubles the wait. Where there is no room for another address, the one
//! that failed longest ago is forgotten. The moment is an argument, so that tests need not wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

const FREE_MISTAKES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Without another mistake, an address is as good as new.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Who shares a wait: an IPv4 address, or the 64-bit prefix that one IPv6 host commonly owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin(IpAddr);

#[derive(Debug, Clone, Copy)]
struct Mistakes {
    count: u32,
    last: Instant,
    locked_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Lockout {
    capacity: usize,
    mistakes: HashMap<Origin, Mistakes>,
    forgotten: u64,
}

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

impl Lockout {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            mistakes: HashMap::new(),
            forgotten: 0,
        }
    }

    /// How long this one still has to wait.
    pub(crate) fn wait(&self, origin: Origin, now: Instant) -> Option<Duration> {
        let until = self.mistakes.get(&origin)?.locked_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A wrong token came from there. Returns the wait that follows, if one does.
    pub(crate) fn mistake(&mut self, origin: Origin, now: Instant) -> Option<Duration> {
        if !self.mistakes.contains_key(&origin) && self.mistakes.len() >= self.capacity {
            let oldest = self.mistakes.iter().min_by_key(|(_, mistakes)| mistakes.last);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.mistakes.remove(&oldest);
                self.forgotten += 1;
            }
        }
        let mistakes = self.mistakes.entry(origin).or_insert(Mistakes {
            count: 0,
            last: now,
            locked_until: None,
        });
        if now.saturating_duration_since(mistakes.last) >= FORGIVEN_AFTER {
            mistakes.count = 0;
        }
        mistakes.count = mistakes.count.saturating_add(1);
        mistakes.last = now;
        let above = mistakes.count.checked_sub(FREE_MISTAKES + 1)?;
        let wait = FIRST_WAIT
            .saturating_mul(1_u32.checked_shl(above).unwrap_or(u32::MAX))
            .min(LONGEST_WAIT);
        mistakes.locked_until = now.checked_add(wait);
        Some(wait)
    }

    /// Those that had to make room so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    #[test]
    fn each_mistake_above_the_free_ones_doubles_the_wait() {
        let mut lockout = Lockout::new(8);
        let (here, there) = (origin("192.0.2.1"), origin("192.0.2.2"));
        let mut now = Instant::now();
        for _ in 0..FREE_MISTAKES {
            assert_eq!(lockout.mistake(here, now), None);
            assert_eq!(lockout.wait(here, now), None);
        }
        for expected_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let wait = Duration::from_secs(expected_s);
            assert_eq!(lockout.mistake(here, now), Some(wait));
            assert_eq!(lockout.wait(here, now), Some(wait));
            assert_eq!(lockout.wait(there, now), None);
            now += wait;
            assert_eq!(lockout.wait(here, now), None, "after {expected_s} s");
        }
        now += FORGIVEN_AFTER;
        assert_eq!(lockout.mistake(here, now), None);
    }

    #[test]
    fn no_count_of_mistakes_overflows() {
        let mut lockout = Lockout::new(1);
        let now = Instant::now();
        for _ in 0..100 {
            lockout.mistake(origin("::1"), now);
        }
        assert_eq!(lockout.wait(origin("::1"), now), Some(LONGEST_WAIT));
    }

    #[test]
    fn whose_mistakes_count_together() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_forgets() {
        let mut lockout = Lockout::new(8);
        let start = Instant::now();
        for number in 0..100_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            lockout.mistake(Origin::of(address), start + Duration::from_secs(number.into()));
        }
        assert_eq!((lockout.mistakes.len(), lockout.forgotten()), (8, 92));
    }
}
