//! The records of a recording ([`heaptide_protocol::log`]), from bytes in pieces of any length.
//!
//! A bad place is stepped over, byte by byte, to the next record that is whole, and told. Never more is held
//! than one piece and one record.

use bytes::{Buf as _, Bytes, BytesMut};
use heaptide_protocol::log::{FILE_HEAD, RECORD_HEAD_BYTES, RecordHead};
use heaptide_protocol::{Envelope, Frame, FrameKind};

#[derive(Debug, Default)]
pub(crate) struct Records {
    buffer: BytesMut,
    has_head: bool,
    bad_bytes: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// A data frame whose checksum is right.
    Frame { envelope: Envelope, frame: Bytes },
    /// So many bytes before the next record, or before the end, are no record.
    Bad { bytes: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRecords {
    #[error(
        "this is no recording: expected it to begin with \"HEAPLOG\", got {got:02x?}; `heaptide record` makes one"
    )]
    Magic { got: Vec<u8> },
    #[error("this recording has version {got}, and this hub reads version {expected}: upgrade the hub")]
    Version { expected: u8, got: u8 },
}

impl Records {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next one, if enough has come. `is_end` says that nothing more will.
    pub(crate) fn next(&mut self, is_end: bool) -> Result<Option<Found>, NotRecords> {
        if !self.has_head && !self.read_head(is_end)? {
            return Ok(None);
        }
        loop {
            let rest: &[u8] = &self.buffer;
            let head = RecordHead::decode(rest);
            let whole = head.map(|head| head.record_bytes() as usize);
            match whole {
                Some(length) if rest.len() < length && !is_end => return Ok(None),
                None if rest.len() < RECORD_HEAD_BYTES && !is_end => return Ok(None),
                _ => {}
            }
            let envelope = whole
                .and_then(|length| rest.get(RECORD_HEAD_BYTES..length))
                .and_then(data_envelope);
            if let (Some(envelope), Some(length)) = (envelope, whole) {
                if self.bad_bytes > 0 {
                    let bytes = std::mem::take(&mut self.bad_bytes);
                    return Ok(Some(Found::Bad { bytes }));
                }
                let mut frame = self.buffer.split_to(length).freeze();
                frame.advance(RECORD_HEAD_BYTES);
                return Ok(Some(Found::Frame { envelope, frame }));
            }
            if rest.is_empty() {
                let bytes = std::mem::take(&mut self.bad_bytes);
                return Ok((bytes > 0).then_some(Found::Bad { bytes }));
            }
            self.buffer.advance(1);
            self.bad_bytes += 1;
        }
    }

    fn read_head(&mut self, is_end: bool) -> Result<bool, NotRecords> {
        let Some((expected, magic)) = FILE_HEAD.split_last() else {
            return Ok(false);
        };
        let got = &self.buffer[..self.buffer.len().min(FILE_HEAD.len())];
        let length = got.len().min(magic.len());
        let is_short = got.len() < FILE_HEAD.len();
        if got[..length] != magic[..length] || (is_short && is_end) {
            return Err(NotRecords::Magic { got: got.to_vec() });
        }
        match got.get(magic.len()) {
            None => Ok(false),
            Some(version) if version != expected => Err(NotRecords::Version {
                expected: *expected,
                got: *version,
            }),
            Some(_) => {
                self.buffer.advance(FILE_HEAD.len());
                self.has_head = true;
                Ok(true)
            }
        }
    }
}

fn data_envelope(bytes: &[u8]) -> Option<Envelope> {
    let envelope = Frame::parse(bytes).ok()?.envelope;
    (envelope.kind == FrameKind::Data && envelope.seq > 0).then_some(envelope)
}

/// A frame as a record of a file that is synced as a whole.
pub(crate) fn record(frame: &[u8], synced_seq: u64, out: &mut Vec<u8>) {
    let head = RecordHead {
        frame_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        synced_seq,
    };
    out.extend_from_slice(&head.encode());
    out.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::SessionId;
    use heaptide_protocol::frame::encode;

    fn file(frames: u64) -> Vec<u8> {
        let mut out = FILE_HEAD.to_vec();
        for seq in 1..=frames {
            let frame = encode(Envelope::data(SessionId([1; 16]), seq, seq, seq), b"some payload").unwrap();
            record(&frame, 0, &mut out);
        }
        out
    }

    /// What was found: the numbers of frames, and bad bytes as negative numbers.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<i64>, NotRecords> {
        let mut records = Records::default();
        let mut found = Vec::new();
        let mut take = |records: &mut Records, is_end| {
            while let Some(next) = records.next(is_end)? {
                found.push(match next {
                    Found::Frame { envelope, .. } => envelope.seq as i64,
                    Found::Bad { bytes } => -(bytes as i64),
                });
            }
            Ok(())
        };
        for piece in bytes.chunks(piece) {
            records.push(piece);
            take(&mut records, false)?;
        }
        take(&mut records, true)?;
        Ok(found)
    }

    #[test]
    fn pieces_of_any_length_give_the_same_and_bad_places_are_told() {
        let good = file(3);
        let record_bytes = (good.len() - FILE_HEAD.len()) / 3;
        let second = FILE_HEAD.len() + record_bytes;
        let mut damaged = good.clone();
        damaged[second + 30] ^= 1;
        let mut garbage = good.clone();
        garbage.splice(second..second, [7; 5]);
        let torn = &good[..good.len() - 1];
        let lost = record_bytes as i64;
        let cases: [(&str, &[u8], &[i64]); 5] = [
            ("good", &good, &[1, 2, 3]),
            ("damaged", &damaged, &[1, -lost, 3]),
            ("garbage between", &garbage, &[1, -5, 2, 3]),
            ("torn", torn, &[1, 2, -(lost - 1)]),
            ("only a head", &FILE_HEAD, &[]),
        ];
        for (name, bytes, expected) in cases {
            for piece in [1, 7, 64, bytes.len()] {
                assert_eq!(read(bytes, piece).unwrap(), expected, "{name} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_recording_is_named() {
        let mut newer = file(1);
        newer[7] = 9;
        assert_eq!(read(&newer, 3), Err(NotRecords::Version { expected: 1, got: 9 }));
        for bytes in [&b"GIF89a.............................."[..], b"HEAP", b""] {
            assert!(
                matches!(read(bytes, 100), Err(NotRecords::Magic { .. })),
                "{bytes:?}"
            );
        }
    }
}
