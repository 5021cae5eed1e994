//! How long to wait before the next try to connect: doubling, bounded, and spread at random, so that a
//! restarted hub isn't hit by all its consoles at once.

const FIRST_MS: u64 = 500;
const LONGEST_MS: u64 = 15_000;

#[derive(Debug, Clone)]
pub(super) struct Backoff {
    attempt: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            attempt: 0,
            // Zero would stay zero.
            random: seed | 1,
        }
    }

    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Between three quarters and five quarters of `FIRST_MS * 2^attempt`.
    pub(super) fn next_ms(&mut self) -> u64 {
        let base = FIRST_MS.saturating_mul(1 << self.attempt.min(16)).min(LONGEST_MS);
        self.attempt = self.attempt.saturating_add(1);
        base * 3 / 4 + self.random() % (base / 2)
    }

    /// xorshift64: no secret depends on it.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_bounded_and_differ() {
        let mut one = Backoff::new(1);
        let mut other = Backoff::new(2);
        let bases = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000];
        let mut same = 0;
        for base in bases {
            let (a, b) = (one.next_ms(), other.next_ms());
            for wait in [a, b] {
                assert!((base * 3 / 4..base * 5 / 4).contains(&wait), "{wait} for {base}");
            }
            same += usize::from(a == b);
        }
        assert!(same < bases.len());
        one.reset();
        assert!(one.next_ms() < 625);
    }
}
