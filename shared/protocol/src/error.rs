//! What can be wrong with bytes from a peer.

use heaptide_columns::ColumnError;
use serde::{Deserialize, Serialize};

/// Which side has to be upgraded when two versions don't meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upgrade {
    Peer,
    Us,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    #[error("frame of {got} bytes is shorter than its head: expected at least {expected}")]
    Short { got: usize, expected: usize },
    #[error("not a Heaptide frame: expected it to begin with \"HTD\", got {got:02x?}")]
    Magic { got: [u8; 3] },
    #[error("protocol version {theirs} from the peer, {ours} here: upgrade {}", match upgrade {
        Upgrade::Peer => "the peer",
        Upgrade::Us => "this side",
    })]
    Version { ours: u8, theirs: u8, upgrade: Upgrade },
    #[error("checksum does not match: expected {expected:08x}, got {got:08x}; the frame is damaged")]
    Checksum { expected: u32, got: u32 },
    #[error("unknown {what} {got}")]
    Unknown { what: &'static str, got: u64 },
    #[error("{what} is {got}, above the limit of {limit}")]
    TooLarge {
        what: &'static str,
        got: u64,
        limit: u64,
    },
    #[error("{what} ends early")]
    Truncated { what: &'static str },
    #[error("{what} is malformed")]
    Malformed { what: &'static str },
    #[error("{got} bytes left over after {what}")]
    Trailing { what: &'static str, got: usize },
    #[error("decompression failed: {detail}")]
    Decompress { detail: String },
}

impl ProtocolError {
    pub(crate) fn version(theirs: u8) -> Self {
        let ours = crate::VERSION;
        let upgrade = if theirs > ours { Upgrade::Us } else { Upgrade::Peer };
        Self::Version {
            ours,
            theirs,
            upgrade,
        }
    }
}

impl From<ColumnError> for ProtocolError {
    fn from(error: ColumnError) -> Self {
        match error {
            ColumnError::Unknown { what, got } => Self::Unknown { what, got },
            ColumnError::Truncated { what } => Self::Truncated { what },
            ColumnError::Trailing { what, got } => Self::Trailing { what, got },
            ColumnError::Malformed { what } => Self::Malformed { what },
        }
    }
}
