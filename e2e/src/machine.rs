//! What this machine can do. What it can't is skipped loudly, and a failure with `HEAPTIDE_REQUIRE_ALL=1`.

use std::io::Write as _;
use std::path::PathBuf;

/// Everything that watching a program takes; `None` after a loud skip.
#[must_use]
pub fn can_watch(test: &str) -> Option<PathBuf> {
    let why = match binary() {
        None => "HEAPTIDE_BIN names no heaptide binary: `cargo xtask build --release` makes one".to_owned(),
        Some(_) if !may_load_bpf() => "no right to load eBPF programs: run as root".to_owned(),
        Some(path) => return Some(path),
    };
    skip(test, &why);
    None
}

/// The binary under test.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    std::env::var_os("HEAPTIDE_BIN")
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

/// Says that a test could not do its work here.
///
/// # Panics
/// With `HEAPTIDE_REQUIRE_ALL=1`.
pub fn skip(test: &str, why: &str) {
    let required = std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "HEAPTIDE_REQUIRE_ALL=1, yet {test} can't run: {why}");
    eprintln!("SKIP {test}: {why}");
    if let Some(path) = std::env::var_os("HEAPTIDE_SKIP_FILE") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // The line above has said it already.
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

/// `CAP_SYS_ADMIN`, or `CAP_BPF` and `CAP_PERFMON` (linux/capability.h).
fn may_load_bpf() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const BPF_AND_PERFMON: u64 = 1 << 39 | 1 << 38;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0);
    rights & SYS_ADMIN != 0 || rights & BPF_AND_PERFMON == BPF_AND_PERFMON
}
