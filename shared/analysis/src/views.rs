//! What a viewer asks of a session, and what it gets: plain values, the same natively and in the browser.
//!
//! All times are nanoseconds on the session's clock. All byte figures are estimates unless their
//! [`Figure::method`] says otherwise.

use heaptide_protocol::loss::{FlawCount, HopCount};
pub use heaptide_protocol::report::{Figure, StackFrame, Window};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// Everything the session has: from its first tick to its newest.
    pub span: Window,
    /// Heap bytes allocated since attach and not freed.
    pub live: Figure,
    pub rss: Option<Figure>,
    pub pss: Option<Figure>,
    /// `untracked_memory_bytes`: RSS less live. Includes what was allocated before attach, the runtime's
    /// own memory, stacks, free spans, code, files.
    pub untracked: Option<Figure>,
    /// Over [`Headline::rate_window`].
    pub allocated_per_s: Figure,
    pub freed_per_s: Figure,
    pub rate_window: Window,
    /// 0 if sampling is off or unknown.
    pub sampling_rate_bytes: u64,
    pub samples: u64,
    pub live_samples: u64,
    pub gc_cycles: u64,
    pub pauses: u64,
    pub pause_total_ns: u64,
    pub pause_longest_ns: u64,
    /// Thousandths of one core, over the last second.
    pub collector_cpu_permille: Option<u32>,
    pub collector_rss_bytes: Option<u64>,
    /// Records lost at any hop, all reasons but unmatched frees.
    pub dropped: u64,
    pub hops: Vec<HopCount>,
    pub flaws: Vec<FlawCount>,
    /// How the session ended, if it has.
    pub ended: Option<String>,
    /// Sections or frames that could not be read.
    pub damaged_frames: u64,
    /// Bounds of this viewer that were hit, with their counters.
    pub trimmed: Vec<Trim>,
    /// Ticks are this long now; they double when the store is full.
    pub tick_ns: u64,
    /// Time of the newest sample applied, for measuring how old the picture is.
    pub newest_sample_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    pub what: String,
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineQuery {
    pub window: Window,
    /// As many points as there are pixels, at most.
    pub points: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    pub window: Window,
    pub step_ns: u64,
    /// The widest steps in which this viewer was told of it, without single events; 0 if there are none.
    pub told_ns: u64,
    pub points: Vec<TimelinePoint>,
    pub cycles: Vec<GcCycle>,
    pub pauses: Vec<Pause>,
    pub marks: Vec<Mark>,
    /// Spans that this viewer did not get.
    pub gaps: Vec<Window>,
}

/// One step of the timeline; `at_ns` is its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    pub at_ns: u64,
    pub live_bytes: f64,
    pub live_low_bytes: f64,
    pub live_high_bytes: f64,
    pub rss_bytes: Option<u64>,
    pub pss_bytes: Option<u64>,
    pub allocated_per_s: f64,
    pub freed_per_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcCycle {
    pub begin_ns: u64,
    /// `None` while it runs.
    pub end_ns: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub begin_ns: u64,
    pub end_ns: u64,
    /// Go's `stwReason`, as a number and in words.
    pub reason: u32,
    pub reason_text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at_ns: u64,
    pub kind: MarkKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkKind {
    PolicyApplied {
        revision: u64,
        rate_before_bytes: u64,
        rate_after_bytes: u64,
    },
    PolicyRejected {
        revision: u64,
        reason: String,
    },
    Ended {
        how: String,
    },
}

/// What a flame graph or table counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Live at the end of the window, whenever it was allocated since attach.
    Live,
    /// Allocated in the window and not freed by its end.
    Kept,
    Allocated,
    /// Freed in the window, whenever it was allocated since attach. Go frees at sweep, not at death.
    Freed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileQuery {
    pub window: Window,
    pub metric: Metric,
    /// Keeps stacks with a frame whose function or file contains this, whatever its case. Empty keeps all.
    pub filter: String,
    /// Flame nodes or table rows, the largest first; the rest is merged and counted.
    pub limit: u32,
}

/// An icicle: nodes in pre-order, roots (callers) first, larger siblings first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flame {
    pub total: Figure,
    pub samples: u64,
    /// Function names and files that nodes refer to.
    pub strings: Vec<String>,
    pub nodes: Vec<FlameNode>,
    /// Nodes left out because of the limit; their bytes are in their parents.
    pub merged_nodes: u64,
    /// What the filter left out.
    pub hidden_bytes: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FlameNode {
    /// Index into [`Flame::nodes`]; a root points at itself.
    pub parent: u32,
    pub depth: u32,
    /// Into [`Flame::strings`].
    pub function: u32,
    pub file: u32,
    pub line: u32,
    pub inlined: bool,
    /// Bytes of this node and everything below it.
    pub total_bytes: f64,
    /// Half the width of the interval, as a share of `total_bytes`.
    pub relative_error: f32,
    /// Bytes allocated by this very frame.
    pub self_bytes: f64,
    pub samples: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteTable {
    pub total: Figure,
    pub rows: Vec<SiteRow>,
    /// Sites below the limit, and their bytes.
    pub other_sites: u64,
    pub other_bytes: f64,
}

/// A call site: the frame nearest to the allocation that isn't the runtime's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteRow {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub bytes: Figure,
    pub objects: Figure,
    pub samples: u64,
    /// Of the table's total, 0 to 1.
    pub share: f64,
    /// The heaviest stack through this site, leaf first.
    pub heaviest_stack: Vec<StackFrame>,
    pub stacks: u32,
}
