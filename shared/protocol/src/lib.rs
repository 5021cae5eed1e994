//! Heaptide wire protocol, version 1: what collectors, hubs and consoles say to each other.
//!
//! - One WebSocket binary message is one [`frame`]: magic, version, checksum, a postcard [`Envelope`],
//!   a payload. A hub routes and stores frames by the envelope alone.
//! - Control payloads ([`control`]) are postcard structs.
//! - [`FrameKind::Data`] payloads are a list of [`section`]s: dictionaries, gauges and losses in
//!   postcard; events and lifetime rows as delta and varint columns ([`events`], [`lifetimes`]).
//!
//! Sans-I/O: this crate moves bytes to types and back. Every decoder survives any input and allocates in
//! proportion to it. `docs/protocol.md` describes the bytes for those who write a client without this crate.

pub mod checksum;
pub mod control;
pub mod dictionary;
mod error;
pub mod exact;
pub mod frame;
pub mod gauges;
pub mod goroutines;
pub mod ids;
pub mod ledger;
pub mod log;
pub mod loss;
pub mod report;
pub mod section;
pub mod session;

pub use heaptide_columns::{ColumnError, events, lifetimes, varint};

pub use error::{ProtocolError, Upgrade};
pub use frame::{Compression, Envelope, Frame, FrameKind, VERSION};
pub use ids::{FrameId, SessionId, StackId, StringId, SymbolGen, TagId};
