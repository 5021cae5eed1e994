//! What a memory profiler needs to know of a Go binary, from its bytes alone.
//!
//! [`GoBinary::parse`] takes an amd64 Linux ELF file, stripped or not, PIE or
//! not, with cgo or without, and answers: which Go made it, where its functions
//! are, where to put a uprobe, where `runtime.MemProfileRate` lies, which
//! offsets its runtime structures have, and what function, file and line an
//! address is, with inlined calls expanded.
//!
//! The crate does no I/O: bring the bytes in anything that is `AsRef<[u8]>`,
//! best a memory map. Nothing is copied or indexed ahead, so memory stays at a
//! few kilobytes beside the bytes. Any input is survived: an answer or an error,
//! no panic, no allocation that the input's numbers decide.
//!
//! **Addresses** are virtual addresses as the file has them. The caller takes the
//! load bias of a running process off first (zero unless it is PIE).
//!
//! Left out: DWARF, C functions, arm64, plugins and `-buildmode=shared` (several
//! Go modules in one process).

mod allocators;
mod binary;
mod buildinfo;
mod bytes;
mod elf;
mod error;
mod globals;
mod goroutines;
mod heap_offsets;
mod moduledata;
mod offsets;
mod pclntab;
mod probe;
mod resolve;
mod runtime_vars;
mod types;
mod version;
mod wait_reasons;

pub use binary::{Function, GoBinary};
pub use buildinfo::BuildInfo;
pub use error::SymbolError;
pub use heap_offsets::HeapOffsets;
pub use offsets::RuntimeOffsets;
pub use probe::{ProbeInstruction, ProbeSite};
pub use resolve::{Frame, PcKind};
pub use runtime_vars::RuntimeVars;
pub use version::{GoVersion, NEWEST_MINOR, OLDEST_MINOR, Support};
pub use wait_reasons::wait_reason;
