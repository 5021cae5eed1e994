//! What a session is about: the platform it was seen on, and what could be seen there.

use serde::{Deserialize, Serialize};

/// Stored with a session and shown beside every comparison. Empty text means "not known".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformSignature {
    pub os: String,
    pub os_version: String,
    pub kernel: String,
    pub architecture: String,
    pub cpus: u32,
    pub page_size_bytes: u32,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`, the chosen word.
    pub huge_page_mode: String,
    pub libc: String,
    pub runtime: String,
    pub runtime_version: String,
    pub build_id: String,
    pub host_name: String,
    pub boot_id: String,
    pub pid: u32,
    pub executable: String,
    pub command_line: Vec<String>,
    pub collector_version: String,
    pub clock: Clock,
}

/// How session time relates to the world's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    pub kind: ClockKind,
    /// Session time and wall time, read together at the start of the session.
    pub session_ns: u64,
    pub unix_ns: u64,
    /// How far apart the two readings can be.
    pub error_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockKind {
    /// Linux `CLOCK_MONOTONIC`, which is also `bpf_ktime_get_ns` and Go's `nanotime`.
    LinuxMonotonic,
    WindowsQpc,
    MachAbsolute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventClass {
    Allocation,
    Goroutine,
    GarbageCollection,
    Mapping,
    Gauge,
}

/// Where a figure comes from. Every figure that a person sees carries one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Every event was seen.
    Exact,
    /// Poisson-sampled by bytes at this mean distance.
    Sampled { rate_bytes: u64 },
    /// Read off the process at one moment.
    Census,
    /// Computed from other figures.
    Estimate,
}

/// What this host and this process allow to be observed of one class, and by what means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    pub class: EventClass,
    /// For example `uprobe runtime.profilealloc` or `/proc/PID/smaps_rollup`.
    pub source: String,
    pub method: Method,
    pub state: CapabilityState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapabilityState {
    Active,
    /// Works, with a limit worth knowing.
    Limited {
        why: String,
    },
    /// Could be switched on by policy.
    Off {
        why: String,
    },
    Unavailable {
        why: String,
        remedy: String,
    },
}
