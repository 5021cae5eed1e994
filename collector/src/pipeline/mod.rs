//! From records to ticks, without I/O: stacks get ids, frees meet their allocations, and each tick leaves as
//! a dictionary, lifetime rows, event rows and books that balance.

mod books;
mod kernel;
mod live;
mod stacks;
#[cfg(test)]
mod tests;
mod tick;

pub use books::Books;
pub use stacks::{Symbol, Symbolize};
pub use tick::{Pipeline, PipelineConfig, TickOutput};

use heaptide_protocol::TagId;

/// The heap tags of this collector, by dense id.
pub const TAGS: [&str; 5] = [
    "go.heap",
    "map.anonymous",
    "map.file",
    "map.hugetlb",
    "map.unknown",
];
pub(crate) const TAG_GO_HEAP: TagId = TagId(0);
pub(crate) const TAG_MAP_ANONYMOUS: TagId = TagId(1);
pub(crate) const TAG_MAP_FILE: TagId = TagId(2);
pub(crate) const TAG_MAP_HUGETLB: TagId = TagId(3);
pub(crate) const TAG_MAP_UNKNOWN: TagId = TagId(4);
