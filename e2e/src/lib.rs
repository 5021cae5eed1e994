//! The harness of the end-to-end tests: the real binary, real Go programs, a real kernel, a real hub.
//!
//! - [`machine`] says what this machine can do, and skips loudly what it can't.
//! - [`go`] builds the targets; [`sites`] runs the one that keeps its own exact count.
//! - [`heaptide`] runs `heaptide hub`, `run` and `attach`; [`process`] ends whatever was started, also when a
//!   test fails.
//! - [`strangers`] runs programs that nobody here wrote, and makes load for them.
//! - [`console`] is a console without a browser: it feeds what the hub sends into `heaptide_analysis`.
//! - [`browser`] is a real Chromium, and what the console's page shows in it.
//! - [`wait`] waits for conditions, not for times.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed"
)]

pub mod browser;
pub mod console;
pub mod go;
pub mod heaptide;
pub mod machine;
pub mod process;
pub mod sites;
pub mod strangers;
mod sys;
pub mod wait;

pub use browser::Browser;
pub use console::Console;
pub use go::{Build, Go};
pub use heaptide::{Hub, Watcher};
pub use process::Process;
pub use sites::Sites;
pub use wait::{soon, until};
