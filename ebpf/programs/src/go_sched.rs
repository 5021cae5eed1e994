//! Goroutines: created, exited, stack copied.
//!
//! Creation is seen at the `CALL runqput` in `newproc.func1`, where BX is the new `g` with everything filled
//! in. That runs on the system stack, from which the frame pointers lead over `systemstack` and `newproc` into
//! the creator, so one probe gives id and whole stack, and nothing has to be paired. (Before Go 1.21 `systemstack`
//! leaves the register as it was, and `newproc` itself is not among the frames.) What is made
//! without `newproc` is not seen: coroutines (`iter.Pull`) and goroutines of threads that C made.
//!
//! `gdestroy(gp)`, `goexit0(gp)`: AX. `copystack(gp, newsize)`: AX, BX.

use aya_ebpf::{EbpfContext as _, macros::uprobe, programs::ProbeContext};
use heaptide_ebpf_abi::{Class, Goroutine, RecordKind, flags};

use crate::{
    arch,
    config::Watched,
    emit::{emit, header},
    go_heap::read_user,
};

/// `CALL runtime.runqput(pp, gp, next)` in `runtime.newproc.func1`: BX.
#[uprobe]
pub fn goroutine_created(ctx: ProbeContext) -> u32 {
    let [_, g, _, _] = arch::go_args(&ctx);
    goroutine(&ctx, RecordKind::GoroutineCreated, g, 0)
}

/// `gdestroy(gp *g)`, Go 1.22 on; `goexit0(gp *g)` before.
#[uprobe]
pub fn goroutine_exited(ctx: ProbeContext) -> u32 {
    if arch::is_stack_growing(&ctx) {
        return 0;
    }
    let [g, _, _, _] = arch::go_args(&ctx);
    goroutine(&ctx, RecordKind::GoroutineExited, g, 0)
}

/// `copystack(gp *g, newsize uintptr)`: when a stack is too small, and when the collector halves one.
#[uprobe]
pub fn stack_copied(ctx: ProbeContext) -> u32 {
    if arch::is_stack_growing(&ctx) {
        return 0;
    }
    let [g, new_bytes, _, _] = arch::go_args(&ctx);
    goroutine(&ctx, RecordKind::StackCopied, g, new_bytes)
}

#[inline(always)]
fn goroutine(ctx: &ProbeContext, kind: RecordKind, g: u64, new_stack_bytes: u64) -> u32 {
    let Some(thread) = Watched::current(Class::Goroutine) else {
        return 0;
    };
    let field = |offset: u32| match offset {
        0 => None,
        offset => read_user::<u64>(g + u64::from(offset)),
    };
    let (goid, flags) = match field(thread.config.g_goid) {
        Some(goid) => (goid, 0),
        None => (0, flags::GOID_UNKNOWN),
    };
    let created = matches!(kind, RecordKind::GoroutineCreated);
    let pc = match kind {
        RecordKind::GoroutineCreated => field(thread.config.g_gopc),
        RecordKind::StackCopied => field(thread.config.g_sched_pc),
        _ => None,
    };
    // `g.stack` is its first field, in every version: assembly relies on it (runtime/asm_amd64.s).
    let stack_bytes = match (read_user::<u64>(g), read_user::<u64>(g + 8)) {
        (Some(lo), Some(hi)) => hi.wrapping_sub(lo),
        _ => 0,
    };
    let record = Goroutine {
        header: header(kind, flags, &thread),
        goid,
        pc: pc.unwrap_or(0),
        stack_bytes,
        new_stack_bytes,
    };
    emit(ctx.as_ptr(), Class::Goroutine, record, created);
    0
}
