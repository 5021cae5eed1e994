//! Goroutines: all of them at one moment, grouped by who created them and where they wait.

use crate::ids::StackId;
use serde::{Deserialize, Serialize};

/// A census of `runtime.allgs`, read from the process's memory while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoroutineCensus {
    pub timestamp_ns: u64,
    /// How long the reading took: what began and ended meanwhile may be counted or not.
    pub took_ns: u64,
    /// Alive, whether or not they are in a group.
    pub goroutines: u64,
    /// Dead ones, which the runtime keeps for reuse.
    pub dead: u64,
    /// Changed while they were read; counted in `goroutines`, in no group.
    pub torn: u64,
    /// Alive and beyond the limit of groups; counted in `goroutines`, in no group.
    pub ungrouped: u64,
    /// In a group whose stack others of it were seen to have: the same state, creator, entry and stack depth.
    pub inferred: u64,
    pub groups: Vec<GoroutineGroup>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoroutineGroup {
    /// The `go` statement. The whole stack at it if it was seen there, else this one frame.
    pub creator: Option<StackId>,
    pub creator_is_whole: bool,
    /// The function that the goroutine was started with: one frame.
    pub entry: Option<StackId>,
    /// Where those that do not run stand.
    pub wait: Option<StackId>,
    pub state: GoroutineState,
    /// Go's own words (`runtime.waitReasonStrings`); empty unless waiting.
    pub wait_reason: String,
    pub count: u64,
    /// Size of their stacks, as allocated.
    pub stack_bytes: u64,
    /// Of those seen in an earlier census or at their creation: the session time at which the oldest was.
    pub oldest_seen_ns: u64,
    /// How many have been alive for at least 2^n seconds as far as was seen, n = 0 to 15, each in its
    /// highest class only; those younger than a second are in none.
    pub ages: Vec<u32>,
}

/// `g.atomicstatus` without the scan bit (runtime2.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GoroutineState {
    Idle,
    Runnable,
    Running,
    Syscall,
    Waiting,
    CopyingStack,
    Preempted,
    /// Found unreachable by Go's own leak detector (`_Gleaked`, Go 1.26 and 1.27).
    Leaked,
    Other,
}
