//! Hubs that the real one never is: of another version, stuck, silent, unfriendly.

use super::*;
use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_protocol::control::{Ack, ClockPing, ClockPong, Refuse, RefuseCode, Welcome};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{FrameKind, VERSION};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// How far a scripted hub goes before it says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Accepted,
    Upgraded,
    Welcomed,
    Opened,
    /// Answers pings and never acknowledges a frame.
    Pongs,
    /// Closes without an answer as soon as data comes.
    Resets,
    /// Says why when data comes, and resets the connection with more of it unread.
    Refuses,
}

const HUB_SESSION: SessionId = SessionId([0; 16]);

async fn say<T: serde::Serialize>(
    socket: &mut WebSocketStream<TcpStream>,
    kind: FrameKind,
    session: SessionId,
    payload: &T,
) {
    let frame = encode_control(kind, session, payload).unwrap();
    let _ = socket.send(Message::Binary(frame.into())).await;
}

async fn play(stream: TcpStream, until: Until) {
    if until == Until::Accepted {
        return hold(stream).await;
    }
    let Ok(mut socket) = accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let frame = Frame::parse(&bytes).unwrap();
        match frame.envelope.kind {
            FrameKind::Hello if until != Until::Upgraded => {
                let welcome = Welcome {
                    agent: "script".to_owned(),
                    hub_epoch: 1,
                    unix_ns: 0,
                };
                say(&mut socket, FrameKind::Welcome, HUB_SESSION, &welcome).await;
            }
            FrameKind::Open if until != Until::Welcomed => {
                say(
                    &mut socket,
                    FrameKind::Ack,
                    frame.envelope.session,
                    &Ack { durable_seq: 0 },
                )
                .await;
            }
            FrameKind::ClockPing if until == Until::Pongs => {
                let ping: ClockPing = frame.control("ping").unwrap();
                let pong = ClockPong {
                    t1_ns: ping.t1_ns,
                    t2_unix_ns: 1,
                    t3_unix_ns: 1,
                };
                say(&mut socket, FrameKind::ClockPong, HUB_SESSION, &pong).await;
            }
            FrameKind::Data if until == Until::Resets => return,
            FrameKind::Data if until == Until::Refuses => {
                let refuse = Refuse {
                    code: RefuseCode::StorageFull,
                    ours: VERSION,
                    theirs: VERSION,
                    message: "the hub's disk is full".to_owned(),
                };
                return say(&mut socket, FrameKind::Refuse, frame.envelope.session, &refuse).await;
            }
            _ => {}
        }
    }
}

async fn hold(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {}
}

/// Waits for answers as long as users do, but not between attempts.
fn patient(address: std::net::SocketAddr) -> UplinkConfig {
    UplinkConfig {
        timing: Timing {
            retry_first: Duration::from_millis(10),
            retry_max: Duration::from_millis(50),
            ..Timing::default()
        },
        ..impatient(address)
    }
}

/// Impatient, so that the tests are short.
fn impatient(address: std::net::SocketAddr) -> UplinkConfig {
    let mut config = UplinkConfig::new(&format!("ws://{address}"), None).unwrap();
    config.timing = Timing {
        connect: Duration::from_millis(300),
        handshake: Duration::from_millis(300),
        ping_every: Duration::from_millis(100),
        silence: Duration::from_millis(400),
        ack_stall: Duration::from_millis(700),
        close: Duration::from_millis(300),
        retry_first: Duration::from_millis(10),
        retry_max: Duration::from_millis(50),
    };
    config
}

fn spool_of(root: &Path, frames: u64) -> Arc<Mutex<Spool>> {
    let mut spool = Spool::create(root, head(1), MANY_BYTES).unwrap();
    for seq in 1..=frames {
        spool.append(seq, &data(1, seq)).unwrap();
    }
    Arc::new(Mutex::new(spool))
}

async fn first(
    events: &mut mpsc::Receiver<UplinkEvent>,
    wanted: impl Fn(&UplinkEvent) -> bool,
) -> UplinkEvent {
    soon("an event", async {
        loop {
            let event = events.recv().await.expect("the uplink stopped");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

#[tokio::test]
async fn stalled_hubs_are_left_and_tried_again() {
    for (until, expected) in [
        (Until::Accepted, "no connection in time"),
        (Until::Upgraded, "did not answer Hello"),
        (Until::Welcomed, "did not answer Open"),
        (Until::Opened, "fallen silent"),
        (Until::Pongs, "acknowledges nothing"),
        (Until::Resets, "reset"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = impatient(listener.local_addr().unwrap());
        let (connections, mut connected) = mpsc::unbounded_channel();
        let hub = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = connections.send(());
                tokio::spawn(play(stream, until));
            }
        });
        let (handle, mut events) = Uplink::start(config, spool_of(root.path(), 3));
        // On a busy machine an earlier wait may run out first, now and then.
        for _ in 0..2 {
            first(
                &mut events,
                |event| matches!(event, UplinkEvent::Disconnected { error, .. } if error.contains(expected)),
            )
            .await;
        }
        for _ in 0..3 {
            soon("another attempt", connected.recv()).await.unwrap();
        }
        let outcome = soon("finishing", handle.finish(Duration::from_millis(200))).await;
        assert_eq!(outcome, Outcome::Left { unacked_frames: 3 }, "{until:?}");
        assert_eq!(handle.stats().acked_seq, 0);
        hub.abort();
    }
}

#[tokio::test]
async fn a_hub_of_another_version_is_told_with_both_versions() {
    let refuse = Refuse {
        code: RefuseCode::Version,
        ours: VERSION + 1,
        theirs: VERSION,
        message: "upgrade the collector".to_owned(),
    };
    let told = encode_control(FrameKind::Refuse, HUB_SESSION, &refuse).unwrap();
    let mut own_version = told.clone();
    own_version[3] = VERSION + 1;
    for answer in [told, own_version] {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = patient(listener.local_addr().unwrap());
        let hub = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            let _ = socket.next().await;
            socket.send(Message::Binary(answer.into())).await.unwrap();
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
            listener
        });
        let (handle, mut events) = Uplink::start(config, spool_of(root.path(), 3));
        let event = first(&mut events, |_| true).await;
        let UplinkEvent::Refused { message, fatal: true } = event else {
            panic!("{event:?}")
        };
        for part in [
            "upgrade the collector",
            &VERSION.to_string(),
            &(VERSION + 1).to_string(),
        ] {
            assert!(message.contains(part), "{message}");
        }
        // Waits for nothing that can't come.
        let outcome = soon("finishing", handle.finish(PATIENCE)).await;
        assert_eq!(outcome, Outcome::Left { unacked_frames: 3 });
        assert_eq!(events.recv().await, None, "no more attempts");
        drop(soon("the hub", hub).await);
    }
}

#[tokio::test]
async fn a_server_that_is_no_hub_is_named() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..],
            "HTTP 404",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "no WebSocket"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let (_handle, mut events) = Uplink::start(patient(address), spool_of(root.path(), 1));
        let event = first(&mut events, |_| true).await;
        let UplinkEvent::Disconnected { error, .. } = event else {
            panic!("{event:?}")
        };
        assert!(
            error.contains(expected) && error.contains(&address.to_string()),
            "{error}"
        );
        server.abort();
    }
}

#[tokio::test]
async fn a_caller_that_fetches_no_events_holds_nothing_up() {
    let root = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = patient(listener.local_addr().unwrap());
    drop(listener);
    let (handle, mut events) = Uplink::start(config, spool_of(root.path(), 1));
    soon("dropped events", async {
        while handle.stats().dropped_events < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let outcome = soon("closing", handle.close()).await;
    assert_eq!(outcome, Outcome::Left { unacked_frames: 1 });
    let mut fetched = 0;
    while events.recv().await.is_some() {
        fetched += 1;
    }
    assert!(fetched <= 64, "{fetched} events were kept");
    // And with no receiver at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (handle, events) = Uplink::start(
        patient(listener.local_addr().unwrap()),
        spool_of(&root.path().join("two"), 1),
    );
    drop(events);
    let (stream, _) = soon("an attempt", listener.accept()).await.unwrap();
    tokio::spawn(play(stream, Until::Opened));
    soon("closing", handle.close()).await;
}

#[tokio::test]
async fn a_spool_that_can_not_be_read_is_said() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool_of(root.path(), 5);
    let file = spool.lock().unwrap().dir().join(format!("{:020}.frames", 1));
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (handle, mut events) = Uplink::start(patient(listener.local_addr().unwrap()), spool);
    let (stream, _) = soon("an attempt", listener.accept()).await.unwrap();
    tokio::spawn(play(stream, Until::Pongs));
    let event = first(&mut events, |event| {
        matches!(event, UplinkEvent::SpoolUnreadable { .. })
    })
    .await;
    let UplinkEvent::SpoolUnreadable { error } = event else {
        panic!("{event:?}")
    };
    assert!(
        error.contains("frame 5") && error.contains(&file.display().to_string()),
        "{error}"
    );
    assert_eq!(handle.stats().frames_sent, 4);
}

#[tokio::test]
async fn a_refusal_is_heard_though_the_connection_breaks_while_sending() {
    let root = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(root.path(), head(1), MANY_BYTES).unwrap();
    for seq in 1..=60 {
        spool.append(seq, &data_up_to(1, seq, 200_000)).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = patient(listener.local_addr().unwrap());
    let (handle, mut events) = Uplink::start(config, Arc::new(Mutex::new(spool)));
    let hub = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            play(stream, Until::Refuses).await;
        }
    });
    for round in 0..10 {
        let event = first(&mut events, |event| {
            matches!(
                event,
                UplinkEvent::Refused { .. } | UplinkEvent::Disconnected { .. }
            )
        })
        .await;
        let UplinkEvent::Refused {
            message,
            fatal: false,
        } = event
        else {
            panic!("round {round}: {event:?}");
        };
        assert_eq!(message, "the hub's disk is full");
        first(&mut events, |event| {
            matches!(event, UplinkEvent::Disconnected { .. })
        })
        .await;
    }
    soon("closing", handle.close()).await;
    hub.abort();
}
