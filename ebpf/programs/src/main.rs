//! Heaptide's eBPF programs: what a Go program and the kernel do with memory, as records in one ring
//! buffer.
//!
//! The programs ship facts and interpret nothing. Every hit is counted (`counters.rs`), every record that
//! can't be sent is counted by reason, and nothing is written to the watched process, ever. Which sites
//! they are attached to, and why at `PUSHQ BP`, is in `ebpf/README.md`.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod arch;
mod config;
mod counters;
mod emit;
mod go_exact;
mod go_gc;
mod go_heap;
mod go_sched;
mod go_work;
mod huge_page;
mod kernel;
mod mapping;
mod page_fault;
mod sched;

/// The kernel lets only programs under a licence compatible with the GPL read stacks and user memory.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier rejects a program that could get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
