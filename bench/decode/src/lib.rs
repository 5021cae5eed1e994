//! What a console does with event batches, as work that can be timed: natively and in WASM, the same code.
//!
//! A [`Corpus`] is what a collector sent: per frame, the raw event sections and the same as compressed
//! payload. Beside the columns stands their peer, one postcard struct per event. No clock is read here:
//! whoever calls has one.

#[cfg(target_arch = "wasm32")]
mod sys;

use heaptide_protocol::events::{Event, EventBatch, EventBody};
use heaptide_protocol::frame::{Compression, Envelope, Frame};
use heaptide_protocol::{FrameKind, SessionId};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// What can be timed. The numbers are those of the page's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Work {
    /// Batches from raw bytes to columns in memory.
    Columns = 0,
    /// The peer: as many events, each a postcard struct, from raw bytes to structs.
    Postcard = 1,
    /// Payloads from zstd to raw bytes.
    Unpack = 2,
    /// Both: from zstd to columns.
    UnpackAndColumns = 3,
}

impl Work {
    pub const ALL: [Self; 4] = [
        Self::Columns,
        Self::Postcard,
        Self::Unpack,
        Self::UnpackAndColumns,
    ];
}

/// An event as a plain struct would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    event_id: u64,
    timestamp_ns: u64,
    thread_id: u32,
    kind: u8,
    body: RowBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum RowBody {
    Alloc {
        alloc_size_bytes: u64,
        stack: u32,
        heap_tag: u32,
        goroutine_id: u64,
        address: Option<u64>,
    },
    Free {
        alloc_event_id: Option<u64>,
    },
    Other {
        size_bytes: u64,
        address: u64,
        detail: u64,
        goroutine_id: u64,
        stack: Option<u32>,
        heap_tag: u32,
    },
}

/// Everything that a run needs, in memory.
#[derive(Debug, Default)]
pub struct Corpus {
    batches: Vec<Vec<u8>>,
    packed: Vec<Packed>,
    rows: Vec<u8>,
    events: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Packed {
    raw_bytes: u32,
    payload: Vec<u8>,
}

impl Corpus {
    /// `file` is made by [`pack`]. `None` if it is not what it should be.
    pub fn read(mut file: &[u8]) -> Option<Self> {
        let mut corpus = Self::default();
        while !file.is_empty() {
            let raw = take(&mut file)?;
            let payload = take(&mut file)?;
            let batch = EventBatch::decode(raw).ok()?;
            for event in batch.iter() {
                corpus.rows =
                    postcard::to_extend(&Row::from(event), std::mem::take(&mut corpus.rows)).ok()?;
            }
            corpus.events += batch.len();
            corpus.packed.push(Packed {
                raw_bytes: raw.len() as u32,
                payload: payload.to_vec(),
            });
            corpus.batches.push(raw.to_vec());
        }
        Some(corpus)
    }

    pub fn events(&self) -> usize {
        self.events
    }

    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Bytes that the peer takes.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Does the work once over the whole corpus; returns how many events came out.
    pub fn run(&mut self, work: Work) -> usize {
        let mut events = 0;
        match work {
            Work::Columns => {
                for bytes in &self.batches {
                    events += decode(bytes);
                }
            }
            Work::Postcard => {
                let mut rest = self.rows.as_slice();
                let mut rows: Vec<Row> = Vec::with_capacity(self.events);
                while let Ok((row, more)) = postcard::take_from_bytes::<Row>(rest) {
                    rows.push(row);
                    rest = more;
                }
                events = black_box(rows).len();
            }
            Work::Unpack => {
                for packed in &self.packed {
                    let raw = packed.unpack(&mut self.scratch);
                    events += usize::from(black_box(raw).is_some());
                }
            }
            Work::UnpackAndColumns => {
                for packed in &self.packed {
                    events += packed.unpack(&mut self.scratch).map_or(0, decode);
                }
            }
        }
        events
    }
}

/// Appends one frame's event section, raw and as zstd has it, to a corpus file.
pub fn pack(file: &mut Vec<u8>, raw: &[u8], payload: &[u8]) {
    for part in [raw, payload] {
        file.extend_from_slice(&(part.len() as u32).to_le_bytes());
        file.extend_from_slice(part);
    }
}

impl Packed {
    fn unpack<'s>(&'s self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        let frame = Frame {
            envelope: Envelope {
                compression: Compression::Zstd,
                raw_bytes: self.raw_bytes,
                ..Envelope::control(FrameKind::Data, SessionId::default())
            },
            payload: &self.payload,
        };
        frame.raw(scratch).ok()
    }
}

impl From<Event> for Row {
    fn from(event: Event) -> Self {
        let body = match event.body {
            EventBody::Alloc {
                alloc_size_bytes,
                stack,
                heap_tag,
                goroutine_id,
                address,
            } => RowBody::Alloc {
                alloc_size_bytes,
                stack: stack.0,
                heap_tag: heap_tag.0,
                goroutine_id,
                address,
            },
            EventBody::Free { alloc_event_id } => RowBody::Free { alloc_event_id },
            EventBody::Other(row) => RowBody::Other {
                size_bytes: row.size_bytes,
                address: row.address,
                detail: row.detail,
                goroutine_id: row.goroutine_id,
                stack: row.stack.map(|stack| stack.0),
                heap_tag: row.heap_tag.0,
            },
        };
        Self {
            event_id: event.event_id,
            timestamp_ns: event.timestamp_ns,
            thread_id: event.thread_id,
            kind: event.kind as u8,
            body,
        }
    }
}

fn decode(bytes: &[u8]) -> usize {
    black_box(EventBatch::decode(bytes)).map_or(0, |batch| batch.len())
}

fn take<'a>(file: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = file.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *file = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::events::EventKind;
    use heaptide_protocol::{StackId, SymbolGen, TagId};

    #[test]
    fn all_events_come_out_of_every_form() {
        let mut file = Vec::new();
        for round in 0..3 {
            let mut batch = EventBatch::new(1 + round * 100, 5, SymbolGen(0), 4096, false);
            for at in 0..50 {
                let alloc = EventBody::Alloc {
                    alloc_size_bytes: 48,
                    stack: StackId(2),
                    heap_tag: TagId(0),
                    goroutine_id: 1,
                    address: None,
                };
                let id = batch.push(10 + at, 7, EventKind::Alloc, alloc);
                let free = EventBody::Free {
                    alloc_event_id: Some(id),
                };
                batch.push(10 + at, 7, EventKind::Free, free);
            }
            let mut raw = Vec::new();
            batch.encode(&mut raw);
            pack(&mut file, &raw, &raw);
        }
        let mut corpus = Corpus::read(&file).unwrap();
        assert_eq!((corpus.events(), corpus.batches()), (300, 3));
        assert_eq!(corpus.run(Work::Columns), 300);
        assert_eq!(corpus.run(Work::Postcard), 300);
        assert!(Corpus::read(&file[..file.len() - 1]).is_none());
    }
}
