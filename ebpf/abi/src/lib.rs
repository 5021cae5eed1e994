//! What the eBPF programs and the collector agree on: the bytes of each record, of the configuration
//! and of the counters, and the names of programs and maps.
//!
//! Both sides compile this crate, so a field can't move on one side only; `tests/layout.rs` pins every
//! size and offset, so a change of the bytes is always seen in review. Everything is `repr(C)`, in the
//! machine's own byte order: kernel and reader run on the same machine.
//!
//! Left out: meaning. The records carry facts (registers, system call arguments, addresses); which Go
//! version gives which register which meaning is the reader's knowledge.

#![no_std]

mod config;
mod counters;
mod record;

pub use config::{TARGET_WORDS, TARGETS_MAX, TargetConfig};
pub use counters::{CLASS_COUNT, COUNTER_WORDS, Class, ClassCounters};
pub use record::{
    Goroutine, Header, MAX_STACK_FRAMES, Mapping, RECORD_MAX_BYTES, RecordKind, Registers, SampledAlloc,
    SampledFree, SyscallKind, flags,
};

/// Names of the maps and of the read-only variables in the object file.
pub mod maps {
    /// The ring buffer that carries every record.
    pub const EVENTS: &str = "EVENTS";
    /// Hash map from thread group id to [`TargetConfig`](crate::TargetConfig).
    pub const TARGETS: &str = "TARGETS";
    /// Per-CPU array of [`ClassCounters`](crate::ClassCounters), indexed by [`Class`](crate::Class).
    pub const COUNTERS: &str = "COUNTERS";
    /// Device and inode of the pid namespace in which ids are told; 0 means the first namespace.
    pub const PID_NS_DEV: &str = "PID_NS_DEV";
    /// See [`PID_NS_DEV`].
    pub const PID_NS_INO: &str = "PID_NS_INO";
}

/// Names of the programs in the object file.
pub mod programs {
    /// uprobe, Go `runtime.profilealloc`.
    pub const PROFILE_ALLOC: &str = "profile_alloc";
    /// uprobe, Go `runtime.freeSpecial`.
    pub const FREE_SPECIAL: &str = "free_special";
    /// uprobe, Go `runtime.(*gcControllerState).startCycle`.
    pub const GC_START_CYCLE: &str = "gc_start_cycle";
    /// uprobe, Go `runtime.gcMarkTermination`.
    pub const GC_MARK_TERMINATION: &str = "gc_mark_termination";
    /// uprobe, Go `runtime.stopTheWorldWithSema`.
    pub const STW_BEGIN: &str = "stw_begin";
    /// uprobe, Go `runtime.startTheWorldWithSema`.
    pub const STW_END: &str = "stw_end";
    /// uprobe, the `CALL runtime.wakep` inside Go `runtime.startTheWorldWithSema`.
    pub const STW_END_WAKEP: &str = "stw_end_wakep";
    /// uprobe, the `CALL runtime.runqput` inside Go `runtime.newproc.func1`.
    pub const GOROUTINE_CREATED: &str = "goroutine_created";
    /// uprobe, Go `runtime.gdestroy`, before 1.22 `runtime.goexit0`.
    pub const GOROUTINE_EXITED: &str = "goroutine_exited";
    /// uprobe, Go `runtime.copystack`.
    pub const STACK_COPIED: &str = "stack_copied";
    /// tracepoint, `syscalls:sys_enter_*` of the mapping calls.
    pub const MAPPING_ENTER: &str = "mapping_enter";
    /// tracepoint, `syscalls:sys_exit_*` of the mapping calls.
    pub const MAPPING_EXIT: &str = "mapping_exit";
}
