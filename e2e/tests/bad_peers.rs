//! Peers that break the protocol or speak another version of it: they are told, and the hub goes on.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::console::{hello, open_socket};
use heaptide_e2e::process::Process;
use heaptide_e2e::{Build, Go, Hub, Sites, heaptide, machine, until};
use heaptide_protocol::control::{Refuse, RefuseCode, Role, Welcome};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{Frame, FrameKind, SessionId, VERSION};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept};

type Damage = fn(&mut Vec<u8>);

/// What a peer says instead of a sound Hello, and what it is told.
const CASES: [(&str, Damage, RefuseCode, &[&str]); 6] = [
    (
        "a bit flipped",
        |frame| frame[12] ^= 1,
        RefuseCode::Malformed,
        &["checksum"],
    ),
    (
        "cut short",
        |frame| frame.truncate(5),
        RefuseCode::Malformed,
        &["5 bytes"],
    ),
    (
        "another magic",
        |frame| frame[0] = b'X',
        RefuseCode::Malformed,
        &["HTD"],
    ),
    ("nothing", Vec::clear, RefuseCode::Malformed, &["0 bytes"]),
    (
        "an older version",
        |frame| frame[3] = 0,
        RefuseCode::Version,
        &["version 1", "0"],
    ),
    (
        "a newer version",
        |frame| frame[3] = 9,
        RefuseCode::Version,
        &["version 1", "9", "upgrade the hub"],
    ),
];

#[test]
fn a_peer_that_breaks_the_protocol_is_told_how_and_the_hub_goes_on() {
    let test = "bad peers";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let mut sites = Sites::started(hub.run("", &program, "-windows 0 -window-bytes 10000000 -pace 50ms"));
    let session = heaptide::session_of(&sites.process);
    sites.go();
    for role in [Role::Console, Role::Collector] {
        for (what, damage, code, parts) in CASES {
            let mut socket = open_socket(hub.address, role);
            let mut frame = encode_control(FrameKind::Hello, SessionId::default(), &hello(role)).unwrap();
            damage(&mut frame);
            socket.send(Message::binary(frame)).unwrap();
            let refuse = refusal(&mut socket);
            assert_eq!(refuse.code, code, "{role:?}, {what}: {refuse:?}");
            for part in parts {
                assert!(
                    refuse.message.contains(part),
                    "{role:?}, {what}: {refuse:?} lacks {part:?}"
                );
            }
            if code == RefuseCode::Version {
                let theirs = if what.contains("older") { 0 } else { 9 };
                assert_eq!((refuse.ours, refuse.theirs), (VERSION, theirs));
                let older = if role == Role::Console {
                    "reload"
                } else {
                    "upgrade the collector"
                };
                assert!(theirs == 9 || refuse.message.contains(older), "{refuse:?}");
            }
        }
    }
    // Damage in the middle of a connection that began well.
    let mut socket = open_socket(hub.address, Role::Console);
    let sound = encode_control(FrameKind::Hello, SessionId::default(), &hello(Role::Console)).unwrap();
    socket.send(Message::binary(sound)).unwrap();
    let welcome = next(&mut socket);
    let _: Welcome = Frame::parse(&welcome).unwrap().control("welcome").unwrap();
    socket.send(Message::binary(vec![0; 1000])).unwrap();
    assert_eq!(refusal(&mut socket).code, RefuseCode::Malformed);
    // Bytes that are no WebSocket at all.
    let mut raw = TcpStream::connect(hub.address).unwrap();
    raw.write_all(&[0xff; 4096]).unwrap();
    let mut answer = Vec::new();
    // A reset is an answer too.
    let _ = raw.read_to_end(&mut answer);

    // The session that was under way has all its frames and an end.
    let console = hub.console();
    console.subscribe(session);
    let before = console.view(session, |view| view.seqs.len());
    until("more frames", || {
        let now = console.view(session, |view| view.seqs.len());
        (now > before + 5).then_some(()).ok_or(now)
    });
    sites.process.close_stdin();
    assert_eq!(sites.finish().code, 0);
    console.until_ended(session);
    console.view(session, |view| {
        assert!(view.missed.is_empty() && view.errors.is_empty());
    });
    let err = hub.process.err.text();
    assert!(!err.contains("panicked"), "{err}");
}

/// A hub of another version: the collector says so and ends, and the program that it had attached to goes on.
#[test]
fn a_collector_that_is_refused_says_why_and_leaves_the_program_alone() {
    let test = "refused collector";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_22.sites(test, Build::Stripped) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hub_of_tomorrow = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = accept(stream).unwrap();
        let _hello = next(&mut socket);
        let refuse = Refuse {
            code: RefuseCode::Version,
            ours: 9,
            theirs: VERSION,
            message: "this hub speaks protocol version 9, this collector 1: upgrade the collector".to_owned(),
        };
        let mut frame = encode_control(FrameKind::Refuse, SessionId::default(), &refuse).unwrap();
        // The layout of a refusal is the same in all versions; only its number is another.
        frame[3] = 9;
        socket.send(Message::binary(frame)).unwrap();
        let _ = socket.close(None);
        while socket.read().is_ok() {}
    });
    let mut sites = Sites::start(&program, "-windows 1 -window-bytes 1000000");
    sites.go();
    let _ = sites.end();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&binary);
    command
        .args([
            "attach",
            "--allow-rate-write",
            "--hub",
            &format!("ws://{address}"),
            "--spool",
        ])
        .arg(folder.path())
        .arg(sites.pid.to_string());
    let finished = Process::start(&mut command).finish();
    assert_eq!(finished.code, 1, "{}", finished.err);
    assert!(finished.err.contains("upgrade"), "{}", finished.err);
    assert!(!finished.err.contains("panicked"), "{}", finished.err);
    assert_eq!(sites.rate(), 0, "the program's own rate is back");
    assert_eq!(sites.finish().code, 0);
    hub_of_tomorrow.join().unwrap();
}

fn next(socket: &mut WebSocket<TcpStream>) -> Vec<u8> {
    until("a message", || match socket.read() {
        Ok(Message::Binary(bytes)) => Ok(bytes.to_vec()),
        Err(Error::Io(error)) => Err(error.to_string()),
        other => Err(format!("{other:?}")),
    })
}

/// The next refusal; session lists may come before it.
fn refusal(socket: &mut WebSocket<TcpStream>) -> Refuse {
    loop {
        let message = next(socket);
        let frame = Frame::parse(&message).unwrap();
        if frame.envelope.kind == FrameKind::Refuse {
            return frame.control("refuse").unwrap();
        }
    }
}
