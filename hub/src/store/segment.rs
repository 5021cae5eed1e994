//! Reads one segment file: checked records, and the damaged stretches between them.
//!
//! Only heads, envelopes and checksums are looked at ([`Frame::parse`]); payloads pass as bytes.

use super::record::{RECORD_HEAD_BYTES, RecordHead};
use bytes::Bytes;
use heaptide_protocol::frame::MAGIC;
use heaptide_protocol::{Envelope, Frame, FrameKind, SessionId};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// Read from the file at once; a larger record is read whole.
const CHUNK_BYTES: u64 = 256 << 10;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    pub(crate) synced_seq: u64,
    /// The frame as received.
    pub(crate) frame: Bytes,
    /// Offset just behind the record.
    pub(crate) end: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    Record(Record),
    /// Nothing readable in `from..to`; `to` is the next good record or the end.
    Bad {
        from: u64,
        to: u64,
    },
    End,
}

#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: File,
    session: SessionId,
    offset: u64,
    until: u64,
    chunk: Bytes,
    chunk_start: u64,
}

impl SegmentReader {
    /// Records between `offset` and `until`, both in bytes from the start of the file.
    pub(crate) fn new(file: File, session: SessionId, offset: u64, until: u64) -> Self {
        Self {
            file,
            session,
            offset,
            until,
            chunk: Bytes::new(),
            chunk_start: 0,
        }
    }

    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if self.offset >= self.until {
            return Ok(Step::End);
        }
        let from = self.offset;
        if let Some(record) = self.record_at(from)? {
            self.offset = record.end;
            return Ok(Step::Record(record));
        }
        self.offset = self.next_record(from + 1)?;
        Ok(Step::Bad {
            from,
            to: self.offset,
        })
    }

    fn record_at(&mut self, offset: u64) -> io::Result<Option<Record>> {
        let head_bytes = self.window(offset, RECORD_HEAD_BYTES as u64)?;
        let Some(head) = RecordHead::decode(&head_bytes) else {
            return Ok(None);
        };
        let bytes = self.window(offset, head.record_bytes())?;
        let Some(end) = usize::try_from(head.record_bytes())
            .ok()
            .filter(|length| *length <= bytes.len())
        else {
            return Ok(None);
        };
        let frame = bytes.slice(RECORD_HEAD_BYTES..end);
        let Ok(Frame { envelope, .. }) = Frame::parse(&frame) else {
            return Ok(None);
        };
        let ours = envelope.kind == FrameKind::Data && envelope.session == self.session && envelope.seq > 0;
        Ok(ours.then(|| Record {
            envelope,
            synced_seq: head.synced_seq,
            frame,
            end: offset + head.record_bytes(),
        }))
    }

    /// The first offset at or behind `offset` where a good record begins, or the end.
    fn next_record(&mut self, mut offset: u64) -> io::Result<u64> {
        loop {
            let window = self.window(offset, CHUNK_BYTES)?;
            if window.len() < RECORD_HEAD_BYTES + MAGIC.len() {
                return Ok(self.until);
            }
            let last = window.len() - RECORD_HEAD_BYTES - MAGIC.len();
            for start in 0..=last {
                if window[start + RECORD_HEAD_BYTES..].starts_with(&MAGIC)
                    && self.record_at(offset + start as u64)?.is_some()
                {
                    return Ok(offset + start as u64);
                }
            }
            offset += last as u64 + 1;
        }
    }

    /// Bytes from `offset` on: at least `length`, or as many as there are before the end.
    fn window(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = length.min(self.until.saturating_sub(offset));
        let inside =
            offset >= self.chunk_start && offset + length <= self.chunk_start + self.chunk.len() as u64;
        if !inside {
            let wanted = length.max(CHUNK_BYTES).min(self.until.saturating_sub(offset));
            self.file.seek(SeekFrom::Start(offset))?;
            let mut chunk = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
            (&mut self.file).take(wanted).read_to_end(&mut chunk)?;
            self.chunk = chunk.into();
            self.chunk_start = offset;
        }
        let skip = usize::try_from(offset - self.chunk_start).unwrap_or(usize::MAX);
        Ok(self.chunk.slice(skip.min(self.chunk.len())..))
    }
}
