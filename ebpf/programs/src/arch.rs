//! Registers of the watched program, per architecture.
//!
//! Go's register ABI (internal/abi, `ABIInternal`): on amd64 the integer arguments are AX, BX, CX, DI,
//! and R14 holds the current `g`. Left out: every other architecture, which nobody has tested yet.

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("the eBPF programs know amd64 only; build with --cfg=bpf_target_arch=\"x86_64\"");

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
    programs::ProbeContext,
};

/// Go's integer arguments 0 to 3.
#[inline(always)]
pub fn go_args(ctx: &ProbeContext) -> [u64; 4] {
    // SAFETY: the kernel passes a valid `pt_regs`, and the verifier checks each load from it.
    let regs = unsafe { &*ctx.regs };
    [regs.rax, regs.rbx, regs.rcx, regs.rdi]
}

/// Go's current `g`.
#[inline(always)]
pub fn go_g(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `go_args`.
    unsafe { (*ctx.regs).r14 }
}

/// Whether a probe stands on a stack check whose jump to `morestack` will be taken: the function is about to
/// be entered again, and that call is the one that counts. Before Go 1.21 the probes stand on that jump (JLS:
/// carry or zero flag). Behind a check that was passed both flags are clear, so this is never true there;
/// ask only in functions with a stack check.
#[inline(always)]
pub fn is_stack_growing(ctx: &ProbeContext) -> bool {
    const CARRY: u64 = 1 << 0;
    const ZERO: u64 = 1 << 6;
    // SAFETY: as in `go_args`.
    unsafe { (*ctx.regs).eflags & (CARRY | ZERO) != 0 }
}

/// The stack pointer at a probe.
#[inline(always)]
pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `go_args`.
    unsafe { (*ctx.regs).rsp }
}

/// The probed instruction.
#[inline(always)]
pub fn pc(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `go_args`.
    unsafe { (*ctx.regs).rip }
}

/// The frame pointer at a probe: the caller's, where the probe stands before the function's own is set.
#[inline(always)]
pub fn frame_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: as in `go_args`.
    unsafe { (*ctx.regs).rbp }
}

/// The stack pointer in user space of the thread that is in the kernel now.
#[inline(always)]
pub fn user_stack_pointer() -> u64 {
    // SAFETY: the helpers return the current task and its saved user registers, which outlive this call;
    // the read is checked by the kernel.
    unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs;
        bpf_probe_read_kernel(&raw const (*regs).rsp).unwrap_or(0)
    }
}

/// Adds to a counter that a program which interrupts this one on the same CPU may be adding to.
#[inline(always)]
pub fn add(counter: *mut u64, amount: u64) {
    // SAFETY: `counter` points into a map value that the verifier has checked; one BPF instruction.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {amount}", counter = in(reg) counter, amount = in(reg) amount);
    }
}

/// Sets a word and returns what it was, as one step.
#[inline(always)]
pub fn swap(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: as in `add`.
    unsafe {
        core::arch::asm!("{value} = xchg_64({word} + 0, {value})", word = in(reg) word, value = inout(reg) value);
    }
    value
}
