//! Go programs for the kernel tests: built, started, and with their probe sites.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed"
)]

pub(crate) mod go;
pub(crate) mod target;

use std::sync::atomic::{AtomicU32, Ordering};

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
pub(crate) fn skip(why: &str) {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}
