//! What this machine lets the tests and the demo do, with the reason where it doesn't.
//!
//! Looked at from the outside (files, the process's own rights); whether a program really loads is for the
//! kernel tests to show.

use std::fs;
use std::path::Path;

use crate::setup::{chromedriver, chromium};

/// `CAP_PERFMON`, `CAP_BPF` and `CAP_SYS_ADMIN`, as bits of `CapEff` (linux/capability.h).
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Why eBPF programs can't be attached here; `None` when they can.
pub(crate) fn no_bpf() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = effective_rights(&status).unwrap_or(0);
    if rights & CAP_SYS_ADMIN == 0 && rights & (CAP_BPF | CAP_PERFMON) != CAP_BPF | CAP_PERFMON {
        return Some("no right to load eBPF programs: run as root, or with CAP_BPF and CAP_PERFMON".into());
    }
    for (file, what) in [
        (
            "/sys/bus/event_source/devices/uprobe/type",
            "the kernel has no uprobes (CONFIG_UPROBE_EVENTS)",
        ),
        (
            "/sys/kernel/tracing/events/syscalls",
            "tracefs is not mounted: `cargo xtask setup` mounts it",
        ),
    ] {
        if !Path::new(file).exists() {
            return Some(format!("{what}: there is no {file}"));
        }
    }
    None
}

/// Why no browser can be driven here; `None` when one can.
pub(crate) fn no_browser() -> Option<String> {
    if chromium().is_none() {
        return Some("no Chromium: `cargo xtask setup` installs it".into());
    }
    chromedriver()
        .is_none()
        .then(|| "no chromedriver: `cargo xtask setup` installs it".into())
}

/// The `CapEff` line of `/proc/PID/status`.
fn effective_rights(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_the_status_file() {
        let cases = [
            (
                "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
                Some(0x1ff_ffff_ffff),
            ),
            ("CapEff:\t0000000000000000\n", Some(0)),
            ("CapPrm:\t1\n", None),
            ("CapEff:\tzz\n", None),
        ];
        for (status, expect) in cases {
            assert_eq!(effective_rights(status), expect, "{status:?}");
        }
    }
}
