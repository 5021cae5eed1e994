//! Where a session's frames lie: its segments, and a sparse index into them.
//!
//! A *position* is a byte offset into all segments laid end to end, so one number addresses a record and
//! the difference of two is a distance in bytes. The index thins itself out and stays bounded.

use super::record::{SEGMENT_HEAD, segment_name, summary_name};
use crate::session::Cursor;
use serde::{Deserialize, Serialize};

/// At most so many entries; above that every second one goes and the stride doubles.
const MAX_ENTRIES: usize = 2048;
const FIRST_STRIDE_BYTES: u64 = 256 << 10;
/// Where a log's first byte lies: room for a summary to lie before what is kept, however little it replaced.
const FIRST_POSITION: u64 = 1 << 40;

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The first sequence number that can be in it; also its file's name.
    pub(crate) base_seq: u64,
    pub(crate) last_seq: u64,
    /// Size of the file, head included.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// When its last frame was written, by the hub's clock; a collector's clock may say anything.
    #[serde(default)]
    pub(crate) written_unix_ns: u64,
    /// Set if it takes the place of segments that have expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Summary>,
}

/// Frames that the hub made of expired ones: their dictionaries, then what they changed in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The first sequence number that it stands for.
    pub(crate) from_seq: u64,
    /// Frames from here on hold sums over the whole stretch, which are wrong for who has seen a part of it.
    pub(crate) sums_from_seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    seq: u64,
    position: u64,
}

/// What is durable of one session.
#[derive(Debug, Clone)]
pub(crate) struct LogView {
    segments: Vec<(u64, Segment)>,
    entries: Vec<Entry>,
    stride_bytes: u64,
    end: u64,
}

/// What one commit added; `position` is the start of its record within the segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) seq: u64,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

/// A stretch of one segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) base_seq: u64,
    /// The last sequence number in it.
    pub(crate) last_seq: u64,
    /// Position of the file's first byte.
    pub(crate) start: u64,
    /// Offsets in the file.
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) summary: Option<Summary>,
}

impl Segment {
    pub(crate) fn file_name(&self) -> String {
        file_name(self.base_seq, self.last_seq, self.summary)
    }
}

fn file_name(base_seq: u64, last_seq: u64, summary: Option<Summary>) -> String {
    match summary {
        Some(summary) => summary_name(base_seq, last_seq, summary),
        None => segment_name(base_seq),
    }
}

impl Stretch {
    pub(crate) fn file_name(&self) -> String {
        file_name(self.base_seq, self.last_seq, self.summary)
    }

    /// All of a segment by itself.
    pub(crate) fn whole(segment: &Segment) -> Self {
        Self {
            base_seq: segment.base_seq,
            last_seq: segment.last_seq,
            start: 0,
            from: SEGMENT_HEAD.len() as u64,
            until: segment.bytes,
            summary: segment.summary,
        }
    }
}

impl LogView {
    pub(crate) fn new() -> Self {
        Self {
            segments: Vec::new(),
            entries: Vec::new(),
            stride_bytes: FIRST_STRIDE_BYTES,
            end: FIRST_POSITION,
        }
    }

    pub(crate) fn durable_seq(&self) -> u64 {
        self.segments.last().map_or(0, |(_, segment)| segment.last_seq)
    }

    /// The position behind the last durable record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Size of all files.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.segments.iter().map(|(_, segment)| segment.bytes).sum()
    }

    pub(crate) fn frames(&self) -> u64 {
        self.segments.iter().map(|(_, segment)| segment.frames).sum()
    }

    /// Session time from the first to the last frame; zeros if there is none.
    pub(crate) fn span_ns(&self) -> (u64, u64) {
        let filled = || self.segments.iter().map(|(_, s)| s).filter(|s| s.frames > 0);
        let first = filled().map(|segment| segment.first_ns).min();
        let last = filled().map(|segment| segment.last_ns).max();
        (first.unwrap_or(0), last.unwrap_or(0))
    }

    pub(crate) fn last_segment(&self) -> Option<&Segment> {
        self.segments.last().map(|(_, segment)| segment)
    }

    /// All but the one that is being written.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = &Segment> {
        let sealed = self.segments.len().saturating_sub(1);
        self.segments.iter().take(sealed).map(|(_, segment)| segment)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().map(|(_, segment)| segment)
    }

    /// Whether a summary stands for frames on both sides of a place.
    pub(crate) fn is_replaced(&self, next_seq: u64) -> bool {
        self.segments.iter().any(|(_, segment)| {
            let summary = segment.summary;
            summary.is_some_and(|summary| (summary.from_seq + 1..=segment.last_seq).contains(&next_seq))
        })
    }

    /// Whether a stretch that was handed out is still part of the log.
    pub(crate) fn has(&self, stretch: &Stretch) -> bool {
        let mut same = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.base_seq == stretch.base_seq);
        same.any(|(_, segment)| segment.summary == stretch.summary)
    }

    /// Takes out the segments of these numbers, all but the last one of the log, and puts a summary in their
    /// place. Says what was taken out.
    pub(crate) fn replace(&mut self, base_seqs: &[u64], summary: Option<Segment>) -> Vec<Segment> {
        let last = self.segments.len().saturating_sub(1);
        let gone = |at: usize, segment: &Segment| at < last && base_seqs.contains(&segment.base_seq);
        let taken: Vec<(u64, Segment)> = self
            .segments
            .iter()
            .enumerate()
            .filter(|(at, (_, segment))| gone(*at, segment))
            .map(|(_, entry)| entry.clone())
            .collect();
        self.segments
            .retain(|(_, segment)| !taken.iter().any(|(_, gone)| gone.base_seq == segment.base_seq));
        self.entries.retain(|entry| {
            let inside =
                |(start, segment): &(u64, Segment)| (*start..start + segment.bytes).contains(&entry.position);
            !taken.iter().any(inside)
        });
        if let (Some(summary), Some((start, last))) = (summary, taken.last()) {
            // Its end lies where that of the last one lay, so that what follows keeps its position.
            let start = (start + last.bytes).saturating_sub(summary.bytes);
            let at = self
                .segments
                .partition_point(|(_, segment)| segment.base_seq < summary.base_seq);
            self.segments.insert(at, (start, summary));
        }
        taken.into_iter().map(|(_, segment)| segment).collect()
    }

    /// The hub's time at the last commit.
    pub(crate) fn written(&mut self, unix_ns: u64) {
        if let Some((_, segment)) = self.segments.last_mut() {
            segment.written_unix_ns = segment.written_unix_ns.max(unix_ns);
        }
    }

    /// Adds a segment behind the others, its frames included.
    pub(crate) fn push_segment(&mut self, segment: Segment) {
        let start = self.end;
        self.end += segment.bytes;
        self.segments.push((start, segment));
    }

    /// Adds a record to the last segment. Records of it that were counted already only go into the index.
    pub(crate) fn index(&mut self, added: Added) {
        let Some((start, _)) = self.segments.last() else {
            return;
        };
        let position = start + added.offset;
        let due = self
            .entries
            .last()
            .is_none_or(|last| position >= last.position + self.stride_bytes);
        if !due {
            return;
        }
        self.entries.push(Entry {
            seq: added.seq,
            position,
        });
        if self.entries.len() > MAX_ENTRIES {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride_bytes *= 2;
        }
    }

    /// Adds a durable record to the last segment and to the index.
    pub(crate) fn append(&mut self, added: Added) {
        let Some((start, segment)) = self.segments.last_mut() else {
            return;
        };
        segment.first_ns = if segment.frames == 0 {
            added.first_ns
        } else {
            segment.first_ns.min(added.first_ns)
        };
        segment.last_ns = segment.last_ns.max(added.last_ns);
        segment.last_seq = added.seq;
        segment.frames += 1;
        segment.bytes = added.end;
        self.end = *start + added.end;
        self.index(added);
    }

    /// The position of a record at or before `seq`, from which reading on finds it.
    pub(crate) fn seek(&self, seq: u64) -> u64 {
        let first = self.segments.first().map_or(self.end, |(start, _)| *start);
        let segment = self
            .segments
            .partition_point(|(_, segment)| segment.base_seq <= seq)
            .checked_sub(1)
            .and_then(|at| self.segments.get(at))
            .map_or(first, |(start, _)| *start);
        let entry = self
            .entries
            .partition_point(|entry| entry.seq <= seq)
            .checked_sub(1)
            .and_then(|at| self.entries.get(at))
            .map_or(first, |entry| entry.position);
        segment.max(entry)
    }

    /// What to read next; `None` at the end.
    pub(crate) fn stretch(&self, cursor: Cursor) -> Option<Stretch> {
        let position = cursor.position;
        if position >= self.end {
            return None;
        }
        // Where a segment has expired, the next one.
        let at = self
            .segments
            .partition_point(|(start, segment)| start + segment.bytes <= position);
        let (start, segment) = self.segments.get(at)?;
        let inside = cursor
            .inside
            .is_some_and(|inside| inside.base_seq == segment.base_seq);
        let from = if segment.summary.is_some() && !inside {
            // The position is one in what was there before.
            0
        } else {
            position.saturating_sub(*start)
        };
        Some(Stretch {
            base_seq: segment.base_seq,
            last_seq: segment.last_seq,
            start: *start,
            from: from.max(SEGMENT_HEAD.len() as u64),
            until: segment.bytes,
            summary: segment.summary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base_seq: u64) -> Segment {
        Segment {
            base_seq,
            last_seq: base_seq - 1,
            bytes: 8,
            frames: 0,
            first_ns: 0,
            last_ns: 0,
            written_unix_ns: 0,
            summary: None,
        }
    }

    #[test]
    fn seek_lands_at_or_before_and_the_index_stays_bounded() {
        let mut log = LogView::new();
        let record = FIRST_STRIDE_BYTES / 4;
        let mut positions = vec![0];
        let mut seq = 0;
        for _ in 0..4 {
            log.push_segment(segment(seq + 1));
            let mut offset = 8;
            for _ in 0..8 * MAX_ENTRIES {
                seq += 1;
                positions.push(log.segments.last().map(|(start, _)| *start).unwrap() + offset);
                let end = offset + record;
                log.append(Added {
                    seq,
                    first_ns: seq,
                    last_ns: seq,
                    offset,
                    end,
                });
                offset = end;
            }
        }
        assert!(log.entries.len() <= MAX_ENTRIES, "{}", log.entries.len());
        assert_eq!(log.durable_seq(), seq);
        for wanted in [1, 2, 5, seq / 3, seq / 2, seq - 1, seq] {
            let got = log.seek(wanted);
            let exact = positions[wanted as usize];
            assert!(got <= exact, "seq {wanted}: {got} lies behind {exact}");
            assert!(
                exact - got <= log.stride_bytes + record,
                "seq {wanted}: {got} is far from {exact}"
            );
        }
        let end = Cursor {
            next_seq: seq + 1,
            position: log.end(),
            inside: None,
        };
        assert_eq!(log.stretch(end), None);
        assert_eq!(log.span_ns(), (1, seq));
    }
}
