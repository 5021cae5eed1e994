//! From a record to the ring buffer.
//!
//! A record is put together in a scratch buffer, since its stack has a length that only the kernel knows,
//! and only the bytes used are copied to the ring. The buffers are per CPU, several of them, each taken by
//! an atomic exchange: a uprobe's program can be preempted in the middle, and the thread that runs next on
//! this CPU must not write into the same buffer.
//!
//! The reader comes by every tick, so records don't wake it; only a ring that fills does.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_F_USER_STACK, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE,
    },
    helpers::{bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns, bpf_ringbuf_output},
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use heaptide_ebpf_abi::{Class, Header, MAX_STACK_FRAMES, Mapping, RecordKind, flags};

use crate::{
    arch,
    config::Watched,
    counters::{Counter, count},
};

/// How deeply programs can interrupt each other on one CPU before a record is dropped (and counted).
const BUFFERS: u32 = 4;
/// A power of two, so that a mask can prove to the verifier that a stack ends within the buffer.
const STACK_ROOM_BYTES: usize = 1024;
const STACK_MAX_BYTES: usize = MAX_STACK_FRAMES * 8;
const _: () = assert!(STACK_MAX_BYTES < STACK_ROOM_BYTES);

#[repr(C)]
struct Buffer {
    /// 1 while somebody writes.
    taken: u64,
    /// The longest fixed part, then the stack.
    bytes: [u8; size_of::<Mapping>() + STACK_ROOM_BYTES],
}

#[map]
static SCRATCH: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(BUFFERS, 0);

/// The loader sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The beginning of a record that happens now in this thread.
#[inline(always)]
pub fn header(kind: RecordKind, flags: u16, thread: &Watched) -> Header {
    Header {
        kind: kind as u16,
        flags,
        stack_frames: 0,
        // SAFETY: no arguments, no side effects.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        // SAFETY: as above.
        ts_ns: unsafe { bpf_ktime_get_ns() },
        tgid: thread.tgid,
        tid: thread.tid,
    }
}

/// Counts the event as seen and sends it, or counts why not.
///
/// `R` is a `repr(C)` record of the ABI, which begins with a [`Header`].
#[inline(always)]
pub fn emit<R: Copy>(ctx: *mut c_void, class: Class, record: R, with_stack: bool) {
    count(class, Counter::Seen);
    let Some(buffer) = take_buffer() else {
        count(class, Counter::DroppedNoBuffer);
        return;
    };
    // SAFETY: `Buffer::bytes` is 8-byte aligned and longer than any record's fixed part and the stack
    // room; the verifier checks each access. The buffer is ours until `taken` is cleared.
    unsafe {
        let start = (&raw mut (*buffer).bytes).cast::<u8>();
        start.cast::<R>().write(record);
        let mut len = size_of::<R>() as u64;
        if with_stack {
            let stack = start.add(size_of::<R>()).cast();
            let got = bpf_get_stack(ctx, stack, STACK_MAX_BYTES as u32, u64::from(BPF_F_USER_STACK));
            let header = start.cast::<Header>();
            if got > 0 {
                let stack_bytes = got as u64 & (STACK_ROOM_BYTES as u64 - 1);
                len += stack_bytes;
                (*header).stack_frames = (stack_bytes / 8) as u16;
                if stack_bytes as usize >= STACK_MAX_BYTES {
                    (*header).flags |= flags::STACK_TRUNCATED;
                    count(class, Counter::StackTruncated);
                }
            } else {
                (*header).flags |= flags::STACK_FAILED;
                count(class, Counter::StackFailed);
            }
        }
        let refused = bpf_ringbuf_output(ring(), start.cast(), len, wakeup(len));
        arch::swap(&raw mut (*buffer).taken, 0);
        if refused == 0 {
            count(class, Counter::Sent);
        } else {
            count(class, Counter::DroppedRingFull);
        }
    }
}

#[inline(always)]
fn ring() -> *mut c_void {
    (&raw const EVENTS).cast_mut().cast()
}

#[inline(always)]
fn take_buffer() -> Option<*mut Buffer> {
    for index in 0..BUFFERS {
        let buffer = SCRATCH.get_ptr_mut(index)?;
        // SAFETY: only the address of the field is taken.
        if arch::swap(unsafe { &raw mut (*buffer).taken }, 1) == 0 {
            return Some(buffer);
        }
    }
    None
}

/// Wakes the reader when the ring passes a quarter, and at each further sixteenth, in case it slept on.
#[inline(always)]
fn wakeup(len: u64) -> u64 {
    let unread = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let ring_bytes = EVENTS.query(u64::from(BPF_RB_RING_SIZE));
    let step_shift = 4;
    let (before, after) = (unread << step_shift, (unread + len + 8) << step_shift);
    // In sixteenths of the ring; the ring's size is a power of two, so no division is needed.
    if after >= ring_bytes * 4 && (before ^ after) & !(ring_bytes - 1) != 0 {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
