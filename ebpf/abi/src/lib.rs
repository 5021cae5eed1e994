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
mod exact;
mod kernel;
mod record;

pub use config::{TARGET_WORDS, TARGETS_MAX, TargetConfig};
pub use counters::{CLASS_COUNT, COUNTER_WORDS, Class, ClassCounters};
pub use exact::{
    EXACT_CONTROL_WORDS, EXACT_COUNT_WORDS, EXACT_SAMPLE_BYTES, ExactControl, ExactCounts, ExactKey,
    ExactRowCounts, ExactSample, ExactStack, ExactThread, MAX_SMALL_BYTES, SIZE_CLASS_BYTES,
    TINY_BLOCK_BYTES, TINY_CLASS, exact_hash,
};
pub use kernel::{
    HUGE_LAYOUT_WORDS, HugeLayout, KERNEL_CONFIG_WORDS, KernelConfig, SUMS_WORDS, Sums, fault_chance,
};
pub use record::{
    GcWork, Goroutine, Header, HugePage, MAX_STACK_FRAMES, Mapping, PageFault, RECORD_MAX_BYTES, RecordKind,
    Registers, SampledAlloc, SampledFree, SyscallKind, Wait, flags,
};

/// Names of the maps and of the read-only variables in the object file.
pub mod maps {
    /// The ring buffer that carries every record.
    pub const EVENTS: &str = "EVENTS";
    /// Hash map from thread group id to [`TargetConfig`](crate::TargetConfig).
    pub const TARGETS: &str = "TARGETS";
    /// Per-CPU array of [`ClassCounters`](crate::ClassCounters), indexed by [`Class`](crate::Class).
    pub const COUNTERS: &str = "COUNTERS";
    /// Hash map from thread group id to [`KernelConfig`](crate::KernelConfig).
    pub const KERNEL: &str = "KERNEL";
    /// Hash map from thread group id to [`Sums`](crate::Sums).
    pub const SUMS: &str = "SUMS";
    /// Array of one [`HugeLayout`](crate::HugeLayout).
    pub const HUGE_LAYOUT: &str = "HUGE_LAYOUT";
    /// Device and inode of the pid namespace in which ids are told; 0 means the first namespace.
    pub const PID_NS_DEV: &str = "PID_NS_DEV";
    /// See [`PID_NS_DEV`].
    pub const PID_NS_INO: &str = "PID_NS_INO";
    /// Hash map from [`ExactKey`](crate::ExactKey) to [`ExactRowCounts`](crate::ExactRowCounts).
    pub const EXACT_ROWS: &str = "EXACT_ROWS";
    /// Hash map from the hash of a stack to [`ExactStack`](crate::ExactStack).
    pub const EXACT_STACKS: &str = "EXACT_STACKS";
    /// Hash map from thread id to [`ExactThread`](crate::ExactThread).
    pub const EXACT_THREADS: &str = "EXACT_THREADS";
    /// Per-CPU array of one [`ExactCounts`](crate::ExactCounts).
    pub const EXACT_COUNTS: &str = "EXACT_COUNTS";
    /// Array of one [`ExactControl`](crate::ExactControl).
    pub const EXACT_CONTROL: &str = "EXACT_CONTROL";
    /// The ring buffer that carries each [`ExactSample`](crate::ExactSample).
    pub const EXACT_SAMPLES: &str = "EXACT_SAMPLES";
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
    /// uprobe, the allocators of Go: `runtime.mallocgc` or, from 1.27, its specialised parts.
    pub const EXACT_ALLOC: &str = "exact_alloc";
    /// uprobe, Go `runtime.profilealloc`, beside `exact_alloc`.
    pub const EXACT_SAMPLE: &str = "exact_sample";
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
    /// uprobe, the first `CALL nanotime1` in Go `runtime.gcAssistAlloc1`.
    pub const GC_ASSIST_BEGIN: &str = "gc_assist_begin";
    /// uprobe, the `CALL nanotime1` behind `CALL gcDrainN` in Go `runtime.gcAssistAlloc1`.
    pub const GC_ASSIST_END: &str = "gc_assist_end";
    /// uprobe, the `CALL sweepone` in Go `runtime.deductSweepCredit`.
    pub const GC_SWEEP_BEGIN: &str = "gc_sweep_begin";
    /// uprobe, the `CALL (*activeSweep).end` in Go `runtime.sweepone`.
    pub const GC_SWEEP_END: &str = "gc_sweep_end";
    /// tracepoint, `exceptions:page_fault_user`.
    pub const PAGE_FAULT: &str = "page_fault";
    /// tracepoint, `huge_memory:mm_khugepaged_scan_pmd`.
    pub const HUGE_SCAN: &str = "huge_scan";
    /// tracepoint, `syscalls:sys_enter_madvise`, for the address of what is put together.
    pub const HUGE_MADVISE: &str = "huge_madvise";
    /// tracepoint, `sched:sched_switch`.
    pub const SCHED_SWITCH: &str = "sched_switch";
    /// tracepoint, `sched:sched_wakeup`.
    pub const SCHED_WAKEUP: &str = "sched_wakeup";
}
