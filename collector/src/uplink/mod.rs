//! The way from the collector to its hub: frames go to a spool, from there over a WebSocket, and are
//! forgotten when the hub says that they are durable.
//!
//! - [`Spool`]: unacknowledged frames of one session, on disk, bounded.
//! - [`Connection`]: the collector's side of the protocol, without I/O: `(state, input, now) -> actions`.
//! - [`Uplink`]: both of them on tokio. [`upload_orphans`] does the same for what killed collectors left.
//!
//! Left out: what is in a frame (the pipeline builds them), and more than one session per connection.

mod backoff;
mod clock;
mod config;
mod connection;
mod driver;
mod event;
mod link;
mod outbox;
mod spool;
mod upload;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use config::{HubAddress, Timing, UplinkConfig, UplinkError};
pub use connection::{Action, Connection, Input, Moment};
pub use driver::{Uplink, UplinkHandle};
pub use event::{Outcome, UplinkEvent, UplinkStats};
pub use spool::{Orphan, Recovery, Spool, SpoolError, SpoolHead, SpoolNotice};
pub use upload::{OrphanFate, OrphanReport, upload_orphans};
pub use wire::{TlsTrust, Wire, dial};
