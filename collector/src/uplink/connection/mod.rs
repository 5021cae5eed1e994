//! The collector's side of the protocol without I/O: `(state, input, now) -> actions`.
//!
//! The caller performs [`Action`]s, feeds back what happens as [`Input`]s, and offers its socket to
//! [`Connection::poll_send`] first and [`Connection::next_data`] second. It ticks at
//! [`Connection::deadline`]. Clocks are arguments.

mod receive;

use super::backoff::Backoff;
use super::clock::ClockEstimate;
use super::config::{Timing, UplinkConfig};
use super::event::{Outcome, UplinkEvent, UplinkStats};
use super::outbox::Outbox;
use super::spool::SpoolHead;
use heaptide_protocol::control::{Hello, Open, Role};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{FrameKind, SessionId};
use std::collections::VecDeque;
use std::time::Duration;

/// One reading of all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Monotonic, from any origin: for waits.
    pub at: Duration,
    pub session_ns: u64,
    /// For how long the session's clock has stood still in suspends.
    pub suspended_ns: u64,
    pub unix_ns: u64,
}

#[derive(Debug)]
pub enum Input<'a> {
    /// The socket is open.
    Connected,
    /// The attempt failed, or the socket is gone. `clean`: it closed in answer to our close frame.
    Lost {
        error: String,
        clean: bool,
    },
    /// A binary message.
    Message(&'a [u8]),
    /// A control frame to pass on. A pulse may be dropped, and only the newest is kept.
    Control {
        kind: FrameKind,
        frame: Vec<u8>,
    },
    /// End the session once all is acknowledged, but wait no longer than this.
    Finish {
        by: Duration,
    },
    /// Leave the session as it is.
    Close,
    SpoolUnreadable {
        error: String,
    },
    Tick,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a socket, dropping any other.
    Connect,
    /// Send a close frame with code 1000, and the reason "ended" if the session is over.
    Close {
        ended: bool,
    },
    /// Drop the socket, or the attempt to open one.
    Drop,
    /// Durable at the hub: the spool may forget it.
    Ack(u64),
    Deliver(UplinkEvent),
    /// Nothing more will happen.
    Stop(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting {
        until: Duration,
    },
    Connecting {
        until: Duration,
    },
    /// Hello is out.
    Greeting {
        until: Duration,
    },
    /// Open is out.
    Opening {
        until: Duration,
    },
    Streaming,
    Closing {
        until: Duration,
        ended: bool,
    },
    /// No more attempts, but the caller has not closed yet.
    GivenUp,
    Stopped,
}

/// See the module's head.
#[derive(Debug)]
pub struct Connection {
    session: SessionId,
    open: Open,
    agent: String,
    token: Option<String>,
    timing: Timing,
    window_bytes: usize,
    state: State,
    backoff: Backoff,
    actions: VecDeque<Action>,
    outbox: Outbox,
    first_seq: u64,
    last_seq: u64,
    /// The hub's last word, at most what was sent.
    acked_seq: u64,
    /// The last frame sent, or durable, on this connection.
    sent_seq: u64,
    /// The last frame ever sent.
    sent_once_seq: u64,
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    welcome: Option<(String, u64)>,
    heard_at: Duration,
    /// When the oldest frame in flight became that.
    progress_at: Duration,
    ping_at: Duration,
    /// When the ping under way left, and how long the machine had been suspended by then.
    ping: Option<(u64, u64)>,
    clock: ClockEstimate,
    tells_clock: bool,
    finish_by: Option<Duration>,
    stats: UplinkStats,
}

impl Connection {
    /// `seed` makes the waits of different collectors differ.
    pub fn new(head: SpoolHead, config: &UplinkConfig, seed: u64) -> Self {
        Self {
            session: head.session,
            open: head.open,
            agent: config.agent.clone(),
            token: config.token.clone(),
            timing: config.timing,
            window_bytes: config.window_bytes,
            state: State::Waiting {
                until: Duration::ZERO,
            },
            backoff: Backoff::new(config.timing.retry_first, config.timing.retry_max, seed),
            actions: VecDeque::new(),
            outbox: Outbox::default(),
            first_seq: 1,
            last_seq: 0,
            acked_seq: 0,
            sent_seq: 0,
            sent_once_seq: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            welcome: None,
            heard_at: Duration::ZERO,
            progress_at: Duration::ZERO,
            ping_at: Duration::ZERO,
            ping: None,
            clock: ClockEstimate::default(),
            tells_clock: true,
            finish_by: None,
            stats: UplinkStats::default(),
        }
    }

    pub fn handle(&mut self, input: Input<'_>, now: Moment) {
        match input {
            Input::Connected => self.connected(now),
            Input::Lost { error, clean } => self.lost(&error, clean, now),
            Input::Message(bytes) => self.message(bytes, now),
            Input::Control { kind, frame } => self.control(kind, frame),
            Input::Finish { by } => {
                self.finish_by = Some(by);
                self.check_finish(now);
            }
            Input::Close => self.close(now),
            Input::SpoolUnreadable { error } => {
                self.give_up(UplinkEvent::SpoolUnreadable { error });
            }
            Input::Tick => {}
        }
        self.tick(now);
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to tick at the latest; `None` when only an input can change anything.
    pub fn deadline(&self) -> Option<Duration> {
        let own = match self.state {
            State::Waiting { until }
            | State::Connecting { until }
            | State::Greeting { until }
            | State::Opening { until } => Some(until),
            State::Closing { until, .. } => return Some(until),
            State::Streaming => {
                let silent = self.heard_at + self.timing.silence;
                let stalled = self.progress_at + self.timing.ack_stall;
                let dead = if self.in_flight.is_empty() {
                    silent
                } else {
                    silent.min(stalled)
                };
                Some(dead.min(self.ping_at))
            }
            State::GivenUp => None,
            State::Stopped => return None,
        };
        match (own, self.finish_by) {
            (Some(own), Some(by)) => Some(own.min(by)),
            (own, by) => own.or(by),
        }
    }

    /// Which frames there are: from the first in the spool (the next one if that is empty) to the last.
    pub fn set_frames(&mut self, first_seq: u64, last_seq: u64, now: Moment) {
        self.first_seq = first_seq;
        self.last_seq = last_seq;
        self.check_finish(now);
    }

    /// For the next connection.
    pub fn set_open(&mut self, open: Open) {
        self.open = open;
    }

    /// The session is not of the clock that [`Moment`] reads.
    pub fn tell_no_clock(&mut self) {
        self.tells_clock = false;
    }

    /// A control frame for a socket that can take one.
    pub fn poll_send(&mut self, now: Moment) -> Option<Vec<u8>> {
        if let Some(frame) = self.outbox.handshake.take() {
            return Some(frame);
        }
        if self.state != State::Streaming {
            return None;
        }
        if let Some(pong) = self.outbox.take_pong(now.unix_ns) {
            return Some(pong);
        }
        if let Some(ping) = self.outbox.take_ping(now.session_ns) {
            self.ping = Some((now.session_ns, now.suspended_ns));
            return Some(ping);
        }
        self.outbox.take_control()
    }

    /// The frame after this one may be sent. Follow with [`Connection::data_sent`].
    pub fn next_data(&self) -> Option<u64> {
        let room = self.in_flight.is_empty() || self.in_flight_bytes < self.window_bytes;
        (self.state == State::Streaming && room && self.sent_seq < self.last_seq).then_some(self.sent_seq)
    }

    /// False if this is not the frame that has to come next.
    pub fn data_sent(&mut self, seq: u64, frame_bytes: usize, now: Moment) -> bool {
        if seq != self.sent_seq + 1 {
            return false;
        }
        if self.in_flight.is_empty() {
            self.progress_at = now.at;
        }
        self.in_flight.push_back((seq, frame_bytes));
        self.in_flight_bytes += frame_bytes;
        self.stats.frames_sent += 1;
        self.stats.bytes_sent += frame_bytes as u64;
        if seq <= self.sent_once_seq {
            self.stats.frames_repeated += 1;
        }
        self.sent_seq = seq;
        self.sent_once_seq = self.sent_once_seq.max(seq);
        true
    }

    pub fn stats(&self) -> UplinkStats {
        UplinkStats {
            acked_seq: self.acked_seq,
            ..self.stats
        }
    }

    fn tick(&mut self, now: Moment) {
        let due = |at: Duration| at <= now.at;
        match self.state {
            State::Stopped => {}
            State::Closing { until, .. } if due(until) => {
                self.lost("the hub did not answer the close frame", false, now);
            }
            _ if self.finish_by.is_some_and(due) => self.close(now),
            State::Waiting { until } if due(until) => {
                self.state = State::Connecting {
                    until: now.at + self.timing.connect,
                };
                self.actions.push_back(Action::Connect);
            }
            State::Connecting { until } if due(until) => self.fail("no connection in time", now),
            State::Greeting { until } if due(until) => self.fail("the hub did not answer Hello in time", now),
            State::Opening { until } if due(until) => self.fail("the hub did not answer Open in time", now),
            State::Streaming if due(self.heard_at + self.timing.silence) => {
                self.fail("the hub has fallen silent", now);
            }
            State::Streaming
                if !self.in_flight.is_empty() && due(self.progress_at + self.timing.ack_stall) =>
            {
                self.fail("the hub acknowledges nothing", now);
            }
            State::Streaming if due(self.ping_at) => {
                self.ping_at = now.at + self.timing.ping_every;
                self.outbox.ping = true;
            }
            _ => {}
        }
    }

    fn connected(&mut self, now: Moment) {
        if !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        let hello = Hello {
            role: Role::Collector,
            agent: self.agent.clone(),
            token: self.token.clone(),
        };
        self.stats.connections += 1;
        self.state = State::Greeting {
            until: now.at + self.timing.handshake,
        };
        self.say(FrameKind::Hello, &hello);
    }

    fn say<T: serde::Serialize>(&mut self, kind: FrameKind, payload: &T) {
        match encode_control(kind, self.session, payload) {
            Ok(frame) => self.outbox.handshake = Some(frame),
            Err(error) => self.refused(format!("{kind:?} can't be sent: {error}"), true),
        }
    }

    fn refused(&mut self, message: String, fatal: bool) {
        let event = UplinkEvent::Refused { message, fatal };
        if fatal {
            self.give_up(event);
        } else {
            self.deliver(event);
        }
    }

    /// No more attempts; whoever waits for the end need not wait.
    fn give_up(&mut self, event: UplinkEvent) {
        if matches!(self.state, State::GivenUp | State::Stopped) {
            return;
        }
        self.deliver(event);
        self.drop_connection();
        self.state = State::GivenUp;
        if self.finish_by.is_some() {
            self.stop();
        }
    }

    fn fail(&mut self, error: &str, now: Moment) {
        self.drop_connection();
        let retry_in = self.backoff.next();
        self.state = State::Waiting {
            until: now.at + retry_in,
        };
        self.deliver(UplinkEvent::Disconnected {
            error: error.to_owned(),
            retry_in,
        });
    }

    fn lost(&mut self, error: &str, clean: bool, now: Moment) {
        match self.state {
            State::Closing { ended: true, .. } if clean => {
                self.state = State::Stopped;
                self.actions.push_back(Action::Drop);
                self.actions.push_back(Action::Stop(Outcome::Ended));
            }
            State::Closing { ended: false, .. } => self.stop(),
            State::Waiting { .. } | State::GivenUp | State::Stopped => {}
            // If the end did not get through, it is said again, while there is time.
            _ => self.fail(error, now),
        }
    }

    fn drop_connection(&mut self) {
        self.actions.push_back(Action::Drop);
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        if self.outbox.disconnected() {
            self.stats.dropped_pulses += 1;
        }
    }

    fn control(&mut self, kind: FrameKind, frame: Vec<u8>) {
        if kind != FrameKind::Pulse {
            if !self.outbox.push_control(frame) {
                self.stats.dropped_control += 1;
            }
        } else if self.state != State::Streaming || !self.outbox.set_pulse(frame) {
            self.stats.dropped_pulses += 1;
        }
    }

    fn check_finish(&mut self, now: Moment) {
        if self.finish_by.is_none() {
            return;
        }
        if self.state == State::GivenUp {
            self.stop();
        } else if self.state == State::Streaming && self.acked_seq >= self.last_seq {
            self.begin_close(true, now);
        }
    }

    fn close(&mut self, now: Moment) {
        match self.state {
            State::Streaming => self.begin_close(false, now),
            State::Closing { .. } | State::Stopped => {}
            _ => self.stop(),
        }
    }

    fn begin_close(&mut self, ended: bool, now: Moment) {
        self.state = State::Closing {
            until: now.at + self.timing.close,
            ended,
        };
        self.actions.push_back(Action::Close { ended });
    }

    fn stop(&mut self) {
        if self.state == State::Stopped {
            return;
        }
        self.drop_connection();
        self.state = State::Stopped;
        let unacked_frames = self.last_seq.saturating_sub(self.acked_seq);
        self.actions
            .push_back(Action::Stop(Outcome::Left { unacked_frames }));
    }

    fn deliver(&mut self, event: UplinkEvent) {
        self.actions.push_back(Action::Deliver(event));
    }
}
