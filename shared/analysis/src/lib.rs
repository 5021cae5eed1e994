//! From frames to answers: live heap, lifetimes, collections, call sites, and the error of each figure.
//!
//! The same code runs natively and in the browser and gives the same bytes ([`parity`]): `exp` and its kin
//! come from the `libm` crate on every target. Sans-I/O; the clock is the session's own.

#[cfg(feature = "reports")]
pub mod clock;
mod collections;
mod estimate;
mod flame;
#[cfg(feature = "reports")]
mod goroutine_events;
#[cfg(feature = "reports")]
mod kernel;
#[cfg(feature = "store")]
pub mod levels;
mod lifetimes;
pub mod order;
pub mod parity;
pub mod report;
mod samples;
#[cfg(test)]
mod seeded;
mod session;
mod stepped;
#[cfg(feature = "store")]
pub mod steps;
#[cfg(feature = "store")]
pub mod summary;
mod symbols;
mod timeline;
pub mod views;

pub use estimate::Estimator;
pub use samples::StackSamples;
pub use session::Session;

use heaptide_protocol::ProtocolError;

/// Intervals are shown at this level: of a hundred, ninety-nine hold the truth.
pub const CONFIDENCE: f64 = 0.99;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("{what} id {got} in the dictionary leaves a gap: expected at most {expected_at_most}")]
    DictionaryGap {
        what: &'static str,
        expected_at_most: usize,
        got: usize,
    },
    #[error("what stands for {room} frames needs {frames}: expected no more than it replaces")]
    SummaryTooLong { frames: u64, room: u64 },
}
