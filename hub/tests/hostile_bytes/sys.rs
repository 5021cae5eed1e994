//! How much memory the calling thread has taken, for which std has no door but an allocator.

#![expect(unsafe_code, reason = "an allocator is nothing else")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with this thread's bytes counted.
pub(crate) struct Counting;

thread_local! {
    static NOW_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    pub(crate) fn start() -> usize {
        let now = NOW_BYTES.get();
        PEAK_BYTES.set(now);
        now
    }

    pub(crate) fn peak_bytes() -> usize {
        PEAK_BYTES.get()
    }

    fn took(bytes: usize) {
        let now = NOW_BYTES.get().wrapping_add(bytes);
        NOW_BYTES.set(now);
        PEAK_BYTES.set(PEAK_BYTES.get().max(now));
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator as it came; the counters are not allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::took(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW_BYTES.set(NOW_BYTES.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}
