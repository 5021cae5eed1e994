//! Reads a session's folder at start: which frames are there, which are damaged, and where a torn write is
//! cut off.
//!
//! Only the last segment can be torn, so only that one is read through, and those which `meta.json` does
//! not list. Damage inside older segments is found when they are replayed. Nothing here trusts a length.

use super::index::{Added, LogView, Segment};
use super::meta::{Meta, sync_folder};
use super::record::{SEGMENT_HEAD, SegmentName, parse_segment_name, segment_name, summary_name};
use super::segment::{SegmentReader, Step};
use heaptide_protocol::SessionId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) meta: Meta,
    pub(crate) log: LogView,
    /// Sentences about what was wrong.
    pub(crate) findings: Vec<String>,
    pub(crate) damaged_places: u64,
    pub(crate) cut_bytes: u64,
}

/// What reading a segment through told.
struct Scan {
    records: Vec<Added>,
    bad: Vec<Bad>,
    /// Proven to have been durable, by what later records say.
    synced_seq: u64,
}

struct Bad {
    from: u64,
    to: u64,
    /// The last good record before it.
    after_seq: u64,
    /// How many of the good records lie before it.
    after_records: usize,
}

/// `None` for a folder that was made and never filled.
pub(crate) fn recover(folder: &Path, session: SessionId) -> io::Result<Option<Recovered>> {
    let mut findings = Vec::new();
    let names = segment_names(folder)?;
    let bases: Vec<u64> = names.iter().map(|name| name.base_seq).collect();
    let mut meta = match Meta::load(folder, session) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && bases.is_empty() => return Ok(None),
        Err(error) => {
            findings.push(format!(
                "meta.json can't be read ({error}); what the session is about is not known until its \
                 collector comes back"
            ));
            Meta::unknown(session)
        }
    };
    let mut recovered = Recovered {
        log: LogView::new(),
        findings,
        damaged_places: 0,
        cut_bytes: 0,
        meta: Meta::unknown(session),
    };
    let mut sealed = std::mem::take(&mut meta.sealed);
    recovered.meta = meta;
    // The last file may have grown since it was listed. One whose file is gone has expired: the numbers of those
    // that are there tell a replay what is missing. If none is there, the numbers are all that is left.
    let is_there = |segment: &Segment| {
        let mut same = names.iter().filter(|name| name.base_seq == segment.base_seq);
        same.any(|name| name.summary.map(|(summary, _)| summary) == segment.summary)
    };
    sealed.retain(|segment| match bases.last() {
        Some(last) => segment.base_seq < *last && is_there(segment),
        None => true,
    });
    let listed = sealed.iter().map(|segment| segment.base_seq);
    let mut all: Vec<u64> = listed.chain(bases.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    for base_seq in all {
        if let Some(segment) = sealed.iter().find(|segment| segment.base_seq == base_seq) {
            recovered.log.push_segment(segment.clone());
            continue;
        }
        let is_last = bases.last() == Some(&base_seq);
        if let Some(name) = names.iter().find(|name| name.base_seq == base_seq) {
            recovered.add_segment(folder, session, *name, is_last)?;
        }
    }
    Ok(Some(recovered))
}

/// In their order. What a summary stands for already is deleted: a crash came in between.
fn segment_names(folder: &Path) -> io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    let mut summaries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(parse_segment_name) else {
            continue;
        };
        if let Some((summary, last_seq)) = name.summary {
            summaries.push((name, summary.from_seq..=last_seq));
        }
        names.push((name, entry.path()));
    }
    // Of two that stand for the same, the one that stands for more.
    let mut kept = Vec::new();
    for (name, path) in names {
        let replaced = summaries.iter().any(|(summary, stands_for)| {
            let own = name
                .summary
                .map_or(0, |(own, last_seq)| last_seq - own.from_seq.min(last_seq));
            *summary != name
                && stands_for.contains(&name.base_seq)
                && own < stands_for.end() - stands_for.start()
        });
        if replaced {
            fs::remove_file(path)?;
        } else {
            kept.push(name);
        }
    }
    kept.sort_unstable_by_key(|name| name.base_seq);
    Ok(kept)
}

impl Recovered {
    fn add_segment(
        &mut self,
        folder: &Path,
        session: SessionId,
        name: SegmentName,
        is_last: bool,
    ) -> io::Result<()> {
        let base_seq = name.base_seq;
        let summary = name.summary;
        let name = match summary {
            Some((summary, last_seq)) => summary_name(base_seq, last_seq, summary),
            None => segment_name(base_seq),
        };
        let path = folder.join(&name);
        let bytes = fs::metadata(&path)?.len();
        let head_is_good = head_is_good(&path)?;
        if !head_is_good {
            if is_last && bytes <= SEGMENT_HEAD.len() as u64 {
                // Created and not yet synced: nothing in it was acknowledged.
                fs::remove_file(&path)?;
                sync_folder(folder)?;
                return Ok(());
            }
            self.damaged_places += 1;
            self.findings
                .push(format!("{name}: the file's first bytes are damaged"));
        }
        let mut scan = scan(File::open(&path)?, session, base_seq, bytes)?;
        let mut end = bytes;
        if is_last && let Some(torn) = scan.torn_at() {
            let cut = bytes - torn.from;
            let lost = scan.records.len() - torn.after_records;
            self.findings.push(format!(
                "{name}: cut a torn end of {cut} bytes after frame {}{}",
                torn.after_seq,
                if lost > 0 {
                    format!(", with {lost} whole frames behind the tear")
                } else {
                    String::new()
                },
            ));
            self.cut_bytes += cut;
            end = torn.from;
            scan.records.truncate(torn.after_records);
            scan.bad.retain(|bad| bad.from < end);
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(end)?;
            file.sync_all()?;
        }
        for bad in &scan.bad {
            self.damaged_places += 1;
            self.findings.push(format!(
                "{name}: {} damaged bytes after frame {}",
                bad.to - bad.from,
                bad.after_seq
            ));
        }
        let mut segment = scan.segment(base_seq, end);
        segment.written_unix_ns = written_unix_ns(&path);
        if let Some((summary, last_seq)) = summary {
            segment.summary = Some(summary);
            // Its name has to be found again.
            segment.last_seq = last_seq;
        }
        self.log.push_segment(segment);
        for record in scan.records {
            self.log.index(record);
        }
        Ok(())
    }
}

/// The file's own time, for a segment that `meta.json` does not list.
fn written_unix_ns(path: &Path) -> u64 {
    let since_1970 = fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since_1970.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn head_is_good(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?
        .take(SEGMENT_HEAD.len() as u64)
        .read_to_end(&mut head)?;
    match (head.split_last(), SEGMENT_HEAD.split_last()) {
        (Some((got, magic)), Some((expected, ours))) if magic == ours && got > expected => {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "expected segment version {expected}, got {got}: a newer hub wrote it, so start that one"
                ),
            ))
        }
        _ => Ok(head == SEGMENT_HEAD),
    }
}

fn scan(file: File, session: SessionId, base_seq: u64, bytes: u64) -> io::Result<Scan> {
    let mut reader = SegmentReader::new(file, session, SEGMENT_HEAD.len() as u64, bytes);
    let mut scan = Scan {
        records: Vec::new(),
        bad: Vec::new(),
        synced_seq: 0,
    };
    let mut last_seq = base_seq.saturating_sub(1);
    let mut offset = SEGMENT_HEAD.len() as u64;
    loop {
        match reader.step()? {
            Step::End => return Ok(scan),
            Step::Bad { from, to } => {
                scan.bad.push(Bad {
                    from,
                    to,
                    after_seq: last_seq,
                    after_records: scan.records.len(),
                });
                offset = to;
            }
            Step::Record(record) => {
                // Frames repeat or go back only after damage; a replay leaves them out as well.
                if record.envelope.seq > last_seq {
                    last_seq = record.envelope.seq;
                    scan.synced_seq = scan.synced_seq.max(record.synced_seq);
                    scan.records.push(Added {
                        seq: last_seq,
                        first_ns: record.envelope.first_ns,
                        last_ns: record.envelope.last_ns,
                        offset,
                        end: record.end,
                    });
                }
                offset = record.end;
            }
        }
    }
}

impl Scan {
    /// The first bad place behind which nothing is proven to have been durable.
    fn torn_at(&self) -> Option<Bad> {
        self.bad
            .iter()
            .find(|bad| bad.after_seq >= self.synced_seq)
            .map(|bad| Bad { ..*bad })
    }

    fn segment(&self, base_seq: u64, bytes: u64) -> Segment {
        Segment {
            base_seq,
            last_seq: self
                .records
                .last()
                .map_or(base_seq.saturating_sub(1), |last| last.seq),
            bytes,
            frames: self.records.len() as u64,
            first_ns: self
                .records
                .iter()
                .map(|record| record.first_ns)
                .min()
                .unwrap_or(0),
            last_ns: self
                .records
                .iter()
                .map(|record| record.last_ns)
                .max()
                .unwrap_or(0),
            written_unix_ns: 0,
            summary: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordHead;
    use heaptide_protocol::Envelope;
    use heaptide_protocol::frame::encode;

    const SESSION: SessionId = SessionId([1; 16]);

    /// Records of `(sequence number, synced_seq)`; the start of each and the file's bytes.
    fn segment(records: &[(u64, u64)]) -> (Vec<usize>, Vec<u8>) {
        let mut bytes = SEGMENT_HEAD.to_vec();
        let mut starts = Vec::new();
        for (seq, synced_seq) in records {
            starts.push(bytes.len());
            let frame = encode(Envelope::data(SESSION, *seq, *seq, *seq), b"some payload").unwrap();
            let head = RecordHead {
                frame_bytes: u32::try_from(frame.len()).unwrap(),
                synced_seq: *synced_seq,
            };
            bytes.extend_from_slice(&head.encode());
            bytes.extend_from_slice(&frame);
        }
        (starts, bytes)
    }

    #[test]
    fn a_bad_place_is_damage_or_a_tear_by_what_later_records_prove() {
        // Three commits: 1; 2 and 3; 4 to 7. The last one may have reached the disk in any order.
        let records = [(1, 0), (2, 1), (3, 1), (4, 3), (5, 3), (6, 3), (7, 3)];
        let (starts, good) = segment(&records);
        // The record that is damaged, how it ends: durable up to, frames left, damaged places.
        let cases = [
            (None, 7, 7, 0),
            (Some(1), 7, 6, 1),
            (Some(2), 7, 6, 1),
            (Some(3), 7, 6, 1),
            // Not proven: the collector still has 4 to 7, and sends them again.
            (Some(4), 3, 3, 0),
            (Some(5), 4, 4, 0),
            (Some(7), 6, 6, 0),
        ];
        for (damaged, durable_seq, frames, damaged_places) in cases {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = good.clone();
            if let Some(record) = damaged {
                bytes[starts[record - 1] + 30] ^= 1;
            }
            let path = folder.path().join(segment_name(1));
            fs::write(&path, &bytes).unwrap();
            let recovered = recover(folder.path(), SESSION).unwrap().unwrap();
            let got = (
                recovered.log.durable_seq(),
                recovered.log.frames(),
                recovered.damaged_places,
            );
            assert_eq!(
                got,
                (durable_seq, frames, damaged_places),
                "record {damaged:?}: {:?}",
                recovered.findings
            );
            let left = fs::metadata(&path).unwrap().len();
            assert_eq!(
                left + recovered.cut_bytes,
                good.len() as u64,
                "record {damaged:?}"
            );
            assert_eq!(left, recovered.log.stored_bytes(), "record {damaged:?}");
        }
    }

    #[test]
    fn damage_and_a_tear_in_one_file_are_told_apart() {
        let (starts, mut bytes) = segment(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 3)]);
        bytes[starts[1] + 40] ^= 0x80;
        bytes.truncate(starts[4] + 20);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(segment_name(1)), &bytes).unwrap();
        let recovered = recover(folder.path(), SESSION).unwrap().unwrap();
        assert_eq!((recovered.log.durable_seq(), recovered.log.frames()), (4, 3));
        assert_eq!((recovered.damaged_places, recovered.cut_bytes), (1, 20));
    }
}
