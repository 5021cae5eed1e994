//! What leaves the hub of a session: all of it or a part, as it is or without what names people and places.
//!
//! - [`feed`] reads a stored session (or a file) from its beginning, frame by frame.
//! - [`rewrite`] cuts the part out, [`carry`] sums up what came before it, [`redact`] takes names away.
//!
//! Frames are decoded here, beside the ingest path and never on it. The same frames in give the same frames out,
//! so that a reader who comes back goes on where it was.

mod carry;
pub(crate) mod feed;
pub(crate) mod redact;
pub(crate) mod rewrite;

pub(crate) use feed::{Feed, Pulled};
pub(crate) use redact::Redactor;
pub(crate) use rewrite::Rewriter;
