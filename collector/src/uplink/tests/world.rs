//! A model of caller, network and hub for the state machine, which checks what must always hold.

use super::*;
use heaptide_protocol::control::{
    Ack, ClockPing, ClockPong, Hello, Notice, PolicySet, Refuse, RefuseCode, Role, Welcome,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{FrameKind, VERSION};
use proptest::prelude::*;
use std::collections::VecDeque;

pub(super) const FRAME_BYTES: usize = 1000;
pub(super) const WINDOW_BYTES: usize = 5 * FRAME_BYTES;

pub(super) fn control<T: serde::Serialize>(kind: FrameKind, payload: &T) -> Vec<u8> {
    encode_control(kind, session(1), payload).unwrap()
}

pub(super) fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        agent: "hub".to_owned(),
        hub_epoch: 7,
        unix_ns: 0,
    };
    control(FrameKind::Welcome, &welcome)
}

pub(super) fn refuse(code: RefuseCode) -> Vec<u8> {
    let refuse = Refuse {
        code,
        ours: VERSION,
        theirs: VERSION,
        message: format!("{code:?}: do something"),
    };
    control(FrameKind::Refuse, &refuse)
}

pub(super) fn ack(durable_seq: u64) -> Vec<u8> {
    control(FrameKind::Ack, &Ack { durable_seq })
}

/// Plays the caller, the network and the hub, and checks what must always hold.
pub(super) struct World {
    pub(super) machine: Connection,
    pub(super) now: Moment,
    pub(super) last_seq: u64,
    /// What the spool was told that it may forget.
    pub(super) forgotten_seq: u64,
    /// The hub's disk, and what it will have once it has synced.
    pub(super) durable_seq: u64,
    pub(super) received_seq: u64,
    pub(super) link: Link,
    pub(super) to_collector: VecDeque<Vec<u8>>,
    pub(super) events: Vec<UplinkEvent>,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Link {
    Down,
    /// An attempt is under way.
    Asked,
    Up {
        greeted: bool,
        opened: bool,
    },
    /// The collector's close frame is on its way.
    Closing {
        ended: bool,
    },
}

impl World {
    pub(super) fn new() -> Self {
        let mut config = UplinkConfig::new("ws://hub:1", None).unwrap();
        config.window_bytes = WINDOW_BYTES;
        Self {
            machine: Connection::new(head(1), &config, 1),
            now: Moment::default(),
            last_seq: 0,
            forgotten_seq: 0,
            durable_seq: 0,
            received_seq: 0,
            link: Link::Down,
            to_collector: VecDeque::new(),
            events: Vec::new(),
            outcome: None,
        }
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        self.machine
            .set_frames(self.forgotten_seq + 1, self.last_seq, self.now);
        self.machine.handle(input, self.now);
        while let Some(action) = self.machine.poll() {
            self.act(action);
        }
        self.check();
    }

    pub(super) fn act(&mut self, action: Action) {
        assert_eq!(self.outcome, None, "{action:?} after the end");
        match action {
            Action::Connect => {
                self.hang_up();
                self.link = Link::Asked;
            }
            Action::Drop => self.hang_up(),
            Action::Close { ended } => {
                assert!(
                    !ended || self.durable_seq == self.last_seq,
                    "ended with frames to come"
                );
                assert!(matches!(self.link, Link::Up { opened: true, .. }));
                self.link = Link::Closing { ended };
            }
            Action::Ack(seq) => {
                assert!(
                    seq <= self.durable_seq,
                    "frame {seq} forgotten, {} durable",
                    self.durable_seq
                );
                self.forgotten_seq = self.forgotten_seq.max(seq);
            }
            Action::Deliver(event) => self.events.push(event),
            Action::Stop(outcome) => self.outcome = Some(outcome),
        }
    }

    pub(super) fn check(&self) {
        let waits = self.machine.deadline().is_some();
        let given_up = self.events.iter().any(is_final);
        assert!(
            waits || given_up || self.outcome.is_some(),
            "nothing will ever happen"
        );
    }

    /// What the hub has not synced is lost with the connection.
    pub(super) fn hang_up(&mut self) {
        self.link = Link::Down;
        self.to_collector.clear();
        self.received_seq = self.durable_seq;
    }

    pub(super) fn answer_attempt(&mut self, succeed: bool) {
        if self.link != Link::Asked {
            return;
        }
        if succeed {
            self.link = Link::Up {
                greeted: false,
                opened: false,
            };
            self.handle(Input::Connected);
        } else {
            self.cut();
        }
    }

    pub(super) fn cut(&mut self) {
        if self.link != Link::Down {
            self.hang_up();
            let error = "cut".to_owned();
            self.handle(Input::Lost { error, clean: false });
        }
    }

    /// The socket takes one message, and the hub reads it. False if there was none.
    pub(super) fn send(&mut self) -> bool {
        let Link::Up { greeted, opened } = self.link else {
            return false;
        };
        if let Some(bytes) = self.machine.poll_send(self.now) {
            let frame = Frame::parse(&bytes).unwrap();
            match frame.envelope.kind {
                FrameKind::Hello => {
                    assert!(!greeted);
                    let hello: Hello = frame.control("hello").unwrap();
                    assert_eq!(hello.role, Role::Collector);
                    self.link = Link::Up {
                        greeted: true,
                        opened,
                    };
                    self.to_collector.push_back(welcome());
                }
                FrameKind::Open => {
                    assert!(greeted && !opened);
                    let open: Open = frame.control("open").unwrap();
                    assert!(open.first_seq <= self.durable_seq + 1, "a gap");
                    self.link = Link::Up {
                        greeted,
                        opened: true,
                    };
                    self.received_seq = self.durable_seq;
                    self.to_collector.push_back(ack(self.durable_seq));
                }
                FrameKind::ClockPing => {
                    let ping: ClockPing = frame.control("ping").unwrap();
                    let pong = ClockPong {
                        t1_ns: ping.t1_ns,
                        t2_unix_ns: self.now.unix_ns,
                        t3_unix_ns: self.now.unix_ns,
                    };
                    self.to_collector.push_back(control(FrameKind::ClockPong, &pong));
                }
                kind => assert!(opened, "{kind:?} before Open"),
            }
        } else if let Some(after) = self.machine.next_data() {
            assert!(opened);
            assert!(after >= self.forgotten_seq, "frame {} is gone", after + 1);
            assert_eq!(after, self.received_seq, "the hub expects the frame behind that");
            assert!(self.machine.data_sent(after + 1, FRAME_BYTES, self.now));
            self.received_seq += 1;
            let in_flight = (self.received_seq - self.forgotten_seq) as usize * FRAME_BYTES;
            assert!(in_flight <= WINDOW_BYTES, "{in_flight} bytes in flight");
        } else {
            return false;
        }
        self.handle(Input::Tick);
        true
    }

    pub(super) fn sync(&mut self) {
        if matches!(self.link, Link::Up { .. } | Link::Closing { .. }) && self.received_seq > self.durable_seq
        {
            self.durable_seq = self.received_seq;
            self.to_collector.push_back(ack(self.durable_seq));
        }
    }

    pub(super) fn deliver(&mut self) {
        if let Some(bytes) = self.to_collector.pop_front() {
            self.handle(Input::Message(&bytes));
        }
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
        if matches!(self.link, Link::Up { .. } | Link::Closing { .. }) {
            self.handle(Input::Message(bytes));
        }
    }

    pub(super) fn answer_close(&mut self) {
        if matches!(self.link, Link::Closing { .. }) {
            self.hang_up();
            let error = "closed".to_owned();
            self.handle(Input::Lost { error, clean: true });
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.at += time;
        let ns = u64::try_from(time.as_nanos()).unwrap();
        self.now.session_ns += ns;
        self.now.unix_ns += ns;
        self.handle(Input::Tick);
    }

    pub(super) fn run(&mut self, step: &Op) {
        match step {
            Op::Append(count) => {
                self.last_seq += u64::from(*count);
                self.handle(Input::Tick);
            }
            Op::Attempt(succeed) => self.answer_attempt(*succeed),
            Op::Send => {
                self.send();
            }
            Op::Sync => self.sync(),
            Op::Deliver => self.deliver(),
            Op::Cut => self.cut(),
            Op::Pass(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Op::ToDeadline => {
                if let Some(at) = self.machine.deadline() {
                    self.pass(at.saturating_sub(self.now.at));
                }
            }
            Op::Noise(bytes) => self.hear(bytes),
            Op::Refuse(code) => {
                let code = [
                    RefuseCode::ShuttingDown,
                    RefuseCode::StorageFull,
                    RefuseCode::TooManySessions,
                ][usize::from(*code) % 3];
                self.hear(&refuse(code));
            }
            Op::Lie(seq) => {
                // Only a hub that has no frames of ours yet may lie about them without being believed.
                if matches!(self.link, Link::Up { opened: true, .. }) && self.to_collector.is_empty() {
                    self.hear(&ack(self.received_seq + 1 + u64::from(*seq)));
                }
            }
            Op::OtherSession => {
                let frame = encode_control(FrameKind::Ack, session(9), &Ack { durable_seq: 1 << 40 });
                self.hear(&frame.unwrap());
            }
            Op::Policy => self.hear(&control(
                FrameKind::PolicySet,
                &PolicySet {
                    policy: Policy::default(),
                },
            )),
            Op::Ping => self.hear(&control(FrameKind::ClockPing, &ClockPing { t1_ns: 5 })),
            Op::Pulse => self.handle(Input::Control {
                kind: FrameKind::Pulse,
                frame: welcome(),
            }),
            Op::Outcome => self.handle(Input::Control {
                kind: FrameKind::PolicyOutcome,
                frame: control(
                    FrameKind::PolicyOutcome,
                    &Notice {
                        message: String::new(),
                    },
                ),
            }),
            Op::AnswerClose => self.answer_close(),
        }
    }

    /// From here on hub and network work.
    pub(super) fn work(&mut self) {
        for _ in 0..2000 + self.last_seq * 4 {
            if self.outcome.is_some() {
                return;
            }
            let before = (self.received_seq, self.to_collector.len(), self.link);
            self.answer_attempt(true);
            while self.send() {}
            self.sync();
            self.deliver();
            self.answer_close();
            if before == (self.received_seq, self.to_collector.len(), self.link)
                && let Some(at) = self.machine.deadline()
            {
                self.pass(at.saturating_sub(self.now.at));
            }
        }
        panic!("no end: {:?}, {:?}", self.machine, self.events.last());
    }
}

pub(super) fn is_final(event: &UplinkEvent) -> bool {
    matches!(
        event,
        UplinkEvent::Refused { fatal: true, .. }
            | UplinkEvent::SessionUnknown { .. }
            | UplinkEvent::SpoolUnreadable { .. }
    )
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Append(u8),
    Attempt(bool),
    Send,
    Sync,
    Deliver,
    Cut,
    Pass(u16),
    ToDeadline,
    Noise(Vec<u8>),
    Refuse(u8),
    Lie(u8),
    OtherSession,
    Policy,
    Ping,
    Pulse,
    Outcome,
    AnswerClose,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1_u8..8).prop_map(Op::Append),
        3 => any::<bool>().prop_map(Op::Attempt),
        12 => Just(Op::Send),
        4 => Just(Op::Sync),
        8 => Just(Op::Deliver),
        1 => Just(Op::Cut),
        1 => (0_u16..5000).prop_map(Op::Pass),
        2 => Just(Op::ToDeadline),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Op::Noise),
        1 => any::<u8>().prop_map(Op::Refuse),
        1 => any::<u8>().prop_map(Op::Lie),
        1 => Just(Op::OtherSession),
        1 => Just(Op::Policy),
        1 => Just(Op::Ping),
        1 => Just(Op::Pulse),
        1 => Just(Op::Outcome),
        1 => Just(Op::AnswerClose),
    ]
}
