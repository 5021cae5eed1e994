//! What can be done with a session in a file: read it, tell it as text or JSON, export it, compare it with
//! another.
//!
//! The file is that of `heaptide record` and equally a segment of the hub ([`heaptide_protocol::log`]).
//! Everything here is sans-I/O: bytes in, values and bytes out. It is native only: the console has its own
//! ways of drawing, and no room for these.

mod diff;
mod export;
mod grid;
mod json;
mod quantity;
mod read;
mod tell;
mod text;

pub use diff::{Change, Condition, Diff, DiffMetric, DiffQuery, Judged, Side, SiteChange, Verdict};
pub use export::{ExportQuery, Format, export};
pub use grid::columns;
pub use heaptide_analysis::views::{Metric, Window};
pub use json::capability as capability_json;
pub use quantity::bytes as bytes_text;
pub use quantity::rfc3339;
pub use read::{Reader, Recording};
pub use tell::{Kind, TellQuery, Told};
pub use text::sources as sources_text;

/// What can be wrong with a recording or with what is asked of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    #[error(
        "not a recording: expected it to begin with \"HEAPLOG\", got {got:02x?}; `heaptide record` makes one"
    )]
    NotARecording { got: Vec<u8> },
    #[error("the recording has version {got}, and this heaptide reads version {expected}: upgrade heaptide")]
    Version { expected: u8, got: u8 },
    #[error("frame {seq} belongs to session {got}, expected {expected}: these files are of two sessions")]
    OtherSession { seq: u64, expected: String, got: String },
    #[error("the recording has no whole frame: it ended before its first one was written")]
    Empty,
    #[error("the window from {from_s} s to {to_s} s is empty: the recording is {length_s:.1} s long")]
    Window { from_s: f64, to_s: f64, length_s: f64 },
    #[error("{format} can't show {metric}: {instead}")]
    Unsupported {
        format: &'static str,
        metric: &'static str,
        instead: &'static str,
    },
    #[error("condition {got:?}: {why}; expected for example 'live > +10%' or 'pause_p99 > 5ms'")]
    Condition { got: String, why: String },
}
