//! A disk that is full, or read-only: nothing is acknowledged that isn't there, everybody is told once, and
//! it goes on by itself. Uses small file systems of its own, so it needs the right to mount.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]
#![cfg(target_os = "linux")]

mod common;

use common::{Client, Running, Seen, data, noise, open, session, start, start_with};
use heaptide_protocol::control::{Ack, Notice, Refuse, RefuseCode};
use heaptide_protocol::{Frame, FrameKind};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// Unmounts when dropped, also by a failing test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// `None`, said loudly, where mounting isn't allowed; a failure if everything is required.
fn tmpfs(folder: &Path, options: &str) -> Option<Mounted> {
    let options = CString::new(options).unwrap();
    match mount(
        "tmpfs",
        folder,
        "tmpfs",
        MountFlags::empty(),
        Some(options.as_c_str()),
    ) {
        Ok(()) => Some(Mounted(folder.to_owned())),
        Err(error) if std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none() => {
            eprintln!("SKIP: can't mount a small file system ({error}); run as root to test a full disk");
            None
        }
        Err(error) => panic!("HEAPTIDE_REQUIRE_ALL is set and mounting failed: {error}"),
    }
}

/// Sends frames of 32 KiB until the hub refuses; the last acknowledged number and the sentence.
async fn fill(collector: &mut Client, mut next_seq: u64) -> (u64, String) {
    let mut acked = next_seq - 1;
    loop {
        collector
            .try_send(data(session(1), next_seq, &noise(next_seq, 32 << 10)))
            .await;
        next_seq += 1;
        match collector.next_but_lists().await {
            Seen::Frame(envelope, _, bytes) if envelope.kind == FrameKind::Ack => {
                let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
                acked = ack.durable_seq;
            }
            Seen::Frame(_, _, bytes) => {
                let refuse: Refuse = Frame::parse(&bytes).unwrap().control("Refuse").unwrap();
                assert_eq!(refuse.code, RefuseCode::StorageFull, "{refuse:?}");
                return (acked, refuse.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Tries again as a collector does, until the session opens; what is durable of it.
async fn open_again(hub: &Running, number: u8, first_seq: u64) -> (Client, u64) {
    loop {
        let mut collector = hub.collector().await;
        collector
            .control(FrameKind::Open, session(number), &open(first_seq))
            .await;
        let Seen::Frame(envelope, _, bytes) = collector.next_but_lists().await else {
            panic!("neither taken nor refused");
        };
        if envelope.kind == FrameKind::Ack {
            let ack: Ack = Frame::parse(&bytes).unwrap().control("Ack").unwrap();
            return (collector, ack.durable_seq);
        }
        let refuse: Refuse = Frame::parse(&bytes).unwrap().control("Refuse").unwrap();
        assert_eq!(refuse.code, RefuseCode::StorageFull, "{refuse:?}");
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mounted) = tmpfs(folder.path(), "size=1m") else {
        return;
    };
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![0; 512 << 10]).unwrap();
    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(session(1), 1).await;
    let (acked, sentence) = fill(&mut collector, 1).await;
    assert!(
        acked > 0 && sentence.contains("make room there"),
        "{acked}: {sentence}"
    );
    let notice: Notice = console.expect(FrameKind::Notice).await;
    assert!(notice.message.contains("can't store new data"), "{notice:?}");
    assert!(hub.get("/readyz").await.starts_with("HTTP/1.1 503"));
    // Again and again while it stays full: the log is not flooded.
    for _ in 0..5 {
        let (mut collector, durable_seq) = match tokio::time::timeout(
            std::time::Duration::from_millis(500),
            open_again(&hub, 1, acked + 1),
        )
        .await
        {
            Ok(opened) => opened,
            Err(_) => continue,
        };
        assert_eq!(durable_seq, acked);
        let (still, _) = fill(&mut collector, acked + 1).await;
        assert_eq!(still, acked);
    }
    assert_eq!(
        hub.logged().matches("can't store frames").count(),
        1,
        "{}",
        hub.logged()
    );

    fs::remove_file(&ballast).unwrap();
    let (mut collector, durable_seq) = open_again(&hub, 1, acked + 1).await;
    assert_eq!(durable_seq, acked);
    let next = acked + 1;
    collector
        .send(data(session(1), next, &noise(next, 32 << 10)))
        .await;
    collector.acked(next).await;
    let notice: Notice = console.expect(FrameKind::Notice).await;
    assert!(notice.message.contains("stores new data again"), "{notice:?}");
    assert!(hub.get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(hub.logged().contains("stored again"), "{}", hub.logged());
    // Everything acknowledged is there, also for the next hub.
    drop((console, collector));
    hub.stop().await;
    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    console.subscribe(session(1), 0).await;
    for seq in 1..=next {
        let Seen::Frame(envelope, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        assert_eq!(envelope.seq, seq);
        assert_eq!(bytes, data(session(1), seq, &noise(seq, 32 << 10)));
    }
    drop(console);
    hub.stop().await;
}

#[tokio::test]
async fn a_read_only_file_system_is_named_and_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mounted) = tmpfs(folder.path(), "size=8m") else {
        return;
    };
    // A segment per commit, so that each one needs a new file.
    let hub = start_with(folder.path(), |config| config.limits.segment_bytes = 1).await;
    let (mut collector, _) = open_again(&hub, 1, 1).await;
    collector.data(session(1), 1, b"one").await;
    collector.acked(1).await;
    let sessions = folder.path().join("sessions");
    mount_bind(&sessions, &sessions).unwrap();
    let read_only = Mounted(sessions.clone());
    mount_remount(&sessions, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    collector.data(session(1), 2, b"two").await;
    let sentence = collector.expect_refusal(RefuseCode::StorageFull).await;
    assert!(sentence.contains("mount it for writing"), "{sentence}");
    // A new session finds no place either, and leaves nothing behind.
    let mut other = hub.collector().await;
    other.control(FrameKind::Open, session(2), &open(1)).await;
    other.expect_refusal(RefuseCode::StorageFull).await;
    assert!(
        !hub.get("/api/v1/sessions")
            .await
            .contains(&session(2).to_string())
    );
    drop(read_only);
    let (mut collector, durable_seq) = open_again(&hub, 1, 2).await;
    assert_eq!(durable_seq, 1);
    collector.data(session(1), 2, b"two").await;
    collector.acked(2).await;
    let (collector_2, durable_seq) = open_again(&hub, 2, 1).await;
    assert_eq!(durable_seq, 0);
    drop((collector, collector_2, other));
    hub.stop().await;
}
