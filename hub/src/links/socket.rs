//! The WebSocket of a link's bearer: the console's protocol, about one session, with nothing to change.
//!
//! One loop reads and sends. Frames are pulled at the speed of the peer, so a slow one is only late. The
//! connection ends with the link.

use super::Shown;
use crate::excerpt::{Feed, Pulled};
use crate::hub::Hub;
use crate::peer::{self, End, Refusal};
use crate::reports;
use crate::store::replay::Item;
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use heaptide_protocol::control::{CaughtUp, ClockPing, Overview, RefuseCode, Sessions, Stretch, Subscribe};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::report::{ReportAsk, ReportTold};
use heaptide_protocol::{Frame, FrameKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// Keeps proxies from closing a quiet connection, and notices a peer that is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const ENDED: &str = "this link has expired or been revoked: ask whoever shared it for a new one";

struct Seat {
    hub: Arc<Hub>,
    shown: Arc<Shown>,
    watcher: u64,
    wake: Arc<Notify>,
    subscription: Option<Subscription>,
    /// What was listed last.
    list: Bytes,
    /// The one report that is being computed.
    answer: Option<mpsc::Receiver<Bytes>>,
}

struct Subscription {
    /// Lent to the thread that reads.
    feed: Option<Feed>,
    /// The bearer has what comes before.
    next_seq: u64,
    told_caught_up: bool,
    /// Nothing more comes until it is woken.
    is_idle: bool,
}

pub(crate) async fn run(mut socket: WebSocket, hub: Arc<Hub>, shown: Shown) {
    if let Err(refusal) = peer::greet_bearer(&mut socket, &hub).await {
        let result = refusal.map_or(Ok(End::Gone), Err);
        return peer::part(socket, &hub, &result).await;
    }
    let mut seat = Seat {
        watcher: hub.next_number(),
        hub: Arc::clone(&hub),
        shown: Arc::new(shown),
        wake: Arc::new(Notify::new()),
        subscription: None,
        list: Bytes::new(),
        answer: None,
    };
    let result = seat.serve(&mut socket).await;
    if let Some(session) = seat.shown.session() {
        session.unwatch(seat.watcher);
    }
    peer::part(socket, &hub, &result).await;
}

impl Seat {
    async fn serve(&mut self, socket: &mut WebSocket) -> Result<End, Refusal> {
        let hub = Arc::clone(&self.hub);
        let mut closing = pin!(hub.closed());
        let mut changed = hub.links.subscribe();
        let mut fleet = hub.fleet.subscribe();
        let link = Arc::clone(&self.shown.link);
        let left_ns = link.expires_unix_ns.saturating_sub(crate::clock::unix_ns());
        let mut expired = pin!(tokio::time::sleep(Duration::from_nanos(left_ns)));
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silence = hub.config.limits.console_silence;
        let mut heard = Instant::now();
        // Between looking the link up and following it, it may have ended.
        if !hub.links.is_open(&link.id) {
            return Err(Refusal::new(RefuseCode::Forbidden, ENDED));
        }
        self.tell_list(socket).await;
        loop {
            let is_busy = self
                .subscription
                .as_ref()
                .is_some_and(|subscription| !subscription.is_idle);
            tokio::select! {
                biased;
                () = &mut closing => return Ok(End::Closing),
                () = &mut expired => return Err(Refusal::new(RefuseCode::Forbidden, ENDED)),
                _ = changed.changed() => {
                    if !hub.links.is_open(&link.id) {
                        return Err(Refusal::new(RefuseCode::Forbidden, ENDED));
                    }
                }
                received = socket.recv() => {
                    heard = Instant::now();
                    let bytes = match received {
                        Some(Ok(Message::Binary(bytes))) => bytes,
                        Some(Ok(Message::Text(_))) => return Err(peer::text_refused("console")),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_))) | None => return Ok(End::Gone),
                        Some(Err(error)) => return peer::receive_failed(&error).map_or(Ok(End::Gone), Err),
                    };
                    if let Some(answer) = self.take(&bytes).await? {
                        send(socket, answer).await;
                    }
                }
                Some(answer) = next_answer(&mut self.answer) => {
                    self.answer = None;
                    send(socket, answer).await;
                }
                () = self.wake.notified() => {
                    if let Some(subscription) = &mut self.subscription {
                        subscription.is_idle = false;
                    }
                }
                _ = fleet.changed() => {
                    fleet.mark_unchanged();
                    self.tell_list(socket).await;
                }
                _ = ping.tick() => send_message(socket, Message::Ping(Bytes::new())).await,
                () = tokio::time::sleep_until(heard + silence) => return Ok(End::Gone),
                () = std::future::ready(()), if is_busy => self.step(socket).await,
            }
        }
    }

    /// What to answer at once.
    async fn take(&mut self, bytes: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let arrived_unix_ns = crate::clock::unix_ns();
        let frame = peer::parse(bytes, "console")?;
        if frame.envelope.raw_bytes as usize > self.hub.config.limits.open_bytes {
            return Err(Refusal::malformed(
                "a console's frames are small; this one is too large",
            ));
        }
        let id = frame.envelope.session;
        let kind = frame.envelope.kind;
        if kind == FrameKind::ClockPing {
            let ping: ClockPing = payload(&frame, "ClockPing")?;
            return Ok(Some(peer::pong(ping, arrived_unix_ns)));
        }
        let is_console = matches!(
            kind,
            FrameKind::Subscribe
                | FrameKind::Overview
                | FrameKind::Unsubscribe
                | FrameKind::ReportAsk
                | FrameKind::PolicyPropose
        );
        if !is_console {
            return Err(Refusal::malformed(format!("a console doesn't send {kind:?}")));
        }
        // The same words whether the hub has it or not.
        if id != self.shown.link.session {
            return Ok(Some(peer::notice(id, format!("the hub has no session {id}"))));
        }
        match kind {
            FrameKind::Subscribe => {
                let Subscribe { after_seq } = payload(&frame, "Subscribe")?;
                match self.shown.feed(&self.hub) {
                    Ok(feed) => self.subscribe(after_seq, feed),
                    Err(why) => return Ok(Some(peer::notice(id, why))),
                }
            }
            FrameKind::Overview => {
                let ask: Overview = payload(&frame, "Overview")?;
                let (hub, shown) = (Arc::clone(&self.hub), Arc::clone(&self.shown));
                let planned = tokio::task::spawn_blocking(move || shown.overview(&hub, &ask)).await;
                return Ok(Some(match planned {
                    Ok(Ok(feed)) => {
                        self.subscribe(0, feed);
                        peer::control(FrameKind::Stretch, id, &Stretch::BEGIN)
                    }
                    Ok(Err(why)) => peer::notice(id, why),
                    Err(_) => peer::notice(id, "the hub is shutting down".to_owned()),
                }));
            }
            FrameKind::ReportAsk => return Ok(self.ask(payload(&frame, "ReportAsk")?)),
            FrameKind::PolicyPropose => {
                let message = "a link shows a session and changes nothing: sign in to change the sampling";
                return Ok(Some(peer::notice(id, message)));
            }
            _ => self.unsubscribe(),
        }
        Ok(None)
    }

    fn subscribe(&mut self, after_seq: u64, feed: Feed) {
        self.unsubscribe();
        if let Some(session) = self.shown.session() {
            session.watch(self.watcher, Arc::clone(&self.wake));
        }
        self.subscription = Some(Subscription {
            feed: Some(feed),
            next_seq: after_seq.saturating_add(1),
            told_caught_up: false,
            is_idle: false,
        });
    }

    fn unsubscribe(&mut self) {
        self.subscription = None;
        if let Some(session) = self.shown.session() {
            session.unwatch(self.watcher);
        }
    }

    /// Sends what comes next of the session.
    async fn step(&mut self, socket: &mut WebSocket) {
        let id = self.shown.link.session;
        let Some(subscription) = &mut self.subscription else {
            return;
        };
        let Some(mut feed) = subscription.feed.take() else {
            subscription.is_idle = true;
            return;
        };
        let hub = Arc::clone(&self.hub);
        let pulled = tokio::task::spawn_blocking(move || {
            let pulled = feed.pull(&hub);
            (feed, pulled)
        });
        let items = match pulled.await {
            Ok((feed, Ok(Pulled::Steps(stretch, items)))) => {
                subscription.feed = Some(feed);
                if !items.is_empty() {
                    send(socket, peer::control(FrameKind::Stretch, id, &stretch)).await;
                }
                items
            }
            Ok((feed, Ok(Pulled::Items(items)))) => {
                subscription.feed = Some(feed);
                items
            }
            Ok((feed, Ok(Pulled::CaughtUp | Pulled::Over))) => {
                subscription.feed = Some(feed);
                subscription.is_idle = true;
                if !std::mem::replace(&mut subscription.told_caught_up, true) {
                    let last_seq = subscription.next_seq - 1;
                    let told = peer::control(FrameKind::CaughtUp, id, &CaughtUp { last_seq });
                    send(socket, told).await;
                }
                return;
            }
            Ok((_, Err(why))) => {
                subscription.is_idle = true;
                self.hub
                    .config
                    .log
                    .error(format!("link {}: {why}", self.shown.link.id));
                send(
                    socket,
                    peer::notice(id, "this session can't be shown: ask whoever shared it"),
                )
                .await;
                return;
            }
            Err(_) => {
                subscription.is_idle = true;
                return;
            }
        };
        for item in items {
            match item {
                Item::Frame(frame) => {
                    let seq = Frame::parse(&frame).map_or(0, |frame| frame.envelope.seq);
                    if seq >= subscription.next_seq {
                        subscription.next_seq = seq + 1;
                        self.hub.stats.frames_sent.add(1);
                        self.hub.stats.bytes_sent.add(frame.len() as u64);
                        send(socket, frame).await;
                    }
                }
                Item::Missed(missed) if missed.to_seq >= subscription.next_seq => {
                    subscription.next_seq = missed.to_seq + 1;
                    self.hub
                        .stats
                        .frames_missed_damaged
                        .add(missed.to_seq - missed.from_seq + 1);
                    send(socket, peer::control(FrameKind::Missed, id, &missed)).await;
                }
                Item::Missed(_) => {}
            }
        }
    }

    /// The one session, if there is news of it.
    async fn tell_list(&mut self, socket: &mut WebSocket) {
        let sessions = Sessions {
            sessions: vec![self.shown.summary()],
        };
        let list = peer::control(FrameKind::Sessions, Default::default(), &sessions);
        if list != self.list {
            self.list = list.clone();
            send(socket, list).await;
        }
    }

    /// Computes beside the connection, from the frames that the link shows.
    fn ask(&mut self, ask: ReportAsk) -> Option<Bytes> {
        let ReportAsk { number, query } = ask;
        let id = self.shown.link.session;
        let told = move |result, last_seq| {
            let told = ReportTold {
                number,
                last_seq,
                result,
            };
            encode_control(FrameKind::ReportTold, id, &told)
        };
        if self.answer.is_some() {
            let why = "one report at a time: wait for the answer to the question before".to_owned();
            return told(Err(why), 0).ok().map(Bytes::from);
        }
        let (sender, receiver) = mpsc::channel(1);
        self.answer = Some(receiver);
        let (hub, shown) = (Arc::clone(&self.hub), Arc::clone(&self.shown));
        tokio::spawn(async move {
            let key = shown.link.report_key();
            let for_feed = Arc::clone(&hub);
            let session = shown.session().cloned();
            let open = move |ask: &Overview| shown.overview(&for_feed, ask);
            let computed = reports::compute(&hub, key, session, query, open).await;
            let frame = match computed {
                Ok(computed) => told(Ok(computed.report), computed.last_seq).or_else(|error| {
                    let why = format!("the report does not fit into a frame ({error}): ask for fewer rows");
                    told(Err(why), 0)
                }),
                Err(why) => told(Err(why), 0),
            };
            // A bearer that is gone needs no answer.
            let _ = sender.send(frame.unwrap_or_default().into()).await;
        });
        None
    }
}

/// Never, while nothing was asked.
async fn next_answer(answer: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match answer {
        Some(answer) => Some(answer.recv().await.unwrap_or_default()),
        None => std::future::pending().await,
    }
}

fn payload<T: serde::de::DeserializeOwned>(frame: &Frame<'_>, what: &'static str) -> Result<T, Refusal> {
    frame
        .control(what)
        .map_err(|error| Refusal::malformed(error.to_string()))
}

/// Empty frames are not sent.
async fn send(socket: &mut WebSocket, frame: Bytes) {
    if !frame.is_empty() {
        send_message(socket, Message::Binary(frame)).await;
    }
}

/// A socket that broke shows when it is read next.
async fn send_message(socket: &mut WebSocket, message: Message) {
    let _ = socket.send(message).await;
}
