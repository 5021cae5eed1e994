//! The connection's life as tables of what happens and what has to follow.

use super::*;
use heaptide_protocol::Envelope;
use heaptide_protocol::control::MissedReason;
use heaptide_protocol::frame::encode;

const SESSION: SessionId = SessionId([7; 16]);

fn control<T: Serialize>(kind: FrameKind, payload: &T) -> Vec<u8> {
    encode_control(kind, SESSION, payload).unwrap()
}

fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        agent: "hub 1".into(),
        hub_epoch: 3,
        unix_ns: 0,
    };
    control(FrameKind::Welcome, &welcome)
}

fn data(seq: u64) -> Vec<u8> {
    encode(Envelope::data(SESSION, seq, 0, 1), &[]).unwrap()
}

/// What the link wants done, with sent frames as their kind and, for a subscription, where it starts.
fn wants(link: &mut Link) -> Vec<String> {
    std::iter::from_fn(|| link.poll())
        .map(|output| match output {
            LinkOutput::Send(bytes) => {
                let frame = Frame::parse(&bytes).unwrap();
                match frame.envelope.kind {
                    FrameKind::Subscribe => {
                        format!("Subscribe {}", frame.control::<Subscribe>("").unwrap().after_seq)
                    }
                    FrameKind::Overview => {
                        let ask: Overview = frame.control("").unwrap();
                        format!("Overview {}..{}", ask.close_from_ns, ask.close_to_ns)
                    }
                    kind => format!("{kind:?}"),
                }
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn live() -> Link {
    let mut link = Link::new("test", 1);
    link.start(0);
    link.opened(0);
    link.message(0, &welcome());
    wants(&mut link);
    link
}

#[test]
fn greets_then_subscribes_then_resumes_behind_what_it_has() {
    let mut link = Link::new("test", 1);
    link.watch(Some(SESSION), 0);
    assert_eq!(wants(&mut link), [""; 0]);
    link.start(0);
    assert_eq!(wants(&mut link), ["Connect"]);
    link.opened(1);
    assert_eq!(wants(&mut link), ["Hello"]);
    assert_eq!(link.state(1), LinkState::Connecting);
    link.message(2, &welcome());
    assert_eq!(wants(&mut link), ["Overview 0..0"]);
    for seq in 1..=3 {
        assert!(matches!(link.message(3, &data(seq)), LinkEvent::Data(_)));
    }
    let missed = Missed {
        from_seq: 4,
        to_seq: 9,
        reason: MissedReason::SlowReader,
    };
    let bytes = control(FrameKind::Missed, &missed);
    assert!(matches!(link.message(4, &bytes), LinkEvent::Missed(_)));
    link.closed(100);
    let LinkState::Waiting { retry_ms, attempt } = link.state(100) else {
        panic!("{:?}", link.state(100));
    };
    assert_eq!(attempt, 1);
    link.tick(100 + retry_ms - 1);
    assert_eq!(wants(&mut link), [""; 0]);
    link.tick(100 + retry_ms);
    assert_eq!(wants(&mut link), ["Connect"]);
    link.opened(800);
    link.message(800, &welcome());
    assert_eq!(wants(&mut link), ["Hello", "Subscribe 9"]);
}

#[test]
fn changes_the_watched_session_once() {
    let mut link = live();
    link.watch(Some(SESSION), 5);
    link.watch(Some(SESSION), 0);
    assert_eq!(wants(&mut link), ["Subscribe 5"]);
    link.watch(Some(SessionId([8; 16])), 0);
    assert_eq!(wants(&mut link), ["Unsubscribe", "Overview 0..0"]);
    assert!(matches!(link.message(1, &data(6)), LinkEvent::Nothing));
    link.watch(None, 0);
    assert_eq!(wants(&mut link), ["Unsubscribe"]);
}

#[test]
fn a_silent_hub_is_asked_then_given_up_if_it_used_to_answer() {
    let mut link = live();
    link.tick(9_999);
    assert_eq!(wants(&mut link), [""; 0]);
    link.tick(10_000);
    assert_eq!(wants(&mut link), ["ClockPing"]);
    // One that never answered a ping may not know how: it is asked again.
    link.tick(40_000);
    assert_eq!(wants(&mut link), ["ClockPing"]);
    let pong = heaptide_protocol::control::ClockPong {
        t1_ns: 0,
        t2_unix_ns: 0,
        t3_unix_ns: 0,
    };
    link.message(40_001, &control(FrameKind::ClockPong, &pong));
    link.tick(50_001);
    assert_eq!(wants(&mut link), ["ClockPing"]);
    link.tick(60_001);
    assert_eq!(wants(&mut link), ["Disconnect"]);
    assert!(matches!(link.state(60_001), LinkState::Waiting { .. }));
}

#[test]
fn a_hub_that_never_answers_is_tried_again() {
    let mut link = Link::new("test", 1);
    link.start(0);
    link.tick(10_000);
    assert_eq!(wants(&mut link), ["Disconnect"]);
    assert!(matches!(link.state(10_000), LinkState::Waiting { .. }));
    link.retry_now(10_001);
    assert_eq!(wants(&mut link), ["Connect"]);
}

#[test]
fn another_version_says_both_and_who_has_to_move() {
    for (version, expected) in [(2_u8, "reload"), (0, "upgrade the hub")] {
        let mut link = live();
        let mut bytes = data(1);
        bytes[3] = version;
        assert!(matches!(link.message(5, &bytes), LinkEvent::Nothing));
        assert_eq!(wants(&mut link), ["Disconnect"]);
        let LinkState::Refused {
            ours,
            theirs,
            message,
            retry_ms,
        } = link.state(5)
        else {
            panic!("{:?}", link.state(5));
        };
        assert_eq!((ours, theirs, retry_ms), (1, version, REFUSED_MS));
        assert!(message.contains(expected), "{message}");
        link.closed(6);
        assert!(matches!(link.state(6), LinkState::Refused { .. }));
    }
}

#[test]
fn refusals_by_code() {
    let refuse = |code| Refuse {
        code,
        ours: 1,
        theirs: 1,
        message: "no".into(),
    };
    let mut link = live();
    link.message(0, &control(FrameKind::Refuse, &refuse(RefuseCode::Forbidden)));
    assert!(matches!(link.state(0), LinkState::Refused { .. }));
    let mut link = live();
    link.message(0, &control(FrameKind::Refuse, &refuse(RefuseCode::ShuttingDown)));
    assert!(matches!(link.state(0), LinkState::Waiting { .. }));
}

#[test]
fn damaged_frames_are_reported_and_the_connection_goes_on() {
    let mut link = live();
    link.watch(Some(SESSION), 0);
    wants(&mut link);
    let mut flipped = data(1);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let cases: [&[u8]; 4] = [b"", b"HTD", b"nonsense, all of it", &flipped];
    for bytes in cases {
        assert!(
            matches!(link.message(1, bytes), LinkEvent::Damaged(_)),
            "{bytes:?}"
        );
    }
    assert!(matches!(link.message(2, &data(2)), LinkEvent::Data(_)));
    assert_eq!(wants(&mut link), [""; 0]);
}

#[test]
fn a_proposal_needs_a_connection() {
    let mut link = live();
    assert!(link.propose(SESSION, Policy::default()));
    assert_eq!(wants(&mut link), ["PolicyPropose"]);
    link.closed(1);
    assert!(!link.propose(SESSION, Policy::default()));
    assert_eq!(wants(&mut link), [""; 0]);
}
