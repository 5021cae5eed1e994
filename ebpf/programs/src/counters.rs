//! Counting: each hit is seen, filtered or disabled, and what was seen is sent or dropped for a reason.
//!
//! Per CPU, yet with atomic additions: programs at uprobes can be preempted, and another thread on the
//! same CPU may then run the same program.

use core::mem::offset_of;

use aya_ebpf::{macros::map, maps::PerCpuArray};
use heaptide_ebpf_abi::{CLASS_COUNT, Class, ClassCounters};

use crate::arch;

#[map]
static COUNTERS: PerCpuArray<ClassCounters> = PerCpuArray::with_max_entries(CLASS_COUNT, 0);

/// A field of [`ClassCounters`], by its offset.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Counter {
    Seen = offset_of!(ClassCounters, seen),
    Sent = offset_of!(ClassCounters, sent),
    DroppedRingFull = offset_of!(ClassCounters, dropped_ring_full),
    DroppedNoBuffer = offset_of!(ClassCounters, dropped_no_buffer),
    DroppedUnpaired = offset_of!(ClassCounters, dropped_unpaired),
    StackFailed = offset_of!(ClassCounters, stack_failed),
    StackTruncated = offset_of!(ClassCounters, stack_truncated),
    Filtered = offset_of!(ClassCounters, filtered),
    Disabled = offset_of!(ClassCounters, disabled),
}

/// Adds one.
#[inline(always)]
pub fn count(class: Class, counter: Counter) {
    if let Some(counters) = COUNTERS.get_ptr_mut(class as u32) {
        // SAFETY: the offset is that of a `u64` in the value.
        arch::add(unsafe { counters.byte_add(counter as usize) }.cast(), 1);
    }
}
