//! Exact windows: what the kernel counts while every allocation is probed.
//!
//! Nothing per allocation is sent. A row per stack, type and size class holds count and bytes; each stack is
//! stored once, under its hash.

use crate::MAX_STACK_FRAMES;

/// Key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactKey {
    /// [`exact_hash`] over the stack, leaf first.
    pub stack_hash: u64,
    /// Address of the `runtime._type` of the element; 0 where the allocator is told none.
    pub type_address: u64,
    /// Go's size class; 0 for large objects.
    pub class: u64,
}

/// What a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactRowCounts {
    pub objects: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// A stack, leaf first: the probed instruction, then return addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ExactStack {
    pub frames: u64,
    pub pcs: [u64; MAX_STACK_FRAMES],
}

/// Words in [`ExactControl`].
pub const EXACT_CONTROL_WORDS: usize = 3;

/// What the loader tells the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactControl {
    /// 1 while the window is open.
    pub on: u64,
    /// Objects with pointers larger than this carry a header of 8 bytes (Go 1.22 on:
    /// `runtime.minSizeForMallocHeader`); the largest number where there are none.
    pub header_above_bytes: u64,
    /// 1 if the probes stand on stack checks (before Go 1.21): a hit whose check fails is no call, since the
    /// stack grows and the function is entered again.
    pub at_stack_check: u64,
}

impl ExactControl {
    /// The same as words, for maps that are written without `unsafe`.
    #[must_use]
    pub const fn to_words(self) -> [u64; EXACT_CONTROL_WORDS] {
        [self.on, self.header_above_bytes, self.at_stack_check]
    }
}

/// Words in [`ExactCounts`].
pub const EXACT_COUNT_WORDS: usize = 6;

/// Counters of one CPU. `seen` is the sum of all rows' objects and `unrowed_objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactCounts {
    /// Allocations in the window.
    pub seen: u64,
    /// Of those, allocations that found no row, since the table was full.
    pub unrowed_objects: u64,
    pub unrowed_bytes: u64,
    /// Stacks that were not stored, since their table was full: their rows have none.
    pub stacks_lost: u64,
    /// Allocations of threads for which there was no room: they are not in the test of the sampling phase.
    pub threads_lost: u64,
    /// Samples that the ring buffer refused: as above.
    pub samples_lost: u64,
}

impl ExactCounts {
    /// From the words in the map, in the order of the fields.
    #[must_use]
    pub const fn from_words(words: [u64; EXACT_COUNT_WORDS]) -> Self {
        let [
            seen,
            unrowed_objects,
            unrowed_bytes,
            stacks_lost,
            threads_lost,
            samples_lost,
        ] = words;
        Self {
            seen,
            unrowed_objects,
            unrowed_bytes,
            stacks_lost,
            threads_lost,
            samples_lost,
        }
    }

    /// Adds the counters of another CPU.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            seen: self.seen + other.seen,
            unrowed_objects: self.unrowed_objects + other.unrowed_objects,
            unrowed_bytes: self.unrowed_bytes + other.unrowed_bytes,
            stacks_lost: self.stacks_lost + other.stacks_lost,
            threads_lost: self.threads_lost + other.threads_lost,
            samples_lost: self.samples_lost + other.samples_lost,
        }
    }
}

/// What is known of a thread between two samples of Go's profiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactThread {
    /// Bytes of the heap that its allocations took since its last sample, or since the window began.
    pub since_bytes: u64,
    /// How much of the block for tiny objects is used; 0 if there is none yet.
    pub tiny_offset: u64,
}

/// A sample of Go's profiler, by way of the ring buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExactSample {
    /// Bytes that its thread took between the sample before and the sampled object.
    pub before_bytes: u64,
    /// Bytes that the sampled object takes.
    pub size_bytes: u64,
}

/// Size of [`ExactSample`].
pub const EXACT_SAMPLE_BYTES: usize = size_of::<ExactSample>();

/// One more program counter in the hash of a stack; begins with 0.
#[must_use]
#[inline(always)]
pub const fn exact_hash(hash: u64, pc: u64) -> u64 {
    let mixed = (hash ^ pc).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// Bytes of each of Go's size classes (`internal/runtime/gc.SizeClassToSize` in 1.27, `runtime.class_to_size`
/// before; the same from 1.21 to 1.27). Class 0 is that of large objects.
pub const SIZE_CLASS_BYTES: [u16; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384,
    416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072,
    3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568,
    14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
];

/// The largest object that is not large (`maxSmallSize - mallocHeaderSize`; 32,768 itself before Go 1.22).
pub const MAX_SMALL_BYTES: u64 = 32_760;
/// Objects without pointers below this share blocks of this size (`maxTinySize`).
pub const TINY_BLOCK_BYTES: u64 = 16;
/// The class of those blocks.
pub const TINY_CLASS: u64 = 2;
