//! A session in a file: `"HEAPLOG" version:u8`, then records of `head frame`. The hub's segments and the files
//! of `heaptide record` have this form, so that whoever reads one reads the other.
//!
//! A record's head is 16 bytes, little-endian: `length:u32 check:u32 synced_seq:u64`. `check` is the CRC-32
//! of the other two, so that a damaged length is never followed. `synced_seq` is the session's durable
//! sequence number when the record was written; 0 if nothing was ever synced. It tells recovery which records
//! must be there: a bad place at or below the highest `synced_seq` is damage to what was acknowledged, and
//! one above it is a write that was torn. The frame is as on the wire and carries its own checksum.

use crate::checksum::crc32;
use crate::frame::{HEAD_BYTES as FRAME_HEAD_BYTES, MAX_FRAME_BYTES};

pub const FILE_HEAD: [u8; 8] = *b"HEAPLOG\x01";
pub const RECORD_HEAD_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    pub frame_bytes: u32,
    pub synced_seq: u64,
}

impl RecordHead {
    pub fn encode(self) -> [u8; RECORD_HEAD_BYTES] {
        let mut out = [0; RECORD_HEAD_BYTES];
        out[0..4].copy_from_slice(&self.frame_bytes.to_le_bytes());
        out[4..8].copy_from_slice(&self.check().to_le_bytes());
        out[8..16].copy_from_slice(&self.synced_seq.to_le_bytes());
        out
    }

    /// `None` for anything that was not written as a record's head.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, seq @ ..] = bytes.get(..RECORD_HEAD_BYTES)? else {
            return None;
        };
        let head = Self {
            frame_bytes: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            synced_seq: u64::from_le_bytes(seq.try_into().ok()?),
        };
        let length_fits = (FRAME_HEAD_BYTES..=MAX_FRAME_BYTES).contains(&(head.frame_bytes as usize));
        (length_fits && head.check() == u32::from_le_bytes([*c0, *c1, *c2, *c3])).then_some(head)
    }

    pub fn record_bytes(self) -> u64 {
        (RECORD_HEAD_BYTES as u64) + u64::from(self.frame_bytes)
    }

    fn check(self) -> u32 {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.frame_bytes.to_le_bytes());
        bytes[4..].copy_from_slice(&self.synced_seq.to_le_bytes());
        crc32(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_head_is_seen() {
        let head = RecordHead {
            frame_bytes: 4711,
            synced_seq: 42,
        };
        let good = head.encode();
        assert_eq!(RecordHead::decode(&good), Some(head));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHead::decode(&bad), None, "bit {bit}");
        }
    }
}
