//! The real kernel, real Go programs: what the probes hit is what Go itself counted.
//!
//! Needs the eBPF object (`HEAPTIDE_BPF_OBJECT`), Go toolchains (`HEAPTIDE_GO_1_19` to `HEAPTIDE_GO_1_27`),
//! and the right to load and attach. What is missing is skipped loudly, and fails under
//! `HEAPTIDE_REQUIRE_ALL=1`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed, and a skip is loud"
)]

#[path = "kernel_hits/attach.rs"]
mod attach;
#[path = "kernel_hits/counts.rs"]
mod counts;
#[allow(dead_code, reason = "shared with kernel_exact, which asks for types")]
#[path = "kernel_hits/go.rs"]
mod go;
#[path = "kernel_hits/ring.rs"]
mod ring;
#[path = "kernel_hits/target.rs"]
mod target;

use heaptide_collector::linux::bpf::{BpfError, BpfOptions, BpfSession};

use go::{Binary, Go};
use target::Hits;

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}

/// What the program allocates per goroutine unless told otherwise.
pub(crate) const ALLOCS: u64 = 20_000;

/// An object and a toolchain, or a skip.
pub(crate) fn object() -> Option<Vec<u8>> {
    let Some(path) = std::env::var_os("HEAPTIDE_BPF_OBJECT") else {
        skip("no eBPF object: set HEAPTIDE_BPF_OBJECT");
        return None;
    };
    let object = std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    match BpfSession::load(&object, &BpfOptions::default()) {
        Err(BpfError::NoRight { doing, remedy }) => {
            skip(&format!("no right to {doing}: {remedy}"));
            None
        }
        Err(error) => panic!("{error}"),
        Ok(_) => Some(object),
    }
}

pub(crate) fn toolchains() -> Vec<Go> {
    let all = Go::all();
    if all.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go, and others from HEAPTIDE_GO_1_19 on");
    }
    all
}

pub(crate) fn newest() -> Option<Go> {
    toolchains().pop()
}

pub(crate) fn session(object: &[u8]) -> BpfSession {
    // As large as the records of a whole run, so that nothing is lost however slow this machine is.
    BpfSession::load(object, &BpfOptions { ring_bytes: 64 << 20 }).expect("load")
}

pub(crate) fn built(go: &Go, flags: &[&str]) -> (tempfile::TempDir, Binary) {
    let dir = tempfile::tempdir().expect("a folder");
    let binary = go.build(&Hits::source(), flags, dir.path().join("hits"));
    (dir, binary)
}

/// Every version as it comes; the newest and an old one also without symbols and at a random address.
pub(crate) fn builds() -> Vec<(Go, &'static [&'static str])> {
    let stripped: &[&str] = &["-ldflags=-s -w"];
    let anywhere: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
    let mut builds = Vec::new();
    for go in toolchains() {
        builds.push((go.clone(), &[][..]));
        if matches!(go.minor, 19 | 22 | 27) {
            builds.push((go.clone(), stripped));
            builds.push((go, anywhere));
        }
    }
    builds
}

/// Nothing vanishes: seen = sent + dropped in each class, and each record sent was read.
pub(crate) fn assert_nothing_vanished(session: &BpfSession, records: u64) {
    let counters = session.counters().expect("read counters");
    for (class, counted) in counters.iter() {
        assert_eq!(
            counted.seen,
            counted.sent + counted.dropped(),
            "{class:?}: {counted:?}"
        );
    }
    assert_eq!(
        counters.iter().map(|(_, counted)| counted.sent).sum::<u64>(),
        records
    );
}
