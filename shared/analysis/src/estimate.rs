//! From sampled counts to estimates with their error.
//!
//! Go's allocator draws exponential distances between samples, so an object of `s` bytes is sampled with
//! probability `p = 1 - exp(-s / R)`, independently of every other (`runtime.fastexprand`,
//! `runtime.nextSample`). The Horvitz-Thompson estimate of a sum adds `s / p` for each sample; its variance
//! is estimated by the sum of `s^2 (1 - p) / p^2`. A rate changed in mid-session is weighed per sample.

use crate::CONFIDENCE;
use crate::views::Figure;
use heaptide_protocol::session::Method;

/// Standard normal quantile for a two-sided interval at [`CONFIDENCE`].
const Z: f64 = 2.575_829_303_548_900_4;
const _: () = assert!(CONFIDENCE == 0.99, "Z belongs to this level");
/// `-ln(1 - CONFIDENCE)`: with no sample seen, the mean count is below this at the same level.
const NONE_SEEN: f64 = 4.605_170_185_988_091;

/// What one sampled object of a given size and rate stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weight {
    size_bytes: f64,
    /// Objects that one sample stands for: `1 / p`.
    objects: f64,
    /// `1 - p`: 0 if every object is seen.
    unseen: f64,
    rate_bytes: u64,
}

impl Weight {
    pub(crate) fn new(size_bytes: u64, rate_bytes: u64) -> Self {
        let size = size_bytes as f64;
        if rate_bytes <= 1 || size_bytes == 0 {
            return Self {
                size_bytes: size,
                objects: 1.0,
                unseen: 0.0,
                rate_bytes,
            };
        }
        let seen = -libm::expm1(-size / rate_bytes as f64);
        Self {
            size_bytes: size,
            objects: 1.0 / seen,
            unseen: 1.0 - seen,
            rate_bytes,
        }
    }

    pub(crate) fn objects(&self) -> f64 {
        self.objects
    }

    fn bytes(&self) -> f64 {
        self.size_bytes * self.objects
    }
}

/// Sums over samples, enough for an estimate and its interval. Additive, so windows and ticks merge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sum {
    pub(crate) estimate: f64,
    /// Sum of squared weights: `estimate^2 / squares` is the effective number of samples.
    squares: f64,
    variance: f64,
}

/// Bytes and objects of a set of samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Tally {
    pub(crate) samples: i64,
    /// Sum of the rates that the samples were taken at, for their mean.
    rates_bytes: f64,
    pub(crate) bytes: Sum,
    pub(crate) objects: Sum,
}

impl Sum {
    pub(crate) fn add(&mut self, weight: f64, unseen: f64, count: f64) {
        self.estimate += weight * count;
        self.squares += weight * weight * count;
        self.variance += weight * weight * unseen * count;
    }

    pub(crate) fn plus(&self, other: &Self, sign: f64) -> Self {
        Self {
            estimate: self.estimate + sign * other.estimate,
            squares: self.squares + sign * other.squares,
            variance: self.variance + sign * other.variance,
        }
    }

    /// Interval of a weighted Poisson sum: the effective count's interval by Wilson and Hilferty (1931),
    /// scaled, and narrowed by the share of the variance that sampling really leaves.
    fn bounds(&self) -> (f64, f64) {
        let value = self.estimate.max(0.0);
        if value == 0.0 || self.variance <= 0.0 || self.squares <= 0.0 {
            return (value, value);
        }
        let count = value * value / self.squares;
        let cube = |x: f64| x * x * x;
        let low = if count < 0.05 {
            0.0
        } else {
            count * cube((1.0 - 1.0 / (9.0 * count) - Z / (3.0 * count.sqrt())).max(0.0))
        };
        let next = count + 1.0;
        let high = next * cube(1.0 - 1.0 / (9.0 * next) + Z / (3.0 * next.sqrt()));
        let narrow = (self.variance / self.squares).clamp(0.0, 1.0).sqrt();
        let per_count = value / count;
        (
            value - (count - low) * per_count * narrow,
            value + (high - count) * per_count * narrow,
        )
    }

    pub(crate) fn figure(&self, rate_bytes: u64) -> Figure {
        let (low, high) = self.bounds();
        let value = self.estimate.max(0.0);
        Figure {
            value,
            low: low.max(0.0),
            high,
            method: method(rate_bytes),
        }
    }

    /// Half the interval's width as a share of the value.
    pub(crate) fn relative_error(&self) -> f32 {
        let (low, high) = self.bounds();
        if self.estimate > 0.0 {
            ((high - low) / 2.0 / self.estimate) as f32
        } else {
            0.0
        }
    }

    pub(crate) fn std_error(&self) -> f64 {
        self.variance.max(0.0).sqrt()
    }
}

impl Tally {
    pub(crate) fn add(&mut self, weight: &Weight, count: i64) {
        self.samples += count;
        self.rates_bytes += weight.rate_bytes as f64 * count as f64;
        let times = count as f64;
        self.bytes.add(weight.bytes(), weight.unseen, times);
        self.objects.add(weight.objects, weight.unseen, times);
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.combine(other, 1)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.combine(other, -1)
    }

    fn combine(&self, other: &Self, sign: i64) -> Self {
        let samples = self.samples + sign * other.samples;
        if samples == 0 {
            // Equal weights cancel; floating point need not.
            return Self::default();
        }
        Self {
            samples,
            rates_bytes: self.rates_bytes + sign as f64 * other.rates_bytes,
            bytes: self.bytes.plus(&other.bytes, sign as f64),
            objects: self.objects.plus(&other.objects, sign as f64),
        }
    }

    /// The bytes, with an upper bound also where sampling at `rate_bytes` saw nothing.
    pub(crate) fn bytes_figure(&self, rate_bytes: u64) -> Figure {
        if self.samples == 0 && rate_bytes > 1 {
            let high = NONE_SEEN * rate_bytes as f64;
            return Figure {
                value: 0.0,
                low: 0.0,
                high,
                method: method(rate_bytes),
            };
        }
        self.bytes.figure(self.mean_rate_bytes())
    }

    pub(crate) fn objects_figure(&self) -> Figure {
        self.objects.figure(self.mean_rate_bytes())
    }

    /// A rate changed in mid-session leaves samples of both; what is told is their mean.
    fn mean_rate_bytes(&self) -> u64 {
        (self.rates_bytes / self.samples.max(1) as f64).max(0.0).round() as u64
    }
}

pub(crate) fn method(rate_bytes: u64) -> Method {
    if rate_bytes <= 1 {
        Method::Exact
    } else {
        Method::Sampled { rate_bytes }
    }
}

/// An estimate of live or allocated bytes from plain counts, for callers without a session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimator {
    tally: Tally,
}

impl Estimator {
    /// Adds (or, with a negative count, takes away) sampled objects of one size.
    pub fn add(&mut self, size_bytes: u64, rate_bytes: u64, count: i64) {
        self.tally.add(&Weight::new(size_bytes, rate_bytes), count);
    }

    pub fn bytes(&self, rate_bytes: u64) -> Figure {
        self.tally.bytes_figure(rate_bytes)
    }

    pub fn objects(&self) -> Figure {
        self.tally.objects_figure()
    }

    pub fn std_error_bytes(&self) -> f64 {
        self.tally.bytes.std_error()
    }

    pub fn samples(&self) -> i64 {
        self.tally.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: seeded, so that a failure can be run again.
    struct Seeded(u64);

    impl Seeded {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn exponential(&mut self, mean: f64) -> f64 {
            -mean * libm::log(1.0 - self.uniform())
        }
    }

    /// Allocates objects the way Go does and samples them the way Go does.
    fn run(seed: u64, rate: u64, sizes: &[(u64, u32)]) -> (f64, Figure) {
        let mut random = Seeded(seed);
        let mut truth = 0_u64;
        let mut tally = Tally::default();
        let mut next = random.exponential(rate as f64);
        for (size, count) in sizes {
            for _ in 0..*count {
                truth += size;
                if (*size as f64) < next {
                    next -= *size as f64;
                } else {
                    tally.add(&Weight::new(*size, rate), 1);
                    next = random.exponential(rate as f64);
                }
            }
        }
        (truth as f64, tally.bytes_figure(rate))
    }

    #[test]
    fn intervals_cover_the_truth_at_their_level() {
        let cases: [(u64, &[(u64, u32)]); 5] = [
            (524_288, &[(1024, 50_000)]),
            (524_288, &[(16, 100_000), (4096, 4_000), (1 << 20, 20)]),
            (65_536, &[(128, 20_000)]),
            (65_536, &[(65_536, 300), (512, 2_000)]),
            (524_288, &[(1024, 2_000)]),
        ];
        for (rate, sizes) in cases {
            let runs = 1_000;
            let covered = (0..runs)
                .filter(|seed| {
                    let (truth, figure) = run(*seed * 7919 + 1, rate, sizes);
                    figure.low <= truth && truth <= figure.high
                })
                .count();
            let share = covered as f64 / runs as f64;
            assert!(
                (0.98..=1.0).contains(&share),
                "{share} of runs covered for rate {rate}, {sizes:?}"
            );
        }
    }

    #[test]
    fn estimates_are_unbiased() {
        let runs = 2_000;
        let (mut truth, mut sum) = (0.0, 0.0);
        for seed in 0..runs {
            let (exact, figure) = run(seed, 524_288, &[(16, 20_000), (8192, 300)]);
            truth += exact;
            sum += figure.value;
        }
        let ratio = sum / truth;
        assert!(
            (0.97..=1.03).contains(&ratio),
            "mean estimate is {ratio} of the truth"
        );
    }

    #[test]
    fn exact_counts_have_no_error() {
        for rate in [0, 1] {
            let mut tally = Tally::default();
            tally.add(&Weight::new(100, rate), 7);
            let figure = tally.bytes_figure(rate);
            assert_eq!((figure.low, figure.value, figure.high), (700.0, 700.0, 700.0));
            assert_eq!(figure.method, Method::Exact);
        }
    }

    #[test]
    fn nothing_sampled_still_has_an_upper_bound() {
        let figure = Tally::default().bytes_figure(524_288);
        assert_eq!((figure.low, figure.value), (0.0, 0.0));
        assert!(figure.high > 524_288.0);
    }

    #[test]
    fn births_less_deaths_leave_nothing_behind() {
        let weight = Weight::new(48, 524_288);
        let mut births = Tally::default();
        let mut deaths = Tally::default();
        for _ in 0..1000 {
            births.add(&weight, 3);
            deaths.add(&weight, 3);
        }
        assert_eq!(births.minus(&deaths), Tally::default());
    }
}
