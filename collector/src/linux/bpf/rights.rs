//! Which rights eBPF needs and which of them this process lacks.

use std::{fmt, fs};

use rustix::thread::CapabilitySet;

use crate::linux::confine::WATCHING;

/// A Linux capability (capabilities(7)) that the collector needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Load programs and maps.
    Bpf,
    /// Attach to other processes' code, read stacks.
    Perfmon,
    /// Open uprobes, mount tracefs.
    SysAdmin,
    /// Look up other processes' executables, read tracefs.
    DacReadSearch,
    /// Look up other users' executables.
    SysPtrace,
}

impl Capability {
    /// Those that a collector needs for everything.
    pub const ALL: [Self; 5] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysAdmin,
        Self::DacReadSearch,
        Self::SysPtrace,
    ];

    /// Bit number in the kernel (include/uapi/linux/capability.h).
    const fn number(self) -> u32 {
        match self {
            Self::DacReadSearch => 2,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// Whether a watch keeps it to its end.
    #[must_use]
    pub fn is_kept(self) -> bool {
        let bit = CapabilitySet::from_bits_retain(1 << self.number());
        WATCHING.contains(bit)
    }

    /// Its name in lower case, as setcap(8) takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "cap_bpf",
            Self::Perfmon => "cap_perfmon",
            Self::SysAdmin => "cap_sys_admin",
            Self::DacReadSearch => "cap_dac_read_search",
            Self::SysPtrace => "cap_sys_ptrace",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Those of `needed` that this process does not have in force. Empty as well when that can't be read.
#[must_use]
pub fn missing_capabilities(needed: &[Capability]) -> Vec<Capability> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    missing_of(needed, effective(&status).unwrap_or(u64::MAX))
}

fn missing_of(needed: &[Capability], effective: u64) -> Vec<Capability> {
    // CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON.
    let includes = |capability: Capability| {
        let has = |capability: Capability| effective >> capability.number() & 1 == 1;
        has(capability)
            || matches!(capability, Capability::Bpf | Capability::Perfmon) && has(Capability::SysAdmin)
    };
    needed
        .iter()
        .copied()
        .filter(|&capability| !includes(capability))
        .collect()
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What to do about missing rights, as a clause.
pub(super) fn remedy(needed: &[Capability]) -> String {
    let missing = missing_capabilities(needed);
    if missing.is_empty() {
        return "all capabilities are there, so look for kernel lockdown \
                (/sys/kernel/security/lockdown) or a seccomp filter that forbids bpf(2) and \
                perf_event_open(2)"
            .to_owned();
    }
    let missing = list(&missing);
    format!("missing {missing}: run as root, or once `{}`", setcap_command())
}

/// The command that gives `heaptide` what it needs when it is not run as root.
#[must_use]
pub fn setcap_command() -> String {
    // setcap replaces what a file has, so it gets all of them.
    format!("sudo setcap {}+ep $(command -v heaptide)", list(&Capability::ALL))
}

fn list(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|capability| capability.name()).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_a_watch_keeps() {
        let kept: Vec<_> = Capability::ALL.into_iter().filter(|one| one.is_kept()).collect();
        assert_eq!(
            kept,
            [Capability::Bpf, Capability::Perfmon, Capability::SysPtrace]
        );
        assert_eq!(WATCHING.bits().count_ones(), 3);
    }

    #[test]
    fn rights_table() {
        use Capability::{Bpf, DacReadSearch, Perfmon, SysAdmin, SysPtrace};
        let status = |eff: &str| format!("Name:\tx\nCapPrm:\tffff\nCapEff:\t{eff}\n");
        let cases: &[(&str, &[Capability])] = &[
            ("000001ffffffffff", &[]),
            (
                "0000000000000000",
                &[Bpf, Perfmon, SysAdmin, DacReadSearch, SysPtrace],
            ),
            ("000000c000000000", &[SysAdmin, DacReadSearch, SysPtrace]),
            ("0000000000200000", &[DacReadSearch, SysPtrace]),
        ];
        for (eff, expected) in cases {
            let effective = effective(&status(eff)).expect("a line of hexadecimal digits");
            assert_eq!(&missing_of(&Capability::ALL, effective), expected, "{eff}");
        }
        assert_eq!(effective("CapEff:\tno"), None);
        assert_eq!(effective(""), None);
    }
}
