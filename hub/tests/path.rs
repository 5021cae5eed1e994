//! The way of the data: collector, disk, acknowledgement, console; and the same after a restart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Seen, data, is_away, session, start};
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{CaughtUp, SessionState};

#[tokio::test]
async fn a_frame_goes_from_collector_to_disk_to_console() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(id, 1).await, 0);
    let listed = console
        .listed(id, |summary| summary.state == SessionState::Live)
        .await;
    assert_eq!(listed.signature, common::signature());
    console.subscribe(id, 0).await;
    let caught_up: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    assert_eq!(caught_up.last_seq, 0);
    for seq in 1..=3 {
        collector.data(id, seq, format!("frame {seq}").as_bytes()).await;
        collector.acked(seq).await;
        let Seen::Frame(envelope, payload, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        assert_eq!((envelope.session, envelope.seq), (id, seq));
        assert_eq!(payload, format!("frame {seq}").as_bytes());
        assert_eq!(bytes, data(id, seq, &payload));
    }
    collector.end("bye").await;
    console.listed(id, is_away).await;
    drop(console);
    hub.stop().await;

    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    let listed = console.listed(id, is_away).await;
    assert_eq!((listed.frames, listed.first_ns, listed.last_ns), (3, 100, 399));
    console.subscribe(id, 1).await;
    for seq in 2..=3 {
        let Seen::Frame(_, _, bytes) = console.next_but_lists().await else {
            panic!("the console's connection ended");
        };
        assert_eq!(bytes, data(id, seq, format!("frame {seq}").as_bytes()));
    }
    let caught_up: CaughtUp = console.expect(FrameKind::CaughtUp).await;
    assert_eq!(caught_up.last_seq, 3);
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(id, 4).await, 3);
    collector.end("ended").await;
    console
        .listed(id, |summary| summary.state == SessionState::Ended)
        .await;
    drop(console);
    hub.stop().await;
}
