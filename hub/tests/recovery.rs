//! What a hub makes of a data folder after a crash or damage: torn ends are cut, damage is told, and
//! nothing wrong is ever sent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Running, Seen, data, session, start, start_with};
use heaptide_protocol::control::{CaughtUp, Missed, MissedReason};
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const RECORD_HEAD_BYTES: usize = 16;
const SEGMENT_HEAD_BYTES: usize = 8;

fn id() -> SessionId {
    session(1)
}

fn frame(seq: u64) -> Vec<u8> {
    data(id(), seq, format!("frame number {seq}").as_bytes())
}

/// A data folder with frames `1..=frames`, each committed by itself.
async fn filled(frames: u64, segment_bytes: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.segment_bytes = segment_bytes;
    })
    .await;
    let mut collector = hub.collector().await;
    collector.open(id(), 1).await;
    for seq in 1..=frames {
        collector.send(frame(seq)).await;
        collector.acked(seq).await;
    }
    drop(collector);
    hub.stop().await;
    folder
}

fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy_into(from, folder.path());
    folder
}

fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(data_dir.join("sessions").join(id().to_string()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "htl"))
        .collect();
    files.sort();
    files
}

/// Everything that a console gets of the session: frames, what it is told to miss, and the last number.
async fn replay(hub: &Running) -> (BTreeMap<u64, Vec<u8>>, Vec<Missed>, u64) {
    let mut console = hub.console().await;
    console.subscribe(id(), 0).await;
    let (mut frames, mut missed) = (BTreeMap::new(), Vec::new());
    let mut next_seq = 1;
    loop {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        let control = Frame::parse(&bytes).unwrap();
        match envelope.kind {
            FrameKind::Data => {
                assert_eq!(envelope.seq, next_seq);
                next_seq += 1;
                frames.insert(envelope.seq, bytes);
            }
            FrameKind::Missed => {
                let told: Missed = control.control("Missed").unwrap();
                assert_eq!(told.from_seq, next_seq);
                next_seq = told.to_seq + 1;
                missed.push(told);
            }
            FrameKind::CaughtUp => {
                let told: CaughtUp = control.control("CaughtUp").unwrap();
                assert_eq!(told.last_seq, next_seq - 1);
                return (frames, missed, told.last_seq);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_torn_end_is_cut_at_every_length_and_the_session_goes_on() {
    const FRAMES: u64 = 4;
    let original = filled(FRAMES, 64 << 20).await;
    let bytes = fs::metadata(&segments(original.path())[0]).unwrap().len();
    let last_record = (RECORD_HEAD_BYTES + frame(FRAMES).len()) as u64;
    for length in bytes - last_record..bytes {
        let folder = copy(original.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&segments(folder.path())[0])
            .unwrap();
        file.set_len(length).unwrap();
        drop(file);
        let hub = start(folder.path()).await;
        let whole = bytes - last_record;
        assert_eq!(
            fs::metadata(&segments(folder.path())[0]).unwrap().len(),
            whole,
            "length {length}"
        );
        let (frames, missed, last_seq) = replay(&hub).await;
        assert_eq!(
            (frames.len() as u64, missed.len(), last_seq),
            (FRAMES - 1, 0, FRAMES - 1),
            "length {length}"
        );
        let cut = length - whole;
        assert_eq!(hub.counter("cut_bytes").await, cut);
        let told = hub.logged().contains(&format!(
            "cut a torn end of {cut} bytes after frame {}",
            FRAMES - 1
        ));
        assert_eq!(told, cut > 0, "length {length}: {}", hub.logged());
        let mut collector = hub.collector().await;
        assert_eq!(collector.open(id(), FRAMES).await, FRAMES - 1);
        collector.send(frame(FRAMES)).await;
        collector.acked(FRAMES).await;
        let (frames, ..) = replay(&hub).await;
        assert_eq!(frames.get(&FRAMES), Some(&frame(FRAMES)));
        drop(collector);
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_torn_new_segment_is_dropped_at_every_length_of_its_head() {
    let original = filled(2, 1).await;
    assert_eq!(segments(original.path()).len(), 2);
    for length in 0..=SEGMENT_HEAD_BYTES {
        let folder = copy(original.path());
        let last = &segments(folder.path())[1];
        fs::write(last, &b"HEAPLOG\x01"[..length]).unwrap();
        let hub = start(folder.path()).await;
        let (frames, missed, last_seq) = replay(&hub).await;
        assert_eq!(
            (frames.len(), missed.len(), last_seq),
            (1, 0, 1),
            "length {length}"
        );
        let mut collector = hub.collector().await;
        assert_eq!(collector.open(id(), 2).await, 1);
        collector.send(frame(2)).await;
        collector.acked(2).await;
        assert_eq!(replay(&hub).await.0.len(), 2, "length {length}");
        drop(collector);
        hub.stop().await;
    }
}

#[tokio::test]
async fn every_flipped_byte_is_found_and_nothing_wrong_is_sent() {
    const FRAMES: u64 = 4;
    let original = filled(FRAMES, 64 << 20).await;
    let good = fs::read(&segments(original.path())[0]).unwrap();
    let last_record = good.len() - RECORD_HEAD_BYTES - frame(FRAMES).len();
    for at in 0..good.len() {
        let folder = copy(original.path());
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        // A flip in the version byte may look like a newer hub's file; that one is left alone, tested below.
        if at == SEGMENT_HEAD_BYTES - 1 {
            continue;
        }
        fs::write(&segments(folder.path())[0], &bad).unwrap();
        let hub = start(folder.path()).await;
        let (frames, missed, last_seq) = replay(&hub).await;
        for (seq, got) in &frames {
            assert_eq!(got, &frame(*seq), "byte {at}");
        }
        let expected: (usize, Vec<Missed>, u64) = if at < SEGMENT_HEAD_BYTES {
            (4, Vec::new(), 4)
        } else if at >= last_record {
            // Nothing proves that the last record was acknowledged, so it counts as torn.
            (3, Vec::new(), 3)
        } else {
            let mut end = SEGMENT_HEAD_BYTES;
            let mut seq = 0;
            while end <= at {
                seq += 1;
                end += RECORD_HEAD_BYTES + frame(seq).len();
            }
            let damaged = Missed {
                from_seq: seq,
                to_seq: seq,
                reason: MissedReason::Damaged,
            };
            (3, vec![damaged], 4)
        };
        assert_eq!(
            (frames.len(), missed.clone(), last_seq),
            expected,
            "byte {at}: {}",
            hub.logged()
        );
        assert!(!hub.logged().is_empty(), "byte {at}: nobody was told");
        if !missed.is_empty() {
            assert_eq!(hub.counter("frames_missed_damaged").await, 1);
        }
        hub.stop().await;
    }
}

#[tokio::test]
async fn damage_in_sealed_segments_is_told_when_it_is_replayed() {
    const FRAMES: u64 = 6;
    // A segment per frame.
    let original = filled(FRAMES, 1).await;
    let missed = |seq, reason| Missed {
        from_seq: seq,
        to_seq: seq,
        reason,
    };
    type Damage = fn(&Path);
    let cases: [(&str, Damage, MissedReason); 4] = [
        (
            "removed",
            |path| fs::remove_file(path).unwrap(),
            MissedReason::Expired,
        ),
        (
            "emptied",
            |path| fs::write(path, b"").unwrap(),
            MissedReason::Damaged,
        ),
        (
            "overwritten",
            |path| fs::write(path, vec![0xaa; 90]).unwrap(),
            MissedReason::Damaged,
        ),
        (
            "cut",
            |path| fs::write(path, &fs::read(path).unwrap()[..50]).unwrap(),
            MissedReason::Damaged,
        ),
    ];
    for (name, damage, reason) in cases {
        let folder = copy(original.path());
        damage(&segments(folder.path())[2]);
        let hub = start(folder.path()).await;
        let (frames, told, last_seq) = replay(&hub).await;
        assert_eq!((told, last_seq), (vec![missed(3, reason)], FRAMES), "{name}");
        assert_eq!(frames.len() as u64, FRAMES - 1, "{name}");
        let mut collector = hub.collector().await;
        assert_eq!(collector.open(id(), FRAMES).await, FRAMES, "{name}");
        drop(collector);
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_session_outlives_its_meta_file() {
    let original = filled(3, 1).await;
    let cases: [(&str, Option<&[u8]>); 4] = [
        ("removed", None),
        ("empty", Some(b"")),
        ("not JSON", Some(b"\0\0\0\0")),
        ("of another session", Some(br#"{"session":"00"}"#)),
    ];
    for (name, contents) in cases {
        let folder = copy(original.path());
        let meta = folder
            .path()
            .join("sessions")
            .join(id().to_string())
            .join("meta.json");
        match contents {
            Some(bytes) => fs::write(&meta, bytes).unwrap(),
            None => fs::remove_file(&meta).unwrap(),
        }
        let hub = start(folder.path()).await;
        assert!(
            hub.logged().contains("meta.json can't be read"),
            "{name}: {}",
            hub.logged()
        );
        let (frames, missed, _) = replay(&hub).await;
        assert_eq!((frames.len(), missed.len()), (3, 0), "{name}");
        let mut console = hub.console().await;
        console
            .listed(id(), |summary| summary.signature.executable.is_empty())
            .await;
        let mut collector = hub.collector().await;
        assert_eq!(collector.open(id(), 1).await, 3, "{name}");
        console
            .listed(id(), |summary| summary.signature == common::signature())
            .await;
        drop((console, collector));
        hub.stop().await;
    }
}

#[tokio::test]
async fn what_a_newer_hub_wrote_is_left_alone() {
    let folder = filled(2, 64 << 20).await;
    let file = &segments(folder.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[SEGMENT_HEAD_BYTES - 1] = 2;
    fs::write(file, &bytes).unwrap();
    let hub = start(folder.path()).await;
    assert!(
        hub.logged().contains("expected segment version 1, got 2"),
        "{}",
        hub.logged()
    );
    let mut collector = hub.collector().await;
    collector.control(FrameKind::Open, id(), &common::open(1)).await;
    let sentence = collector
        .expect_refusal(heaptide_protocol::control::RefuseCode::SequenceGap)
        .await;
    assert!(sentence.contains("can't read what it has"), "{sentence}");
    drop(collector);
    hub.stop().await;
    assert_eq!(fs::read(file).unwrap(), bytes);
}

#[tokio::test]
async fn strange_names_in_the_data_folder_are_passed_over() {
    let folder = filled(1, 64 << 20).await;
    let sessions = folder.path().join("sessions");
    fs::write(sessions.join("notes.txt"), "x").unwrap();
    fs::create_dir(sessions.join("ffffffffffffffffffffffffffffffff")).unwrap();
    fs::write(sessions.join(id().to_string()).join("log-1.htl"), "x").unwrap();
    let hub = start(folder.path()).await;
    assert_eq!(replay(&hub).await.0.len(), 1);
    let told = hub.logged();
    assert!(!told.contains("Warning") && !told.contains("Error"), "{told}");
    hub.stop().await;
}
