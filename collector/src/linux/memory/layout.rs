//! Where the runtime's variables lie in a running program, and small reads through them.

use crate::CollectorError;
use crate::linux::{GoTarget, Process};
use heaptide_symbols::{HeapOffsets, RuntimeVars};
use std::io;

/// A slice that is longer is not one: the program changed it under our eyes, or this is not what we think.
const MAX_SLICE: u64 = 1 << 28;

/// Addresses as loaded, and the offsets of this version.
#[derive(Debug, Clone, Copy)]
pub struct HeapLayout {
    pub(crate) mheap: u64,
    pub(crate) memstats: u64,
    pub(crate) allp: u64,
    pub(crate) allm: Option<u64>,
    pub(crate) mbuckets: Option<u64>,
    pub(crate) buckhash: Option<u64>,
    pub(crate) persistent_chunks: Option<u64>,
    pub(crate) gc_bits_arenas: Option<u64>,
    pub(crate) offsets: &'static HeapOffsets,
    pub(crate) p_mcache: u64,
    pub(crate) g_stack_lo: u64,
    pub(crate) m_g0: u64,
}

impl HeapLayout {
    /// Walks the function table several times, so it is done once per program. What it can't find is told.
    pub fn of(go: &GoTarget) -> Result<Self, CollectorError> {
        let binary = go.binary();
        let unknown = |what: &str| {
            CollectorError::io(
                format!("can't read the runtime's own books: {what} is not known in this binary"),
                io::ErrorKind::Unsupported.into(),
            )
        };
        let version = binary.go_version();
        let (Some(offsets), Some(runtime)) = (version.and_then(HeapOffsets::of), binary.offsets()) else {
            return Err(unknown("the layout of this Go version"));
        };
        let vars: RuntimeVars = binary.runtime_vars();
        let loaded = |vaddr: Option<u64>| vaddr.map(|vaddr| vaddr.wrapping_add(go.load_bias()));
        let needed = |vaddr, name| loaded(vaddr).ok_or_else(|| unknown(name));
        Ok(Self {
            mheap: needed(vars.mheap, "runtime.mheap_")?,
            memstats: needed(vars.memstats, "runtime.memstats")?,
            allp: needed(vars.allp, "runtime.allp")?,
            allm: loaded(vars.allm),
            mbuckets: loaded(vars.mbuckets),
            buckhash: loaded(vars.buckhash),
            persistent_chunks: loaded(vars.persistent_chunks),
            gc_bits_arenas: loaded(vars.gc_bits_arenas),
            offsets,
            p_mcache: u64::from(runtime.p_mcache),
            g_stack_lo: u64::from(runtime.g_stack_lo),
            m_g0: u64::from(runtime.m_g0),
        })
    }
}

/// `count` words at `address`.
pub(crate) fn words(process: &Process, address: u64, count: u64) -> io::Result<Vec<u64>> {
    if count > MAX_SLICE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a slice of {count} words at {address:#x}: expected at most {MAX_SLICE}"),
        ));
    }
    let mut bytes = vec![0; count as usize * 8];
    process.read_memory(address, &mut bytes)?;
    Ok(bytes.chunks_exact(8).map(|word| word_at(word, 0)).collect())
}

/// The elements of a slice of words whose header is at `address`, and the room that it has.
pub(crate) fn slice(process: &Process, address: u64) -> io::Result<(Vec<u64>, Room)> {
    let header = words(process, address, 3)?;
    let (at, len, cap) = (header[0], header[1], header[2]);
    let room = Room { at, words: cap };
    Ok((words(process, at, len)?, room))
}

/// Where a slice lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) at: u64,
    pub(crate) words: u64,
}

/// A little-endian word; 0 beyond the end.
pub(crate) fn word_at(bytes: &[u8], at: u32) -> u64 {
    bytes
        .get(at as usize..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |word| u64::from_le_bytes(*word))
}

/// The same of 16 bits.
pub(crate) fn half_at(bytes: &[u8], at: u32) -> u16 {
    bytes
        .get(at as usize..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |half| u16::from_le_bytes(*half))
}
