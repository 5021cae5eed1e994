//! The connection to the hub: a state machine without a socket, and in the browser the socket for it.

mod backoff;
mod link;
#[cfg(target_arch = "wasm32")]
pub(crate) mod socket;

pub use link::{Link, LinkEvent, LinkOutput, LinkState};
