//! Starting and stopping.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Seen, patient, session, start};
use heaptide_hub::{Hub, HubConfig, HubError, serve};
use heaptide_protocol::FrameKind;
use std::net::SocketAddr;

fn config(listen: SocketAddr, folder: &tempfile::TempDir) -> HubConfig {
    HubConfig::new(listen, folder.path())
}

#[tokio::test]
async fn a_hub_that_cannot_start_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut in_a_file = config(free, &other);
    in_a_file.data_dir = file;
    let cases = [
        (
            config(hub.address, &other),
            "is in use by another program: choose another with --listen",
        ),
        (config(free, &folder), "another hub uses the data folder"),
        (
            config("192.0.2.1:0".parse().unwrap(), &other),
            "--insecure-allow-remote",
        ),
        (
            config("0.0.0.0:0".parse().unwrap(), &other),
            "without access control",
        ),
        (
            config("[::]:0".parse().unwrap(), &other),
            "without access control",
        ),
        (in_a_file, "choose another with --data"),
    ];
    for (config, sentence) in cases {
        let error = serve(config, async {}).await.unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let mut remote = config("0.0.0.0:0".parse().unwrap(), &other);
    remote.allow_remote = true;
    Hub::bind(remote).await.unwrap().run(async {}).await;
    let gone = Hub::bind(config("192.0.2.1:0".parse().unwrap(), &other)).await;
    assert!(matches!(gone, Err(HubError::NoAccessControl { .. })));
    hub.stop().await;
}

#[tokio::test]
async fn shutdown_drains_acknowledges_and_closes_with_1001() {
    const FRAMES: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let address = hub.address;
    let id = session(1);
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    for seq in 1..=FRAMES {
        collector.data(id, seq, &[0; 1000]).await;
    }
    let stopping = tokio::spawn(hub.stop());
    let mut acked = 0;
    let code = loop {
        match collector.next().await {
            Seen::Frame(envelope, payload, _) if envelope.kind == FrameKind::Ack => {
                let ack: heaptide_protocol::control::Ack = postcard_u64(&payload);
                acked = ack.durable_seq;
            }
            Seen::Closed(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1001);
    while !matches!(console.next().await, Seen::Closed(1001, _)) {}
    drop((console, collector));
    patient(stopping).await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
    // The next hub has exactly what was acknowledged: what was taken in was acknowledged before the end.
    let hub = start(folder.path()).await;
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(id, 1).await, acked);
    drop(collector);
    hub.stop().await;
}

/// An acknowledgement's payload is one varint.
fn postcard_u64(payload: &[u8]) -> heaptide_protocol::control::Ack {
    let durable_seq = payload
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(byte & 0x7f) << (7 * at))
        .sum();
    heaptide_protocol::control::Ack { durable_seq }
}
