//! Every allocation of a Go program, counted in the kernel while an exact window is open.
//!
//! The probes stand in the functions that allocate, and each allocation passes exactly one of them. A hit
//! walks the frame pointers, hashes what it finds and adds to one row; nothing is sent. The walk is our own
//! and not `bpf_get_stackid`: that one works in a buffer per CPU, so a thread that preempts another inside it
//! gets no stack, and a stack that collides with another is lost or replaces it.
//!
//! Only one process hits these programs, since the links are made for it, so nobody asks which it is.
//!
//! For the test of the sampling phase each thread's bytes between two samples are kept. Go's allocator counts
//! them per P. A thread can change its P, yet the distances stay exponential: what is left of such a distance
//! is as long as a whole one, wherever it is taken up.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_user,
        generated::bpf_probe_read_user as gen_bpf_probe_read_user,
    },
    macros::{map, uprobe},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
    programs::ProbeContext,
};
use core::{
    ffi::c_void,
    mem::{MaybeUninit, offset_of},
};
use heaptide_ebpf_abi::{
    ExactControl, ExactCounts, ExactKey, ExactRowCounts, ExactSample, ExactStack, ExactThread,
    MAX_SMALL_BYTES, MAX_STACK_FRAMES, SIZE_CLASS_BYTES, TINY_BLOCK_BYTES, TINY_CLASS, exact_hash,
};

use crate::arch;

/// The loader of a window sets the sizes; for everybody else they are as small as they can be.
#[map]
static EXACT_ROWS: HashMap<ExactKey, ExactRowCounts> = HashMap::with_max_entries(1, 0);
#[map]
static EXACT_STACKS: HashMap<u64, ExactStack> = HashMap::with_max_entries(1, 0);
#[map]
static EXACT_THREADS: HashMap<u32, ExactThread> = HashMap::with_max_entries(1, 0);
#[map]
static EXACT_SAMPLES: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static EXACT_COUNTS: PerCpuArray<ExactCounts> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EXACT_CONTROL: Array<ExactControl> = Array::with_max_entries(1, 0);
/// Never written: what a stack's place is made of before it is filled, since it is too large for ours.
#[map]
static EXACT_NO_STACK: Array<ExactStack> = Array::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;
const EEXIST: i32 = -17;
const EBUSY: i32 = -16;
/// `internal/abi.Type.PtrBytes`: 0 for a type without pointers. The same in Go 1.19 to 1.27.
const TYPE_PTR_BYTES: u64 = 8;
const HEADER_BYTES: u64 = 8;

/// By `(bytes + 7) / 8`, up to 1,016 bytes.
static CLASS_OF_8: [u8; 128] = classes(8, 0);
/// By `(bytes - 1,024 + 127) / 128`, above.
static CLASS_OF_128: [u8; 256] = classes(128, 1024);

/// The smallest class that holds `from + index * step` bytes (`runtime/mksizeclasses.go`).
const fn classes<const N: usize>(step: usize, from: usize) -> [u8; N] {
    let mut table = [0; N];
    let mut index = 0;
    while index < N {
        let mut class = 1;
        while class < SIZE_CLASS_BYTES.len() - 1 && (SIZE_CLASS_BYTES[class] as usize) < from + index * step {
            class += 1;
        }
        table[index] = class as u8;
        index += 1;
    }
    table
}

static CLASS_BYTES: [u16; 128] = {
    let mut table = [0; 128];
    let mut class = 0;
    while class < SIZE_CLASS_BYTES.len() {
        table[class] = SIZE_CLASS_BYTES[class];
        class += 1;
    }
    table
};

/// What an object is to Go's allocator.
struct Object {
    class: u64,
    /// Bytes of the heap; for a tiny object, those of its block if it begins one.
    taken_bytes: u64,
}

/// `runtime.mallocgc` up to Go 1.26; the specialised allocators from 1.27.
#[uprobe]
pub fn exact_alloc(ctx: ProbeContext) -> u32 {
    let Some(control) = EXACT_CONTROL.get(0) else {
        return 0;
    };
    let [size_bytes, type_address, ..] = arch::go_args(&ctx);
    // Go gives out one address for all empty objects, and counts none.
    if control.on == 0 || size_bytes == 0 || is_no_call(&ctx, control) {
        return 0;
    }
    let (tid, thread) = thread();
    let object = classify(size_bytes, type_address, control.header_above_bytes, thread);
    match thread {
        // SAFETY: only this thread writes its entry, and nobody removes it while the probes stand.
        Some(thread) => unsafe { (*thread).since_bytes += object.taken_bytes },
        None => new_thread(tid, object.taken_bytes),
    }
    add(Count::Seen, 1);
    let walk = Walk::of(&ctx);
    let key = ExactKey {
        stack_hash: walk.hash(),
        type_address,
        class: object.class,
    };
    if !add_to_row(&key, size_bytes) {
        new_row(&key, size_bytes, &walk);
    }
    0
}

/// `runtime.profilealloc`: BX is the object, CX the bytes that it takes. The object itself has been counted.
#[uprobe]
pub fn exact_sample(ctx: ProbeContext) -> u32 {
    let Some(control) = EXACT_CONTROL.get(0) else {
        return 0;
    };
    if control.on == 0 || is_no_call(&ctx, control) {
        return 0;
    }
    let [_, _, size_bytes, _] = arch::go_args(&ctx);
    let (_, Some(thread)) = thread() else {
        return 0;
    };
    // SAFETY: as above.
    let since_bytes = unsafe { (*thread).since_bytes };
    let sample = ExactSample {
        before_bytes: since_bytes.saturating_sub(size_bytes),
        size_bytes,
    };
    if EXACT_SAMPLES.output::<ExactSample>(&sample, 0).is_err() {
        add(Count::SamplesLost, 1);
    }
    // SAFETY: as above.
    unsafe { (*thread).since_bytes = 0 };
    0
}

/// Asked only where the flags are those of a stack check.
#[inline(always)]
fn is_no_call(ctx: &ProbeContext, control: &ExactControl) -> bool {
    control.at_stack_check != 0 && arch::is_stack_growing(ctx)
}

/// Where the frame pointers of a hit begin.
struct Walk {
    pc: u64,
    stack_pointer: u64,
    frame_pointer: u64,
}

/// Words of the stack that are read at once: a call to read two costs as much as one to read these, and Go's
/// frames are small.
const BLOCK_WORDS: usize = 34;
/// A frame's two words are in a block if they begin at this word at most; a mask of bits, so that the verifier
/// sees that they are.
const BLOCK_LAST: u64 = 31;
const _: () = assert!(BLOCK_LAST as usize + 1 < BLOCK_WORDS);

type Block = [u64; BLOCK_WORDS];

impl Walk {
    #[inline(always)]
    fn of(ctx: &ProbeContext) -> Self {
        Self {
            pc: arch::pc(ctx),
            stack_pointer: arch::stack_pointer(ctx),
            frame_pointer: arch::frame_pointer(ctx),
        }
    }

    /// The frame of the probed function is not set up yet.
    #[inline(always)]
    fn caller_pc(&self) -> u64 {
        read_user(self.stack_pointer).unwrap_or(0)
    }

    #[inline(always)]
    fn hash(&self) -> u64 {
        let mut block = MaybeUninit::<Block>::uninit();
        let words = block.as_mut_ptr().cast::<u64>();
        let mut base = self.stack_pointer;
        let caller_pc = if read_block(base, words) {
            // SAFETY: the helper has filled the block.
            unsafe { *words }
        } else {
            base = 0;
            self.caller_pc()
        };
        let mut hash = exact_hash(exact_hash(0, self.pc), caller_pc);
        let mut frame_pointer = self.frame_pointer;
        for _ in 0..MAX_STACK_FRAMES - 2 {
            if is_root(frame_pointer) {
                break;
            }
            let offset = frame_pointer.wrapping_sub(base);
            let (next, pc) = if offset <= BLOCK_LAST * 8 {
                let at = ((offset / 8) & BLOCK_LAST) as usize;
                // SAFETY: filled, and two words from there are in the block.
                unsafe { (*words.add(at), *words.add(at + 1)) }
            } else if read_block(frame_pointer, words) {
                base = frame_pointer;
                // SAFETY: as above.
                unsafe { (*words, *words.add(1)) }
            } else {
                // The last words before memory that is not there, or that has to be fetched.
                base = 0;
                match read_user::<[u64; 2]>(frame_pointer) {
                    Some([next, pc]) => (next, pc),
                    None => break,
                }
            };
            if pc == 0 {
                break;
            }
            hash = exact_hash(hash, pc);
            frame_pointer = next;
        }
        hash
    }

    /// The same walk again, written down. Nobody changes a running goroutine's return addresses meanwhile.
    #[inline(always)]
    fn store(&self, stack: *mut ExactStack) {
        // SAFETY: the verifier checks each access to the map value.
        unsafe {
            (*stack).pcs[0] = self.pc;
            (*stack).pcs[1] = self.caller_pc();
            let mut frames = 2;
            let mut frame_pointer = self.frame_pointer;
            for index in 2..MAX_STACK_FRAMES {
                let Some((pc, next)) = frame(frame_pointer) else {
                    break;
                };
                (*stack).pcs[index] = pc;
                frames += 1;
                frame_pointer = next;
            }
            (*stack).frames = frames;
        }
    }
}

/// The chain ends with 0. What is not aligned is no frame pointer: C code may use the register for anything.
#[inline(always)]
fn is_root(frame_pointer: u64) -> bool {
    frame_pointer == 0 || frame_pointer & 7 != 0
}

/// Return address and next frame pointer; `None` at the root.
#[inline(always)]
fn frame(frame_pointer: u64) -> Option<(u64, u64)> {
    if is_root(frame_pointer) {
        return None;
    }
    let [next, pc] = read_user::<[u64; 2]>(frame_pointer)?;
    (pc != 0).then_some((pc, next))
}

#[inline(always)]
fn classify(
    size_bytes: u64,
    type_address: u64,
    header_above_bytes: u64,
    thread: Option<*mut ExactThread>,
) -> Object {
    if size_bytes > MAX_SMALL_BYTES {
        // Whole pages of Go's, which are 8 KiB.
        return Object {
            class: 0,
            taken_bytes: (size_bytes + 8191) & !8191,
        };
    }
    let mut bytes = size_bytes;
    let is_tiny = size_bytes < TINY_BLOCK_BYTES;
    if is_tiny || size_bytes > header_above_bytes {
        let has_pointers = type_address != 0
            && read_user::<u64>(type_address + TYPE_PTR_BYTES).is_some_and(|ptr_bytes| ptr_bytes != 0);
        if is_tiny && !has_pointers {
            return Object {
                class: TINY_CLASS,
                taken_bytes: thread.map_or(TINY_BLOCK_BYTES, |thread| tiny(size_bytes, thread)),
            };
        }
        if has_pointers && !is_tiny {
            bytes += HEADER_BYTES;
        }
    }
    let class = if bytes <= 1016 {
        CLASS_OF_8[bytes.div_ceil(8) as usize & 127]
    } else {
        CLASS_OF_128[(bytes - 1024).div_ceil(128) as usize & 255]
    };
    Object {
        class: u64::from(class),
        taken_bytes: u64::from(CLASS_BYTES[usize::from(class) & 127]),
    }
}

/// What the tiny allocator does (`runtime.mallocgcTiny`; in `mallocgc` before Go 1.24): 16 if the object begins
/// a block, 0 if it goes into the one in use. A collection begins a new block without our seeing it.
#[inline(always)]
fn tiny(size_bytes: u64, thread: *mut ExactThread) -> u64 {
    // SAFETY: as in `exact_alloc`.
    unsafe {
        let in_use = (*thread).tiny_offset;
        let align_mask = if size_bytes & 7 == 0 {
            7
        } else if size_bytes & 3 == 0 {
            3
        } else if size_bytes & 1 == 0 {
            1
        } else {
            0
        };
        let offset = (in_use + align_mask) & !align_mask;
        if in_use != 0 && offset + size_bytes <= TINY_BLOCK_BYTES {
            (*thread).tiny_offset = offset + size_bytes;
            return 0;
        }
        if in_use == 0 || size_bytes < in_use {
            (*thread).tiny_offset = size_bytes;
        }
    }
    TINY_BLOCK_BYTES
}

#[inline(always)]
fn thread() -> (u32, Option<*mut ExactThread>) {
    let tid = bpf_get_current_pid_tgid() as u32;
    (tid, EXACT_THREADS.get_ptr_mut(tid))
}

#[inline(always)]
fn new_thread(tid: u32, taken_bytes: u64) {
    let first = ExactThread {
        since_bytes: taken_bytes,
        tiny_offset: 0,
    };
    if EXACT_THREADS.insert(tid, first, BPF_NOEXIST).is_err() {
        add(Count::ThreadsLost, 1);
    }
}

#[inline(always)]
fn add_to_row(key: &ExactKey, size_bytes: u64) -> bool {
    let Some(row) = EXACT_ROWS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the fields are `u64`s in a map value that the verifier has checked.
    unsafe {
        arch::add(&raw mut (*row).objects, 1);
        arch::add(&raw mut (*row).bytes, size_bytes);
    }
    true
}

#[inline(always)]
fn new_row(key: &ExactKey, size_bytes: u64, walk: &Walk) {
    let first = ExactRowCounts {
        objects: 1,
        bytes: size_bytes,
    };
    let mut result = EXACT_ROWS.insert(key, &first, BPF_NOEXIST);
    if result == Err(EBUSY) {
        result = EXACT_ROWS.insert(key, &first, BPF_NOEXIST);
    }
    match result {
        Ok(()) => store_stack(key.stack_hash, walk),
        // Another CPU was faster, and stores the stack.
        Err(EEXIST) if add_to_row(key, size_bytes) => {}
        Err(_) => {
            add(Count::UnrowedObjects, 1);
            add(Count::UnrowedBytes, size_bytes);
        }
    }
}

#[inline(always)]
fn store_stack(hash: u64, walk: &Walk) {
    let Some(none) = EXACT_NO_STACK.get(0) else {
        return;
    };
    match EXACT_STACKS.insert(hash, none, BPF_NOEXIST) {
        Ok(()) => {
            if let Some(stack) = EXACT_STACKS.get_ptr_mut(hash) {
                walk.store(stack);
            }
        }
        Err(EEXIST) => {}
        Err(_) => add(Count::StacksLost, 1),
    }
}

/// A field of [`ExactCounts`], by its offset.
#[repr(usize)]
enum Count {
    Seen = offset_of!(ExactCounts, seen),
    UnrowedObjects = offset_of!(ExactCounts, unrowed_objects),
    UnrowedBytes = offset_of!(ExactCounts, unrowed_bytes),
    StacksLost = offset_of!(ExactCounts, stacks_lost),
    ThreadsLost = offset_of!(ExactCounts, threads_lost),
    SamplesLost = offset_of!(ExactCounts, samples_lost),
}

#[inline(always)]
fn add(count: Count, amount: u64) {
    if let Some(counts) = EXACT_COUNTS.get_ptr_mut(0) {
        // SAFETY: the offset is that of a `u64` in the value.
        arch::add(unsafe { counts.byte_add(count as usize) }.cast(), amount);
    }
}

#[inline(always)]
fn read_block(addr: u64, words: *mut u64) -> bool {
    // SAFETY: a block has room for as many bytes; the kernel checks the address, and fills the block with zeros
    // if it can't read.
    unsafe { gen_bpf_probe_read_user(words.cast(), size_of::<Block>() as u32, addr as *const c_void) == 0 }
}

#[inline(always)]
fn read_user<T>(addr: u64) -> Option<T> {
    // SAFETY: the kernel checks the address and copies; every bit pattern is a valid `u64`.
    unsafe { bpf_probe_read_user(addr as *const T) }.ok()
}
