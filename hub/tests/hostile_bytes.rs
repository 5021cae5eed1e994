//! Whatever a peer sends, nothing panics, and memory stays in proportion to what came.
//!
//! How inputs are made is in `hostile_bytes/attack.rs`. What only the hub itself can reach is attacked in the same way by
//! tests beside it, whose names begin with `hostile`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "how much was taken is worth reading")]

#[path = "hostile_bytes/attack.rs"]
mod attack;

use attack::attack;
use heaptide_analysis::{Session, parity};
use heaptide_policy::{FleetPolicy, Policy};
use heaptide_protocol::control::{
    Ack, CaughtUp, ClockPing, ClockPong, ClockReading, Hello, Missed, Notice, Open, Overview, PolicyOutcome,
    PolicyPropose, PolicySet, PolicyState, Pulse, Refuse, Sessions as SessionList, Stretch, Subscribe,
    Welcome,
};
use heaptide_protocol::report::{ReportAsk, ReportKind, ReportQuery, ReportTold, Window};
use heaptide_protocol::section::Sections;
use heaptide_protocol::{Frame, FrameKind};

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
