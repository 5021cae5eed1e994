//! Why a question about a binary has no answer.

use crate::version::{NEWEST_MINOR, OLDEST_MINOR};

/// Everything that can go wrong in this crate.
///
/// A Go version outside the table is not here: such a binary parses, and
/// [`crate::GoBinary::support`] says what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// The first bytes are not those of an ELF file.
    #[error("not an ELF file: expected it to begin with 7f 45 4c 46, got {found:02x?}")]
    NotElf {
        /// Up to four bytes from the start.
        found: Vec<u8>,
    },

    /// An ELF file, for another machine.
    #[error(
        "unsupported ELF {field}: expected {expected}, got {found}; only amd64 Linux binaries can be read"
    )]
    UnsupportedElf {
        /// Header field: `class`, `byte order`, `machine` or `type`.
        field: &'static str,
        /// Value that this crate reads.
        expected: u16,
        /// Value in the file.
        found: u16,
    },

    /// An amd64 ELF file without a trace of Go.
    #[error(
        "not a Go binary: it has neither build information (.go.buildinfo) nor a function table (.gopclntab)"
    )]
    NotGo,

    /// The file ends, or contradicts itself, inside a structure.
    #[error("corrupt or truncated file: {what} at file offset {offset:#x} lies outside its {len} bytes")]
    Corrupt {
        /// Structure that was being read.
        what: &'static str,
        /// Where it should be.
        offset: u64,
        /// Size of the file.
        len: u64,
    },

    /// A Go binary whose function table is missing or unreadable (obfuscated, or older than Go 1.18).
    #[error(
        "no readable Go function table; it needs a binary made by go1.18 or later \
         (tested: go1.{OLDEST_MINOR} to go1.{NEWEST_MINOR}) and not rewritten by an obfuscator"
    )]
    NoFunctionTable,

    /// No function has that name; it may have been inlined everywhere or left out by the linker.
    #[error("no function {name} in this binary")]
    NoFunction {
        /// Name that was looked for.
        name: String,
    },

    /// The function begins without a stack check, or with one that this crate can't read.
    #[error(
        "{name} begins without a stack check in this binary, so that its calls can't be told from its \
         re-entries"
    )]
    NoStackCheck {
        /// The function.
        name: String,
    },

    /// The function has no direct call of the callee.
    #[error("no CALL of {callee} inside {function}; it may be inlined there")]
    NoCall {
        /// Function that was searched.
        function: String,
        /// Function that it was expected to call.
        callee: String,
    },
}
