//! What is counted, per class and CPU.
//!
//! In each class `seen = sent + dropped_ring_full + dropped_no_buffer + dropped_unpaired` at every moment
//! when no program is running in the middle of a record.

/// A class of events, which is switched on and off and counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Class {
    /// Sampled allocations.
    Alloc = 0,
    /// Frees of sampled allocations.
    Free = 1,
    /// Beginning and end of GC cycles.
    Gc = 2,
    /// Stop-the-world pauses.
    Stw = 3,
    /// Mapping system calls.
    Mapping = 4,
    /// Goroutines: created, exited, stack grown.
    Goroutine = 5,
    /// Mark assists and sweeps by goroutines that allocate.
    GcWork = 6,
    /// Huge pages put together, or not.
    HugePage = 7,
    /// Page faults, one in so many.
    PageFault = 8,
    /// Threads that waited for a processor.
    OffCpu = 9,
    /// Allocations in an exact window, which are counted and not sent.
    Exact = 10,
}

/// How many classes there are.
pub const CLASS_COUNT: u32 = 11;

impl Class {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; CLASS_COUNT as usize] = [
        Self::Alloc,
        Self::Free,
        Self::Gc,
        Self::Stw,
        Self::Mapping,
        Self::Goroutine,
        Self::GcWork,
        Self::HugePage,
        Self::PageFault,
        Self::OffCpu,
        Self::Exact,
    ];

    /// Its bit in [`TargetConfig::enabled`](crate::TargetConfig::enabled).
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Words in [`ClassCounters`].
pub const COUNTER_WORDS: usize = 9;

/// Counters of one class on one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ClassCounters {
    /// Events of a watched process whose class was on.
    pub seen: u64,
    /// Of those, records that the ring buffer took.
    pub sent: u64,
    /// Records that the ring buffer refused, since the reader was behind.
    pub dropped_ring_full: u64,
    /// Records that found no free scratch buffer, since programs interrupted each other too deeply.
    pub dropped_no_buffer: u64,
    /// System calls whose entry was not seen or was forgotten, so that only the return is known.
    pub dropped_unpaired: u64,
    /// Records that were sent or refused without a stack that they should have.
    pub stack_failed: u64,
    /// Records whose stack filled the buffer.
    pub stack_truncated: u64,
    /// Hits that were no event: another process, or a special that is no profile record.
    pub filtered: u64,
    /// Hits in a watched process while the class was off.
    pub disabled: u64,
}

impl ClassCounters {
    /// From the words in the map, in the order of the fields.
    #[must_use]
    pub const fn from_words(words: [u64; COUNTER_WORDS]) -> Self {
        let [
            seen,
            sent,
            dropped_ring_full,
            dropped_no_buffer,
            dropped_unpaired,
            stack_failed,
            stack_truncated,
            filtered,
            disabled,
        ] = words;
        Self {
            seen,
            sent,
            dropped_ring_full,
            dropped_no_buffer,
            dropped_unpaired,
            stack_failed,
            stack_truncated,
            filtered,
            disabled,
        }
    }

    /// All that was seen and not sent.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_ring_full + self.dropped_no_buffer + self.dropped_unpaired
    }

    /// Adds the counters of another CPU.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            seen: self.seen + other.seen,
            sent: self.sent + other.sent,
            dropped_ring_full: self.dropped_ring_full + other.dropped_ring_full,
            dropped_no_buffer: self.dropped_no_buffer + other.dropped_no_buffer,
            dropped_unpaired: self.dropped_unpaired + other.dropped_unpaired,
            stack_failed: self.stack_failed + other.stack_failed,
            stack_truncated: self.stack_truncated + other.stack_truncated,
            filtered: self.filtered + other.filtered,
            disabled: self.disabled + other.disabled,
        }
    }
}
