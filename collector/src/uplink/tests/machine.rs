//! The state machine against a model of hub and network, without sockets or time.

use super::world::*;
use super::*;
use heaptide_protocol::control::{ClockPing, ClockPong, ClockReading, Notice, Refuse, RefuseCode};
use heaptide_protocol::{FrameKind, VERSION};
use proptest::prelude::*;

proptest! {
    /// Whatever hub and network do, once they work every frame becomes durable in order, and the session
    /// is ended after that and not before.
    #[test]
    fn every_frame_arrives_once_the_hub_works(ops in prop::collection::vec(op(), 0..300)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        let by = world.now.at + Duration::from_secs(3600);
        world.handle(Input::Finish { by });
        world.work();
        prop_assert_eq!(world.outcome, Some(Outcome::Ended));
        prop_assert_eq!(world.durable_seq, world.last_seq);
        prop_assert_eq!(world.machine.stats().acked_seq, world.last_seq);
    }

    /// The time limit of finishing holds in every state, and the count of what is left is true.
    #[test]
    fn finishing_takes_no_longer_than_allowed(ops in prop::collection::vec(op(), 0..150), more in prop::collection::vec(op(), 0..60)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        let limit = Duration::from_secs(20);
        let by = world.now.at + limit;
        world.handle(Input::Finish { by });
        for op in more.iter().filter(|op| !matches!(op, Op::Append(_))) {
            if world.outcome.is_none() {
                world.run(op);
            }
        }
        let mut steps = 0;
        while world.outcome.is_none() {
            world.run(&Op::ToDeadline);
            steps += 1;
            prop_assert!(steps < 100, "no end: {:?}", world.machine);
        }
        // A close frame that is under way is waited for.
        prop_assert!(world.now.at <= by + Timing::default().close + Duration::from_secs(5 * 60));
        match world.outcome {
            Some(Outcome::Ended) => prop_assert_eq!(world.durable_seq, world.last_seq),
            Some(Outcome::Left { unacked_frames }) => {
                prop_assert!(unacked_frames >= world.last_seq - world.durable_seq);
            }
            None => {}
        }
    }
}

/// A world whose connection is open and idle.
fn streaming() -> World {
    let mut world = World::new();
    world.handle(Input::Tick);
    world.answer_attempt(true);
    for _ in 0..8 {
        world.send();
        world.deliver();
    }
    assert!(matches!(
        world.events.first(),
        Some(UplinkEvent::Connected {
            hub_epoch: 7,
            durable_seq: 0,
            ..
        })
    ));
    world
}

#[test]
fn refusals_end_attempts_or_postpone_them() {
    for (code, when_open, fatal) in [
        (RefuseCode::Version, true, true),
        (RefuseCode::Version, false, true),
        (RefuseCode::Forbidden, false, true),
        (RefuseCode::Forbidden, true, true),
        (RefuseCode::ShuttingDown, true, false),
        (RefuseCode::StorageFull, true, false),
        (RefuseCode::StorageFull, false, false),
        (RefuseCode::TooManySessions, false, false),
        (RefuseCode::Malformed, true, false),
        (RefuseCode::SequenceGap, true, false),
    ] {
        let mut world = if when_open { streaming() } else { World::new() };
        if !when_open {
            world.handle(Input::Tick);
            world.answer_attempt(true);
            world.send();
        }
        world.events.clear();
        world.hear(&refuse(code));
        let [UplinkEvent::Refused { message, fatal: told }, rest @ ..] = world.events.as_slice() else {
            panic!("{code:?}: {:?}", world.events);
        };
        assert!(message.contains("do something"), "{code:?}: {message}");
        assert_eq!(*told, fatal, "{code:?}");
        assert_eq!(world.link, Link::Down, "{code:?}");
        assert_eq!(world.machine.deadline().is_none(), fatal, "{code:?}");
        assert_eq!(
            matches!(rest, [UplinkEvent::Disconnected { .. }]),
            !fatal,
            "{code:?}: {rest:?}"
        );
        let by = world.now.at + Duration::from_secs(5);
        world.handle(Input::Finish { by });
        assert_eq!(world.outcome.is_some(), fatal, "{code:?}: nothing to wait for");
    }
}

#[test]
fn a_session_that_the_hub_lacks_is_given_up() {
    for (first, last, answer, known) in [
        (5, 9, ack(3), Some(3)),
        (5, 9, refuse(RefuseCode::SequenceGap), None),
        (5, 9, ack(10), Some(10)),
        (5, 9, ack(u64::MAX), Some(u64::MAX)),
        (1, 0, ack(1), Some(1)),
    ] {
        let mut world = World::new();
        world.handle(Input::Tick);
        world.answer_attempt(true);
        world.send();
        world.machine.set_frames(first, last, world.now);
        world.machine.handle(Input::Message(&welcome()), world.now);
        world.machine.handle(Input::Message(&answer), world.now);
        let mut event = None;
        while let Some(action) = world.machine.poll() {
            if let Action::Deliver(delivered) = action {
                event = Some(delivered);
            }
        }
        assert_eq!(
            event,
            Some(UplinkEvent::SessionUnknown {
                hub_durable_seq: known
            })
        );
        assert_eq!(world.machine.deadline(), None);
        assert_eq!(world.machine.next_data(), None);
    }
}

#[test]
fn another_version_is_told_with_both_numbers() {
    let mut newer_refuse = refuse(RefuseCode::Version);
    newer_refuse[3] = VERSION + 1;
    let mut newer_unreadable = welcome();
    newer_unreadable[3] = VERSION + 1;
    newer_unreadable.truncate(20);
    let own_refuse = control(
        FrameKind::Refuse,
        &Refuse {
            code: RefuseCode::Version,
            ours: VERSION + 1,
            theirs: VERSION,
            message: "upgrade the collector".to_owned(),
        },
    );
    for (bytes, expected) in [
        (newer_refuse, "upgrade this side"),
        (newer_unreadable, "upgrade this side"),
        (own_refuse, "upgrade the collector"),
    ] {
        let mut world = World::new();
        world.handle(Input::Tick);
        world.answer_attempt(true);
        world.send();
        world.hear(&bytes);
        let Some(UplinkEvent::Refused { message, fatal: true }) = world.events.last() else {
            panic!("{:?}", world.events);
        };
        assert!(message.contains(expected), "{message}");
        for version in [VERSION, VERSION + 1] {
            assert!(message.contains(&version.to_string()), "{message}");
        }
    }
}

#[test]
fn dead_and_stuck_hubs_are_left() {
    let timing = Timing::default();
    // Silent from the start, after Hello, after Open, and when idle.
    for (steps, expected) in [(0, "Hello"), (2, "Open"), (20, "silent")] {
        let mut world = World::new();
        world.handle(Input::Tick);
        world.answer_attempt(true);
        for _ in 0..steps {
            world.send();
            if steps > 2 || !matches!(world.link, Link::Up { opened: true, .. }) {
                world.deliver();
            }
        }
        world.events.clear();
        for _ in 0..10 {
            world.run(&Op::ToDeadline);
            if let Some(UplinkEvent::Disconnected { error, .. }) = world.events.last() {
                assert!(error.contains(expected), "{error}");
                break;
            }
        }
        assert!(
            world
                .events
                .iter()
                .any(|event| matches!(event, UplinkEvent::Disconnected { .. }))
        );
        assert_eq!(world.link, Link::Down);
    }
    // Answers pings, syncs nothing.
    let mut world = streaming();
    world.run(&Op::Append(3));
    let begin = world.now.at;
    for _ in 0..20 {
        for _ in 0..10 {
            world.send();
            world.deliver();
        }
        world.run(&Op::ToDeadline);
        if let Some(UplinkEvent::Disconnected { error, .. }) = world.events.last() {
            assert!(error.contains("acknowledges nothing"), "{error}");
            assert!(world.now.at >= begin + timing.ack_stall);
            return;
        }
    }
    panic!("never left: {:?}", world.events);
}

#[test]
fn noise_is_counted_and_harms_nothing() {
    let mut world = streaming();
    let mut unknown = welcome();
    unknown[8] = 200;
    let checksum = crc_of(&unknown[8..]);
    unknown[4..8].copy_from_slice(&checksum.to_le_bytes());
    let mut damaged = ack(0);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let before = world.machine.stats();
    world.hear(&unknown);
    world.hear(&control(
        FrameKind::Missed,
        &Notice {
            message: String::new(),
        },
    ));
    assert_eq!(world.machine.stats().unknown_frames, before.unknown_frames + 2);
    for bytes in [&b""[..], b"HTD", &damaged, &ack(77), &welcome()] {
        world.hear(bytes);
    }
    assert_eq!(world.machine.stats().bad_frames, before.bad_frames + 5);
    assert!(matches!(world.link, Link::Up { .. }));
    world.run(&Op::Append(20));
    world.handle(Input::Finish {
        by: world.now.at + Duration::from_secs(60),
    });
    world.work();
    assert_eq!(world.outcome, Some(Outcome::Ended));
}

/// CRC-32/IEEE, bit by bit: a second implementation beside the protocol's.
fn crc_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (!(crc & 1)).wrapping_add(1))
        })
    })
}

#[test]
fn control_frames_wait_within_bounds() {
    let mut world = World::new();
    let outcome = |number: usize| {
        control(
            FrameKind::PolicyOutcome,
            &Notice {
                message: number.to_string(),
            },
        )
    };
    for number in 0..100 {
        world.handle(Input::Control {
            kind: FrameKind::PolicyOutcome,
            frame: outcome(number),
        });
        world.handle(Input::Control {
            kind: FrameKind::Pulse,
            frame: outcome(number),
        });
    }
    let stats = world.machine.stats();
    assert_eq!((stats.dropped_control, stats.dropped_pulses), (36, 100));
    world.handle(Input::Tick);
    world.answer_attempt(true);
    world.send();
    world.deliver();
    world.send();
    world.deliver();
    for number in 0..3 {
        world.handle(Input::Control {
            kind: FrameKind::Pulse,
            frame: control(FrameKind::Pulse, &number),
        });
    }
    let mut sent = Vec::new();
    while let Some(frame) = world.machine.poll_send(world.now) {
        sent.push(frame);
    }
    let mut expected: Vec<Vec<u8>> = (0..64).map(outcome).collect();
    expected.push(control(FrameKind::Pulse, &2));
    let pings = sent
        .iter()
        .filter(|frame| Frame::parse(frame).unwrap().envelope.kind == FrameKind::ClockPing);
    assert_eq!(pings.count(), 1);
    sent.retain(|frame| Frame::parse(frame).unwrap().envelope.kind != FrameKind::ClockPing);
    assert_eq!(sent, expected);
}

/// Lets a ping and its answer pass; the readings that were told to the hub meanwhile.
fn told_by_a_ping(world: &mut World) -> Vec<ClockReading> {
    let mut told = Vec::new();
    world.pass(Duration::from_secs(10));
    for _ in 0..8 {
        world.handle(Input::Tick);
        while let Some(bytes) = world.machine.poll_send(world.now) {
            let frame = Frame::parse(&bytes).unwrap();
            match frame.envelope.kind {
                FrameKind::Clock => told.push(frame.control("clock").unwrap()),
                FrameKind::ClockPing => {
                    let ping: ClockPing = frame.control("ping").unwrap();
                    let unix_ns = world.now.unix_ns;
                    world.hear(&control(
                        FrameKind::ClockPong,
                        &ClockPong {
                            t1_ns: ping.t1_ns,
                            t2_unix_ns: unix_ns,
                            t3_unix_ns: unix_ns,
                        },
                    ));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

#[test]
fn the_hub_is_told_each_reading_of_the_clock_and_a_step_loses_no_frame() {
    let mut world = streaming();
    while world.send() {}
    let first = told_by_a_ping(&mut world);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].epoch, 0);
    world.now.unix_ns += 5_000_000_000;
    let second = told_by_a_ping(&mut world);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0].epoch, 1);
    let step_ns = second[0].offset_ns - first[0].offset_ns;
    assert!(
        step_ns.abs_diff(5_000_000_000) <= first[0].error_ns + second[0].error_ns,
        "{step_ns}"
    );
    world.last_seq += 3;
    world.handle(Input::Tick);
    while world.send() {}
    world.sync();
    while !world.to_collector.is_empty() {
        world.deliver();
    }
    assert_eq!(world.machine.stats().acked_seq, world.last_seq);
    assert_eq!(world.machine.stats().bad_frames, 0);
}

#[test]
fn what_a_dead_collector_left_is_sent_without_a_reading_of_todays_clock() {
    let mut world = streaming();
    while world.send() {}
    world.machine.tell_no_clock();
    assert_eq!(told_by_a_ping(&mut world), []);
}

#[test]
fn the_hub_gets_its_clock_answer_and_we_get_ours() {
    let mut world = streaming();
    assert!(
        world
            .events
            .iter()
            .any(|event| matches!(event, UplinkEvent::Clock(ClockReading { error_ns: 0, .. })))
    );
    world.now.unix_ns = 1000;
    world.hear(&control(FrameKind::ClockPing, &ClockPing { t1_ns: 77 }));
    world.now.unix_ns = 1500;
    let frame = world.machine.poll_send(world.now).unwrap();
    let pong: ClockPong = Frame::parse(&frame).unwrap().control("pong").unwrap();
    assert_eq!((pong.t1_ns, pong.t2_unix_ns, pong.t3_unix_ns), (77, 1000, 1500));
}

#[test]
fn the_window_is_used_in_full_again_and_again() {
    let mut world = streaming();
    world.run(&Op::Append(100));
    for round in 0..8 {
        while world.send() {}
        let in_flight = (world.received_seq - world.forgotten_seq) as usize * FRAME_BYTES;
        assert_eq!(in_flight, WINDOW_BYTES, "round {round}");
        world.sync();
        world.deliver();
        // A pong may come first.
        world.deliver();
    }
}

#[test]
fn an_end_that_may_not_have_got_through_is_said_again() {
    let mut world = streaming();
    let by = world.now.at + Duration::from_secs(3600);
    world.handle(Input::Finish { by });
    for lost in 0..3 {
        assert_eq!(world.link, Link::Closing { ended: true }, "lost {lost} times");
        world.cut();
        assert_eq!(world.outcome, None);
        world.run(&Op::ToDeadline);
        world.answer_attempt(true);
        for _ in 0..4 {
            world.send();
            world.deliver();
        }
    }
    world.answer_close();
    assert_eq!(world.outcome, Some(Outcome::Ended));
}
