//! Everything off the main thread: the socket, decoding, analysis, and the answers that the page draws.
//!
//! [`core`](self::Core) is a state machine that runs anywhere and is tested natively; `entry` ties it to a
//! browser's Worker. The two threads share no memory: each message is one postcard buffer, handed over.

mod core;
mod damage;
#[cfg(target_arch = "wasm32")]
mod entry;
mod fleet;
mod messages;
mod views;

#[cfg(test)]
pub(crate) use self::core::sample::{
    pulse as sample_pulse, signature as sample_signature, summary as sample_summary,
};
pub use self::core::{Core, CoreOutput};
pub use fleet::{FleetRow, HISTORY};
pub use messages::{Damage, Extra, Progress, Show, ToPage, ToWorker, ViewUpdate};
