//! `check` finds every flipped bit and every cut, and a repair keeps all that is good.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Running, Seen, data, session, start, start_with};
use heaptide_hub::{HubError, backup, check};
use heaptide_protocol::{FrameKind, SessionId};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FRAMES: u64 = 6;

fn id() -> SessionId {
    session(1)
}

fn frame(seq: u64) -> Vec<u8> {
    data(id(), seq, format!("frame number {seq}").as_bytes())
}

/// A data folder with frames `1..=FRAMES`, three to a segment, left in order.
async fn filled(folder: &Path) {
    let hub = start_with(folder, |config| {
        config.limits.segment_bytes = 2 * frame(1).len() as u64 + 50;
    })
    .await;
    let mut collector = hub.collector().await;
    collector.open(id(), 1).await;
    for seq in 1..=FRAMES {
        collector.send(frame(seq)).await;
        collector.acked(seq).await;
    }
    collector.end("ended").await;
    hub.stop().await;
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

async fn replay(hub: &Running) -> BTreeMap<u64, Vec<u8>> {
    let mut console = hub.console().await;
    console.subscribe(id(), 0).await;
    let mut frames = BTreeMap::new();
    loop {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        match envelope.kind {
            FrameKind::Data => frames.insert(envelope.seq, bytes),
            FrameKind::CaughtUp => return frames,
            _ => None,
        };
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_found_and_repair_keeps_what_is_good() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    // Reading it again each time would take longer than all the rest.
    fs::remove_file(folder.path().join("catalog.redb")).unwrap();
    let whole = check(folder.path(), false).unwrap();
    assert_eq!((whole.records, whole.findings.len()), (FRAMES, 0), "{whole:?}");
    let meta = fs::read(
        folder
            .path()
            .join("sessions")
            .join(id().to_string())
            .join("meta.json"),
    )
    .unwrap();
    let files = segments(folder.path());
    assert!(files.len() > 1);
    let mut damages = 0;
    for file in &files {
        let good = fs::read(file).unwrap();
        let flips = (0..good.len() * 8).map(|bit| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        });
        let cuts = (0..good.len()).map(|length| good[..length].to_vec());
        for bad in flips.chain(cuts) {
            damages += 1;
            fs::write(file, &bad).unwrap();
            let report = check(folder.path(), false).unwrap();
            assert!(!report.findings.is_empty(), "damage {damages} was not found");
            assert_eq!(fs::read(file).unwrap(), bad, "a check changed the file");
            // Repairing is slower; a part of them.
            if damages % 31 == 0 {
                check(folder.path(), true).unwrap();
                let is_newer = report
                    .findings
                    .iter()
                    .any(|finding| finding.what.contains("newer hub"));
                let again = check(folder.path(), false).unwrap();
                // Behind a tear nothing was acknowledged, and all of it goes.
                let is_torn = report
                    .findings
                    .iter()
                    .any(|finding| finding.what.contains("torn end"));
                assert!(
                    again.records == report.records || is_torn && again.records < FRAMES,
                    "damage {damages}: {report:?}, then {again:?}"
                );
                assert_eq!(
                    again.findings.is_empty(),
                    !is_newer,
                    "damage {damages}: {again:?}"
                );
                let own = folder.path().join("sessions").join(id().to_string());
                fs::write(own.join("meta.json"), &meta).unwrap();
                let _ = fs::remove_dir_all(folder.path().join("set-aside"));
            }
        }
        fs::write(file, &good).unwrap();
    }
    assert!(damages > 1000, "{damages}");
}

#[tokio::test]
async fn a_repaired_folder_starts_and_shows_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let file = &segments(folder.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[40] ^= 1;
    fs::write(file, &bytes).unwrap();
    fs::write(folder.path().join("catalog.redb"), b"not a database").unwrap();
    let report = check(folder.path(), true).unwrap();
    assert_eq!(report.findings.len(), 2, "{report:?}");
    assert_eq!(check(folder.path(), false).unwrap().findings, []);
    assert!(folder.path().join("set-aside").join("catalog.redb").exists());
    let hub = start(folder.path()).await;
    let frames = replay(&hub).await;
    assert_eq!(frames.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(frames.iter().all(|(seq, bytes)| *bytes == frame(*seq)));
    hub.stop().await;
}

#[tokio::test]
async fn only_data_folders_without_a_hub_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let error = check(folder.path(), true).unwrap_err();
    assert!(
        error.to_string().contains("it is no hub's data folder"),
        "{error}"
    );
    let hub = start(folder.path()).await;
    let error = check(folder.path(), false).unwrap_err();
    assert!(matches!(error, HubError::DataDirInUse { .. }), "{error}");
    hub.stop().await;
}

#[tokio::test]
async fn a_backup_of_a_running_hub_opens_as_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let hub = start(folder.path()).await;
    let mut collector = hub.collector().await;
    collector.open(session(2), 1).await;
    let target = folder.path().join("backup");
    let ask = |folder: &Path| {
        let body = serde_json::json!({ "folder": folder }).to_string();
        format!(
            "POST /api/v1/backup HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            hub.address,
            body.len()
        )
    };
    // Frames go on coming in while it is written.
    let mut acked = 0;
    let request = ask(&target);
    let mut asking = Box::pin(common::raw(hub.address, &request));
    let answer = loop {
        acked += 1;
        collector.data(session(2), acked, b"meanwhile").await;
        collector.acked(acked).await;
        tokio::select! {
            biased;
            answer = &mut asking => break String::from_utf8_lossy(&answer).into_owned(),
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"sessions\":2"), "{answer}");
    // What is there already is not written over, and a path from nowhere is refused.
    for (path, status) in [(target.as_path(), "503"), (Path::new("elsewhere"), "400")] {
        let answer = String::from_utf8_lossy(&common::raw(hub.address, &ask(path)).await).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(hub.get("/api/v1/audit").await.contains("backup written"));
    drop(collector);
    hub.stop().await;
    let report = check(&target, false).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.records >= FRAMES);
    let copy = start(&target).await;
    assert_eq!(copy.complained(), "");
    assert_eq!(replay(&copy).await.len() as u64, FRAMES);
    // The audit line came after the copy's moment; the table is there.
    assert!(copy.get("/api/v1/audit").await.starts_with("HTTP/1.1 200"));
    copy.stop().await;
}

#[tokio::test]
async fn a_backup_without_a_hub_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("backup");
    let report = backup(folder.path(), &target).unwrap();
    assert_eq!(
        (report.sessions, report.segments),
        (1, segments(folder.path()).len() as u64)
    );
    for file in segments(folder.path()) {
        let copied = target.join(file.strip_prefix(folder.path()).unwrap());
        assert_eq!(fs::read(copied).unwrap(), fs::read(file).unwrap());
    }
    assert_eq!(check(&target, false).unwrap().findings, []);
    let error = backup(folder.path(), &target).unwrap_err();
    assert!(error.to_string().contains("it is there already"), "{error}");
}
