//! The real kernel, real Go programs: the census and the events of goroutines are what Go's own dump of all
//! goroutines says, goroutine by goroutine.
//!
//! Needs what `kernel_hits.rs` needs. Go 1.22 and 1.27; every version under `HEAPTIDE_FULL=1`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed, and a skip is loud"
)]

#[path = "kernel_goroutines/census.rs"]
mod census;
#[path = "kernel_goroutines/dump.rs"]
mod dump;
#[path = "kernel_goroutines/events.rs"]
mod events;
#[allow(dead_code, reason = "shared with kernel_hits.rs, which uses all of it")]
#[path = "kernel_hits/go.rs"]
mod go;
#[path = "kernel_goroutines/leaks.rs"]
mod leaks;
#[path = "kernel_goroutines/target.rs"]
mod target;

use go::{Binary, Go};

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
fn skip(why: &str) {
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}

/// An old and the newest version as they come, and unless only those are wanted, without symbols and at a random
/// address.
fn builds(only_plain: bool) -> Vec<(String, tempfile::TempDir, Binary, u32)> {
    let full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let versions: Vec<Go> = Go::all()
        .into_iter()
        .filter(|go| full || matches!(go.minor, 22 | 27))
        .collect();
    if versions.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go and HEAPTIDE_GO_1_22");
    }
    let kinds: [&[&str]; 3] = [&[], &["-ldflags=-s -w"], &["-buildmode=pie", "-ldflags=-s -w"]];
    let mut builds = Vec::new();
    for go in versions {
        for flags in kinds.into_iter().take(if only_plain { 1 } else { 3 }) {
            let dir = tempfile::tempdir().expect("a folder");
            let binary = go.build(&target::source(), flags, dir.path().join("goroutines"));
            builds.push((format!("go1.{} {flags:?}", go.minor), dir, binary, go.minor));
        }
    }
    builds
}
