//! One frame: `"HTD" version:u8 crc32:u32le envelope:postcard payload`.
//!
//! The checksum (CRC-32/IEEE) covers everything behind itself. A hub reads the envelope to route, order and
//! store a frame, and never looks into the payload.

use crate::checksum::crc32;
use crate::error::ProtocolError;
use crate::ids::SessionId;
use serde::{Deserialize, Serialize};
use std::io::Read as _;

pub const VERSION: u8 = 1;
pub const MAGIC: [u8; 3] = *b"HTD";
/// Magic, version and checksum.
pub const HEAD_BYTES: usize = 8;
/// The largest frame on the wire, head included.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The largest payload after decompression.
pub const MAX_RAW_BYTES: usize = 8 << 20;
/// A window of zstd that is always allowed, however little is announced.
const LEAST_WINDOW_BYTES: u64 = 128 << 10;

/// What a frame is for. The numbers are the wire's and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// First frame of every connection, from the side that opened it.
    Hello = 1,
    Welcome = 2,
    Refuse = 3,
    /// Collector: here is a session, new or resumed.
    Open = 4,
    /// Hub: durable up to this sequence number.
    Ack = 5,
    /// A numbered, durable part of a session.
    Data = 6,
    ClockPing = 7,
    ClockPong = 8,
    /// Hub to collector: obey this policy.
    PolicySet = 9,
    /// Collector to hub: applied or rejected.
    PolicyOutcome = 10,
    /// Collector to hub, once a second: headline figures for the fleet page.
    Pulse = 11,
    /// Console: subscribe to a session from a sequence number.
    Subscribe = 12,
    Unsubscribe = 13,
    /// Hub to console: the sessions there are.
    Sessions = 14,
    /// Hub to console: frames that this connection will not get.
    Missed = 15,
    /// Console to hub: please change the policy.
    PolicyPropose = 16,
    /// Hub to console: what became of a policy.
    PolicyState = 17,
    /// Hub to console: a subscription has caught up with the live stream.
    CaughtUp = 18,
    /// A sentence for a person; the connection goes on.
    Notice = 19,
    /// Console to hub: compute a report of this session.
    ReportAsk = 20,
    /// Hub to console: the report, or why there is none.
    ReportTold = 21,
    /// Collector to hub, after each answered ping: how the two clocks relate.
    Clock = 22,
    /// Console: subscribe to a session of which the past may be told in steps.
    Overview = 23,
    /// Hub to console: how the frames that follow tell a stretch of the past.
    Stretch = 24,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    Zstd = 1,
}

/// The routing part of a frame. Control frames leave the time and sequence fields 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    pub kind: FrameKind,
    pub session: SessionId,
    /// Contiguous from 1 within a session for [`FrameKind::Data`]; 0 for all others.
    pub seq: u64,
    /// The span of session time that a data frame is about, on the session's clock.
    pub first_ns: u64,
    pub last_ns: u64,
    pub compression: Compression,
    /// Length of the payload after decompression.
    pub raw_bytes: u32,
}

/// A checked frame whose payload still lies in the message it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub envelope: Envelope,
    pub payload: &'a [u8],
}

/// The envelope's bytes: postcard of this struct.
#[derive(Serialize, Deserialize)]
struct WireEnvelope {
    kind: u8,
    session: SessionId,
    seq: u64,
    first_ns: u64,
    span_ns: u64,
    compression: u8,
    raw_bytes: u32,
}

impl Envelope {
    pub fn control(kind: FrameKind, session: SessionId) -> Self {
        Self {
            kind,
            session,
            seq: 0,
            first_ns: 0,
            last_ns: 0,
            compression: Compression::None,
            raw_bytes: 0,
        }
    }

    pub fn data(session: SessionId, seq: u64, first_ns: u64, last_ns: u64) -> Self {
        Self {
            seq,
            first_ns,
            last_ns,
            ..Self::control(FrameKind::Data, session)
        }
    }
}

impl<'a> Frame<'a> {
    /// Checks head, version, lengths and checksum, and reads the envelope.
    pub fn parse(message: &'a [u8]) -> Result<Self, ProtocolError> {
        let [m0, m1, m2, version, c0, c1, c2, c3, body @ ..] = message else {
            return Err(ProtocolError::Short {
                got: message.len(),
                expected: HEAD_BYTES,
            });
        };
        let magic = [*m0, *m1, *m2];
        if magic != MAGIC {
            return Err(ProtocolError::Magic { got: magic });
        }
        if *version != VERSION {
            return Err(ProtocolError::version(*version));
        }
        if message.len() > MAX_FRAME_BYTES {
            return Err(too_large("frame length", message.len(), MAX_FRAME_BYTES));
        }
        let expected = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
        let got = crc32(body);
        if expected != got {
            return Err(ProtocolError::Checksum { expected, got });
        }
        let (wire, payload) = postcard::take_from_bytes::<WireEnvelope>(body)
            .map_err(|_| ProtocolError::Malformed { what: "envelope" })?;
        let envelope = Envelope::from_wire(&wire)?;
        if envelope.compression == Compression::None && envelope.raw_bytes as usize != payload.len() {
            return Err(ProtocolError::Malformed {
                what: "envelope: raw_bytes of an uncompressed payload",
            });
        }
        Ok(Self { envelope, payload })
    }

    /// The payload, decompressed into `scratch` if need be. The output never exceeds the announced length.
    pub fn raw<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], ProtocolError>
    where
        'a: 's,
    {
        match self.envelope.compression {
            Compression::None => Ok(self.payload),
            Compression::Zstd => {
                decompress(self.payload, self.envelope.raw_bytes as usize, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// A control payload as its type, decompressed if need be; trailing bytes are refused.
    pub fn control<T: serde::de::DeserializeOwned>(&self, what: &'static str) -> Result<T, ProtocolError> {
        let mut scratch = Vec::new();
        from_postcard(self.raw(&mut scratch)?, what)
    }
}

/// Builds a frame. With the `compress` feature a payload that shrinks is compressed.
pub fn encode(envelope: Envelope, payload: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    if payload.len() > MAX_RAW_BYTES {
        return Err(too_large("payload length", payload.len(), MAX_RAW_BYTES));
    }
    let compressed = compress(payload);
    let (compression, body) = match &compressed {
        Some(bytes) => (Compression::Zstd, bytes.as_slice()),
        None => (Compression::None, payload),
    };
    let envelope = Envelope {
        compression,
        raw_bytes: payload.len() as u32,
        ..envelope
    };
    assemble(&envelope, body)
}

impl Frame<'_> {
    /// The same payload under another session, number and time, without unpacking it.
    pub fn readdressed(&self, envelope: Envelope) -> Result<Vec<u8>, ProtocolError> {
        let envelope = Envelope {
            compression: self.envelope.compression,
            raw_bytes: self.envelope.raw_bytes,
            ..envelope
        };
        assemble(&envelope, self.payload)
    }
}

/// `body` is as `envelope.compression` says.
fn assemble(envelope: &Envelope, body: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let wire = WireEnvelope {
        kind: envelope.kind as u8,
        session: envelope.session,
        seq: envelope.seq,
        first_ns: envelope.first_ns,
        span_ns: envelope.last_ns.saturating_sub(envelope.first_ns),
        compression: envelope.compression as u8,
        raw_bytes: envelope.raw_bytes,
    };
    let mut out = Vec::with_capacity(HEAD_BYTES + 48 + body.len());
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&[0; 4]);
    out = postcard::to_extend(&wire, out).map_err(|_| ProtocolError::Malformed { what: "envelope" })?;
    out.extend_from_slice(body);
    if out.len() > MAX_FRAME_BYTES {
        return Err(too_large("frame length", out.len(), MAX_FRAME_BYTES));
    }
    let checksum = crc32(&out[HEAD_BYTES..]);
    out[4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

/// Builds a control frame from its payload type.
pub fn encode_control<T: Serialize>(
    kind: FrameKind,
    session: SessionId,
    payload: &T,
) -> Result<Vec<u8>, ProtocolError> {
    let bytes = postcard::to_allocvec(payload).map_err(|_| ProtocolError::Malformed { what: "payload" })?;
    encode(Envelope::control(kind, session), &bytes)
}

pub(crate) fn from_postcard<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, ProtocolError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|_| ProtocolError::Malformed { what })?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(ProtocolError::Trailing {
            what,
            got: rest.len(),
        })
    }
}

fn too_large(what: &'static str, got: usize, limit: usize) -> ProtocolError {
    ProtocolError::TooLarge {
        what,
        got: got as u64,
        limit: limit as u64,
    }
}

/// Small payloads aren't worth a compressor's head.
#[cfg(feature = "compress")]
fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    const MIN_BYTES: usize = 200;
    const LEVEL: i32 = 3;
    thread_local! {
        /// To make a context takes longer than to compress a tick with it.
        static CONTEXT: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> =
            std::cell::RefCell::new(zstd::bulk::Compressor::new(LEVEL).ok());
    }
    if payload.len() < MIN_BYTES {
        return None;
    }
    CONTEXT
        .with_borrow_mut(|context| context.as_mut()?.compress(payload).ok())
        .filter(|bytes| bytes.len() < payload.len())
}

#[cfg(not(feature = "compress"))]
fn compress(_payload: &[u8]) -> Option<Vec<u8>> {
    None
}

fn decompress(payload: &[u8], raw_bytes: usize, scratch: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let failed = |detail: String| ProtocolError::Decompress { detail };
    scratch.clear();
    let mut source = payload;
    // The window is taken before the first byte is unpacked, and whoever packed this had no use for a larger one.
    let most_window_bytes = (2 * raw_bytes as u64).max(LEAST_WINDOW_BYTES);
    let decoder =
        ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut source, most_window_bytes)
            .map_err(|error| failed(error.to_string()))?;
    // One byte past the announced length tells a liar from an honest peer without unpacking a bomb.
    decoder
        .take(raw_bytes as u64 + 1)
        .read_to_end(scratch)
        .map_err(|error| failed(error.to_string()))?;
    if scratch.len() != raw_bytes {
        return Err(failed(format!(
            "expected {raw_bytes} bytes, got {}",
            scratch.len()
        )));
    }
    Ok(())
}

impl Envelope {
    fn from_wire(wire: &WireEnvelope) -> Result<Self, ProtocolError> {
        if wire.raw_bytes as usize > MAX_RAW_BYTES {
            return Err(too_large(
                "decompressed length",
                wire.raw_bytes as usize,
                MAX_RAW_BYTES,
            ));
        }
        let compression = match wire.compression {
            0 => Compression::None,
            1 => Compression::Zstd,
            got => {
                return Err(ProtocolError::Unknown {
                    what: "compression",
                    got: u64::from(got),
                });
            }
        };
        let last_ns = wire
            .first_ns
            .checked_add(wire.span_ns)
            .ok_or(ProtocolError::Malformed {
                what: "envelope: time span",
            })?;
        Ok(Self {
            kind: FrameKind::from_wire(wire.kind)?,
            session: wire.session,
            seq: wire.seq,
            first_ns: wire.first_ns,
            last_ns,
            compression,
            raw_bytes: wire.raw_bytes,
        })
    }
}

impl FrameKind {
    const ALL: [Self; 24] = [
        Self::Hello,
        Self::Welcome,
        Self::Refuse,
        Self::Open,
        Self::Ack,
        Self::Data,
        Self::ClockPing,
        Self::ClockPong,
        Self::PolicySet,
        Self::PolicyOutcome,
        Self::Pulse,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Sessions,
        Self::Missed,
        Self::PolicyPropose,
        Self::PolicyState,
        Self::CaughtUp,
        Self::Notice,
        Self::ReportAsk,
        Self::ReportTold,
        Self::Clock,
        Self::Overview,
        Self::Stretch,
    ];

    fn from_wire(got: u8) -> Result<Self, ProtocolError> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == got)
            .ok_or(ProtocolError::Unknown {
                what: "frame kind",
                got: u64::from(got),
            })
    }
}
