//! Linux: the kernel's own events, and what uprobes in a Go program show.

pub mod bpf;
mod cgroup;
pub mod confine;
mod gauges;
mod go;
pub mod leak_check;
pub mod ledger;
pub mod memory;
mod proc;
mod process;
pub mod rate;
mod signature;
mod sys;
mod ticker;

pub use cgroup::{CpuStat, Throttled};
pub use go::{GoTarget, ProbePlan};
pub use memory::goroutines;
pub use process::{MappedPart, Process, Stat};
pub use signature::{monotonic_ns, unix_ns};

pub(crate) use gauges::{HostMemory, Pacer, own, own_cpu_ns, rollup, size, usage, value_of};
pub(crate) use go::{NO_CREATOR, SEEN_FROM_ATTACH, capabilities};
pub(crate) use process::describe_status;
pub(crate) use signature::{labels, signature};
pub(crate) use sys::{readable, release, spawn_stopped, wait_for_exec};
pub(crate) use ticker::Ticker;
