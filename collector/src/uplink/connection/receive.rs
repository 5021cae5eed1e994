//! What the hub says, and what follows from it.

use super::{Action, Connection, Moment, State};
use crate::uplink::clock::{Exchange, Impossible};
use crate::uplink::event::UplinkEvent;
use heaptide_protocol::control::{
    Ack, ClockPing, ClockPong, Notice, Open, PolicySet, Refuse, RefuseCode, Welcome,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{Frame, FrameKind, ProtocolError, VERSION};

impl Connection {
    pub(super) fn message(&mut self, bytes: &[u8], now: Moment) {
        if !matches!(
            self.state,
            State::Greeting { .. } | State::Opening { .. } | State::Streaming | State::Closing { .. }
        ) {
            return;
        }
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(ProtocolError::Unknown { .. }) => {
                self.heard_at = now.at;
                self.stats.unknown_frames += 1;
                return;
            }
            Err(error @ ProtocolError::Version { .. }) => return self.other_version(bytes, &error),
            Err(_) => {
                self.stats.bad_frames += 1;
                return;
            }
        };
        self.heard_at = now.at;
        if self.dispatch(&frame, now).is_err() {
            self.stats.bad_frames += 1;
        }
    }

    fn dispatch(&mut self, frame: &Frame<'_>, now: Moment) -> Result<(), ProtocolError> {
        match frame.envelope.kind {
            FrameKind::Welcome => self.welcomed(frame.control("welcome")?, now),
            FrameKind::Refuse => self.refuse(frame.control("refusal")?, now),
            FrameKind::Ack if frame.envelope.session == self.session => self.ack(frame.control("ack")?, now),
            FrameKind::PolicySet if frame.envelope.session == self.session => {
                let set: PolicySet = frame.control("policy")?;
                self.deliver(UplinkEvent::PolicySet(set.policy));
            }
            FrameKind::ClockPing => {
                let ping: ClockPing = frame.control("clock ping")?;
                self.outbox.pong = Some((ping.t1_ns, now.unix_ns));
            }
            FrameKind::ClockPong => self.pong(frame.control("clock pong")?, now),
            FrameKind::Notice => {
                let notice: Notice = frame.control("notice")?;
                self.deliver(UplinkEvent::Notice(notice.message));
            }
            FrameKind::Ack | FrameKind::PolicySet => self.stats.bad_frames += 1,
            // Known, but not for collectors.
            _ => self.stats.unknown_frames += 1,
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: Welcome, now: Moment) {
        if !matches!(self.state, State::Greeting { .. }) {
            self.stats.bad_frames += 1;
            return;
        }
        self.welcome = Some((welcome.agent, welcome.hub_epoch));
        self.state = State::Opening {
            until: now.at + self.timing.handshake,
        };
        let open = Open {
            first_seq: self.first_seq,
            ..self.open.clone()
        };
        self.say(FrameKind::Open, &open);
    }

    fn ack(&mut self, ack: Ack, now: Moment) {
        let durable_seq = ack.durable_seq;
        match self.state {
            State::Opening { .. } => self.opened(durable_seq, now),
            // The hub can't have what was never sent: to forget it would lose it.
            State::Streaming | State::Closing { .. } if durable_seq > self.sent_seq => {
                self.stats.bad_frames += 1;
            }
            State::Streaming | State::Closing { .. } if durable_seq > self.acked_seq => {
                self.acked(durable_seq);
                self.progress_at = now.at;
                // Not before: a hub that takes connections and then fails must not be asked at full pace.
                self.backoff.reset();
                while let Some((seq, bytes)) = self.in_flight.front().copied()
                    && seq <= durable_seq
                {
                    self.in_flight.pop_front();
                    self.in_flight_bytes -= bytes;
                }
                self.check_finish(now);
            }
            State::Streaming | State::Closing { .. } => {}
            _ => self.stats.bad_frames += 1,
        }
    }

    /// The answer to Open.
    fn opened(&mut self, durable_seq: u64, now: Moment) {
        // A session that only has to be ended may be shorter here: what was in memory died with its
        // collector, after it was sent.
        let ahead = durable_seq > self.last_seq && self.finish_by.is_none();
        if ahead || durable_seq.saturating_add(1) < self.first_seq {
            return self.give_up(UplinkEvent::SessionUnknown {
                hub_durable_seq: Some(durable_seq),
            });
        }
        let durable_seq = durable_seq.min(self.last_seq);
        self.state = State::Streaming;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.sent_seq = durable_seq;
        self.sent_once_seq = self.sent_once_seq.max(durable_seq);
        self.ping_at = now.at;
        self.ping = None;
        let (agent, hub_epoch) = self.welcome.take().unwrap_or_default();
        self.deliver(UplinkEvent::Connected {
            agent,
            hub_epoch,
            durable_seq,
        });
        self.acked(durable_seq);
        self.check_finish(now);
    }

    fn acked(&mut self, durable_seq: u64) {
        // Below what was acknowledged before if the hub lost it; the spool may still have it.
        self.acked_seq = durable_seq;
        self.actions.push_back(Action::Ack(durable_seq));
        self.deliver(UplinkEvent::Acked(durable_seq));
    }

    fn pong(&mut self, pong: ClockPong, now: Moment) {
        let Some((t1_ns, suspended_at_t1_ns)) = self.ping.filter(|(t1_ns, _)| *t1_ns == pong.t1_ns) else {
            self.stats.bad_frames += 1;
            return;
        };
        self.ping = None;
        if self.in_flight.is_empty() {
            self.backoff.reset();
        }
        let learned = self.clock.add(Exchange {
            t1_ns,
            t2_unix_ns: pong.t2_unix_ns,
            t3_unix_ns: pong.t3_unix_ns,
            t4_ns: now.session_ns,
            suspended_at_t1_ns,
            suspended_at_t4_ns: now.suspended_ns,
        });
        match learned {
            Ok(Some(reading)) => {
                if self.tells_clock {
                    self.outbox.clock = encode_control(FrameKind::Clock, self.session, &reading).ok();
                }
                self.deliver(UplinkEvent::Clock(reading));
            }
            Ok(None) => {}
            Err(Impossible) => self.stats.bad_frames += 1,
        }
    }

    fn refuse(&mut self, refuse: Refuse, now: Moment) {
        match refuse.code {
            RefuseCode::Version => {
                let Refuse {
                    ours,
                    theirs,
                    message,
                    ..
                } = refuse;
                let versions = format!("protocol version {ours} at the hub, {theirs} here");
                self.refused(format!("{message} ({versions})"), true);
            }
            RefuseCode::Forbidden => self.refused(refuse.message, true),
            // Later it only means that frames went astray, which a new connection mends.
            RefuseCode::SequenceGap if matches!(self.state, State::Opening { .. }) => {
                self.give_up(UplinkEvent::SessionUnknown {
                    hub_durable_seq: None,
                });
            }
            _ => {
                self.refused(refuse.message.clone(), false);
                self.fail(&format!("refused by the hub: {}", refuse.message), now);
            }
        }
    }

    /// The layout of Refuse is the same in all versions, so try that before the bare numbers.
    fn other_version(&mut self, bytes: &[u8], error: &ProtocolError) {
        let mut copy = bytes.to_vec();
        if let Some(version) = copy.get_mut(3) {
            *version = VERSION;
        }
        let told = Frame::parse(&copy)
            .ok()
            .filter(|frame| frame.envelope.kind == FrameKind::Refuse)
            .and_then(|frame| frame.control::<Refuse>("refusal").ok());
        let message = match told {
            Some(refuse) => format!("{}; {error}", refuse.message),
            None => error.to_string(),
        };
        self.refused(message, true);
    }
}
