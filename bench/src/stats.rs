//! Medians, and how far they can be trusted.

/// A seed for resampling: the same values always give the same interval.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const RESAMPLES: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: median_of_sorted(&sorted),
            min: sorted.first().copied().unwrap_or(f64::NAN),
            max: sorted.last().copied().unwrap_or(f64::NAN),
            rounds: sorted.len(),
        }
    }
}

/// The 95 % interval of the median: percentiles of the medians of resampled values (bootstrap).
pub(crate) fn median_interval(values: &[f64]) -> (f64, f64) {
    median_interval_of(values, RESAMPLES)
}

fn median_interval_of(values: &[f64], resamples: usize) -> (f64, f64) {
    if values.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let mut random = Random(SEED);
    let mut medians: Vec<f64> = (0..resamples)
        .map(|_| {
            let mut sample: Vec<f64> = values
                .iter()
                .map(|_| values[random.below(values.len())])
                .collect();
            sample.sort_by(f64::total_cmp);
            median_of_sorted(&sample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[resamples / 40], medians[resamples - resamples / 40 - 1])
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// splitmix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(SEED);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_few_and_many() {
        for (values, median) in [
            (&[3.0][..], 3.0),
            (&[4.0, 1.0], 2.5),
            (&[9.0, 1.0, 2.0], 2.0),
            (&[4.0, 3.0, 2.0, 1.0], 2.5),
        ] {
            assert_eq!(Spread::of(values).median, median, "{values:?}");
        }
        assert!(Spread::of(&[]).median.is_nan());
    }

    /// A median drawn 400 times from a known population lies inside its own interval about 95 times in 100.
    #[test]
    fn intervals_hold_the_median_as_often_as_they_say() {
        let mut random = Random(7);
        let mut inside = 0;
        for _ in 0..400 {
            let values: Vec<f64> = (0..15).map(|_| random.below(10_001) as f64).collect();
            let (from, to) = median_interval_of(&values, 400);
            inside += i32::from((from..=to).contains(&5_000.0));
        }
        assert!((360..=396).contains(&inside), "{inside} of 400");
    }
}
