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

    fn bounds(&self) -> (f64, f64) {
        self.bounds_at(Z)
    }

    /// Interval of a weighted Poisson sum, `z` standard errors to each side: Jeffreys' interval of the
    /// effective count (its coverage is the level on average, for few counts too: Brown, Cai and DasGupta
    /// 2003) with the gamma quantiles of Wilson and Hilferty (1931), scaled, and narrowed by the share of
    /// the variance that sampling really leaves.
    fn bounds_at(&self, z: f64) -> (f64, f64) {
        let value = self.estimate.max(0.0);
        if value == 0.0 || self.variance <= 0.0 || self.squares <= 0.0 {
            return (value, value);
        }
        let count = value * value / self.squares;
        let shape = count + 0.5;
        let quantile = |z: f64| {
            let root = (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).max(0.0);
            shape * root * root * root
        };
        let (low, high) = (quantile(-z).min(count), quantile(z));
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

    /// How often sampling alone would show so large a difference between two sums of the same truth.
    ///
    /// By the normal law, less one sample's weight: that correction keeps it on the safe side where the
    /// samples are few.
    #[cfg(feature = "reports")]
    pub(crate) fn chance_of_difference(&self, other: &Self) -> f64 {
        let difference = (self.estimate - other.estimate).abs();
        let variance = self.variance + other.variance;
        if difference == 0.0 {
            return 1.0;
        }
        if variance <= 0.0 {
            return 0.0;
        }
        let one_sample = (self.squares + other.squares) / (self.estimate + other.estimate);
        erfc((difference - one_sample).max(0.0) / (2.0 * variance).sqrt()).clamp(f64::MIN_POSITIVE, 1.0)
    }
}

/// `after - before` with its interval from those of the two, which are independent (Zou and Donner 2008).
#[cfg(feature = "reports")]
pub(crate) fn difference(before: &Figure, after: &Figure) -> Figure {
    let far = |a: f64, b: f64| (a * a + b * b).sqrt();
    let value = after.value - before.value;
    Figure {
        value,
        low: value - far(after.value - after.low, before.high - before.value),
        high: value + far(after.high - after.value, before.value - before.low),
        method: after.method,
    }
}

/// The complementary error function from 0 on, to a ten-millionth of itself: the Chebyshev fit `erfcc` of
/// Numerical Recipes (section 6.2), much smaller than the library's.
#[cfg(feature = "reports")]
fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let fit = FIT.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    t * libm::exp(fit - x * x)
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

    /// A share of it, as if it had come evenly.
    pub(crate) fn share(&self, share: f64) -> Self {
        Self {
            samples: (self.samples as f64 * share) as i64,
            rates_bytes: self.rates_bytes * share,
            bytes: Sum::default().plus(&self.bytes, share),
            objects: Sum::default().plus(&self.objects, share),
        }
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
    use crate::seeded::Seeded;

    /// Allocates objects the way Go does and samples them the way Go does.
    fn run(seed: u64, rate: u64, sizes: &[(u64, u32)]) -> (f64, Tally) {
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
        (truth as f64, tally)
    }

    /// At the level that is shown, and at 95 %, where misses are frequent enough to count.
    #[test]
    fn intervals_cover_the_truth_at_their_level() {
        const Z_95: f64 = 1.959_963_984_540_054;
        let cases: [(u64, &[(u64, u32)]); 7] = [
            (524_288, &[(1024, 50_000)]),
            (524_288, &[(16, 100_000), (4096, 4_000), (1 << 20, 20)]),
            (524_288, &[(16, 400_000), (512, 40_000), (8192, 2_000)]),
            (524_288, &[(262_144, 60), (524_288, 40), (64, 50_000)]),
            (65_536, &[(128, 20_000)]),
            (65_536, &[(65_536, 300), (512, 2_000)]),
            (524_288, &[(1024, 12_000)]),
        ];
        for (rate, sizes) in cases {
            let runs = 1_000;
            let (mut shown, mut narrower) = (0, 0);
            for seed in 0..runs {
                let (truth, tally) = run(seed * 7919 + 1, rate, sizes);
                let figure = tally.bytes_figure(rate);
                shown += u32::from(figure.low <= truth && truth <= figure.high);
                let (low, high) = tally.bytes.bounds_at(Z_95);
                narrower += u32::from(low <= truth && truth <= high);
            }
            let (shown, narrower) = (f64::from(shown) / runs as f64, f64::from(narrower) / runs as f64);
            println!("rate {rate}, {sizes:?}: 99 % cover {shown}, 95 % cover {narrower}");
            assert!(
                (0.98..=1.0).contains(&shown),
                "{shown} at 99 % for rate {rate}, {sizes:?}"
            );
            assert!(
                (0.93..=0.97).contains(&narrower),
                "{narrower} at 95 % for rate {rate}, {sizes:?}"
            );
        }
    }

    #[test]
    fn the_error_function_is_the_librarys() {
        for step in 0..120 {
            let x = f64::from(step) / 20.0;
            let (got, expected) = (erfc(x), libm::erfc(x));
            assert!(
                (got / expected - 1.0).abs() < 2e-7,
                "erfc({x}) is {got}, expected {expected}"
            );
        }
    }

    #[test]
    fn differences_of_little_are_no_news() {
        let tally = |samples: i64| {
            let mut tally = Tally::default();
            tally.add(&Weight::new(1024, 524_288), samples);
            tally
        };
        // Against the exact two-sided binomial chance, which it must not fall below.
        for (before, after, exact) in [
            (5, 5, 1.0),
            (0, 1, 1.0),
            (0, 7, 0.015_6),
            (5, 20, 0.004_1),
            (0, 20, 1.9e-6),
        ] {
            let chance = tally(before).bytes.chance_of_difference(&tally(after).bytes);
            assert!(chance >= exact * 0.99, "{before} and {after}: {chance}");
            assert!(
                chance <= (exact * 20.0_f64).min(1.0),
                "{before} and {after}: {chance}"
            );
        }
        let mut exact = Tally::default();
        exact.add(&Weight::new(1024, 1), 3);
        assert_eq!(exact.bytes.chance_of_difference(&Sum::default()), 0.0);
        assert_eq!(exact.bytes.chance_of_difference(&exact.bytes), 1.0);
        let figure = difference(&tally(0).bytes_figure(524_288), &tally(4).bytes_figure(524_288));
        assert!(
            figure.low < 0.0 && figure.high > figure.value && figure.value > 0.0,
            "{figure:?}"
        );
    }

    #[test]
    fn estimates_are_unbiased() {
        let runs = 2_000;
        let (mut truth, mut sum) = (0.0, 0.0);
        for seed in 0..runs {
            let (exact, tally) = run(seed, 524_288, &[(16, 20_000), (8192, 300)]);
            truth += exact;
            sum += tally.bytes.estimate;
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
