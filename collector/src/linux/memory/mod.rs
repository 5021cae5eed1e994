//! The watched process's memory, read while it runs: many words with few system calls.
//!
//! Nothing here stops the process, so what is read can be half changed; each reader says how it notices.

pub mod buckets;
pub mod goroutines;
pub mod heap_stats;
pub mod layout;
mod scattered;
pub mod spans;
