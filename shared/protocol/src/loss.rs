//! Loss is data: at every hop, seen = sent + dropped by reason. Counters grow from the session's start.

use crate::session::EventClass;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossReport {
    pub timestamp_ns: u64,
    pub hops: Vec<HopCount>,
    /// Things that lost meaning without losing an event.
    pub flaws: Vec<FlawCount>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopCount {
    pub hop: Hop,
    pub class: EventClass,
    pub seen: u64,
    pub sent: u64,
    pub dropped: Vec<DropCount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    pub reason: DropReason,
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hop {
    /// Probe to ring buffer.
    Kernel,
    /// Ring buffer to tick.
    Collector,
    /// Tick to hub.
    Spool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    RingFull,
    Malformed,
    /// The policy switched the class off between the probe and the collector.
    SwitchedOff,
    /// An allocation whose stack could not be kept: the stack table is full.
    StackTableFull,
    /// The table of live samples is full.
    LiveTableFull,
    /// A free of an object whose allocation was not seen, or was sampled before Heaptide came.
    UnmatchedFree,
    /// The forced first sample on each P after a rate change, and a sample whose rate is not known because
    /// the program changed it itself.
    RateChange,
    SpoolFull,
    /// Programs interrupted each other too deeply on one CPU.
    ScratchBusy,
    /// A system call whose entry was not seen, so that only its return is known.
    Unpaired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlawCount {
    pub flaw: Flaw,
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flaw {
    /// A stack longer than the kernel's 127 frames.
    StackTruncated,
    /// No stack could be read.
    StackMissing,
    /// A frame that no symbol covers.
    FrameUnresolved,
    /// Event rows left out because the cost budget was exceeded; their lifetime rows are there.
    EventRowShed,
    /// The clock ran backwards between two records and was held.
    ClockHeld,
    /// The address was sampled again before its free was seen; the older one was closed.
    FreeMissed,
    /// A goroutine that was not remembered because there were too many: no age, no whole creation stack.
    GoroutineUnaged,
}

impl HopCount {
    /// What the books fail to explain; 0 unless something is wrong with Heaptide itself.
    pub fn imbalance(&self) -> i128 {
        let dropped: u64 = self.dropped.iter().map(|drop| drop.count).sum();
        i128::from(self.seen) - i128::from(self.sent) - i128::from(dropped)
    }
}
