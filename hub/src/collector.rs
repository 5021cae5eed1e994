//! A collector's connection: sessions opened on it, frames in, acknowledgements and policy out.
//!
//! The connection acts on the state of its sessions whenever it is woken; it has no queue of its own.

use crate::access::{Grant, Identity, Visitor};
use crate::hub::Hub;
use crate::peer::{self, End, Refusal};
use crate::session::Session;
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use heaptide_protocol::control::{
    ClockPing, ClockReading, Open, PolicyOutcome, PolicySet, Pulse, RefuseCode, Role,
};
use heaptide_protocol::{Envelope, Frame, FrameKind, ProtocolError, SessionId};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// The reason in a close frame (code 1000) that says: this session won't come back.
const ENDED: &str = "ended";
/// An acknowledgement wakes the collector, so that one comes for several frames: for so many, or after
/// [`Limits::ack_every`](crate::config::Limits::ack_every).
const ACK_FRAMES: u64 = 16;

struct Connection<'a> {
    hub: &'a Arc<Hub>,
    wake: Arc<Notify>,
    opened: HashMap<SessionId, Opened>,
    /// When an acknowledgement that waits is due.
    ack_due: Option<Instant>,
}

/// A session on this connection.
struct Opened {
    session: Arc<Session>,
    link: u64,
    /// The sequence number that has to come next.
    next_seq: u64,
    acked_seq: u64,
    acked_at: Option<Instant>,
    /// The policy revision sent last.
    sent_revision: u64,
}

pub(crate) async fn run(mut socket: WebSocket, hub: Arc<Hub>, visitor: &Visitor, known: Option<Identity>) {
    let result = match peer::greet(&mut socket, &hub, Role::Collector, visitor, known).await {
        Ok(identity) => {
            let mut connection = Connection {
                hub: &hub,
                wake: Arc::new(Notify::new()),
                opened: HashMap::new(),
                ack_due: None,
            };
            let result = connection.serve(&mut socket, &identity.grant).await;
            connection.leave(result == Ok(End::SessionEnded));
            result
        }
        Err(Some(refusal)) => Err(refusal),
        Err(None) => Ok(End::Gone),
    };
    peer::part(socket, &hub, &result).await;
}

impl Connection<'_> {
    async fn serve(&mut self, socket: &mut WebSocket, grant: &Grant) -> Result<End, Refusal> {
        let hub = Arc::clone(self.hub);
        let mut closing = pin!(hub.closed());
        let mut lost = pin!(hub.access.lost(grant));
        let silence = self.hub.config.limits.collector_silence;
        loop {
            tokio::select! {
                received = tokio::time::timeout(silence, socket.recv()) => {
                    let message = match received {
                        Err(_) => return Ok(End::Gone),
                        Ok(None) => return Ok(End::Gone),
                        Ok(Some(Err(error))) => return peer::receive_failed(&error).map_or(Ok(End::Gone), Err),
                        Ok(Some(Ok(message))) => message,
                    };
                    match message {
                        Message::Binary(bytes) => {
                            if let Some(answer) = self.take(bytes).await? {
                                send(socket, answer).await?;
                            }
                        }
                        Message::Text(_) => return Err(peer::text_refused("collector")),
                        Message::Ping(_) | Message::Pong(_) => {}
                        Message::Close(frame) => {
                            let ended = frame.is_some_and(|frame| frame.code == 1000 && frame.reason.as_str() == ENDED);
                            return Ok(if ended { End::SessionEnded } else { End::Gone });
                        }
                    }
                }
                () = self.wake_or_ack_due() => {
                    if let Some(end) = self.attend(socket, false).await? {
                        return Ok(end);
                    }
                }
                () = &mut lost => return Err(peer::grant_lost(&hub)),
                () = &mut closing => {
                    self.drain(socket).await?;
                    return Ok(End::Closing);
                }
            }
        }
    }

    /// Takes a frame; returns what to answer at once.
    async fn take(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Refusal> {
        let arrived_unix_ns = crate::clock::unix_ns();
        let frame = match Frame::parse(&bytes) {
            // From a newer one: kinds may be added under one version.
            Err(ProtocolError::Unknown {
                what: "frame kind", ..
            }) => {
                self.hub.stats.frames_unknown.add(1);
                return Ok(None);
            }
            _ => peer::parse(&bytes, "collector")?,
        };
        let envelope = frame.envelope;
        match envelope.kind {
            FrameKind::Data => return self.data(envelope, bytes).await,
            FrameKind::Open => return self.open(envelope.session, &frame).await.map(Some),
            FrameKind::ClockPing => {
                let ping: ClockPing = payload(&frame, "ClockPing")?;
                return Ok(Some(peer::pong(ping, arrived_unix_ns)));
            }
            FrameKind::Pulse => {
                let pulse: Pulse = payload(&frame, "Pulse")?;
                let kept = self.hub.config.limits.pulse_history;
                let forgot = self.opened(envelope.session)?.session.set_pulse(pulse, kept);
                self.hub.stats.pulses_forgotten.add(u64::from(forgot));
            }
            FrameKind::Clock => {
                let reading: ClockReading = payload(&frame, "Clock")?;
                let session = Arc::clone(&self.opened(envelope.session)?.session);
                match session.take_clock(reading, arrived_unix_ns) {
                    Ok(true) => self.hub.store.save_later(&session),
                    Ok(false) => {}
                    Err(_) => self.hub.stats.clocks_refused.add(1),
                }
                // No list of sessions tells it.
                return Ok(None);
            }
            FrameKind::PolicyOutcome => {
                self.check_size(&frame)?;
                let outcome: PolicyOutcome = payload(&frame, "PolicyOutcome")?;
                let session = Arc::clone(&self.opened(envelope.session)?.session);
                session.with_policy(|policy| policy.outcome(outcome));
                self.hub.policies.changed();
                self.hub.store.save_later(&session);
            }
            other => return Err(Refusal::malformed(format!("a collector doesn't send {other:?}"))),
        }
        self.hub.fleet.changed();
        Ok(None)
    }

    /// Invariant: the ingest path decodes no events. Only the envelope is looked at.
    async fn data(&mut self, envelope: Envelope, bytes: Bytes) -> Result<Option<Bytes>, Refusal> {
        let hub = Arc::clone(self.hub);
        hub.stats.frames_received.add(1);
        hub.stats.bytes_received.add(bytes.len() as u64);
        let opened = self.opened(envelope.session)?;
        let (got, expected) = (envelope.seq, opened.next_seq);
        if got == 0 {
            return Err(
                Refusal::malformed("a data frame needs a sequence number, got 0").about(envelope.session)
            );
        }
        if got < expected {
            hub.stats.frames_repeated.add(1);
            hub.stats.acks_sent.add(1);
            return Ok(Some(peer::ack(envelope.session, opened.session.durable_seq())));
        }
        if got > expected {
            let message =
                format!("expected frame {expected}, got {got}: send again from the last acknowledged one");
            return Err(Refusal::new(RefuseCode::SequenceGap, message).about(envelope.session));
        }
        opened.next_seq += 1;
        hub.store.append(&opened.session, envelope, bytes).await;
        Ok(None)
    }

    async fn open(&mut self, id: SessionId, frame: &Frame<'_>) -> Result<Bytes, Refusal> {
        let hub = self.hub;
        let limits = &hub.config.limits;
        self.check_size(frame)?;
        if !self.opened.contains_key(&id) && self.opened.len() >= limits.sessions_per_connection {
            return Err(Refusal::new(
                RefuseCode::TooManySessions,
                format!(
                    "a connection carries at most {} sessions",
                    limits.sessions_per_connection
                ),
            ));
        }
        let open: Open = payload(frame, "Open")?;
        open.labels
            .validate()
            .map_err(|error| Refusal::malformed(error.to_string()).about(id))?;
        if let Some(why) = hub.store.health.refusal(Instant::now()) {
            return Err(Refusal::new(RefuseCode::StorageFull, why).about(id));
        }
        let (session, is_new) = hub.fleet.get_or_create(id)?;
        let durable_seq = session.durable_seq();
        if open.first_seq > durable_seq.saturating_add(1) {
            let message = format!(
                "the hub has this session up to frame {durable_seq}, the collector only from frame {} on: start a \
                 new session",
                open.first_seq
            );
            if is_new {
                hub.fleet.forget(id);
            }
            return Err(Refusal::new(RefuseCode::SequenceGap, message).about(id));
        }
        let Some(link) = session.open(open, Arc::clone(&self.wake)) else {
            let why = "what the hub had of this session has just expired: come back".to_owned();
            return Err(Refusal::new(RefuseCode::StorageFull, why).about(id));
        };
        if let Err(why) = hub.store.save(&session).await {
            session.close(link, false);
            if is_new {
                hub.fleet.forget(id);
            }
            return Err(Refusal::new(RefuseCode::StorageFull, why).about(id));
        }
        // Frames of an earlier connection may have become durable meanwhile.
        let durable_seq = session.durable_seq();
        self.opened.insert(
            id,
            Opened {
                session,
                link,
                next_seq: durable_seq + 1,
                acked_seq: durable_seq,
                acked_at: None,
                sent_revision: 0,
            },
        );
        hub.fleet.changed();
        hub.policies.changed();
        hub.stats.acks_sent.add(1);
        // A pending policy goes out behind the acknowledgement.
        self.wake.notify_one();
        Ok(peer::ack(id, durable_seq))
    }

    /// Something changed in a session: acknowledge, pass on a policy, or go.
    /// `at_once`: nothing waits for company.
    async fn attend(&mut self, socket: &mut WebSocket, at_once: bool) -> Result<Option<End>, Refusal> {
        self.ack_due = None;
        let now = Instant::now();
        let ack_every = self.hub.config.limits.ack_every;
        for (id, opened) in &mut self.opened {
            let view = opened.session.link_view(opened.link);
            let due = opened.acked_at.map(|at| at + ack_every).filter(|due| now < *due);
            let waits = !at_once && view.durable_seq - opened.acked_seq < ACK_FRAMES && due.is_some();
            if view.durable_seq > opened.acked_seq && waits {
                self.ack_due = self.ack_due.into_iter().chain(due).min();
            } else if view.durable_seq > opened.acked_seq {
                opened.acked_seq = view.durable_seq;
                opened.acked_at = Some(now);
                self.hub.stats.acks_sent.add(1);
                send(socket, peer::ack(*id, view.durable_seq)).await?;
            }
            if view.replaced {
                return Ok(Some(End::Replaced));
            }
            if let Some(why) = view.failure {
                return Err(Refusal::new(RefuseCode::StorageFull, why).about(*id));
            }
            if let Some(policy) = view
                .pending
                .filter(|policy| policy.revision > opened.sent_revision)
            {
                opened.sent_revision = policy.revision;
                send(
                    socket,
                    peer::control(FrameKind::PolicySet, *id, &PolicySet { policy }),
                )
                .await?;
            }
        }
        Ok(None)
    }

    async fn wake_or_ack_due(&self) {
        match self.ack_due {
            None => self.wake.notified().await,
            Some(due) => {
                // Either is reason enough to look.
                let _ = tokio::time::timeout_at(due.into(), self.wake.notified()).await;
            }
        }
    }

    /// The hub shuts down: what was received is made durable and acknowledged first.
    async fn drain(&mut self, socket: &mut WebSocket) -> Result<(), Refusal> {
        let limit = self.hub.config.limits.drain;
        let all_durable = async {
            loop {
                if self.attend(socket, true).await?.is_some() {
                    return Ok(());
                }
                if self
                    .opened
                    .values()
                    .all(|opened| opened.acked_seq + 1 >= opened.next_seq)
                {
                    return Ok(());
                }
                self.wake.notified().await;
            }
        };
        tokio::time::timeout(limit, all_durable).await.unwrap_or(Ok(()))
    }

    fn leave(&mut self, ended: bool) {
        for (id, opened) in self.opened.drain() {
            if opened.session.close(opened.link, ended) {
                self.hub.store.save_later(&opened.session);
                self.hub.store.release(id);
            }
        }
        self.hub.fleet.changed();
    }

    fn opened(&mut self, id: SessionId) -> Result<&mut Opened, Refusal> {
        self.opened.get_mut(&id).ok_or_else(|| {
            Refusal::malformed(format!("session {id} was not opened on this connection")).about(id)
        })
    }

    /// What is kept in memory for as long as the session is known must be small.
    fn check_size(&self, frame: &Frame<'_>) -> Result<(), Refusal> {
        let limit = self.hub.config.limits.open_bytes;
        let got = frame.envelope.raw_bytes as usize;
        if got > limit {
            let kind = frame.envelope.kind;
            return Err(Refusal::malformed(format!(
                "{kind:?} of {got} bytes is above the limit of {limit}"
            )));
        }
        Ok(())
    }
}

fn payload<T: serde::de::DeserializeOwned>(frame: &Frame<'_>, what: &'static str) -> Result<T, Refusal> {
    frame
        .control(what)
        .map_err(|error| Refusal::malformed(error.to_string()))
}

async fn send(socket: &mut WebSocket, frame: Bytes) -> Result<(), Refusal> {
    // A socket that broke shows when it is read next.
    let _ = socket.send(Message::Binary(frame)).await;
    Ok(())
}
