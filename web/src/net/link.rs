//! The console's side of the wire protocol as a state machine: what to send, when to try again.
//!
//! Sans-I/O: whoever drives it says what happened and when, and does what [`Link::poll`] asks. It keeps what
//! a reconnection needs (the watched session, how far it was read) and none of the data.

use super::backoff::Backoff;
use heaptide_policy::Policy;
use heaptide_protocol::control::{
    CaughtUp, ClockPing, Hello, Missed, Notice, Overview, PolicyPropose, PolicyState, Pulse, Refuse,
    RefuseCode, Role, SessionSummary, Sessions, Stretch, Subscribe, Welcome,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::report::ReportAsk;
use heaptide_protocol::{Frame, FrameKind, ProtocolError, SessionId, Upgrade};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A connection that has not answered by then is given up.
const CONNECT_MS: u64 = 10_000;
/// A silent connection is asked whether it is there, and after as long again given up.
const SILENCE_MS: u64 = 10_000;
/// A hub that refused may have been upgraded, or its rules changed, by then.
const REFUSED_MS: u64 = 60_000;
/// A longer past comes in steps. With what is newest, at most two megabytes are read before the first picture.
const PAST_BYTES: u64 = 1_280 << 10;
/// Frames to send that wait for a connection.
const MAX_OUTPUTS: usize = 64;

/// What a person is told about the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LinkState {
    #[default]
    Connecting,
    Live {
        hub: String,
        hub_epoch: u64,
    },
    /// Lost or not had; tried again in `retry_ms`.
    Waiting {
        retry_ms: u64,
        attempt: u32,
    },
    /// The hub does not want this console.
    Refused {
        ours: u8,
        theirs: u8,
        message: String,
        retry_ms: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutput {
    Connect,
    Send(Vec<u8>),
    Disconnect,
}

/// What a message meant to whoever holds the data.
#[derive(Debug)]
pub enum LinkEvent<'a> {
    /// Of the watched session only.
    Data(Frame<'a>),
    Sessions(Vec<SessionSummary>),
    Policy(SessionId, Box<PolicyState>),
    Pulse(SessionId, Pulse),
    Missed(Missed),
    Stretch(Stretch),
    CaughtUp,
    /// A [`ReportTold`](heaptide_protocol::report::ReportTold) of the watched session, for the page to decode.
    Report(Vec<u8>),
    Notice(String),
    Damaged(ProtocolError),
    Nothing,
}

#[derive(Debug)]
pub struct Link {
    agent: String,
    phase: Phase,
    backoff: Backoff,
    watched: Option<Watched>,
    outputs: VecDeque<LinkOutput>,
    heard_ms: u64,
    /// When a ping went out that nothing has come after.
    pinged_ms: Option<u64>,
    /// This hub answers pings, so silence after one means something.
    answers_pings: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    Idle,
    Connecting { give_up_ms: u64 },
    Live { welcome: Welcome },
    Waiting { retry_at_ms: u64 },
    Refused { refuse: Refuse, retry_at_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watched {
    session: SessionId,
    last_seq: u64,
    /// From when to when it is looked at closely.
    close_ns: (u64, u64),
}

impl Link {
    pub fn new(agent: &str, seed: u64) -> Self {
        Self {
            agent: agent.to_owned(),
            phase: Phase::Idle,
            backoff: Backoff::new(seed),
            watched: None,
            outputs: VecDeque::new(),
            heard_ms: 0,
            pinged_ms: None,
            answers_pings: false,
        }
    }

    pub fn state(&self, now_ms: u64) -> LinkState {
        match &self.phase {
            Phase::Idle | Phase::Connecting { .. } => LinkState::Connecting,
            Phase::Live { welcome } => LinkState::Live {
                hub: welcome.agent.clone(),
                hub_epoch: welcome.hub_epoch,
            },
            Phase::Waiting { retry_at_ms } => LinkState::Waiting {
                retry_ms: retry_at_ms.saturating_sub(now_ms),
                attempt: self.backoff.attempt(),
            },
            Phase::Refused { refuse, retry_at_ms } => LinkState::Refused {
                ours: heaptide_protocol::VERSION,
                // The hub's `ours` is our `theirs`.
                theirs: refuse.ours,
                message: refuse.message.clone(),
                retry_ms: retry_at_ms.saturating_sub(now_ms),
            },
        }
    }

    pub fn poll(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Connecting { give_up_ms } => Some(*give_up_ms),
            Phase::Live { .. } => Some(match self.pinged_ms {
                None => self.heard_ms + SILENCE_MS,
                Some(at) if self.answers_pings => at + SILENCE_MS,
                Some(at) => at + 3 * SILENCE_MS,
            }),
            Phase::Waiting { retry_at_ms } | Phase::Refused { retry_at_ms, .. } => Some(*retry_at_ms),
        }
    }

    pub fn start(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Idle) {
            self.connect(now_ms);
        }
    }

    /// A person does not want to wait.
    pub fn retry_now(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Refused { .. }) {
            self.backoff.reset();
            self.connect(now_ms);
        }
    }

    /// Watches a session from behind `after_seq` on, and leaves the one before.
    pub fn watch(&mut self, session: Option<SessionId>, after_seq: u64) {
        let next = session.map(|session| Watched {
            session,
            last_seq: after_seq,
            close_ns: (0, 0),
        });
        if self.watched.map(|watched| watched.session) == session {
            return;
        }
        if self.is_live() {
            if let Some(old) = self.watched {
                self.send(FrameKind::Unsubscribe, old.session, &());
            }
            if let Some(new) = next {
                self.subscribe(new);
            }
        }
        self.watched = next;
    }

    /// Reads the watched session anew, with narrower steps in a range.
    pub fn look_closely(&mut self, from_ns: u64, to_ns: u64) {
        let is_live = self.is_live();
        if let Some(watched) = &mut self.watched {
            watched.close_ns = (from_ns, to_ns);
            if is_live {
                let anew = Watched {
                    last_seq: 0,
                    ..*watched
                };
                self.subscribe(anew);
            }
        }
    }

    /// Sends a policy proposal; false if there is nobody to send it to.
    pub fn propose(&mut self, session: SessionId, policy: Policy) -> bool {
        let live = self.is_live();
        if live {
            self.send(FrameKind::PolicyPropose, session, &PolicyPropose { policy });
        }
        live
    }

    /// Asks for a report of the watched session; false if there is nobody to ask.
    pub fn ask(&mut self, ask: &ReportAsk) -> bool {
        match self.watched {
            Some(watched) if self.is_live() => {
                self.send(FrameKind::ReportAsk, watched.session, ask);
                true
            }
            _ => false,
        }
    }

    pub fn opened(&mut self, now_ms: u64) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        self.heard_ms = now_ms;
        self.pinged_ms = None;
        self.answers_pings = false;
        let hello = Hello {
            role: Role::Console,
            agent: self.agent.clone(),
            token: None,
        };
        self.send(FrameKind::Hello, SessionId::default(), &hello);
    }

    pub fn closed(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::Live { .. }) {
            self.outputs.clear();
            let retry_at_ms = now_ms + self.backoff.next_ms();
            self.phase = Phase::Waiting { retry_at_ms };
        }
    }

    pub fn tick(&mut self, now_ms: u64) {
        if self.deadline_ms().is_none_or(|deadline| now_ms < deadline) {
            return;
        }
        match &self.phase {
            Phase::Idle => {}
            Phase::Waiting { .. } | Phase::Refused { .. } => self.connect(now_ms),
            Phase::Connecting { .. } => self.give_up(now_ms),
            Phase::Live { .. } if self.pinged_ms.is_none() || !self.answers_pings => {
                self.pinged_ms = Some(now_ms);
                let ping = ClockPing {
                    t1_ns: now_ms.saturating_mul(1_000_000),
                };
                self.send(FrameKind::ClockPing, SessionId::default(), &ping);
            }
            Phase::Live { .. } => self.give_up(now_ms),
        }
    }

    /// Takes one message apart. Only a refusal ends the connection: a damaged frame is reported and skipped.
    pub fn message<'a>(&mut self, now_ms: u64, bytes: &'a [u8]) -> LinkEvent<'a> {
        self.heard_ms = now_ms;
        self.pinged_ms = None;
        let event = Frame::parse(bytes).and_then(|frame| self.frame(now_ms, frame));
        match event {
            Ok(event) => event,
            Err(ProtocolError::Version {
                ours,
                theirs,
                upgrade,
            }) => {
                let refuse = Refuse {
                    code: RefuseCode::Version,
                    ours: theirs,
                    theirs: ours,
                    message: version_message(ours, theirs, upgrade),
                };
                self.refused(now_ms, refuse);
                LinkEvent::Nothing
            }
            Err(error) => LinkEvent::Damaged(error),
        }
    }

    fn frame<'a>(&mut self, now_ms: u64, frame: Frame<'a>) -> Result<LinkEvent<'a>, ProtocolError> {
        let session = frame.envelope.session;
        let is_watched = self.watched.is_some_and(|watched| watched.session == session);
        Ok(match frame.envelope.kind {
            FrameKind::Welcome => {
                let welcome = frame.control("welcome")?;
                self.phase = Phase::Live { welcome };
                self.backoff.reset();
                if let Some(watched) = self.watched {
                    self.subscribe(watched);
                }
                LinkEvent::Nothing
            }
            FrameKind::Refuse => {
                let refuse = frame.control("refusal")?;
                self.refused(now_ms, refuse);
                LinkEvent::Nothing
            }
            FrameKind::Data if is_watched => {
                if let Some(watched) = &mut self.watched {
                    watched.last_seq = watched.last_seq.max(frame.envelope.seq);
                }
                LinkEvent::Data(frame)
            }
            FrameKind::Missed if is_watched => {
                let missed: Missed = frame.control("missed frames")?;
                if let Some(watched) = &mut self.watched {
                    watched.last_seq = watched.last_seq.max(missed.to_seq);
                }
                LinkEvent::Missed(missed)
            }
            FrameKind::Stretch if is_watched => {
                let stretch: Stretch = frame.control("stretch of steps")?;
                if let (Stretch::BEGIN, Some(watched)) = (stretch, &mut self.watched) {
                    watched.last_seq = 0;
                }
                LinkEvent::Stretch(stretch)
            }
            FrameKind::CaughtUp if is_watched => {
                frame.control::<CaughtUp>("end of the stored frames")?;
                LinkEvent::CaughtUp
            }
            FrameKind::ReportTold if is_watched => {
                let mut scratch = Vec::new();
                LinkEvent::Report(frame.raw(&mut scratch)?.to_vec())
            }
            FrameKind::Sessions => LinkEvent::Sessions(frame.control::<Sessions>("sessions")?.sessions),
            FrameKind::PolicyState => LinkEvent::Policy(session, Box::new(frame.control("policy state")?)),
            FrameKind::Pulse => LinkEvent::Pulse(session, frame.control("pulse")?),
            FrameKind::Notice => LinkEvent::Notice(frame.control::<Notice>("notice")?.message),
            FrameKind::ClockPong => {
                self.answers_pings = true;
                LinkEvent::Nothing
            }
            // Of a session that was left a moment ago, or not meant for a console.
            _ => LinkEvent::Nothing,
        })
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    fn connect(&mut self, now_ms: u64) {
        self.outputs.clear();
        self.outputs.push_back(LinkOutput::Connect);
        self.phase = Phase::Connecting {
            give_up_ms: now_ms + CONNECT_MS,
        };
    }

    fn give_up(&mut self, now_ms: u64) {
        self.closed(now_ms);
        self.outputs.push_back(LinkOutput::Disconnect);
    }

    fn refused(&mut self, now_ms: u64, refuse: Refuse) {
        self.outputs.clear();
        self.outputs.push_back(LinkOutput::Disconnect);
        self.phase = if refuse.code == RefuseCode::ShuttingDown {
            Phase::Waiting {
                retry_at_ms: now_ms + self.backoff.next_ms(),
            }
        } else {
            Phase::Refused {
                refuse,
                retry_at_ms: now_ms + REFUSED_MS,
            }
        };
    }

    fn subscribe(&mut self, watched: Watched) {
        let (session, after_seq) = (watched.session, watched.last_seq);
        if after_seq > 0 {
            return self.send(FrameKind::Subscribe, session, &Subscribe { after_seq });
        }
        let overview = Overview {
            past_bytes: PAST_BYTES,
            close_from_ns: watched.close_ns.0,
            close_to_ns: watched.close_ns.1,
        };
        self.send(FrameKind::Overview, session, &overview);
    }

    fn send<T: Serialize>(&mut self, kind: FrameKind, session: SessionId, payload: &T) {
        if self.outputs.len() < MAX_OUTPUTS
            && let Ok(bytes) = encode_control(kind, session, payload)
        {
            self.outputs.push_back(LinkOutput::Send(bytes));
        }
    }
}

fn version_message(ours: u8, theirs: u8, upgrade: Upgrade) -> String {
    let remedy = match upgrade {
        Upgrade::Us => "this page is older than the hub: reload it, so that the hub sends its own console",
        Upgrade::Peer => "the hub is older than this page: upgrade the hub, then reload the page",
    };
    format!("this console speaks protocol version {ours}, the hub speaks {theirs}; {remedy}")
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
