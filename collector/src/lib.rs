//! The collector: what a program does with memory, from the machine that it runs on.
//!
//! `linux` watches, `pipeline` makes ticks of what it saw, `uplink` brings them to a hub without losing or
//! repeating one, `watch` puts the three together for one program.

#[cfg(target_os = "linux")]
pub mod doctor;
mod error;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(target_os = "linux")]
pub mod pipeline;
pub mod uplink;
#[cfg(target_os = "linux")]
pub mod watch;

pub use error::CollectorError;
