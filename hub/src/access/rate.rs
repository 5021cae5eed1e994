//! How much somebody may ask in a time: a bucket for each, in a table of bounded size.
//!
//! The moment is an argument, so that tests need not wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// So many at once, and so many a second for ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    pub(crate) burst: f64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    level: f64,
    at: Instant,
}

/// Buckets by key. When there is no room, the one that was asked for longest ago goes.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    rate: Rate,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
    forgotten: u64,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            level: rate.burst,
            at: now,
        }
    }

    /// Or how long to wait.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let passed_s = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed_s * rate.per_s).min(rate.burst);
        self.at = self.at.max(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.level) / rate.per_s.max(1e-9)))
        }
    }
}

impl<K: Eq + Hash + Clone> Rates<K> {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: HashMap::new(),
            forgotten: 0,
        }
    }

    /// Or how long to wait.
    pub(crate) fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.capacity {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.buckets.remove(&oldest);
                self.forgotten += 1;
            }
        }
        let rate = self.rate;
        self.buckets
            .entry(key)
            .or_insert_with(|| Bucket::full(rate, now))
            .take(rate, now)
    }

    /// Those that had to make room so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_s: 2.0,
        burst: 3.0,
    };

    #[test]
    fn a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut rates = Rates::new(RATE, 8);
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, allowed) in [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (499, false),
            (500, true),
            (500, false),
            (60_000, true),
            (60_000, true),
            (60_000, true),
            (60_000, false),
            // A clock that goes back gives nothing and takes nothing.
            (0, false),
        ] {
            assert_eq!(rates.take("a", at(ms)).is_ok(), allowed, "at {ms} ms");
        }
        assert_eq!(rates.take("a", at(60_250)), Err(Duration::from_millis(250)));
        assert!(rates.take("b", at(0)).is_ok());
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_forgets() {
        let start = Instant::now();
        let mut rates = Rates::new(RATE, 8);
        for number in 0..100_u64 {
            let now = start + Duration::from_millis(number);
            assert!(rates.take(number, now).is_ok());
        }
        assert_eq!((rates.buckets.len(), rates.forgotten()), (8, 92));
    }
}
