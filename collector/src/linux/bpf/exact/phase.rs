//! Whether Go's sampler keeps step with the program: the distances between samples, in bins of equal
//! probability.
//!
//! Go samples an object if the exponential distance drawn before ends within it (`runtime.profilealloc`,
//! `runtime.nextSample`). All that is known of the distance is therefore an interval: it ended behind the bytes
//! allocated before the object and not behind the object. A point drawn from that interval, by the
//! distribution's own share of it, is spread evenly over 0 to 1 if the sampler is sound, however large the
//! objects are. What is left of a distance when the window ends is an interval without an upper end; leaving
//! it out would miss the long ones.

/// Bins of equal probability.
const BINS: usize = 20;

/// Counts by bin, and how many bytes there were in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseBins {
    rate_bytes: u64,
    bins: [u32; BINS],
    bytes: u64,
    samples: u32,
    random: u64,
}

impl PhaseBins {
    /// For samples at this mean distance.
    #[must_use]
    pub const fn new(rate_bytes: u64) -> Self {
        Self {
            rate_bytes,
            bins: [0; BINS],
            bytes: 0,
            samples: 0,
            random: rate_bytes,
        }
    }

    /// A distance that ended within an object.
    pub fn sample(&mut self, before_bytes: u64, size_bytes: u64) {
        self.samples += 1;
        let end = before_bytes.saturating_add(size_bytes);
        self.place(before_bytes, end, self.share_below(end));
    }

    /// A distance that had not ended with the window.
    pub fn unfinished(&mut self, since_bytes: u64) {
        if since_bytes > 0 {
            self.place(since_bytes, since_bytes, 1.0);
        }
    }

    /// Mean distance, counts by bin, and bytes between the samples in all; `None` without a sample.
    #[must_use]
    pub fn counts(&self) -> Option<(u64, &[u32], u64)> {
        (self.samples > 0).then_some((self.rate_bytes, &self.bins, self.bytes))
    }

    fn place(&mut self, from_bytes: u64, bytes: u64, to_share: f64) {
        let from_share = self.share_below(from_bytes);
        let at = from_share + (to_share - from_share) * self.uniform();
        let bin = ((at * BINS as f64) as usize).min(BINS - 1);
        self.bins[bin] += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Share of all distances that are shorter.
    fn share_below(&self, bytes: u64) -> f64 {
        -(-(bytes as f64) / self.rate_bytes.max(1) as f64).exp_m1()
    }

    /// 0 to 1, by SplitMix64 (Steele, Lea and Flood, 2014); the same in every run.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 512 << 10;
    /// 99.9 % quantile of chi-square with 19 degrees of freedom.
    const SOUND: f64 = 43.82;

    fn chi_square(bins: &PhaseBins) -> f64 {
        let (_, counts, _) = bins.counts().unwrap();
        let expected = f64::from(counts.iter().sum::<u32>()) / BINS as f64;
        let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        counts.iter().map(square).sum()
    }

    /// Allocates objects of the sizes in turn, and samples them as `distance` says.
    fn run(sizes: &[u64], samples: u32, mut distance: impl FnMut() -> f64) -> PhaseBins {
        let mut bins = PhaseBins::new(RATE);
        let (mut since, mut left) = (0, distance());
        for size in sizes.iter().cycle() {
            left -= *size as f64;
            if left < 0.0 {
                bins.sample(since, *size);
                (since, left) = (0, distance());
                if bins.samples == samples {
                    break;
                }
            } else {
                since += size;
            }
        }
        bins.unfinished(since);
        bins
    }

    fn exponential(seed: u64) -> impl FnMut() -> f64 {
        let mut random = PhaseBins::new(seed);
        move || -(1.0 - random.uniform()).ln() * RATE as f64
    }

    #[test]
    fn a_sound_sampler_fills_the_bins_evenly_whatever_the_objects() {
        for (seed, sizes) in [
            (1, &[64][..]),
            (2, &[16, 4096, 48]),
            (3, &[RATE]),
            (4, &[8 * RATE, 64]),
            (5, &[RATE / 2, 64, 64, 64]),
        ] {
            let bins = run(sizes, 4000, exponential(seed));
            let got = chi_square(&bins);
            assert!(got < SOUND, "{sizes:?}: {got} {bins:?}");
        }
    }

    #[test]
    fn a_sampler_that_keeps_step_is_caught() {
        let fixed = run(&[64], 400, || RATE as f64);
        assert!(chi_square(&fixed) > 10.0 * SOUND, "{fixed:?}");
        // As before Go 1.9: evenly spread between 0 and twice the mean.
        let mut random = PhaseBins::new(7);
        let uniform = run(&[64], 2000, || 2.0 * RATE as f64 * random.uniform());
        assert!(chi_square(&uniform) > SOUND, "{uniform:?}");
    }

    #[test]
    fn short_windows_are_not_biased_towards_short_distances() {
        let mut sum = PhaseBins::new(RATE);
        for seed in 0..4000 {
            // On average one sample to a window.
            let mut distance = exponential(seed);
            let (mut since, mut left) = (0, distance());
            for _ in 0..RATE / 1024 {
                left -= 1024.0;
                if left < 0.0 {
                    sum.sample(since, 1024);
                    (since, left) = (0, distance());
                } else {
                    since += 1024;
                }
            }
            sum.unfinished(since);
        }
        let got = chi_square(&sum);
        assert!(got < SOUND, "{got} {sum:?}");
    }

    #[test]
    fn nothing_sampled_is_nothing_told() {
        let mut bins = PhaseBins::new(RATE);
        bins.unfinished(100);
        assert_eq!(bins.counts(), None);
    }
}
