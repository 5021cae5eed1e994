//! Page faults in user mode, one in so many of them, drawn at random.
//!
//! All are summed. Left out: faults that the kernel takes on behalf of the process while it copies
//! (`exceptions:page_fault_kernel`).

use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_prandom_u32, macros::tracepoint, programs::TracePointContext,
};
use heaptide_ebpf_abi::{Class, PageFault, RecordKind};

use crate::{
    config::Watched,
    emit::{emit, header},
    kernel,
};

const ADDRESS: usize = 8;
const ERROR_CODE: usize = 24;

/// `exceptions:page_fault_user`
#[tracepoint]
pub fn page_fault(ctx: TracePointContext) -> u32 {
    let Some(thread) = Watched::current(Class::PageFault) else {
        return 0;
    };
    let Some(config) = kernel::config(thread.tgid) else {
        return 0;
    };
    kernel::add_fault(thread.tgid);
    // SAFETY: no arguments, no side effects.
    if config.faults_one_in == 0 || u64::from(unsafe { bpf_get_prandom_u32() }) > config.fault_chance {
        return 0;
    }
    // SAFETY: the loader has checked where the fields are; the kernel checks both reads.
    let (addr, error_code) = unsafe {
        (
            ctx.read_at::<u64>(ADDRESS).unwrap_or(0),
            ctx.read_at::<u64>(ERROR_CODE).unwrap_or(0),
        )
    };
    let record = PageFault {
        header: header(RecordKind::PageFault, 0, &thread),
        addr,
        error_code,
        one_in: config.faults_one_in,
    };
    emit(ctx.as_ptr(), Class::PageFault, record, true);
    0
}
