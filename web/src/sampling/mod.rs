//! The sampling control: what a change would mean, what became of one, and the panel for it.

mod amount;
mod consequence;
mod draft;
mod outcome;
#[cfg(target_arch = "wasm32")]
mod panel;
mod sources;

pub use amount::amount;
pub use consequence::{Consequence, EXAMPLE_LIVE_BYTES, consequence};
pub use draft::{Change, Draft, MAX_STEP, MIN_STEP, changes};
pub use outcome::{Standing, rate_lock, standing};
#[cfg(target_arch = "wasm32")]
pub(crate) use panel::SamplingPanel;
pub use sources::{SOURCES, SourceSwitch, next_exact, next_leak_check};
