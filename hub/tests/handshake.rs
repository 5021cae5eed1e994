//! What happens before and instead of data: wrong peers, wrong bytes, wrong order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Seen, hello, open, patient, session, start, start_with};
use heaptide_protocol::control::{
    ClockPing, ClockPong, Notice, PolicyPropose, Refuse, RefuseCode, Role, Subscribe, Welcome,
};
use heaptide_protocol::frame::{MAX_FRAME_BYTES, encode_control};
use heaptide_protocol::{Frame, FrameKind, SessionId, VERSION};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

const NOBODY: SessionId = SessionId([0; 16]);

fn good_hello(role: Role) -> Vec<u8> {
    encode_control(FrameKind::Hello, NOBODY, &hello(role)).unwrap()
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = good_hello(Role::Collector);
    change(&mut bytes);
    bytes
}

#[tokio::test]
async fn a_wrong_first_frame_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let newer = VERSION + 1;
    let cases = [
        (
            "newer",
            changed(|b| b[3] = newer),
            RefuseCode::Version,
            newer,
            "protocol version 1, this collector 2: upgrade the hub",
        ),
        (
            "older",
            changed(|b| b[3] = 0),
            RefuseCode::Version,
            0,
            "protocol version 1, this collector 0: upgrade the collector",
        ),
        (
            "any version byte",
            changed(|b| b[3] = 255),
            RefuseCode::Version,
            255,
            "upgrade the hub",
        ),
        (
            "newer, other layout",
            vec![b'H', b'T', b'D', newer],
            RefuseCode::Malformed,
            0,
            "shorter than its head",
        ),
        (
            "newer, head only",
            vec![b'H', b'T', b'D', newer, 0, 0, 0, 0],
            RefuseCode::Version,
            newer,
            "upgrade the hub",
        ),
        (
            "magic",
            changed(|b| b[0] = b'X'),
            RefuseCode::Malformed,
            0,
            "expected it to begin with \"HTD\"",
        ),
        ("empty", Vec::new(), RefuseCode::Malformed, 0, "0 bytes"),
        (
            "corrupt",
            changed(|b| *b.last_mut().unwrap() ^= 1),
            RefuseCode::Malformed,
            VERSION,
            "checksum",
        ),
        (
            "cut",
            changed(|b| b.truncate(b.len() - 1)),
            RefuseCode::Malformed,
            VERSION,
            "checksum",
        ),
        (
            "not Hello",
            encode_control(FrameKind::Open, NOBODY, &open(1)).unwrap(),
            RefuseCode::Malformed,
            VERSION,
            "expected Hello first, got Open",
        ),
        (
            "other payload",
            encode_control(FrameKind::Hello, NOBODY, &7u8).unwrap(),
            RefuseCode::Malformed,
            VERSION,
            "Hello is malformed",
        ),
        (
            "wrong role",
            good_hello(Role::Console),
            RefuseCode::Forbidden,
            VERSION,
            "this address is for a collector",
        ),
        (
            "too large",
            encode_control(FrameKind::Hello, NOBODY, &vec![0u8; 100_000]).unwrap(),
            RefuseCode::Malformed,
            VERSION,
            "too large",
        ),
    ];
    for (name, bytes, code, theirs, sentence) in cases {
        let mut client = Client::open_socket(hub.address, Role::Collector).await;
        client.send(bytes).await;
        let refuse: Refuse = client.expect(FrameKind::Refuse).await;
        assert_eq!(
            (refuse.code, refuse.ours, refuse.theirs),
            (code, VERSION, theirs),
            "{name}: {refuse:?}"
        );
        assert!(
            refuse.message.contains(sentence),
            "{name}: {:?} lacks {sentence:?}",
            refuse.message
        );
        assert!(
            matches!(client.next().await, Seen::Closed(..)),
            "{name}: the hub closes after Refuse"
        );
    }
    let mut console = Client::open_socket(hub.address, Role::Console).await;
    console.send(changed(|b| b[3] = 0)).await;
    let sentence = console.expect_refusal(RefuseCode::Version).await;
    assert!(sentence.contains("reload the console's page"), "{sentence}");
    drop(console);
    let mut client = Client::open_socket(hub.address, Role::Collector).await;
    client.send_message(Message::text("hello")).await;
    let sentence = client.expect_refusal(RefuseCode::Malformed).await;
    assert!(sentence.contains("got text"), "{sentence}");
    drop(client);
    hub.stop().await;
}

#[tokio::test]
async fn after_the_handshake_each_role_may_send_its_own_frames_only() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let propose = PolicyPropose {
        policy: heaptide_policy::Policy::default(),
    };
    let cases = [
        (
            Role::Collector,
            encode_control(FrameKind::Subscribe, id, &Subscribe { after_seq: 0 }),
            "a collector doesn't send Subscribe",
        ),
        (
            Role::Collector,
            encode_control(FrameKind::PolicyPropose, id, &propose),
            "a collector doesn't send PolicyPropose",
        ),
        (
            Role::Collector,
            encode_control(FrameKind::Hello, id, &hello(Role::Collector)),
            "a collector doesn't send Hello",
        ),
        (
            Role::Collector,
            encode_control(FrameKind::Open, id, &vec![0u8; 100_000]),
            "above the limit of 65536",
        ),
        (
            Role::Collector,
            encode_control(FrameKind::Open, id, &3u8),
            "Open is malformed",
        ),
        (
            Role::Console,
            encode_control(FrameKind::Open, id, &open(1)),
            "a console doesn't send Open",
        ),
        (
            Role::Console,
            Ok(common::data(id, 1, b"x")),
            "a console doesn't send Data",
        ),
        (
            Role::Console,
            encode_control(FrameKind::Subscribe, id, &vec![0u8; 100_000]),
            "too large",
        ),
    ];
    for (role, bytes, sentence) in cases {
        let mut client = Client::connect(hub.address, role).await;
        client.send(bytes.unwrap()).await;
        let got = client.expect_refusal(RefuseCode::Malformed).await;
        assert!(got.contains(sentence), "{got:?} lacks {sentence:?}");
    }
    let mut console = hub.console().await;
    console.subscribe(id, 0).await;
    let notice: Notice = console.expect(FrameKind::Notice).await;
    assert!(notice.message.contains("no session"), "{notice:?}");
    drop(console);
    hub.stop().await;
}

#[tokio::test]
async fn clock_pings_are_answered_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    for role in [Role::Collector, Role::Console] {
        let mut client = Client::connect(hub.address, role).await;
        client
            .control(FrameKind::ClockPing, NOBODY, &ClockPing { t1_ns: 4711 })
            .await;
        let pong: ClockPong = client.expect(FrameKind::ClockPong).await;
        assert_eq!(pong.t1_ns, 4711);
        assert!(
            pong.t2_unix_ns > 0 && pong.t2_unix_ns <= pong.t3_unix_ns,
            "{pong:?}"
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| {
        config.limits.handshake = Duration::from_millis(100);
        config.limits.collector_silence = Duration::from_millis(300);
        config.limits.console_silence = Duration::from_millis(300);
    })
    .await;
    // Nothing at all, and half a request head.
    for start in ["", "GET / HTTP/1.1\r\nHost: x"] {
        let mut stream = tokio::net::TcpStream::connect(hub.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = patient(stream.read_to_end(&mut rest)).await;
    }
    // A WebSocket, and no Hello.
    let mut client = Client::open_socket(hub.address, Role::Collector).await;
    let sentence = client.expect_refusal(RefuseCode::Malformed).await;
    assert!(sentence.contains("expected Hello within 0.1 s"), "{sentence}");
    // Half-open connections: a peer that greeted and was never heard of again.
    for role in [Role::Collector, Role::Console] {
        let mut client = Client::connect(hub.address, role).await;
        while !matches!(client.next().await, Seen::Closed(..) | Seen::Broken) {}
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_connection_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let mut collector = hub.collector().await;
    collector.open(session(1), 1).await;
    collector.try_send(vec![0; MAX_FRAME_BYTES + 1]).await;
    // The hub doesn't read the rest of it, so its sentence may be lost in a reset.
    while let Seen::Frame(envelope, _, bytes) = collector.next_but_lists().await {
        assert_eq!(envelope.kind, FrameKind::Refuse);
        let refuse: Refuse = Frame::parse(&bytes).unwrap().control("Refuse").unwrap();
        assert!(refuse.message.contains("1048576"), "{refuse:?}");
    }
    let mut collector = hub.collector().await;
    assert_eq!(collector.open(session(1), 1).await, 0);
    drop(collector);
    hub.stop().await;
}

#[tokio::test]
async fn welcome_tells_a_restart_by_another_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let hub = start(folder.path()).await;
        let mut client = Client::open_socket(hub.address, Role::Collector).await;
        client.send(good_hello(Role::Collector)).await;
        let welcome: Welcome = client.expect(FrameKind::Welcome).await;
        epochs.push(welcome.hub_epoch);
        drop(client);
        hub.stop().await;
    }
    assert_ne!(epochs[0], epochs[1]);
}
