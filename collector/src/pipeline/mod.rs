//! From records to ticks, without I/O: stacks get ids, frees meet their allocations, and each tick leaves as
//! a dictionary, lifetime rows, event rows and books that balance.

mod books;
mod kernel;
mod live;
mod mapped;
mod mapping;
mod stacks;
#[cfg(test)]
mod tests;
mod tick;

pub use books::Books;
pub use stacks::{Symbol, Symbolize};
pub(crate) use tick::buckets::BucketTotals;
pub use tick::{Pipeline, PipelineConfig, TickOutput};

use heaptide_protocol::TagId;

/// The heap tags of this collector, by dense id.
pub const TAGS: [&str; 6] = [
    "go.heap",
    "map.anonymous",
    "map.file",
    "map.hugetlb",
    "map.unknown",
    "go.heap.buckets",
];
pub(crate) const TAG_GO_HEAP: TagId = TagId(0);
pub(crate) const TAG_MAP_ANONYMOUS: TagId = TagId(1);
pub(crate) const TAG_MAP_FILE: TagId = TagId(2);
pub(crate) const TAG_MAP_HUGETLB: TagId = TagId(3);
pub(crate) const TAG_MAP_UNKNOWN: TagId = TagId(4);
/// Go's own heap profile; never summed up with what the probes see.
pub(crate) const TAG_GO_HEAP_BUCKETS: TagId = TagId(5);
