//! Whatever a peer sends, nothing panics, and memory stays in proportion to what came.
//!
//! How inputs are made is in `hostile_bytes/attack.rs`. What only the hub itself can reach is attacked in the same way by
//! tests beside it, whose names begin with `hostile`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "how much was taken is worth reading")]

#[path = "hostile_bytes/attack.rs"]
mod attack;

use attack::{attack, taken_by};
use heaptide_analysis::{Session, parity};
use heaptide_policy::{FleetPolicy, Policy};
use heaptide_protocol::control::{
    Ack, CaughtUp, ClockPing, ClockPong, ClockReading, Hello, Missed, Notice, Open, Overview, PolicyOutcome,
    PolicyPropose, PolicySet, PolicyState, Pulse, Refuse, Sessions as SessionList, Stretch, Subscribe,
    Welcome,
};
use heaptide_protocol::frame::{HEAD_BYTES, MAX_RAW_BYTES};
use heaptide_protocol::report::{ReportAsk, ReportKind, ReportQuery, ReportTold, Window};
use heaptide_protocol::section::Sections;
use heaptide_protocol::{Compression, Envelope, Frame, FrameKind, SessionId, checksum, varint};

macro_rules! golden {
    ($($name:literal)*) => {
        &[$(include_bytes!(concat!("../../shared/protocol/tests/wire/v1/", $name, ".bin")).as_slice()),*]
    };
}

const FRAMES: &[&[u8]] = golden![
    "ack" "caught-up" "clock-ping" "clock-pong" "clock" "data-zstd" "data" "hello" "missed" "notice" "open" "policy-outcome"
    "policy-propose" "policy-set" "policy-state" "pulse" "refuse" "sessions" "subscribe" "unsubscribe" "welcome"
];

const DOCUMENTS: &[&[u8]] = &[
    include_bytes!("../../docs/policy.example.json"),
    br#"{"rules":[{"name":"a","labels":{"service":"shop","host":"a"}}],"rollout":{"first_percent":5}}"#,
];

#[test]
fn frames_are_survived() {
    let mut session = Session::new();
    let mut applied = 0_u32;
    attack(FRAMES, true, 1, |bytes| {
        let Ok(frame) = Frame::parse(bytes) else { return };
        read(&frame);
        if frame.envelope.kind != FrameKind::Data {
            return;
        }
        if session.apply(&frame).is_err() {
            session = Session::new();
        }
        applied += 1;
        // All views now and then, of lies that have gathered.
        if applied.is_multiple_of(20) {
            look(&session);
        }
        if applied.is_multiple_of(200) {
            session = Session::new();
        }
    });
}

#[test]
fn policies_are_survived() {
    attack(DOCUMENTS, false, 1, |bytes| {
        if let Ok(fleet) = serde_json::from_slice::<FleetPolicy>(bytes) {
            let _ = serde_json::to_vec(&fleet);
        }
        if let Ok(policy) = serde_json::from_slice::<Policy>(bytes) {
            let _ = policy.validate();
        }
    });
}

/// A gibibyte of one byte in 32 KiB of zstd: a head without a size, then blocks of 128 KiB that are four bytes each.
fn bomb(window: u8) -> Vec<u8> {
    const BLOCKS: u32 = 8_192;
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    for block in 0..BLOCKS {
        let head = (128 * 1024_u32) << 3 | 1 << 1 | u32::from(block == BLOCKS - 1);
        bytes.extend_from_slice(&head.to_le_bytes()[..3]);
        bytes.push(0xaa);
    }
    bytes
}

#[test]
fn a_bomb_of_a_gibibyte_costs_what_it_announces_and_two_mebibytes_at_most_before_it_is_known_whose_it_is() {
    // Windows of 1 KiB, 128 KiB, 8 MiB and 1 GiB.
    for window in [0x00, 0x38, 0x68, 0xa0] {
        let payload = bomb(window);
        // What Hello may announce at most (`Limits::open_bytes`), a mebibyte, and what any frame may.
        for raw_bytes in [64 << 10, 1 << 20, MAX_RAW_BYTES] {
            let envelope = Envelope {
                compression: Compression::Zstd,
                raw_bytes: u32::try_from(raw_bytes).unwrap(),
                ..Envelope::control(FrameKind::Hello, SessionId([1; 16]))
            };
            let frame = Frame {
                envelope,
                payload: &payload,
            };
            let mut refused = false;
            let taken_bytes = taken_by(|| refused = frame.control::<Hello>("Hello").is_err());
            assert!(refused, "window {window:#x}, {raw_bytes} announced");
            eprintln!("window {window:#x}: {taken_bytes} bytes taken for {raw_bytes} announced");
            let most_bytes = if raw_bytes == 64 << 10 {
                2 << 20
            } else {
                5 * raw_bytes
            };
            assert!(
                taken_bytes <= most_bytes,
                "window {window:#x}: {taken_bytes} bytes taken for {raw_bytes} announced"
            );
        }
    }
}

/// Each place of each golden frame says in turn that 2⁶⁴ - 1 or 2³² - 1 of something follow. Where these took no bytes,
/// reading them would never end.
#[test]
fn no_count_at_any_place_takes_for_ever_or_much() {
    let (done, ended) = std::sync::mpsc::channel();
    // On its own thread, so that one that never ends fails instead.
    let thread = std::thread::spawn(move || {
        let mut read_frames = 0_u64;
        for seed in FRAMES {
            for at in HEAD_BYTES..seed.len() {
                for count in [u64::MAX, u64::from(u32::MAX), 1 << 20] {
                    let mut bytes = seed.to_vec();
                    let mut long = Vec::new();
                    varint::put(&mut long, count);
                    bytes.splice(at..=at, long);
                    let crc = checksum::crc32(&bytes[HEAD_BYTES..]);
                    bytes[4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
                    let Ok(frame) = Frame::parse(&bytes) else { continue };
                    read_frames += 1;
                    let raw_bytes = (frame.envelope.raw_bytes as usize).max(bytes.len());
                    let taken_bytes = taken_by(|| read(&frame));
                    assert!(
                        taken_bytes <= (4 << 20) + 96 * raw_bytes,
                        "{count} at {at}: {taken_bytes} bytes taken: {bytes:02x?}"
                    );
                }
            }
        }
        done.send(read_frames).unwrap();
    });
    let read_frames = ended.recv_timeout(std::time::Duration::from_secs(300));
    assert!(
        read_frames.unwrap_or_default() > 1_000,
        "it did not end, or nothing was read"
    );
    thread.join().unwrap();
}

fn look(session: &Session) {
    parity::digest(session);
    for kind in [
        ReportKind::Goroutines,
        ReportKind::Pauses,
        ReportKind::Mappings,
        ReportKind::Ledger,
        ReportKind::Drift,
        ReportKind::Exact,
    ] {
        session.report(&ReportQuery {
            kind,
            window: Window {
                from_ns: 0,
                to_ns: u64::MAX,
            },
            filter: String::new(),
            limit: 100,
        });
    }
}

/// As the side that gets it does.
fn read(frame: &Frame<'_>) {
    macro_rules! control {
        ($type:ty) => {
            drop(frame.control::<$type>("test"))
        };
    }
    match frame.envelope.kind {
        FrameKind::Hello => control!(Hello),
        FrameKind::Welcome => control!(Welcome),
        FrameKind::Refuse => control!(Refuse),
        FrameKind::Open => control!(Open),
        FrameKind::Ack => control!(Ack),
        FrameKind::ClockPing => control!(ClockPing),
        FrameKind::ClockPong => control!(ClockPong),
        FrameKind::Clock => control!(ClockReading),
        FrameKind::PolicySet => control!(PolicySet),
        FrameKind::PolicyOutcome => control!(PolicyOutcome),
        FrameKind::Pulse => control!(Pulse),
        FrameKind::Subscribe | FrameKind::Unsubscribe => control!(Subscribe),
        FrameKind::Overview => control!(Overview),
        FrameKind::Stretch => control!(Stretch),
        FrameKind::Sessions => control!(SessionList),
        FrameKind::Missed => control!(Missed),
        FrameKind::PolicyPropose => control!(PolicyPropose),
        FrameKind::PolicyState => control!(PolicyState),
        FrameKind::CaughtUp => control!(CaughtUp),
        FrameKind::Notice => control!(Notice),
        FrameKind::ReportAsk => control!(ReportAsk),
        FrameKind::ReportTold => control!(ReportTold),
        FrameKind::Data => {
            let mut scratch = Vec::new();
            if let Ok(payload) = frame.raw(&mut scratch) {
                let mut sections = Sections::new(payload);
                while let Some(Ok(section)) = sections.next_raw() {
                    drop(section.decode());
                }
            }
        }
    }
}
