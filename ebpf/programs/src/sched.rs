//! How long threads of watched processes are runnable and wait for a processor.
//!
//! The programs run at every switch and every wake-up on the machine, so they are attached only while wanted,
//! and look one number up before anything else. A thread is known from the first time that it leaves a
//! processor; the wait before its very first turn is not seen. From waking or being preempted to running is
//! what the kernel sums up as `run_delay` (kernel/sched/stats.h, `sched_info_arrive`).

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_ktime_get_ns,
    macros::{map, tracepoint},
    maps::HashMap,
    programs::TracePointContext,
};
use heaptide_ebpf_abi::{Class, RecordKind, Wait};

use crate::{
    config::Watched,
    counters::{Counter, count},
    emit::{emit, header},
    kernel::{self, Lengths},
};

const PREV_PID: usize = 24;
const PREV_STATE: usize = 32;
const NEXT_PID: usize = 56;
const WOKEN_PID: usize = 24;

/// The bits of `prev_state` that say why it can't run; none for one that was preempted.
const CAN_NOT_RUN: u64 = 0xff;
/// `EXIT_DEAD | EXIT_ZOMBIE`
const DEAD: u64 = 0x30;

/// Threads of watched processes, by thread id in the first namespace. A plain map: LRU lists take locks that
/// are not meant for here. A thread that finds no room is counted as unpaired each time that it leaves.
#[map]
static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(8192, 0);

#[repr(C)]
struct Thread {
    /// From when on it waits, or one of the two below.
    since_ns: u64,
    tgid: u32,
    tid: u32,
}

const ASLEEP: u64 = 0;
const RUNNING: u64 = 1;

/// `sched:sched_switch`
#[tracepoint]
pub fn sched_switch(ctx: TracePointContext) -> u32 {
    // SAFETY: the loader has checked where the fields are; the kernel checks the read.
    let next = unsafe { ctx.read_at::<u32>(NEXT_PID) }.unwrap_or(0);
    if let Some(thread) = THREADS.get_ptr_mut(next) {
        arrives(&ctx, thread);
    }
    // Still the thread that leaves.
    if let Some(thread) = Watched::current_uncounted(Class::OffCpu) {
        leaves(&ctx, &thread);
    }
    0
}

/// `sched:sched_wakeup`
#[tracepoint]
pub fn sched_wakeup(ctx: TracePointContext) -> u32 {
    // SAFETY: as above.
    let woken = unsafe { ctx.read_at::<u32>(WOKEN_PID) }.unwrap_or(0);
    if let Some(thread) = THREADS.get_ptr_mut(woken) {
        // SAFETY: the verifier has checked the pointer. One that has not left yet runs on.
        unsafe {
            if (*thread).since_ns == ASLEEP {
                (*thread).since_ns = bpf_ktime_get_ns();
            }
        }
    }
    0
}

#[inline(always)]
fn arrives(ctx: &TracePointContext, thread: *mut Thread) {
    // SAFETY: the verifier has checked the pointer; a thread arrives on one processor only.
    let (begin_ns, tgid, tid) = unsafe {
        let since_ns = (*thread).since_ns;
        (*thread).since_ns = RUNNING;
        (since_ns, (*thread).tgid, (*thread).tid)
    };
    let Some(config) = kernel::config(tgid) else {
        return;
    };
    if begin_ns <= RUNNING || begin_ns < config.armed_ns {
        return;
    }
    let Some(thread) = Watched::of(tgid, tid, Class::OffCpu) else {
        return;
    };
    let header = header(RecordKind::Wait, 0, &thread);
    let length_ns = header.ts_ns.saturating_sub(begin_ns);
    kernel::add_length(tgid, Lengths::Wait, length_ns);
    if length_ns >= config.wait_min_ns {
        emit(ctx.as_ptr(), Class::OffCpu, Wait { header, begin_ns }, false);
    }
}

#[inline(always)]
fn leaves(ctx: &TracePointContext, thread: &Watched) {
    // SAFETY: as in `sched_switch`.
    let (pid, state) = unsafe {
        (
            ctx.read_at::<u32>(PREV_PID).unwrap_or(0),
            ctx.read_at::<u64>(PREV_STATE).unwrap_or(0),
        )
    };
    if state & DEAD != 0 {
        let _ = THREADS.remove(pid);
        return;
    }
    let since_ns = if state & CAN_NOT_RUN == 0 {
        // SAFETY: no arguments, no side effects.
        unsafe { bpf_ktime_get_ns() }
    } else {
        ASLEEP
    };
    let entry = Thread {
        since_ns,
        tgid: thread.tgid,
        tid: thread.tid,
    };
    if THREADS.insert(pid, &entry, 0).is_err() {
        count(Class::OffCpu, Counter::Seen);
        count(Class::OffCpu, Counter::DroppedUnpaired);
    }
}
