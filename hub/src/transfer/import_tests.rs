//! Files that are no recordings, or not quite: nothing is lost track of, and nothing half is left.

use super::super::records::{Found, Records, record};
use super::*;
use crate::config::Limits;
use crate::hostile::attack;
use crate::log::Log;
use crate::stats::Stats;
use heaptide_protocol::control::Open;
use heaptide_protocol::frame::encode;
use heaptide_protocol::log::{FILE_HEAD, RECORD_HEAD_BYTES};
use heaptide_protocol::section::SectionWriter;
use std::collections::{HashMap, HashSet};

const OPEN: &[u8] = include_bytes!("../../../shared/protocol/tests/wire/v1/open.bin");
const DATA: &[u8] = include_bytes!("../../../shared/protocol/tests/wire/v1/data.bin");
const DATA_ZSTD: &[u8] = include_bytes!("../../../shared/protocol/tests/wire/v1/data-zstd.bin");

/// The first frame of the session that the golden frames are of.
fn start() -> Vec<u8> {
    let open: Open = Frame::parse(OPEN).unwrap().control("Open").unwrap();
    let mut writer = SectionWriter::default();
    writer
        .push(&Section::Start(SessionStart {
            signature: open.signature,
            labels: open.labels,
            capabilities: open.capabilities,
            policy: open.policy,
        }))
        .unwrap();
    let session = Frame::parse(DATA).unwrap().envelope.session;
    encode(Envelope::data(session, 1, 0, 99), &writer.take()).unwrap()
}

fn file<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = FILE_HEAD.to_vec();
    for frame in frames {
        record(frame, 0, &mut out);
    }
    out
}

#[test]
fn hostile_recordings_are_survived_and_each_byte_is_accounted_for() {
    let whole = file([&start()[..], DATA, DATA_ZSTD]);
    let mut frames = 0_u64;
    attack(&[&whole], false, 1, |bytes| {
        let mut records = Records::default();
        let mut seen = FILE_HEAD.len() as u64;
        let pieces = bytes.chunks(bytes.len().div_ceil(3).max(1));
        let ends = (1..=pieces.len()).map(|number| number == pieces.len());
        for (piece, is_end) in pieces.clone().zip(ends) {
            records.push(piece);
            loop {
                match records.next(is_end) {
                    Ok(None) => break,
                    Ok(Some(Found::Bad { bytes })) => seen += bytes,
                    Ok(Some(Found::Frame { frame, .. })) => {
                        frames += 1;
                        seen += (RECORD_HEAD_BYTES + frame.len()) as u64;
                    }
                    // Another kind of file.
                    Err(_) => return,
                }
            }
        }
        if !bytes.is_empty() {
            assert_eq!(seen, bytes.len() as u64);
        }
    });
    assert!(frames > 0, "no record was whole");
}

#[test]
fn hostile_frames_in_a_recording_are_taken_whole_or_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let stats = Arc::new(Stats::default());
    let (store, _) = Store::open(folder.path(), limits, &stats, &Log::silent()).unwrap();
    let fleet = Fleet::new(HashMap::new(), HashSet::new(), 200);
    let first = start();
    let mut number = 0_u128;
    let (mut taken, mut refused) = (0_usize, 0_u64);
    // Each makes a folder and a file, and some of them sync it.
    attack(&[&first, DATA, DATA_ZSTD], true, 50, |bytes| {
        number += 1;
        let id = SessionId(number.to_be_bytes());
        let mut importer = Importer::new(&store, limits.segment_bytes, 1 << 20, Some(id)).unwrap();
        let frames = [&first[..], bytes];
        // One that can't be the first, too.
        let from = usize::from(number.is_multiple_of(4));
        let pushed = importer.push(&file(frames[from..].iter().copied()));
        let imported = pushed.and_then(|()| importer.finish(&store, &fleet));
        match imported {
            Ok(imported) => {
                taken += 1;
                assert_eq!(imported.session.id, id);
                assert!((1..=2).contains(&imported.frames));
            }
            Err(_) => {
                refused += 1;
                assert!(fleet.get(id).is_none());
            }
        }
    });
    let count = |name: &str| std::fs::read_dir(folder.path().join(name)).unwrap().count();
    assert_eq!((count("incoming"), count("sessions")), (0, taken));
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    store.stop();
}
