//! What a peer may not do before it is known who it is. `docs/security.md` tells which other tests keep the other gates.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Seen, ask, make_token, start};
use heaptide_protocol::control::{RefuseCode, Role};
use heaptide_protocol::frame::encode;
use heaptide_protocol::{Compression, Envelope, Frame, FrameKind, SessionId};

#[tokio::test]
async fn a_token_in_an_address_opens_nothing_and_is_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    let (_, token) = make_token(at, "", "admin", "admin").await;
    for name in ["token", "access_token", "authorization", "key"] {
        for path in ["/api/v1/sessions", "/api/v1/me", "/metrics"] {
            let answer = ask(at, "GET", &format!("{path}?{name}={token}"), "", "").await;
            assert_eq!(answer.status, 401, "{path}?{name}=…: {answer:?}");
            assert!(!answer.body.contains(&token), "{answer:?}");
        }
        let mut console = Client::try_path(at, &format!("/ws/console?{name}={token}"))
            .await
            .unwrap();
        let hello = common::hello(Role::Console);
        console
            .control(FrameKind::Hello, SessionId::default(), &hello)
            .await;
        let sentence = console.expect_refusal(RefuseCode::Forbidden).await;
        assert!(sentence.contains("asks for a token"), "{sentence}");
    }
    assert!(!hub.logged().contains(&token), "{}", hub.logged());
    hub.stop().await;
}

#[tokio::test]
async fn a_socket_is_for_pages_of_this_hub_before_anything_is_read_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let at = hub.address;
    // 403 and not 101: no WebSocket is ever there, with or without a secret in the address.
    for path in ["/ws/console", "/ws/collector", "/ws/link/AAAAAAAAAAAAAAAAAAAAAA"] {
        for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
            let headers = format!(
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n"
            );
            let answer = ask(at, "GET", path, &headers, "").await;
            assert_eq!(answer.status, 403, "{path} from {origin}: {answer:?}");
            assert!(!answer.head.contains("sec-websocket-accept"), "{answer:?}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_first_frame_is_small_packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let limit = heaptide_hub::Limits::default().open_bytes;
    let hello = Envelope::control(FrameKind::Hello, SessionId::default());
    let plain = encode(hello, &vec![0; limit + 1]).unwrap();
    // It says so itself: what is packed is not unpacked to find out.
    let announced = {
        let payload = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68, 0x03, 0x00, 0x10, 0xaa];
        let mut bytes = encode(hello, &payload).unwrap();
        let told = Frame::parse(&bytes).unwrap().envelope;
        assert_eq!((told.compression, told.raw_bytes), (Compression::None, 10));
        let compressed = Envelope {
            compression: Compression::Zstd,
            raw_bytes: u32::try_from(limit).unwrap() + 1,
            ..told
        };
        let frame = Frame {
            envelope: compressed,
            payload: &payload,
        };
        bytes = frame.readdressed(compressed).unwrap();
        bytes
    };
    for bytes in [plain, announced] {
        let mut peer = Client::open_socket(hub.address, Role::Collector).await;
        peer.send(bytes).await;
        let sentence = peer.expect_refusal(RefuseCode::Malformed).await;
        assert!(sentence.contains("Hello is too large"), "{sentence}");
        assert!(matches!(peer.next().await, Seen::Closed(..)));
    }
    hub.stop().await;
}
