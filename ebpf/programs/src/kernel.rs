//! What is set and summed up per watched process for the kernel's own events.

use core::mem::offset_of;

use aya_ebpf::{macros::map, maps::HashMap};
use heaptide_ebpf_abi::{KernelConfig, Sums, TARGETS_MAX};

use crate::arch;

#[map]
static KERNEL: HashMap<u32, KernelConfig> = HashMap::with_max_entries(TARGETS_MAX, 0);

#[map]
static SUMS: HashMap<u32, Sums> = HashMap::with_max_entries(TARGETS_MAX, 0);

/// What is set for a process; `None` until the collector has set it.
#[inline(always)]
pub fn config(tgid: u32) -> Option<&'static KernelConfig> {
    // SAFETY: an entry is written whole by the loader; a racing update changes single fields only.
    unsafe { KERNEL.get(tgid) }
}

/// A kind of event with a number and a length.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Lengths {
    Wait = offset_of!(Sums, waits),
    Assist = offset_of!(Sums, assists),
    Sweep = offset_of!(Sums, sweeps),
}

/// Adds one, and its length, which is the next word.
#[inline(always)]
pub fn add_length(tgid: u32, what: Lengths, length_ns: u64) {
    if let Some(sums) = SUMS.get_ptr_mut(tgid) {
        // SAFETY: the offset is that of a `u64` in the value that another one follows.
        unsafe {
            arch::add(sums.byte_add(what as usize).cast(), 1);
            arch::add(sums.byte_add(what as usize + size_of::<u64>()).cast(), length_ns);
        }
    }
}

/// Adds a page fault.
#[inline(always)]
pub fn add_fault(tgid: u32) {
    if let Some(sums) = SUMS.get_ptr_mut(tgid) {
        // SAFETY: only the address of the field is taken.
        arch::add(unsafe { &raw mut (*sums).faults }, 1);
    }
}
