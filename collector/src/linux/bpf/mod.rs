//! Loads Heaptide's eBPF programs, attaches them to a process and drains their ring buffer.
//!
//! ```no_run
//! # use heaptide_collector::linux::bpf::*;
//! # fn watch(object: &[u8], spec: &TargetSpec) -> Result<(), BpfError> {
//! let mut session = BpfSession::load(object, &BpfOptions::default())?;
//! session.attach(spec)?;
//! session.attach_mappings()?;
//! // On each tick, and when `session.as_fd()` says that the ring fills:
//! session.poll(100_000, |bytes| match decode(bytes) {
//!     Ok(record) => println!("{record:?}"),
//!     Err(error) => println!("{error}"),
//! });
//! # Ok(()) }
//! ```
//!
//! Dropping the session detaches everything: the kernel closes the links with their descriptors, so that
//! holds after `kill -9` as well. Nothing is ever written to the watched process; the kernel puts a
//! breakpoint at each site and takes it away again.
//!
//! Left out: reading binaries (the crate `heaptide-symbols`), meaning of the records beyond their
//! fields (pairing, lifetimes), and the policy that decides what is on.

mod attach;
mod btf;
mod error;
pub(crate) mod exact;
mod format;
mod helper;
mod on_demand;
mod record;
mod rights;
mod session;
mod sys;
mod tracefs;
mod uprobes;

pub use attach::{ProbePoint, Program, TargetSpec};
pub use error::BpfError;
pub use exact::{
    EndOfWindow, ExactOptions, ExactPlan, ExactReadout, ExactRowRead, ExactSession, ExactStop, PhaseBins,
    WindowSpec, run_window,
};
pub use helper::{HELPER_COMMAND, Helper, serve};
pub use on_demand::khugepaged_blindness;
pub use record::{AbiError, At, MappingCall, Record, Stack, What, decode};
pub use rights::{Capability, missing_capabilities, setcap_command};
pub use session::{BpfOptions, BpfSession, ClassSet, Counters, Polled};
pub use tracefs::{mount_tracefs, tracefs_path};
pub use uprobes::ProbeSource;

pub use heaptide_ebpf_abi::{Class, ClassCounters, KernelConfig, Sums, SyscallKind, fault_chance};
