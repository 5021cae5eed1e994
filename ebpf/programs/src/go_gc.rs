//! Go's GC cycles and stop-the-world pauses: the registers at five sites.
//!
//! Begin and end of a pause can be on different threads, and a pause has up to two ends (see
//! `stw_end_wakep`); pairing is the reader's work.

use aya_ebpf::{EbpfContext as _, macros::uprobe, programs::ProbeContext};
use heaptide_ebpf_abi::{Class, RecordKind, Registers};

use crate::{
    arch,
    config::Watched,
    emit::{emit, header},
};

#[inline(always)]
fn registers(ctx: &ProbeContext, class: Class, kind: RecordKind) -> u32 {
    if let Some(thread) = Watched::current(class) {
        let record = Registers {
            header: header(kind, 0, &thread),
            args: arch::go_args(ctx),
        };
        emit(ctx.as_ptr(), class, record, false);
    }
    0
}

/// At a site in or behind a stack check.
#[inline(always)]
fn checked_registers(ctx: &ProbeContext, class: Class, kind: RecordKind) -> u32 {
    if arch::is_stack_growing(ctx) {
        return 0;
    }
    registers(ctx, class, kind)
}

/// `(*gcControllerState).startCycle(markStartTime int64, procs int, trigger gcTrigger)`: BX, CX, DI.
#[uprobe]
pub fn gc_start_cycle(ctx: ProbeContext) -> u32 {
    checked_registers(&ctx, Class::Gc, RecordKind::GcCycleStart)
}

/// `gcMarkTermination`: the cycle's second pause is about to end.
#[uprobe]
pub fn gc_mark_termination(ctx: ProbeContext) -> u32 {
    checked_registers(&ctx, Class::Gc, RecordKind::GcMarkTermination)
}

/// `stopTheWorldWithSema(reason stwReason)`: AL (Go 1.21 on; no argument before).
#[uprobe]
pub fn stw_begin(ctx: ProbeContext) -> u32 {
    checked_registers(&ctx, Class::Stw, RecordKind::StwBegin)
}

/// `startTheWorldWithSema(now int64, w worldStop)`: AX, and the stop's fields from BX on (Go 1.22 on).
#[uprobe]
pub fn stw_end(ctx: ProbeContext) -> u32 {
    checked_registers(&ctx, Class::Stw, RecordKind::StwEnd)
}

/// `CALL runtime.wakep` in `startTheWorldWithSema`: later than the entry by `procresize`, and by then the
/// registers mean nothing.
#[uprobe]
pub fn stw_end_wakep(ctx: ProbeContext) -> u32 {
    registers(&ctx, Class::Stw, RecordKind::StwEndWakep)
}
