//! A segment after a crash in the middle of a write, and after damage: what was acknowledged is there, what is read is what
//! was written, and what is gone is told.
//!
//! 300 seeds each, 10,000 with `HEAPTIDE_FULL=1`. Left out on purpose: a disk that says that it has written what it has not.
//! No file can tell of that; the collector then has more than the hub, and starts a new session.

use super::record::{RecordHead, SEGMENT_HEAD, segment_name};
use super::recover::{Recovered, recover};
use super::segment::{SegmentReader, Step};
use crate::hostile::Random;
use heaptide_protocol::frame::encode;
use heaptide_protocol::{Envelope, SessionId};
use std::fs::{self, File};
use std::path::Path;

const SESSION: SessionId = SessionId([1; 16]);
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A segment as the writer leaves it.
struct Written {
    bytes: Vec<u8>,
    frames: Vec<Vec<u8>>,
    /// Where each record ends.
    ends: Vec<usize>,
    /// How many records are there after each commit.
    commits: Vec<usize>,
}

fn seeds() -> u64 {
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    if is_full { 10_000 } else { 300 }
}

fn write(random: &mut Random) -> Written {
    let mut written = Written {
        bytes: SEGMENT_HEAD.to_vec(),
        frames: Vec::new(),
        ends: Vec::new(),
        commits: Vec::new(),
    };
    for _ in 0..2 + random.below(5) {
        let synced_seq = written.frames.len() as u64;
        for _ in 0..1 + random.below(6) {
            let seq = written.frames.len() as u64 + 1;
            let length = 1 + random.below(700);
            let payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            let frame = encode(Envelope::data(SESSION, seq, seq, seq), &payload).unwrap();
            let head = RecordHead {
                frame_bytes: u32::try_from(frame.len()).unwrap(),
                synced_seq,
            };
            written.bytes.extend_from_slice(&head.encode());
            written.bytes.extend_from_slice(&frame);
            written.frames.push(frame);
            written.ends.push(written.bytes.len());
        }
        written.commits.push(written.frames.len());
    }
    written
}

/// The numbers of the frames that are there after a start, each looked at against what was written.
fn read(folder: &Path, written: &Written, context: &str) -> Option<(Recovered, Vec<usize>)> {
    let recovered = match recover(folder, SESSION) {
        Ok(recovered) => recovered.unwrap(),
        // A flipped version byte looks like a newer hub's file, which is left alone.
        Err(error) => {
            assert!(error.to_string().contains("newer hub"), "{context}: {error}");
            return None;
        }
    };
    let mut found = Vec::new();
    let path = folder.join(segment_name(1));
    if let Ok(file) = File::open(&path) {
        let until = fs::metadata(&path).unwrap().len();
        let mut reader = SegmentReader::new(file, SESSION, SEGMENT_HEAD.len() as u64, until);
        loop {
            match reader.step().unwrap() {
                Step::End => break,
                Step::Bad { .. } => {}
                Step::Record(record) => {
                    let seq = usize::try_from(record.envelope.seq).unwrap();
                    // As a replay does: what goes back is left out.
                    if found.last().is_none_or(|last| seq > *last) {
                        assert_eq!(record.frame, written.frames[seq - 1], "{context}: frame {seq}");
                        found.push(seq);
                    }
                }
            }
        }
    }
    assert_eq!(recovered.log.frames(), found.len() as u64, "{context}");
    Some((recovered, found))
}

#[test]
fn what_was_acknowledged_survives_a_crash_in_the_middle_of_any_write() {
    for seed in 0..seeds() {
        let mut random = Random(seed);
        let written = write(&mut random);
        // All up to here was synced and acknowledged; the next commit is on its way.
        let commit = random.below(written.commits.len() - 1);
        let durable = written.commits[commit];
        let (from, to) = (
            written.ends[durable - 1],
            written.ends[written.commits[commit + 1] - 1],
        );
        // Its sectors come in any order, or not; the file may be shorter than what was written, or not.
        let mut bytes = written.bytes[..to].to_vec();
        for sector in from / SECTOR_BYTES..=(to - 1) / SECTOR_BYTES {
            let start = (sector * SECTOR_BYTES).max(from);
            let end = ((sector + 1) * SECTOR_BYTES).min(to);
            match random.below(3) {
                0 => {}
                1 => bytes[start..end].fill(0),
                // What the disk had there before.
                _ => bytes[start..end]
                    .iter_mut()
                    .for_each(|byte| *byte = random.next() as u8),
            }
        }
        bytes.truncate(from + random.below(to - from + 1));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(segment_name(1)), &bytes).unwrap();
        let context = format!("seed {seed}");
        let (recovered, found) = read(folder.path(), &written, &context).unwrap();
        let acknowledged: Vec<usize> = (1..=durable).collect();
        assert_eq!(found[..durable.min(found.len())], acknowledged, "{context}");
        assert!(recovered.log.durable_seq() >= durable as u64, "{context}");
        assert_eq!(recovered.damaged_places, 0, "{context}: a tear is no damage");
        // The next start finds nothing more to mend.
        let (again, found_again) = read(folder.path(), &written, &context).unwrap();
        assert_eq!((found_again, again.cut_bytes), (found, 0), "{context}");
    }
}

#[test]
fn what_is_damaged_is_told_and_nothing_wrong_is_read() {
    let mut told = 0_u64;
    for seed in 0..seeds() {
        let mut random = Random(seed);
        let written = write(&mut random);
        let length = written.bytes.len();
        let at = random.below(length);
        let end = (at + 1 + random.below(900)).min(length);
        let mut bytes = written.bytes.clone();
        let kind = random.below(6);
        match kind {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => bytes[at..end].fill(0),
            4 => bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte = random.next() as u8),
            _ => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
        if bytes == written.bytes {
            continue;
        }
        let first_changed = bytes.iter().zip(&written.bytes).position(|(new, old)| new != old);
        let first_changed = first_changed.unwrap_or(bytes.len().min(length));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(segment_name(1)), &bytes).unwrap();
        let context = format!("seed {seed}, kind {kind} at {at}..{end} of {length}");
        let Some((recovered, found)) = read(folder.path(), &written, &context) else {
            continue;
        };
        // Every record before the damage is there.
        let intact = written.ends.iter().filter(|end| **end <= first_changed).count();
        let before: Vec<usize> = (1..=intact).collect();
        assert!(
            found.starts_with(&before),
            "{context}: {found:?} lacks some of 1..={intact}"
        );
        // A file that ends between two records says nothing of what came behind them.
        let ends_cleanly = written.bytes.starts_with(&bytes)
            && (bytes.len() <= SEGMENT_HEAD.len() || written.ends.contains(&bytes.len()));
        if found.len() < written.frames.len() && !ends_cleanly {
            told += 1;
            // Beside what is always said of a folder without `meta.json`.
            let about_it = recovered.findings.iter().filter(|text| text.contains("log-"));
            assert!(about_it.count() > 0, "{context}: nobody was told");
        }
    }
    assert!(told > seeds() / 2, "only {told} of {} lost anything", seeds());
}
