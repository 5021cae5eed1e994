//! Huge pages put in the place of small ones: by khugepaged, or by the process with `MADV_COLLAPSE`.
//!
//! The tracepoint (mm/khugepaged.c, `hpage_collapse_scan_pmd`) tells a memory descriptor and a result, neither
//! process nor address. The process is that of the descriptor's owner. The address is known for
//! `MADV_COLLAPSE`, which goes through its range one huge page after the other (`madvise_collapse`); not for
//! khugepaged. Left out: huge pages of files, and those given at the first touch, which have no tracepoint.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{map, tracepoint},
    maps::{Array, LruHashMap},
    programs::TracePointContext,
};
use heaptide_ebpf_abi::{Class, HugeLayout, HugePage, RecordKind};

use crate::{
    config::{self, Watched},
    counters::{Counter, count},
    emit::{emit, header},
};

/// On amd64.
const HUGE_BYTES: u64 = 2 << 20;
const MADV_COLLAPSE: u32 = 25;
const SYSCALL_ADDRESS: usize = 16;
const SYSCALL_LENGTH: usize = 24;
const SYSCALL_ADVICE: usize = 32;
const MM: usize = 8;
/// Longest record of a tracepoint that is read from, so that the verifier knows a bound.
const RECORD_MASK: usize = 63;
/// Pid namespaces nest at most so deep (include/linux/pid_namespace.h, `MAX_PID_NS_LEVEL`).
const NAMESPACES_MAX: u32 = 32;

#[map]
static HUGE_LAYOUT: Array<HugeLayout> = Array::with_max_entries(1, 0);

/// Ranges under way, by thread id in the first namespace.
#[map]
static COLLAPSING: LruHashMap<u32, Range> = LruHashMap::with_max_entries(256, 0);

#[repr(C)]
struct Range {
    next: u64,
    end: u64,
}

/// `syscalls:sys_enter_madvise`
#[tracepoint]
pub fn huge_madvise(ctx: TracePointContext) -> u32 {
    // Little-endian: the low half is the `int`.
    // SAFETY: the call has three arguments; the kernel checks the reads.
    if unsafe { ctx.read_at::<u32>(SYSCALL_ADVICE) } != Ok(MADV_COLLAPSE) {
        return 0;
    }
    if Watched::current(Class::HugePage).is_none() {
        return 0;
    }
    // SAFETY: as above.
    let (start, length) = unsafe {
        (
            ctx.read_at::<u64>(SYSCALL_ADDRESS).unwrap_or(0),
            ctx.read_at::<u64>(SYSCALL_LENGTH).unwrap_or(0),
        )
    };
    let range = Range {
        next: (start.wrapping_add(HUGE_BYTES - 1)) & !(HUGE_BYTES - 1),
        end: start.wrapping_add(length) & !(HUGE_BYTES - 1),
    };
    // Without it the address is not known, and told as such.
    let _ = COLLAPSING.insert(bpf_get_current_pid_tgid() as u32, &range, 0);
    0
}

/// `huge_memory:mm_khugepaged_scan_pmd`
#[tracepoint]
pub fn huge_scan(ctx: TracePointContext) -> u32 {
    let Some(layout) = HUGE_LAYOUT.get(0) else {
        return 0;
    };
    // Each huge page of a range is looked at once, whatever comes of it.
    let addr = next_address();
    // SAFETY: the loader has read from the kernel where the fields are; the kernel checks the reads.
    let (mm, status) = unsafe {
        (
            ctx.read_at::<u64>(MM).unwrap_or(0),
            ctx.read_at::<u32>(layout.status_at as usize & RECORD_MASK)
                .unwrap_or(0),
        )
    };
    if status < 32 && layout.nothing >> status & 1 == 1 {
        count(Class::HugePage, Counter::Filtered);
        return 0;
    }
    let (own_tgid, own_tid) = config::ids();
    let tgid = owner(mm, layout).unwrap_or(own_tgid);
    let is_own = tgid == own_tgid;
    let tid = if is_own { own_tid } else { 0 };
    let Some(thread) = Watched::of(tgid, tid, Class::HugePage) else {
        return 0;
    };
    let record = HugePage {
        header: header(RecordKind::HugePage, 0, &thread),
        addr: if is_own { addr } else { 0 },
        status,
        succeeded: u32::from(status == layout.succeeded),
    };
    if is_own {
        emit(ctx.as_ptr(), Class::HugePage, record, true);
    } else {
        emit(ctx.as_ptr(), Class::HugePage, record, false);
    }
    0
}

/// Where the current thread's `MADV_COLLAPSE` is; 0 if it makes none.
#[inline(always)]
fn next_address() -> u64 {
    let Some(range) = COLLAPSING.get_ptr_mut(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    // SAFETY: the verifier has checked the pointer; only this thread touches its entry.
    unsafe {
        let at = (*range).next;
        if at >= (*range).end {
            return 0;
        }
        (*range).next = at + HUGE_BYTES;
        at
    }
}

/// The process that a memory descriptor belongs to, in the collector's pid namespace.
#[inline(always)]
fn owner(mm: u64, layout: &HugeLayout) -> Option<u32> {
    if layout.mm_owner == 0 {
        return None;
    }
    let task = read::<u64>(mm + u64::from(layout.mm_owner))?;
    let namespace = config::namespace_inode();
    if namespace == 0 {
        return read::<u32>(task + u64::from(layout.task_tgid));
    }
    let pid = read::<u64>(task + u64::from(layout.task_thread_pid))?;
    for level in 0..NAMESPACES_MAX {
        let upid = pid + u64::from(layout.pid_numbers) + u64::from(level * layout.upid_bytes);
        let ns = read::<u64>(upid + u64::from(layout.upid_ns))?;
        if ns == 0 {
            return Some(0);
        }
        if u64::from(read::<u32>(ns + u64::from(layout.ns_inum))?) == namespace {
            return read::<u32>(upid);
        }
    }
    Some(0)
}

#[inline(always)]
fn read<T>(addr: u64) -> Option<T> {
    // SAFETY: the kernel checks the address and copies; every bit pattern is a valid `u32` or `u64`.
    unsafe { bpf_probe_read_kernel(addr as *const T) }.ok()
}
