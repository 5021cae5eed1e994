//! What goroutines do for the collector because they allocate: mark assists, and sweeps before a span is had.
//!
//! The sites are CALLs that these functions always pass, at begin and end, and the thread can't change between
//! them. An assist is measured where Go itself reads its clock (`runtime.gcAssistAlloc1`, mgcmark.go); time that a
//! goroutine sleeps until others have marked for it (`gcParkAssist`) is not in it. A sweep is one span
//! (`sweepone` called by `deductSweepCredit`, mgcsweep.go).

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_ktime_get_ns,
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use heaptide_ebpf_abi::{Class, GcWork, RecordKind};

use crate::{
    arch,
    config::Watched,
    counters::{Counter, count},
    emit::{emit, header},
    go_heap::goroutine,
    kernel::{self, Lengths},
};

/// Frames of `sweepone` and its call are no further apart. The background sweeper, which passes the same end, is
/// on another stack.
const SAME_CALL_BYTES: u64 = 1024;

/// Work under way, by thread and kind.
#[map]
static WORKING: LruHashMap<u64, Begun> = LruHashMap::with_max_entries(4096, 0);

#[repr(C)]
struct Begun {
    begin_ns: u64,
    stack_pointer: u64,
}

/// First `CALL nanotime1` in `gcAssistAlloc1(gp *g, scanWork int64)`.
#[uprobe]
pub fn gc_assist_begin(ctx: ProbeContext) -> u32 {
    begin(&ctx, Lengths::Assist)
}

/// The `CALL nanotime1` behind `CALL gcDrainN` in `gcAssistAlloc1`.
#[uprobe]
pub fn gc_assist_end(ctx: ProbeContext) -> u32 {
    end(&ctx, Lengths::Assist, RecordKind::GcAssist)
}

/// `CALL sweepone` in `deductSweepCredit`.
#[uprobe]
pub fn gc_sweep_begin(ctx: ProbeContext) -> u32 {
    begin(&ctx, Lengths::Sweep)
}

/// `CALL (*activeSweep).end` in `sweepone`, whoever called it.
#[uprobe]
pub fn gc_sweep_end(ctx: ProbeContext) -> u32 {
    end(&ctx, Lengths::Sweep, RecordKind::GcSweep)
}

#[inline(always)]
fn begin(ctx: &ProbeContext, what: Lengths) -> u32 {
    if let Some(thread) = Watched::current(Class::GcWork) {
        let begun = Begun {
            // SAFETY: no arguments, no side effects.
            begin_ns: unsafe { bpf_ktime_get_ns() },
            stack_pointer: arch::stack_pointer(ctx),
        };
        // A full map evicts, and a refusal shows as an unpaired end.
        let _ = WORKING.insert(key(&thread, what), &begun, 0);
    }
    0
}

#[inline(always)]
fn end(ctx: &ProbeContext, what: Lengths, kind: RecordKind) -> u32 {
    let Some(thread) = Watched::current(Class::GcWork) else {
        return 0;
    };
    let key = key(&thread, what);
    // SAFETY: the verifier has checked the pointer; only this thread writes its entry.
    let begun = WORKING
        .get_ptr(key)
        .map(|begun| unsafe { ((*begun).begin_ns, (*begun).stack_pointer) });
    let sweeps = matches!(what, Lengths::Sweep);
    let (begin_ns, stack_pointer) = match begun {
        Some(begun) => begun,
        None => {
            unpaired(sweeps);
            return 0;
        }
    };
    if sweeps && stack_pointer.wrapping_sub(arch::stack_pointer(ctx)) > SAME_CALL_BYTES {
        unpaired(true);
        return 0;
    }
    let _ = WORKING.remove(key);
    let Some(config) = kernel::config(thread.tgid) else {
        return 0;
    };
    let mut header = header(kind, 0, &thread);
    let length_ns = header.ts_ns.saturating_sub(begin_ns);
    kernel::add_length(thread.tgid, what, length_ns);
    if length_ns < config.work_min_ns {
        return 0;
    }
    let (goid, flags) = goroutine(arch::go_g(ctx), thread.config);
    header.flags = flags;
    let record = GcWork {
        header,
        goid,
        begin_ns,
    };
    emit(ctx.as_ptr(), Class::GcWork, record, true);
    0
}

/// The background sweeper passes the end of a sweep without such a begin; that is no event.
#[inline(always)]
fn unpaired(sweeps: bool) {
    if sweeps {
        count(Class::GcWork, Counter::Filtered);
    } else {
        count(Class::GcWork, Counter::Seen);
        count(Class::GcWork, Counter::DroppedUnpaired);
    }
}

#[inline(always)]
fn key(thread: &Watched, what: Lengths) -> u64 {
    (what as u64) << 32 | u64::from(thread.tid)
}
