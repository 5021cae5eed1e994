//! A recording in the formats of other tools. Each has the estimates, weighed sample by sample as Go's own
//! heap profile is; intervals have no place there, so they are told in words where the format has room.

mod collapsed;
mod firefox;
mod gzip;
mod pprof;
mod proto;

use crate::quantity;
use crate::tell::metric_name;
use crate::{Recording, RecordingError};
use heaptide_analysis::views::{Metric, Window};
use heaptide_analysis::{Estimator, StackSamples};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `go tool pprof`: profile.proto, compressed with gzip.
    Pprof,
    /// `flamegraph.pl` and its relatives: a line for each stack.
    Collapsed,
    /// profiler.firefox.com: a processed profile.
    Firefox,
}

#[derive(Debug, Clone)]
pub struct ExportQuery {
    pub format: Format,
    pub metric: Metric,
    pub window: Window,
}

/// The file's bytes.
pub fn export(recording: &Recording, query: &ExportQuery) -> Result<Vec<u8>, RecordingError> {
    match query.format {
        Format::Pprof => pprof::write(recording, query),
        Format::Collapsed => Ok(collapsed::write(recording, query)),
        Format::Firefox => Ok(firefox::write(recording, query)),
    }
}

/// Samples of one row that a metric counts.
fn counted(row: &StackSamples, metric: Metric) -> u64 {
    match metric {
        Metric::Live => row.live,
        Metric::Kept => row.kept,
        Metric::Allocated => row.allocated,
        Metric::Freed => row.freed,
    }
}

/// What the numbers are, in one sentence: method, rate and the interval of the sum.
fn provenance(samples: &[StackSamples], metric: Metric) -> String {
    let mut estimator = Estimator::default();
    for row in samples {
        estimator.add(row.size_bytes, row.rate_bytes, counted(row, metric) as i64);
    }
    let rate_bytes = samples.iter().map(|row| row.rate_bytes).max().unwrap_or(0);
    let total = estimator.bytes(rate_bytes);
    format!(
        "heaptide {}: {} {}, {}, {} samples",
        env!("CARGO_PKG_VERSION"),
        metric_name(metric),
        quantity::figure(&total, heaptide_analysis::report::Unit::Bytes),
        quantity::method(total.method),
        estimator.samples()
    )
}
