//! What both kinds of WebSocket connection share: the handshake, refusing, and going away politely.

use crate::access::{self, Denied, Identity, Visitor};
use crate::hub::Hub;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use heaptide_protocol::control::{
    Ack, ClockPing, ClockPong, Hello, Notice, Refuse, RefuseCode, Role, Welcome,
};
use heaptide_protocol::frame::{MAX_FRAME_BYTES, encode_control};
use heaptide_protocol::{Frame, FrameKind, ProtocolError, SessionId, VERSION};
use std::time::Duration;

/// After the last word, for the peer to read it. Closing at once could reset the connection before.
const LINGER: Duration = Duration::from_secs(2);

/// Why the hub ends a connection; told to the peer in a [`Refuse`] frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: RefuseCode,
    /// The peer's protocol version, 0 if it could not be read.
    pub(crate) theirs: u8,
    pub(crate) message: String,
    pub(crate) session: SessionId,
}

/// How a connection ended when nobody broke a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer's socket closed or broke.
    Gone,
    /// The collector said that its session is over.
    SessionEnded,
    /// The hub shuts down.
    Closing,
    /// A newer connection of the same session took over.
    Replaced,
}

impl Refusal {
    pub(crate) fn new(code: RefuseCode, message: impl Into<String>) -> Self {
        Self {
            code,
            theirs: VERSION,
            message: message.into(),
            session: SessionId::default(),
        }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(RefuseCode::Malformed, message)
    }

    pub(crate) fn about(self, session: SessionId) -> Self {
        Self { session, ..self }
    }

    pub(crate) fn frame(&self) -> Bytes {
        let refuse = Refuse {
            code: self.code,
            ours: VERSION,
            theirs: self.theirs,
            message: self.message.clone(),
        };
        control(FrameKind::Refuse, self.session, &refuse)
    }

    pub(crate) fn close_code(&self) -> u16 {
        match self.code {
            RefuseCode::Version | RefuseCode::Malformed => close_code::PROTOCOL,
            RefuseCode::Forbidden | RefuseCode::SequenceGap => close_code::POLICY,
            RefuseCode::TooManySessions | RefuseCode::StorageFull => close_code::AGAIN,
            RefuseCode::ShuttingDown => close_code::AWAY,
        }
    }
}

/// A frame's bytes; empty, and so never sent, if its payload is too large.
pub(crate) fn control<T: serde::Serialize>(kind: FrameKind, session: SessionId, payload: &T) -> Bytes {
    encode_control(kind, session, payload).map_or_else(|_| Bytes::new(), Bytes::from)
}

pub(crate) fn ack(session: SessionId, durable_seq: u64) -> Bytes {
    control(FrameKind::Ack, session, &Ack { durable_seq })
}

pub(crate) fn notice(session: SessionId, message: impl Into<String>) -> Bytes {
    let message = message.into();
    control(FrameKind::Notice, session, &Notice { message })
}

/// The answer to a [`ClockPing`] that arrived at `t2_unix_ns`, leaving now.
pub(crate) fn pong(ping: ClockPing, t2_unix_ns: u64) -> Bytes {
    let pong = ClockPong {
        t1_ns: ping.t1_ns,
        t2_unix_ns,
        t3_unix_ns: crate::clock::unix_ns(),
    };
    control(FrameKind::ClockPong, SessionId::default(), &pong)
}

/// Checks a message's head, checksum and envelope.
pub(crate) fn parse<'a>(message: &'a [u8], who: &'static str) -> Result<Frame<'a>, Refusal> {
    Frame::parse(message).map_err(|error| match error {
        ProtocolError::Version { theirs, .. } => Refusal {
            theirs,
            ..Refusal::new(RefuseCode::Version, version_message(theirs, who))
        },
        ProtocolError::Short { .. } | ProtocolError::Magic { .. } => Refusal {
            theirs: 0,
            ..Refusal::malformed(error.to_string())
        },
        other => Refusal::malformed(other.to_string()),
    })
}

fn version_message(theirs: u8, who: &str) -> String {
    let upgrade = match (theirs > VERSION, who) {
        (true, _) => "upgrade the hub".to_owned(),
        (false, "console") => "reload the console's page".to_owned(),
        (false, who) => format!("upgrade the {who}"),
    };
    format!("this hub speaks protocol version {VERSION}, this {who} {theirs}: {upgrade}")
}

/// Waits for [`Hello`] and answers it.
pub(crate) async fn greet(
    socket: &mut WebSocket,
    hub: &Hub,
    role: Role,
    visitor: &Visitor,
    known: Option<Identity>,
) -> Result<Identity, Option<Refusal>> {
    let hello = hello(socket, hub, role).await?;
    let identity = match known {
        Some(identity) => identity,
        None => introduce(hub, visitor, hello.token.as_deref()).await?,
    };
    let needed = match role {
        Role::Collector => access::Role::Collector,
        Role::Console => access::Role::Viewer,
    };
    let may = identity.caller.may(needed);
    may.map_err(|why| Refusal::new(RefuseCode::Forbidden, why))?;
    welcome(socket, hub).await?;
    Ok(identity)
}

/// The same for the bearer of a link, whom the address has let in.
pub(crate) async fn greet_bearer(socket: &mut WebSocket, hub: &Hub) -> Result<(), Option<Refusal>> {
    hello(socket, hub, Role::Console).await?;
    welcome(socket, hub).await
}

async fn hello(socket: &mut WebSocket, hub: &Hub, role: Role) -> Result<Hello, Option<Refusal>> {
    let who = who(role);
    let limit = hub.config.limits.handshake;
    let first = tokio::time::timeout(limit, next_message(socket, who))
        .await
        .map_err(|_| {
            Some(Refusal::malformed(format!(
                "expected Hello within {} s",
                limit.as_secs_f32()
            )))
        })??;
    let frame = parse(&first, who)?;
    if frame.envelope.kind != FrameKind::Hello {
        let got = frame.envelope.kind;
        return Err(Some(Refusal::malformed(format!(
            "expected Hello first, got {got:?}"
        ))));
    }
    if frame.envelope.raw_bytes as usize > hub.config.limits.open_bytes {
        return Err(Some(Refusal::malformed("Hello is too large")));
    }
    let hello: Hello = frame
        .control("Hello")
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    if hello.role != role {
        return Err(Some(Refusal::new(
            RefuseCode::Forbidden,
            format!(
                "this address is for a {who}, got {:?}: a collector uses /ws/collector, a console /ws/console",
                hello.role
            ),
        )));
    }
    Ok(hello)
}

async fn welcome(socket: &mut WebSocket, hub: &Hub) -> Result<(), Option<Refusal>> {
    let welcome = Welcome {
        agent: hub.config.agent.clone(),
        hub_epoch: hub.epoch,
        unix_ns: crate::clock::unix_ns(),
    };
    let welcome = control(FrameKind::Welcome, SessionId::default(), &welcome);
    socket.send(Message::Binary(welcome)).await.map_err(|_| None)
}

/// Who this is by what the first frame brings.
async fn introduce(hub: &Hub, visitor: &Visitor, token: Option<&str>) -> Result<Identity, Refusal> {
    if let Some(identity) = hub.access.unasked(visitor) {
        return Ok(identity);
    }
    let Some(token) = token else {
        hub.stats.requests_unknown.add(1);
        return Err(Refusal::new(RefuseCode::Forbidden, access::NO_TOKEN));
    };
    let refused = match hub.access.token(visitor, token) {
        Ok(identity) => return Ok(identity),
        Err(refused) => refused,
    };
    let answer = match refused.denied {
        Denied::Wrong => Refusal::new(RefuseCode::Forbidden, access::WRONG_TOKEN),
        // A right token waits with the wrong ones of its address, and should come back.
        Denied::Wait(left) => Refusal::new(
            RefuseCode::TooManySessions,
            format!(
                "too many wrong tokens came from your address: come back in {} s",
                left.as_secs() + 1
            ),
        ),
    };
    access::refuse(hub, visitor, refused).await;
    Err(answer)
}

/// What opened a connection is no longer valid.
pub(crate) fn grant_lost(hub: &Hub) -> Refusal {
    hub.stats.grants_lost.add(1);
    Refusal::new(RefuseCode::Forbidden, access::NO_LONGER)
}

/// The next binary message. `Err(None)` if the peer is gone.
async fn next_message(socket: &mut WebSocket, who: &str) -> Result<Bytes, Option<Refusal>> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Text(_))) => return Err(Some(text_refused(who))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => return Err(receive_failed(&error)),
            Some(Ok(Message::Close(_))) | None => return Err(None),
        }
    }
}

pub(crate) fn text_refused(who: &str) -> Refusal {
    Refusal::malformed(format!("expected binary messages from a {who}, got text"))
}

/// A message above the limit deserves an answer; a broken socket can't have one.
pub(crate) fn receive_failed(error: &axum::Error) -> Option<Refusal> {
    let text = error.to_string();
    text.contains("too long")
        .then(|| Refusal::malformed(format!("{text}: a frame has at most {MAX_FRAME_BYTES} bytes")))
}

pub(crate) fn who(role: Role) -> &'static str {
    match role {
        Role::Collector => "collector",
        Role::Console => "console",
    }
}

/// Says why, closes, and lets the peer read it.
pub(crate) async fn part(mut socket: WebSocket, hub: &Hub, result: &Result<End, Refusal>) {
    let (code, reason) = match result {
        Ok(End::Gone | End::SessionEnded) => (close_code::NORMAL, String::new()),
        Ok(End::Closing) => (close_code::AWAY, "the hub shuts down".to_owned()),
        Ok(End::Replaced) => (
            close_code::POLICY,
            "a newer connection of this session took over".to_owned(),
        ),
        Err(refusal) => {
            hub.stats.peers_refused.add(1);
            hub.config.log.warning(format!(
                "refused a peer ({:?}): {}",
                refusal.code, refusal.message
            ));
            let _ = send_within(&mut socket, Message::Binary(refusal.frame())).await;
            (refusal.close_code(), format!("{:?}", refusal.code))
        }
    };
    let close = CloseFrame {
        code,
        reason: reason.into(),
    };
    // Fails if the peer closed first; its close frame is then answered while the socket is drained.
    let _ = send_within(&mut socket, Message::Close(Some(close))).await;
    let drain = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

async fn send_within(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        tokio::time::timeout(LINGER, socket.send(message)).await,
        Ok(Ok(()))
    )
}
