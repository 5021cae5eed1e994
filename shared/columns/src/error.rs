//! What can be wrong with the bytes of columns.

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    #[error("unknown {what} {got}")]
    Unknown { what: &'static str, got: u64 },
    #[error("{what} ends early")]
    Truncated { what: &'static str },
    #[error("{what} is malformed")]
    Malformed { what: &'static str },
    #[error("{got} bytes left over after {what}")]
    Trailing { what: &'static str, got: usize },
}
