//! What a sampling rate means, in numbers that a person can weigh.
//!
//! Go samples allocations as a Poisson process over bytes, so at a mean distance of R bytes a live heap of H
//! bytes in objects well below R holds about H / R samples, and an estimate from n samples has a relative
//! standard error of 1 / sqrt(n). Larger objects are sampled more surely, so both figures are the dear and
//! the coarse end.

use crate::format;

/// The live heap that errors are told for.
pub const EXAMPLE_LIVE_BYTES: f64 = 50.0 * 1024.0 * 1024.0;
/// Half width of a 99 % interval in standard errors, as `heaptide_analysis::CONFIDENCE` has it.
const Z99: f64 = 2.576;
/// Beyond this many samples a second the program feels it: 0.5 to 1.3 µs each on its own threads, beside
/// what Go's sampled path costs anyway.
const DEAR_SAMPLES_PER_S: f64 = 20_000.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Consequence {
    /// `None` while the allocation rate is not known.
    pub samples_per_s: Option<f64>,
    /// Half the 99 % interval at [`EXAMPLE_LIVE_BYTES`], as a share.
    pub error_at_example: f64,
    pub dear: bool,
}

pub fn consequence(rate_bytes: u64, allocated_bytes_per_s: Option<f64>) -> Consequence {
    let rate = rate_bytes.max(1) as f64;
    let samples_per_s = allocated_bytes_per_s
        .filter(|flow| flow.is_finite())
        .map(|flow| flow / rate);
    Consequence {
        samples_per_s,
        error_at_example: Z99 / (EXAMPLE_LIVE_BYTES / rate).sqrt(),
        dear: samples_per_s.is_some_and(|samples| samples > DEAR_SAMPLES_PER_S),
    }
}

impl Consequence {
    /// Two sentences.
    pub fn words(&self) -> String {
        let flow = match self.samples_per_s {
            Some(samples) => format!(
                "About {} samples/s at the present allocation rate.",
                format::count_short(samples.max(0.0))
            ),
            None => "The allocation rate is not known yet.".to_owned(),
        };
        format!(
            "{flow} A live heap of 50 MiB would be known to {}.",
            format::relative_error(self.error_at_example)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finer_costs_more_and_errs_less() {
        let flow = 100.0 * 1024.0 * 1024.0;
        let cases = [
            (512 << 10, 200.0, 0.2576, false),
            (64 << 10, 1_600.0, 0.0911, false),
            (4 << 10, 25_600.0, 0.0228, true),
            (512, 204_800.0, 0.00805, true),
        ];
        for (rate, samples, error, dear) in cases {
            let got = consequence(rate, Some(flow));
            assert_eq!(got.samples_per_s, Some(samples), "{rate}");
            assert!(
                (got.error_at_example / error - 1.0).abs() < 0.01,
                "{rate}: {}",
                got.error_at_example
            );
            assert_eq!(got.dear, dear, "{rate}");
        }
    }

    #[test]
    fn words_hold_without_a_rate() {
        for flow in [None, Some(f64::NAN)] {
            assert!(consequence(0, flow).words().contains("not known yet"));
        }
        let words = consequence(512 << 10, Some(0.0)).words();
        assert!(words.starts_with("About 0 samples/s"), "{words}");
    }
}
