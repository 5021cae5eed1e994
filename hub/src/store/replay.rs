//! Reads stored frames for a console, a bounded chunk at a time.

use super::index::{Segment, Stretch};
use super::record::SEGMENT_HEAD;
use super::segment::{SegmentReader, Step};
use crate::hub::Hub;
use crate::session::{Cursor, Inside, Session};
use bytes::Bytes;
use heaptide_protocol::control::{Missed, MissedReason};
use heaptide_protocol::{Frame, SessionId};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

/// Held at once while a segment is read as a whole.
const WHOLE_CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Frame(Bytes),
    Missed(Missed),
}

impl Item {
    pub(crate) fn first_seq(&self) -> u64 {
        match self {
            Self::Frame(frame) => Frame::parse(frame).map_or(0, |frame| frame.envelope.seq),
            Self::Missed(missed) => missed.from_seq,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) items: Vec<Item>,
    /// Where to go on.
    pub(crate) cursor: Cursor,
}

/// Frames from `cursor` on, in order, until `limit_bytes` are reached or the stretch ends. Blocks.
///
/// A frame that can't be read is never passed over in silence: what the sequence lacks is reported. Nothing comes,
/// and the cursor stays, if the stretch has expired since it was asked for: something else has taken its place.
pub(crate) fn read(
    folder: &Path,
    session: &Session,
    stretch: &Stretch,
    mut cursor: Cursor,
    limit_bytes: usize,
) -> io::Result<Chunk> {
    match File::open(folder.join(stretch.file_name())) {
        Ok(file) => frames(file, session.id, stretch, cursor, limit_bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut items = Vec::new();
            if session.with_log(|log| log.has(stretch)) {
                miss(&mut items, &mut cursor, stretch.last_seq, MissedReason::Expired);
                cursor.position = stretch.start + stretch.until;
            }
            Ok(Chunk { items, cursor })
        }
        Err(error) => Err(error),
    }
}

/// The same; a stretch that can't be read is logged and told as missed.
pub(crate) fn read_or_missed(
    hub: &Hub,
    session: &Session,
    stretch: &Stretch,
    cursor: Cursor,
    limit_bytes: usize,
) -> Chunk {
    let folder = hub.store.folder(session.id);
    read(&folder, session, stretch, cursor, limit_bytes).unwrap_or_else(|error| {
        let text = format!("session {}: can't read stored frames: {error}", session.id);
        hub.config.log.error(text);
        let missed = Missed {
            from_seq: cursor.next_seq,
            to_seq: stretch.last_seq,
            reason: MissedReason::Damaged,
        };
        Chunk {
            items: vec![Item::Missed(missed)],
            cursor: session.cursor_after(stretch.last_seq),
        }
    })
}

fn frames(
    file: File,
    session: SessionId,
    stretch: &Stretch,
    mut cursor: Cursor,
    limit_bytes: usize,
) -> io::Result<Chunk> {
    let mut items = Vec::new();
    if stretch.from <= SEGMENT_HEAD.len() as u64 {
        cursor.inside = stretch.summary.map(|summary| Inside {
            base_seq: stretch.base_seq,
            knows_a_part: (summary.from_seq + 1..=stretch.last_seq).contains(&cursor.next_seq),
        });
        // Numbers follow on from segment to segment, so what lies before this one has expired.
        let before = stretch.base_seq.saturating_sub(1);
        miss(&mut items, &mut cursor, before, MissedReason::Expired);
    }
    let sums_from_seq = stretch
        .summary
        .filter(|_| cursor.knows_a_part())
        .map_or(u64::MAX, |summary| summary.sums_from_seq);
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
                if seq >= sums_from_seq {
                    miss(&mut items, &mut cursor, seq, MissedReason::Expired);
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

/// Every frame of one segment, for who takes it as a whole. Blocks.
pub(crate) fn each(
    folder: &Path,
    session: SessionId,
    segment: &Segment,
    from_seq: u64,
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut stretch = Stretch::whole(segment);
    let mut cursor = Cursor {
        next_seq: from_seq,
        position: stretch.start,
        inside: None,
    };
    while stretch.from < stretch.until {
        let file = File::open(folder.join(segment.file_name()))?;
        let chunk = frames(file, session, &stretch, cursor, WHOLE_CHUNK_BYTES)?;
        for item in &chunk.items {
            if let Item::Frame(frame) = item {
                take(frame);
            }
        }
        cursor = chunk.cursor;
        stretch.from = cursor.position;
    }
    Ok(())
}

/// Every readable frame of these numbers, in whichever segments they lie. Blocks.
pub(crate) fn between(
    folder: &Path,
    session: &Session,
    seqs: RangeInclusive<u64>,
    take: &mut dyn FnMut(&Frame<'_>),
) -> io::Result<()> {
    let mut cursor = session.cursor_after(seqs.start().saturating_sub(1));
    while cursor.next_seq <= *seqs.end() {
        let Some(stretch) = session.with_log(|log| log.stretch(cursor)) else {
            break;
        };
        let chunk = read(folder, session, &stretch, cursor, WHOLE_CHUNK_BYTES)?;
        if chunk.cursor == cursor {
            // It has expired just now.
            break;
        }
        for item in &chunk.items {
            if let Item::Frame(bytes) = item
                && let Ok(frame) = Frame::parse(bytes)
                && seqs.contains(&frame.envelope.seq)
            {
                take(&frame);
            }
        }
        cursor = chunk.cursor;
    }
    Ok(())
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
