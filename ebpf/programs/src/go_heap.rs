//! Go's sampled allocations and their frees.
//!
//! `profilealloc(mp *m, x unsafe.Pointer, size uintptr)`: AX, BX, CX (same prototype in Go 1.19 to 1.27).
//! `freeSpecial(s *special, p unsafe.Pointer, size uintptr)`: AX, BX, CX; of all specials only profile
//! records are of interest. `mProf_Free` would not do: it has no pointer.

use aya_ebpf::{EbpfContext as _, helpers::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use heaptide_ebpf_abi::{Class, RecordKind, SampledAlloc, SampledFree, TargetConfig, flags};

use crate::{
    arch,
    config::Watched,
    counters::{Counter, count},
    emit::{emit, header},
};

#[uprobe]
pub fn profile_alloc(ctx: ProbeContext) -> u32 {
    if arch::is_stack_growing(&ctx) {
        return 0;
    }
    let Some(thread) = Watched::current(Class::Alloc) else {
        return 0;
    };
    let [_, addr, size_bytes, _] = arch::go_args(&ctx);
    let (goid, mut flags) = goroutine(arch::go_g(&ctx), thread.config);
    let caller_pc = match read_user::<u64>(arch::stack_pointer(&ctx)) {
        Some(pc) => pc,
        None => {
            flags |= flags::CALLER_UNKNOWN;
            0
        }
    };
    let record = SampledAlloc {
        header: header(RecordKind::SampledAlloc, flags, &thread),
        goid,
        addr,
        size_bytes,
        caller_pc,
    };
    emit(ctx.as_ptr(), Class::Alloc, record, true);
    0
}

#[uprobe]
pub fn free_special(ctx: ProbeContext) -> u32 {
    if arch::is_stack_growing(&ctx) {
        return 0;
    }
    let Some(thread) = Watched::current(Class::Free) else {
        return 0;
    };
    let [special, addr, size_bytes, _] = arch::go_args(&ctx);
    // An unknown kind is sent: a free too many is dropped by the reader, which knows no such object.
    let offset = u64::from(thread.config.special_kind);
    if offset != 0
        && read_user::<u8>(special + offset)
            .is_some_and(|kind| u32::from(kind) != thread.config.kind_special_profile)
    {
        count(Class::Free, Counter::Filtered);
        return 0;
    }
    let record = SampledFree {
        header: header(RecordKind::SampledFree, 0, &thread),
        addr,
        size_bytes,
    };
    emit(ctx.as_ptr(), Class::Free, record, false);
    0
}

/// Id of the goroutine `g`, or of the one that it serves if it is a thread's system goroutine.
#[inline(always)]
pub fn goroutine(g: u64, config: &TargetConfig) -> (u64, u16) {
    if config.g_goid == 0 {
        return (0, flags::GOID_UNKNOWN);
    }
    let user_g = read_user::<u64>(g + u64::from(config.g_m))
        .and_then(|m| read_user::<u64>(m + u64::from(config.m_curg)));
    let (g, flags) = match user_g {
        Some(user_g) if user_g != g && user_g != 0 => (user_g, flags::ON_SYSTEM_STACK),
        _ => (g, 0),
    };
    match read_user::<u64>(g + u64::from(config.g_goid)) {
        Some(goid) => (goid, flags),
        None => (0, flags | flags::GOID_UNKNOWN),
    }
}

#[inline(always)]
pub fn read_user<T>(addr: u64) -> Option<T> {
    // SAFETY: the kernel checks the address and copies; every bit pattern is a valid `u8` or `u64`.
    unsafe { bpf_probe_read_user(addr as *const T) }.ok()
}
