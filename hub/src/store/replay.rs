//! Reads stored frames for a console, a bounded chunk at a time.

use super::index::Stretch;
use super::record::segment_name;
use super::segment::{SegmentReader, Step};
use crate::session::Cursor;
use bytes::Bytes;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{Missed, MissedReason};
use std::fs::File;
use std::io;
use std::path::Path;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Frame(Bytes),
    Missed(Missed),
}

#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) items: Vec<Item>,
    /// Where to go on.
    pub(crate) cursor: Cursor,
}

/// Frames from `cursor` on, in order, until `limit_bytes` are reached or the stretch ends. Blocks.
///
/// A frame that can't be read is never passed over in silence: what the sequence lacks is reported.
pub(crate) fn read(
    folder: &Path,
    session: SessionId,
    stretch: &Stretch,
    mut cursor: Cursor,
    limit_bytes: usize,
) -> io::Result<Chunk> {
    let mut items = Vec::new();
    let file = match File::open(folder.join(segment_name(stretch.base_seq))) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            miss(&mut items, &mut cursor, stretch.last_seq, MissedReason::Expired);
            cursor.position = stretch.start + stretch.until;
            return Ok(Chunk { items, cursor });
        }
        Err(error) => return Err(error),
    };
    let mut reader = SegmentReader::new(file, session, stretch.from, stretch.until);
    let mut bytes = 0;
    while bytes < limit_bytes {
        match reader.step()? {
            Step::Record(record) => {
                cursor.position = stretch.start + record.end;
                let seq = record.envelope.seq;
                if seq < cursor.next_seq {
                    continue;
                }
                miss(&mut items, &mut cursor, seq - 1, MissedReason::Damaged);
                cursor.next_seq = seq + 1;
                bytes += record.frame.len();
                items.push(Item::Frame(record.frame));
            }
            Step::Bad { to, .. } => cursor.position = stretch.start + to,
            Step::End => {
                cursor.position = stretch.start + stretch.until;
                miss(&mut items, &mut cursor, stretch.last_seq, MissedReason::Damaged);
                break;
            }
        }
    }
    Ok(Chunk { items, cursor })
}

/// Reports what lies between the cursor and `to_seq`, if anything does.
fn miss(items: &mut Vec<Item>, cursor: &mut Cursor, to_seq: u64, reason: MissedReason) {
    if cursor.next_seq <= to_seq {
        items.push(Item::Missed(Missed {
            from_seq: cursor.next_seq,
            to_seq,
            reason,
        }));
        cursor.next_seq = to_seq + 1;
    }
}
