//! Files as they are found: whole, in pieces, cut off anywhere, damaged, and not recordings at all.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Tick, estimate, file, frames, read, recording, session};
use heaptide_protocol::log::{FILE_HEAD, RECORD_HEAD_BYTES};
use heaptide_recording::{Kind, Metric, Reader, RecordingError, TellQuery};

fn ticks(count: u32) -> Vec<Tick> {
    (1..=count)
        .map(|at| Tick {
            births: vec![(0, 1024, at), (1, 256, 3)],
            deaths: if at > 1 { vec![(1, 256, 3)] } else { Vec::new() },
            pauses_ns: vec![u64::from(at) * 1_000],
        })
        .collect()
}

#[test]
fn pieces_of_any_length_are_the_same_session() {
    let bytes = file(&frames(session(1), &ticks(5), true));
    let whole = read(&bytes);
    assert_eq!((whole.frames, whole.bytes), (7, bytes.len() as u64));
    assert!(whole.flaws().is_empty(), "{:?}", whole.flaws());
    for length in [1, 7, 16, 1000] {
        let mut reader = Reader::new();
        for piece in bytes.chunks(length) {
            reader.push(piece).unwrap();
        }
        reader.end_of_file().unwrap();
        let recording = reader.finish().unwrap();
        assert_eq!(recording.session.headline(), whole.session.headline(), "{length}");
        assert_eq!(recording.frames, whole.frames);
    }
}

#[test]
fn a_file_cut_off_anywhere_is_read_up_to_its_last_whole_frame_and_says_so() {
    let all = frames(session(1), &ticks(3), true);
    let bytes = file(&all);
    let mut ends = vec![FILE_HEAD.len()];
    for frame in &all {
        ends.push(ends.last().unwrap() + RECORD_HEAD_BYTES + frame.len());
    }
    for length in 0..bytes.len() {
        let mut reader = Reader::new();
        reader.push(&bytes[..length]).unwrap();
        reader.end_of_file().unwrap();
        let whole = ends
            .iter()
            .filter(|end| **end <= length)
            .count()
            .saturating_sub(1);
        match reader.finish() {
            Err(error) => assert_eq!((error, whole), (RecordingError::Empty, 0), "{length}"),
            Ok(recording) => {
                assert_eq!(recording.frames, whole as u64, "{length}");
                let flaws = recording.flaws().join("\n");
                assert!(flaws.contains("has no end"), "{length}: {flaws}");
                let torn = length - ends[whole];
                let is_told = flaws.contains("no whole record");
                assert_eq!(is_told, torn > 0, "{length}: {flaws}");
                assert!(
                    torn == 0 || flaws.contains(&format!("last {torn} byte")),
                    "{flaws}"
                );
            }
        }
    }
}

#[test]
fn a_damaged_place_costs_its_frame_and_no_other() {
    let all = frames(session(1), &ticks(4), true);
    let good = file(&all);
    let live = |bytes: &[u8]| {
        let recording = read(bytes);
        (
            recording.session.headline().live_samples,
            recording.flaws().join("\n"),
        )
    };
    let (whole, flaws) = live(&good);
    assert_eq!((whole, flaws.as_str()), (1 + 2 + 3 + 4 + 3, ""));
    // The third frame is the second tick: its two births are missing, and the deaths of three others.
    let third = FILE_HEAD.len()
        + all[..2]
            .iter()
            .map(|frame| RECORD_HEAD_BYTES + frame.len())
            .sum::<usize>();
    for at in [
        third,
        third + 5,
        third + RECORD_HEAD_BYTES,
        third + RECORD_HEAD_BYTES + 40,
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let (left, flaws) = live(&bytes);
        assert_eq!(left, whole - 2, "{at}: {flaws}");
        assert!(flaws.contains("1 place can't be read"), "{at}: {flaws}");
        assert!(flaws.contains("1 frame is missing"), "{at}: {flaws}");
    }
}

#[test]
fn any_flipped_byte_is_survived() {
    let bytes = file(&frames(session(1), &ticks(2), true));
    for at in FILE_HEAD.len()..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= mask;
            let recording = read(&bad);
            assert!(recording.frames >= 3, "{at}");
            assert!(!recording.flaws().is_empty(), "{at}");
        }
    }
}

#[test]
fn segments_of_one_session_are_read_in_a_row_and_those_of_two_are_refused() {
    let all = frames(session(1), &ticks(4), true);
    let (first, second) = all.split_at(3);
    let mut reader = Reader::new();
    for part in [first, second] {
        reader.push(&file(part)).unwrap();
        reader.end_of_file().unwrap();
    }
    let recording = reader.finish().unwrap();
    assert_eq!(recording.frames, all.len() as u64);
    assert!(recording.flaws().is_empty());

    let late = read(&file(second));
    let flaws = late.flaws().join("\n");
    assert!(flaws.contains("begins with frame 4"), "{flaws}");

    let mut reader = Reader::new();
    reader.push(&file(first)).unwrap();
    reader.end_of_file().unwrap();
    let error = reader.push(&file(&frames(session(2), &[], true))).unwrap_err();
    assert!(matches!(error, RecordingError::OtherSession { .. }), "{error}");
}

#[test]
fn other_files_are_told_as_such() {
    for (bytes, expected) in [
        (&b"{\"json\": 1}"[..], "not a recording"),
        (b"HEAP", "no whole frame"),
        (b"", "no whole frame"),
        (b"HEAPLOG\x02", "version 2"),
        (b"HEAPLOG\x01", "no whole frame"),
    ] {
        let mut reader = Reader::new();
        let result = reader
            .push(bytes)
            .and_then(|()| reader.end_of_file())
            .and_then(|()| reader.finish().map(|_| ()));
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{bytes:?}: {error}");
    }
}

#[test]
fn a_window_is_in_seconds_from_the_beginning() {
    let recording = recording(&ticks(10));
    assert!((recording.length_s() - 1.0).abs() < 1e-9);
    let window = recording.window(Some(0.2), Some(0.5)).unwrap();
    assert_eq!((window.to_ns - window.from_ns) / common::TICK_NS, 3);
    assert_eq!(
        recording.window(None, Some(99.0)).unwrap(),
        recording.window(None, None).unwrap()
    );
    for (from, to) in [(Some(0.5), Some(0.5)), (Some(2.0), None)] {
        let error = recording.window(from, to).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
    }
    assert_eq!(
        recording.unix_ns(window.from_ns),
        Some(common::UNIX_NS + 200_000_000)
    );
}

#[test]
fn text_and_json_tell_figures_with_method_and_error() {
    let recording = recording(&ticks(3));
    let query = TellQuery {
        kinds: vec![Kind::Heap],
        metric: Metric::Live,
        window: recording.window(None, None).unwrap(),
        filter: String::new(),
        limit: 10,
        stacks: true,
    };
    let told = recording.tell(&query);
    let text = told.text();
    for part in [
        "/srv/shop, process 4242: go1.27.3 on Debian GNU/Linux 12, kernel 6.18.44, 2 CPUs",
        "from 2026-11-27 02:04:05 UTC, 0.3 s, 5 frames",
        "the program exited with code 0",
        "sampled every 64.0 KiB, 99 % intervals",
        "50.0 MiB",
        "active       collections  uprobes startCycle",
        "unavailable  mappings     tracepoints\n      tracefs is not mounted\n      try: mount it",
        "main.leak /src/main.go:10",
        "      main.main /src/main.go:30",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let json = told.json();
    let sites = json["heap"]["sites"].as_array().unwrap();
    assert_eq!(sites[0]["function"], "main.leak");
    let value = sites[0]["bytes"]["value"].as_f64().unwrap();
    assert!((value - estimate(1024, 6)).abs() < 1.0, "{value}");
    assert_eq!(sites[0]["bytes"]["method"], "sampled");
    assert_eq!(sites[0]["bytes"]["rate_bytes"], common::RATE_BYTES);
    assert!(sites[0]["bytes"]["low"].as_f64() < Some(value));
    assert_eq!(json["headline"]["pauses"], 3);
    assert_eq!(json["capabilities"][1]["state"], "unavailable");
    assert_eq!(json["signature"]["runtime_version"], "go1.27.3");
}
