//! Exact windows: every allocation of a few seconds, counted in the kernel by stack, type and size.

use crate::ids::StackId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactWindow {
    /// The policy's number of this window.
    pub number: u32,
    pub from_ns: u64,
    pub to_ns: u64,
    pub ended_by: ExactEnd,
    /// Functions that were probed, for example 18 on Go 1.27, 1 before.
    pub probes: u32,
    /// Allocations seen, and the bytes asked for.
    pub objects: u64,
    pub bytes: u64,
    /// Seen and counted here, but in no row: the kernel's table was full.
    pub objects_without_row: u64,
    /// `MemStats.Mallocs` less its value at the start, both read from the process's memory; of tiny objects
    /// that share a block, each is an object there as well as here.
    pub runtime_objects: Option<u64>,
    pub rows: Vec<ExactRow>,
    /// Samples taken in the window with the bytes that their thread allocated since its last one.
    pub phase: Option<SamplingPhase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExactEnd {
    /// Its time was up.
    Time,
    /// It would have cost more than the policy allows.
    Cost,
    /// The policy ended it, or the collector went.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactRow {
    pub stack: Option<StackId>,
    /// Go's name of the element type; empty where the allocator is told none.
    pub type_name: String,
    /// Go's size class: the bytes that each object takes; 0 if the row has several (large objects). 16 for
    /// tiny objects, of which several may share these.
    pub class_bytes: u32,
    pub objects: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// Whether the sampler keeps step with the program, which would bias it ("aliasing").
///
/// Go draws the distance between samples from an exponential distribution, so of the distances seen an
/// equal share should fall into each bin of equal probability. A distance is known up to the size of the object
/// in which it ended, or from what there was of it when the window closed: its bin is drawn from what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingPhase {
    pub rate_bytes: u64,
    /// Counts in bins of equal probability, shortest distances first.
    pub bins: Vec<u32>,
    /// Bytes of the heap taken between the samples, in all.
    pub bytes: u64,
}
