//! A console's connection: subscriptions, the session list, policy proposals.
//!
//! Two halves run side by side. The reading half turns messages into [`Command`]s; the sending half owns the
//! subscriptions and pulls frames at the speed of its peer, from memory or disk. Nothing is queued per
//! console, so a slow one costs nothing but what it misses: once it has seen what was there when it
//! subscribed, it is moved on to the newest frame whenever it falls too far behind, and told so.

use crate::access::{self, Caller, Identity, Visitor};
use crate::hub::Hub;
use crate::levels::{Past, Piece};
use crate::peer::{self, End, Refusal};
use crate::policy::OverriddenBy;
use crate::reports;
use crate::session::{Cursor, Next, Session};
use crate::store::replay::{self, Item};
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_protocol::control::{
    CaughtUp, ClockPing, Missed, MissedReason, Overview, PolicyPropose, PolicyState, Role, Stretch, Subscribe,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::report::{ReportAsk, ReportTold};
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Read from disk at once for one subscription.
const CHUNK_BYTES: usize = 256 << 10;
/// Commands waiting for the sending half; above it, the console is not read.
const COMMANDS: usize = 64;
/// Keeps proxies from closing a quiet connection, and notices a peer that is gone.
const PING_EVERY: Duration = Duration::from_secs(20);

enum Command {
    Subscribe {
        session: Arc<Session>,
        after_seq: u64,
    },
    Overview {
        session: Arc<Session>,
        ask: Overview,
    },
    Unsubscribe(SessionId),
    Answer(Bytes),
    Pong {
        ping: ClockPing,
        arrived_unix_ns: u64,
    },
    /// The answer comes later, as a command of its own.
    Nothing,
}

struct Subscription {
    session: Arc<Session>,
    /// Of an overview, what is still to be told before the rest, which comes as it is.
    past: Option<Past>,
    cursor: Cursor,
    /// Up to here it is a replay, which may be slow; behind it, live.
    replay_until: u64,
    told_caught_up: bool,
}

struct Sender<'a> {
    hub: &'a Arc<Hub>,
    /// This connection's number among the watchers of its sessions.
    watcher: u64,
    sink: SplitSink<WebSocket, Message>,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    fleet: watch::Receiver<Bytes>,
    health: watch::Receiver<Option<String>>,
    subscriptions: BTreeMap<SessionId, Subscription>,
}

/// What the reading half turns messages into commands with.
struct Questions {
    hub: Arc<Hub>,
    /// One report of this connection at a time.
    turn: Arc<Semaphore>,
    to_sender: mpsc::Sender<Command>,
    caller: Caller,
}

/// The peer's socket broke.
struct Broken;

pub(crate) async fn run(mut socket: WebSocket, hub: Arc<Hub>, visitor: &Visitor, known: Option<Identity>) {
    let identity = match peer::greet(&mut socket, &hub, Role::Console, visitor, known).await {
        Ok(identity) => identity,
        Err(refusal) => {
            let result = refusal.map_or(Ok(End::Gone), Err);
            return peer::part(socket, &hub, &result).await;
        }
    };
    let (sink, stream) = socket.split();
    let (to_sender, commands) = mpsc::channel(COMMANDS);
    let mut sender = Sender {
        hub: &hub,
        watcher: hub.next_number(),
        sink,
        commands,
        wake: Arc::new(Notify::new()),
        fleet: hub.fleet.subscribe(),
        health: hub.store.health.subscribe(),
        subscriptions: BTreeMap::new(),
    };
    let mut stream = stream;
    let questions = Questions {
        hub: Arc::clone(&hub),
        turn: Arc::new(Semaphore::new(1)),
        to_sender,
        caller: identity.caller,
    };
    let result = tokio::select! {
        result = receive(&mut stream, &questions) => result,
        Err(Broken) = sender.run() => Ok(End::Gone),
        () = hub.closed() => Ok(End::Closing),
        () = hub.access.lost(&identity.grant) => Err(peer::grant_lost(&hub)),
    };
    for subscription in sender.subscriptions.values() {
        subscription.session.unwatch(sender.watcher);
    }
    if let Ok(socket) = stream.reunite(sender.sink) {
        peer::part(socket, &hub, &result).await;
    }
}

async fn receive(stream: &mut SplitStream<WebSocket>, questions: &Questions) -> Result<End, Refusal> {
    let silence = questions.hub.config.limits.console_silence;
    loop {
        let Ok(Some(received)) = tokio::time::timeout(silence, stream.next()).await else {
            return Ok(End::Gone);
        };
        let bytes = match received {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(_)) => return Err(peer::text_refused("console")),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Close(_)) => return Ok(End::Gone),
            Err(error) => return peer::receive_failed(&error).map_or(Ok(End::Gone), Err),
        };
        let command = questions.take(&bytes).await?;
        if questions.to_sender.send(command).await.is_err() {
            return Ok(End::Gone);
        }
    }
}

impl Questions {
    async fn take(&self, bytes: &[u8]) -> Result<Command, Refusal> {
        let hub = &self.hub;
        let arrived_unix_ns = crate::clock::unix_ns();
        let frame = peer::parse(bytes, "console")?;
        if frame.envelope.raw_bytes as usize > hub.config.limits.open_bytes {
            return Err(Refusal::malformed(
                "a console's frames are small; this one is too large",
            ));
        }
        let id = frame.envelope.session;
        let unknown = || Command::Answer(peer::notice(id, format!("the hub has no session {id}")));
        Ok(match frame.envelope.kind {
            FrameKind::Subscribe => {
                let Subscribe { after_seq } = payload(&frame, "Subscribe")?;
                hub.fleet
                    .get(id)
                    .map_or_else(unknown, |session| Command::Subscribe { session, after_seq })
            }
            FrameKind::Overview => {
                let ask: Overview = payload(&frame, "Overview")?;
                let found = hub.fleet.get(id);
                found.map_or_else(unknown, |session| Command::Overview { session, ask })
            }
            FrameKind::Unsubscribe => Command::Unsubscribe(id),
            FrameKind::PolicyPropose => {
                let proposal: PolicyPropose = payload(&frame, "PolicyPropose")?;
                match hub.fleet.get(id) {
                    Some(session) => Command::Answer(propose(hub, &self.caller, &session, proposal).await),
                    None => unknown(),
                }
            }
            FrameKind::ClockPing => Command::Pong {
                ping: payload(&frame, "ClockPing")?,
                arrived_unix_ns,
            },
            FrameKind::ReportAsk => {
                let ask: ReportAsk = payload(&frame, "ReportAsk")?;
                match hub.fleet.get(id) {
                    Some(session) => self.ask(session, ask),
                    None => unknown(),
                }
            }
            other => return Err(Refusal::malformed(format!("a console doesn't send {other:?}"))),
        })
    }

    /// Computes beside the connection, which goes on meanwhile.
    fn ask(&self, session: Arc<Session>, ask: ReportAsk) -> Command {
        let ReportAsk { number, query } = ask;
        let told = move |result, last_seq| ReportTold {
            number,
            last_seq,
            result,
        };
        let id = session.id;
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            let why = "one report at a time: wait for the answer to the question before".to_owned();
            return Command::Answer(peer::control(FrameKind::ReportTold, id, &told(Err(why), 0)));
        };
        let (hub, sender) = (Arc::clone(&self.hub), self.to_sender.clone());
        tokio::spawn(async move {
            let told = match reports::of_session(&hub, session, query).await {
                Ok(computed) => told(Ok(computed.report), computed.last_seq),
                Err(why) => told(Err(why), 0),
            };
            let frame = encode_control(FrameKind::ReportTold, id, &told).or_else(|error| {
                let why = format!("the report does not fit into a frame ({error}): ask for fewer rows");
                let told = ReportTold {
                    result: Err(why),
                    ..told
                };
                encode_control(FrameKind::ReportTold, id, &told)
            });
            drop(turn);
            // A console that is gone needs no answer.
            let _ = sender
                .send(Command::Answer(frame.unwrap_or_default().into()))
                .await;
        });
        Command::Nothing
    }
}

/// Asks the authority; an accepted change is on disk before the answer.
async fn propose(hub: &Arc<Hub>, caller: &Caller, session: &Arc<Session>, proposal: PolicyPropose) -> Bytes {
    let by = OverriddenBy {
        who: caller.name.clone(),
        unix_ns: crate::clock::unix_ns(),
    };
    let accepted = caller
        .may(access::Role::Tuner)
        .and_then(|()| session.with_policy(|policy| policy.propose(proposal.policy, by)));
    let refused = match accepted {
        Err(why) => Some(why),
        Ok(()) => {
            hub.fleet.changed();
            hub.policies.changed();
            let saved = hub
                .store
                .save(session)
                .await
                .inspect_err(|_| hub.store.save_later(session));
            let (caller, subject) = (caller.clone(), format!("session {}", session.id));
            let audited = hub
                .catalog
                .change(move |change| change.audit(&caller, "policy of one session changed", &subject, ""))
                .await;
            saved
                .and(audited.map_err(|error| error.to_string()))
                .err()
                .map(|why| format!("the change is sent, but not kept or not noted: {why}"))
        }
    };
    let state = PolicyState {
        refused,
        ..session.policy_state()
    };
    peer::control(FrameKind::PolicyState, session.id, &state)
}

fn payload<T: serde::de::DeserializeOwned>(frame: &Frame<'_>, what: &'static str) -> Result<T, Refusal> {
    frame
        .control(what)
        .map_err(|error| Refusal::malformed(error.to_string()))
}

impl Sender<'_> {
    /// Runs until the socket breaks or the future is dropped.
    async fn run(&mut self) -> Result<std::convert::Infallible, Broken> {
        self.fleet.mark_changed();
        if self.health.borrow().is_some() {
            self.health.mark_changed();
        }
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command).await?;
            }
            self.tell_news().await?;
            if self.forward().await? {
                continue;
            }
            self.sink.flush().await.map_err(|_| Broken)?;
            tokio::select! {
                Some(command) = self.commands.recv() => self.obey(command).await?,
                () = self.wake.notified() => {}
                _ = self.fleet.changed() => self.fleet.mark_changed(),
                _ = self.health.changed() => self.health.mark_changed(),
                _ = ping.tick() => self.sink.send(Message::Ping(Bytes::new())).await.map_err(|_| Broken)?,
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), Broken> {
        match command {
            Command::Answer(frame) => self.send(frame).await,
            Command::Pong {
                ping,
                arrived_unix_ns,
            } => self.send(peer::pong(ping, arrived_unix_ns)).await,
            Command::Unsubscribe(id) => {
                if let Some(subscription) = self.subscriptions.remove(&id) {
                    subscription.session.unwatch(self.watcher);
                }
                Ok(())
            }
            Command::Subscribe { session, after_seq } => self.subscribe(session, after_seq, None).await,
            Command::Overview { session, ask } => {
                let (hub, of) = (Arc::clone(self.hub), Arc::clone(&session));
                let planned =
                    tokio::task::spawn_blocking(move || Past::plan(&hub, &of, &ask, Vec::new())).await;
                let begin = peer::control(FrameKind::Stretch, session.id, &Stretch::BEGIN);
                self.send(begin).await?;
                // Without a plan each frame comes.
                let past = planned.ok().and_then(Result::ok);
                self.subscribe(session, 0, past).await
            }
            Command::Nothing => Ok(()),
        }
    }

    async fn subscribe(
        &mut self,
        session: Arc<Session>,
        after_seq: u64,
        past: Option<Past>,
    ) -> Result<(), Broken> {
        let id = session.id;
        let limit = self.hub.config.limits.subscriptions_per_connection;
        if !self.subscriptions.contains_key(&id) && self.subscriptions.len() >= limit {
            let message = format!("a console follows at most {limit} sessions at once: close one first");
            return self.send(peer::notice(id, message)).await;
        }
        session.watch(self.watcher, Arc::clone(&self.wake));
        let subscription = Subscription {
            past,
            cursor: session.cursor_after(after_seq),
            replay_until: session.durable_seq(),
            session,
            told_caught_up: false,
        };
        self.subscriptions.insert(id, subscription);
        Ok(())
    }

    async fn tell_news(&mut self) -> Result<(), Broken> {
        if self.fleet.has_changed().unwrap_or(false) {
            let list = self.fleet.borrow_and_update().clone();
            self.send(list).await?;
        }
        if self.health.has_changed().unwrap_or(false) {
            let news = self.health.borrow_and_update().clone();
            let news = news.unwrap_or_else(|| "The hub stores new data again".to_owned());
            self.send(peer::notice(SessionId::default(), news)).await?;
        }
        Ok(())
    }

    /// Sends a little of each subscription that has something. False when none has.
    async fn forward(&mut self) -> Result<bool, Broken> {
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        let mut busy = false;
        for id in ids {
            let Some(mut subscription) = self.subscriptions.remove(&id) else {
                continue;
            };
            let stepped = self.step(&mut subscription).await;
            self.subscriptions.insert(id, subscription);
            busy |= stepped?;
        }
        Ok(busy)
    }

    async fn step(&mut self, subscription: &mut Subscription) -> Result<bool, Broken> {
        let session = Arc::clone(&subscription.session);
        if subscription.past.is_some() {
            return self.step_past(subscription).await;
        }
        self.skip_if_slow(subscription).await?;
        match session.next(subscription.cursor) {
            Next::CaughtUp { last_seq } => {
                if subscription.told_caught_up {
                    return Ok(false);
                }
                subscription.told_caught_up = true;
                self.send(peer::control(
                    FrameKind::CaughtUp,
                    session.id,
                    &CaughtUp { last_seq },
                ))
                .await?;
            }
            Next::Frames { frames, cursor } => {
                for frame in frames {
                    self.send_data(frame).await?;
                }
                subscription.cursor = cursor;
            }
            Next::Read(stretch) => {
                let (hub, of, cursor) = (Arc::clone(self.hub), Arc::clone(&session), subscription.cursor);
                let read = move || replay::read_or_missed(&hub, &of, &stretch, cursor, CHUNK_BYTES);
                // The runtime ends tasks only when the hub does.
                if let Ok(chunk) = tokio::task::spawn_blocking(read).await {
                    self.send_items(session.id, chunk.items).await?;
                    subscription.cursor = chunk.cursor;
                }
            }
        }
        Ok(true)
    }

    async fn send_items(&mut self, session: SessionId, items: Vec<Item>) -> Result<(), Broken> {
        for item in items {
            match item {
                Item::Frame(frame) => self.send_data(frame).await?,
                Item::Missed(missed) => {
                    let count = missed.to_seq - missed.from_seq + 1;
                    let counter = match missed.reason {
                        MissedReason::Expired => &self.hub.stats.frames_missed_expired,
                        _ => &self.hub.stats.frames_missed_damaged,
                    };
                    counter.add(count);
                    self.send(peer::control(FrameKind::Missed, session, &missed))
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Goes on with the past of an overview; at its end the rest comes as it is.
    async fn step_past(&mut self, subscription: &mut Subscription) -> Result<bool, Broken> {
        let Some(mut past) = subscription.past.take() else {
            return Ok(true);
        };
        let (hub, session) = (Arc::clone(self.hub), Arc::clone(&subscription.session));
        let (id, before) = (session.id, subscription.cursor);
        let mut cursor = before;
        let pull = move || {
            let piece = past.pull(&hub, &session, &mut cursor);
            (past, piece, cursor)
        };
        let Ok((past, Some(piece), cursor)) = tokio::task::spawn_blocking(pull).await else {
            return Ok(true);
        };
        (subscription.past, subscription.cursor) = (Some(past), cursor);
        match piece {
            Piece::Items(items) => self.send_items(id, items).await?,
            Piece::Steps { stretch, frames } => {
                self.send(peer::control(FrameKind::Stretch, id, &stretch)).await?;
                let count = cursor.next_seq - before.next_seq;
                self.hub.stats.frames_told_in_steps.add(count);
                for frame in frames {
                    self.send_data(frame).await?;
                }
            }
        }
        Ok(true)
    }

    /// A live subscription that is too far behind goes on with the newest frame.
    async fn skip_if_slow(&mut self, subscription: &mut Subscription) -> Result<(), Broken> {
        let limits = &self.hub.config.limits;
        let newest = subscription.session.newest();
        let cursor = subscription.cursor;
        let behind_bytes = newest.position.saturating_sub(cursor.position);
        let behind_frames = newest.next_seq.saturating_sub(cursor.next_seq);
        let live = cursor.next_seq > subscription.replay_until;
        if !live || (behind_bytes <= limits.slow_reader_bytes && behind_frames <= limits.slow_reader_frames) {
            return Ok(());
        }
        if behind_frames > 0 {
            self.hub.stats.frames_missed_slow.add(behind_frames);
            let missed = Missed {
                from_seq: cursor.next_seq,
                to_seq: newest.next_seq - 1,
                reason: MissedReason::SlowReader,
            };
            self.send(peer::control(FrameKind::Missed, subscription.session.id, &missed))
                .await?;
        }
        subscription.cursor = newest;
        Ok(())
    }

    async fn send_data(&mut self, frame: Bytes) -> Result<(), Broken> {
        self.hub.stats.frames_sent.add(1);
        self.hub.stats.bytes_sent.add(frame.len() as u64);
        self.send(frame).await
    }

    /// Waits for as long as the peer takes to make room. Empty frames are not sent.
    async fn send(&mut self, frame: Bytes) -> Result<(), Broken> {
        if frame.is_empty() {
            return Ok(());
        }
        self.sink.feed(Message::Binary(frame)).await.map_err(|_| Broken)
    }
}
