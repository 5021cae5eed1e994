//! Mapping system calls of watched processes: arguments at entry, result and stack at return.
//!
//! Two programs for all five calls: the tracepoints have the same head (`__syscall_nr` at 8, arguments or
//! result from 16), and the number tells which call it is. `mprotect` is left out: it moves no memory.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::{map, tracepoint},
    maps::LruHashMap,
    programs::TracePointContext,
};
use heaptide_ebpf_abi::{Class, Mapping, RecordKind, SyscallKind, flags};

use crate::{
    arch,
    config::Watched,
    counters::{Counter, count},
    emit::{emit, header},
};

const SYSCALL_NR: usize = 8;
const FIRST_WORD: usize = 16;

/// Calls that have been entered and not returned from, by thread id. A thread killed inside a call leaves
/// its entry behind, hence LRU.
#[map]
static ENTERED: LruHashMap<u32, Entered> = LruHashMap::with_max_entries(4096, 0);

#[repr(C)]
struct Entered {
    enter_ns: u64,
    args: [u64; 6],
}

/// `syscalls:sys_enter_{mmap,munmap,mremap,madvise,brk}`
#[tracepoint]
pub fn mapping_enter(ctx: TracePointContext) -> u32 {
    let Some(thread) = Watched::current(Class::Mapping) else {
        return 0;
    };
    let Some(call) = syscall(&ctx) else {
        return 0;
    };
    // SAFETY: no arguments, no side effects.
    let mut entered = Entered {
        enter_ns: unsafe { bpf_ktime_get_ns() },
        args: [0; 6],
    };
    for (index, arg) in entered.args.iter_mut().enumerate() {
        if index < call.arg_count() {
            // SAFETY: the tracepoint has that many arguments; the kernel checks the read.
            *arg = unsafe { ctx.read_at(FIRST_WORD + 8 * index) }.unwrap_or(0);
        }
    }
    // A full map evicts, and a refusal shows as an unpaired return.
    let _ = ENTERED.insert(thread.tid, &entered, 0);
    0
}

/// `syscalls:sys_exit_{mmap,munmap,mremap,madvise,brk}`
#[tracepoint]
pub fn mapping_exit(ctx: TracePointContext) -> u32 {
    let Some(thread) = Watched::current(Class::Mapping) else {
        return 0;
    };
    let Some(call) = syscall(&ctx) else {
        return 0;
    };
    let Some(entered) = ENTERED.get_ptr(thread.tid) else {
        count(Class::Mapping, Counter::Seen);
        count(Class::Mapping, Counter::DroppedUnpaired);
        return 0;
    };
    // SAFETY: the verifier has checked the pointer; only this thread writes its entry.
    let (enter_ns, args) = unsafe { ((*entered).enter_ns, (*entered).args) };
    let _ = ENTERED.remove(thread.tid);

    // SAFETY: the kernel checks both reads.
    let result = unsafe { ctx.read_at::<i64>(FIRST_WORD) }.unwrap_or(0);
    let caller = unsafe { bpf_probe_read_user(arch::user_stack_pointer() as *const u64) };
    let (caller_pc, flags) = match caller {
        Ok(pc) => (pc, 0),
        Err(_) => (0, flags::CALLER_UNKNOWN),
    };
    let record = Mapping {
        header: header(RecordKind::Mapping, flags, &thread),
        syscall: call as u32,
        reserved: 0,
        enter_ns,
        args,
        result,
        caller_pc,
    };
    emit(ctx.as_ptr(), Class::Mapping, record, true);
    0
}

/// Which call this tracepoint is of, by its number on amd64.
#[inline(always)]
fn syscall(ctx: &TracePointContext) -> Option<SyscallKind> {
    // SAFETY: every syscall tracepoint has its number there; the kernel checks the read.
    Some(match unsafe { ctx.read_at::<i32>(SYSCALL_NR) }.ok()? {
        9 => SyscallKind::Mmap,
        11 => SyscallKind::Munmap,
        12 => SyscallKind::Brk,
        25 => SyscallKind::Mremap,
        28 => SyscallKind::Madvise,
        _ => return None,
    })
}
