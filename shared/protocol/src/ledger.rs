//! The ledger: what each resident page of a process is for.

use crate::ids::StackId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub timestamp_ns: u64,
    pub took_ns: u64,
    /// Resident bytes, by `/proc/PID/smaps` read together with the lines.
    pub rss_bytes: u64,
    /// The same read again at the end: how far the process moved meanwhile.
    pub rss_after_bytes: u64,
    /// What the lines do not explain, of either sign; never spread over them.
    pub remainder_bytes: i64,
    pub lines: Vec<LedgerLine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    pub kind: LedgerKind,
    /// Resident bytes.
    pub bytes: u64,
}

/// The number is the wire's; a reader keeps one that it doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerKind(pub u16);

macro_rules! kinds {
    ($($name:ident = $number:literal, $label:literal, $source:literal;)*) => {
        impl LedgerKind {
            $(pub const $name: Self = Self($number);)*

            /// Every kind of this version, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self($number)),*];

            pub fn label(self) -> &'static str {
                match self.0 { $($number => $label,)* _ => "unknown line" }
            }

            /// Where the figure is read.
            pub fn source(self) -> &'static str {
                match self.0 { $($number => $source,)* _ => "unknown" }
            }
        }
    };
}

kinds! {
    GO_HEAP_IN_USE = 1, "Go heap in use", "resident pages (pagemap) of spans in use (mheap.allspans, state 1)";
    GO_HEAP_IDLE = 2, "Go heap idle, not returned", "resident pages of heap arenas in no span in use";
    GO_STACKS = 3, "Goroutine stacks", "resident pages of spans that hold stacks (mheap.allspans, state 2)";
    GO_RUNTIME = 4, "Go runtime metadata", "resident pages of the runtime's own mappings";
    HUGE_PADDING = 5, "Huge-page padding", "idle heap pages resident only because a huge page covers them";
    THREAD_STACKS = 6, "Thread stacks", "resident pages of [stack] and of threads' stacks";
    NATIVE = 7, "Native and cgo heap", "resident pages of [heap] and other anonymous mappings";
    FILES = 8, "Files and code", "resident pages of file mappings";
    SHARED = 9, "Shared memory", "resident pages of shared anonymous mappings";
}

/// The mappings of a process with what they are for and who made them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regions {
    pub timestamp_ns: u64,
    /// The largest by resident bytes.
    pub rows: Vec<Region>,
    pub other_regions: u64,
    pub other_rss_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    /// What most of it is for.
    pub kind: LedgerKind,
    /// `rwxp` as in `/proc/PID/maps`.
    pub permissions: String,
    /// A path or the kernel's name in brackets; empty for anonymous memory.
    pub name: String,
    pub rss_bytes: u64,
    pub anon_huge_bytes: u64,
    pub swap_bytes: u64,
    pub lazy_free_bytes: u64,
    /// `VmFlags` that matter here, for example `hg nh ht`.
    pub flags: String,
    /// The call that made it, if it was seen.
    pub stack: Option<StackId>,
}
