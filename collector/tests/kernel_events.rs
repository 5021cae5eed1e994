//! The real kernel, real Go programs that know their truth: page faults, huge pages, waits for a processor, mark
//! assists, sweeps and pauses, as recorded and as reported.
//!
//! Needs the eBPF object (`HEAPTIDE_BPF_OBJECT`), Go toolchains (`HEAPTIDE_GO_1_21` to `HEAPTIDE_GO_1_27`), tracefs,
//! and the right to load and attach. What is missing is skipped loudly, and fails under `HEAPTIDE_REQUIRE_ALL=1`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed, and a skip is loud"
)]

#[path = "kernel_events/faults.rs"]
mod faults;
#[expect(dead_code, reason = "shared with another test, which uses the rest")]
#[path = "kernel_hits/go.rs"]
mod go;
#[path = "kernel_events/huge.rs"]
mod huge;
#[path = "kernel_events/off.rs"]
mod off;
#[path = "kernel_events/policy.rs"]
mod policy;
#[path = "kernel_events/target.rs"]
mod target;
#[path = "kernel_events/waits.rs"]
mod waits;
#[path = "kernel_events/work.rs"]
mod work;

use heaptide_collector::linux::bpf::{BpfError, BpfOptions, BpfSession, tracefs_path};

use go::Go;

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}

/// A loaded session, or a skip.
pub(crate) fn session() -> Option<BpfSession> {
    let Some(path) = std::env::var_os("HEAPTIDE_BPF_OBJECT") else {
        skip("no eBPF object: set HEAPTIDE_BPF_OBJECT");
        return None;
    };
    if tracefs_path().is_none() {
        skip("tracefs is not mounted");
        return None;
    }
    let object = std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    // As large as the records of a whole run, so that nothing is lost however slow this machine is.
    match BpfSession::load(&object, &BpfOptions { ring_bytes: 64 << 20 }) {
        Err(BpfError::NoRight { doing, remedy }) => {
            skip(&format!("no right to {doing}: {remedy}"));
            None
        }
        Err(error) => panic!("{error}"),
        Ok(session) => Some(session),
    }
}

/// The toolchains that there are, the oldest first.
pub(crate) fn toolchains() -> Vec<Go> {
    let all = Go::all();
    if all.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go, and others from HEAPTIDE_GO_1_21 on");
    }
    all
}

/// Our open links into the kernel: tracepoints and uprobes.
pub(crate) fn links() -> usize {
    let fds = std::fs::read_dir("/proc/self/fdinfo").expect("our own descriptors");
    fds.filter_map(|fd| std::fs::read_to_string(fd.ok()?.path()).ok())
        .filter(|text| text.contains("link_type:"))
        .count()
}

/// Whether this test is alone in its process, so that [`links`] are its own; runs it so if it is not.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os("HEAPTIDE_TEST_ALONE").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture"])
        .env("HEAPTIDE_TEST_ALONE", "1")
        .output()
        .expect("run this test again");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
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
