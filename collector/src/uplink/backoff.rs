//! How long to wait before the next attempt: doubling, with jitter, so that a restarted hub does not get
//! all of its collectors in the same instant.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            attempt: 0,
            random: seed,
        }
    }

    /// Between `first * 2^n` and half as much again, never above `max`.
    pub(super) fn next(&mut self) -> Duration {
        let base = self
            .first
            .saturating_mul(1_u32 << self.attempt.min(20))
            .min(self.max * 2 / 3);
        self.attempt += 1;
        base + base.mul_f64(self.fraction() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// In 0..1. SplitMix64 (Steele, Lea and Flood, 2014): no secret depends on it.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_success() {
        let (first, max) = (Duration::from_millis(500), Duration::from_secs(30));
        for seed in 0..200 {
            let mut backoff = Backoff::new(first, max, seed);
            for expected_ms in [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000] {
                let wait = backoff.next();
                let base = Duration::from_millis(expected_ms);
                assert!(
                    (base..=base * 3 / 2).contains(&wait),
                    "seed {seed}: {wait:?} for {base:?}"
                );
                assert!(wait <= max);
            }
            for _ in 0..100 {
                assert!(backoff.next() <= max);
            }
            backoff.reset();
            assert!(backoff.next() <= first * 3 / 2);
        }
    }

    #[test]
    fn two_collectors_do_not_wait_alike() {
        let mut waits: Vec<Duration> = (0..100)
            .map(|seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(30), seed).next())
            .collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 90, "{} different waits of 100", waits.len());
    }
}
