//! Exact windows: every allocation of a process counted in the kernel for a few seconds.
//!
//! A window has a loaded object of its own, so that the probes that stand for the whole watch never notice,
//! and so that its tables take memory only while it is open. [`run_window`] does it all and is meant for a
//! thread of its own: attaching and detaching wait for the kernel. [`ExactSession`] is the same in steps.
//!
//! Left out: names. What comes out are addresses; whoever knows the binary makes sense of them.

mod phase;
mod plan;
mod session;
mod window;

pub use phase::PhaseBins;
pub use plan::ExactPlan;
pub use session::{ExactOptions, ExactReadout, ExactRowRead, ExactSession};
pub use window::{EndOfWindow, ExactStop, WindowSpec, run_window};
