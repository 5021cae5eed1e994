//! Events and lifetime rows as delta and varint columns: the part of the stream that is decoded by the million.
//!
//! It stands apart from the rest of the protocol because a console's download is optimised for its size, and this
//! for its speed. Sans-I/O; every decoder survives any input and allocates in proportion to it. The bytes are
//! described in `docs/protocol.md`.

mod error;
pub mod events;
pub mod ids;
mod lanes;
pub mod lifetimes;
pub mod varint;

pub use error::ColumnError;
pub use ids::{FrameId, StackId, StringId, SymbolGen, TagId};
