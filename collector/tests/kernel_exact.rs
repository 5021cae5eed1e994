//! Exact windows on the real kernel: programs that know what they allocate, where, and of which type, against
//! what the kernel counted. The count of all is compared with `runtime.MemStats.Mallocs`.
//!
//! Needs the eBPF object (`HEAPTIDE_BPF_OBJECT`), Go toolchains (`HEAPTIDE_GO_1_22`, `HEAPTIDE_GO_1_27`; all under
//! `HEAPTIDE_FULL=1`) and the right to load and attach. What is missing is skipped loudly, and
//! fails under `HEAPTIDE_REQUIRE_ALL=1`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed, and a skip is loud"
)]

#[path = "kernel_exact/counts.rs"]
mod counts;
#[allow(dead_code, reason = "shared with kernel_hits, which uses all of it")]
#[path = "kernel_hits/go.rs"]
mod go;
#[path = "kernel_exact/program.rs"]
mod program;
#[path = "kernel_exact/watched.rs"]
mod watched;
#[path = "kernel_exact/window.rs"]
mod window;

use heaptide_collector::linux::bpf::{BpfError, BpfOptions, BpfSession, ExactPlan};

use go::{Binary, Go};
use program::Program;

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}

/// The object, or a skip.
pub(crate) fn object() -> Option<&'static [u8]> {
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
        Ok(_) => Some(object.leak()),
    }
}

/// The newest Go with specialised allocators and one without; all of them in a full run.
pub(crate) fn toolchains() -> Vec<Go> {
    let full = std::env::var_os("HEAPTIDE_FULL").is_some();
    let all: Vec<Go> = Go::all()
        .into_iter()
        .filter(|go| full || matches!(go.minor, 22 | 27))
        .collect();
    if all.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go and HEAPTIDE_GO_1_22");
    }
    all
}

pub(crate) struct Built {
    _folder: tempfile::TempDir,
    pub(crate) binary: Binary,
    pub(crate) plan: ExactPlan,
}

pub(crate) fn built(go: &Go, flags: &[&str]) -> Built {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = go.build(&Program::source(), flags, folder.path().join("exact"));
    let plan = ExactPlan::find(&binary.go).expect("a plan");
    Built {
        _folder: folder,
        binary,
        plan,
    }
}
