//! The sections of a data frame: `kind:u8 length:varint body`, one after the other.
//!
//! One data frame is one tick of a session, so a tick is stored, acknowledged and replayed as a whole.

use crate::control::PolicyOutcome;
use crate::dictionary::Dictionary;
use crate::error::ProtocolError;
use crate::events::EventBatch;
use crate::exact::ExactWindow;
use crate::frame::from_postcard;
use crate::gauges::Gauges;
use crate::goroutines::GoroutineCensus;
use crate::ledger::{Ledger, Regions};
use crate::lifetimes::LifetimeTable;
use crate::loss::LossReport;
use crate::session::{Capability, PlatformSignature};
use crate::varint::{self, Reader};
use serde::{Deserialize, Serialize};

/// The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SectionKind {
    Start = 1,
    Dictionary = 2,
    Lifetimes = 3,
    Events = 4,
    Gauges = 5,
    Loss = 6,
    PolicyOutcome = 7,
    End = 8,
    Goroutines = 9,
    Exact = 10,
    Ledger = 11,
    Regions = 12,
}

/// A decoded section. A section of a kind that this version doesn't know is skipped by its length.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred bytes for the moment that a section takes; none on wasm32"
)]
pub enum Section {
    Start(SessionStart),
    Dictionary(Dictionary),
    Lifetimes(LifetimeTable),
    Events(EventBatch),
    Gauges(Gauges),
    Loss(LossReport),
    PolicyOutcome(PolicyOutcome),
    End(SessionEnd),
    Goroutines(GoroutineCensus),
    Exact(ExactWindow),
    Ledger(Ledger),
    Regions(Regions),
    Unknown { kind: u8, bytes: usize },
}

/// First section of a session: a stored session explains itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStart {
    pub signature: PlatformSignature,
    pub labels: heaptide_policy::Labels,
    pub capabilities: Vec<Capability>,
    pub policy: heaptide_policy::Policy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    pub timestamp_ns: u64,
    pub reason: EndReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The program ended by itself.
    Exited { code: i32 },
    /// The program was ended by a signal.
    Signalled { signal: i32 },
    /// It is gone; how is not known, because it was not our child.
    Gone,
    /// The collector was asked to stop; the program goes on.
    Detached,
}

/// Builds the payload of a data frame.
#[derive(Debug, Default)]
pub struct SectionWriter {
    out: Vec<u8>,
    body: Vec<u8>,
}

impl SectionWriter {
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn push(&mut self, section: &Section) -> Result<(), ProtocolError> {
        match section {
            Section::Start(value) => self.push_postcard(SectionKind::Start, value),
            Section::Dictionary(value) => self.push_postcard(SectionKind::Dictionary, value),
            Section::Gauges(value) => self.push_postcard(SectionKind::Gauges, value),
            Section::Loss(value) => self.push_postcard(SectionKind::Loss, value),
            Section::PolicyOutcome(value) => self.push_postcard(SectionKind::PolicyOutcome, value),
            Section::End(value) => self.push_postcard(SectionKind::End, value),
            Section::Goroutines(value) => self.push_postcard(SectionKind::Goroutines, value),
            Section::Exact(value) => self.push_postcard(SectionKind::Exact, value),
            Section::Ledger(value) => self.push_postcard(SectionKind::Ledger, value),
            Section::Regions(value) => self.push_postcard(SectionKind::Regions, value),
            Section::Lifetimes(table) => {
                self.body.clear();
                table.encode(&mut self.body);
                self.finish(SectionKind::Lifetimes as u8);
                Ok(())
            }
            Section::Events(batch) => {
                self.body.clear();
                batch.encode(&mut self.body);
                self.finish(SectionKind::Events as u8);
                Ok(())
            }
            Section::Unknown { kind, .. } => Err(ProtocolError::Unknown {
                what: "section kind",
                got: u64::from(*kind),
            }),
        }
    }

    /// A section whose body is encoded already.
    pub fn push_raw(&mut self, kind: u8, body: &[u8]) {
        self.out.push(kind);
        varint::put(&mut self.out, body.len() as u64);
        self.out.extend_from_slice(body);
    }

    /// The payload so far; the writer starts anew.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn push_postcard<T: Serialize>(&mut self, kind: SectionKind, value: &T) -> Result<(), ProtocolError> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        self.body =
            postcard::to_extend(value, body).map_err(|_| ProtocolError::Malformed { what: "section" })?;
        self.finish(kind as u8);
        Ok(())
    }

    fn finish(&mut self, kind: u8) {
        let body = std::mem::take(&mut self.body);
        self.push_raw(kind, &body);
        self.body = body;
    }
}

/// Walks the sections of a payload; stops for good at the first malformed one.
#[derive(Debug, Clone)]
pub struct Sections<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Sections<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(payload, "section"),
            failed: false,
        }
    }

    fn read(&mut self) -> Result<RawSection<'a>, ProtocolError> {
        let kind = self.reader.byte()?;
        let length = self.reader.count(1)?;
        let body = self.reader.take(length)?;
        Ok(RawSection { kind, body })
    }

    /// The next section with its body as it is.
    pub fn next_raw(&mut self) -> Option<Result<RawSection<'a>, ProtocolError>> {
        if self.failed || self.reader.remaining() == 0 {
            return None;
        }
        let section = self.read();
        self.failed = section.is_err();
        Some(section)
    }
}

/// A section that was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSection<'a> {
    pub kind: u8,
    pub body: &'a [u8],
}

impl RawSection<'_> {
    pub fn decode(&self) -> Result<Section, ProtocolError> {
        let body = self.body;
        Ok(match self.kind {
            1 => Section::Start(from_postcard(body, "start section")?),
            2 => Section::Dictionary(from_postcard(body, "dictionary section")?),
            3 => Section::Lifetimes(LifetimeTable::decode(body)?),
            4 => Section::Events(EventBatch::decode(body)?),
            5 => Section::Gauges(from_postcard(body, "gauges section")?),
            6 => Section::Loss(from_postcard(body, "loss section")?),
            7 => Section::PolicyOutcome(from_postcard(body, "policy section")?),
            8 => Section::End(from_postcard(body, "end section")?),
            #[cfg(feature = "tables")]
            9 => Section::Goroutines(from_postcard(body, "goroutines section")?),
            #[cfg(feature = "tables")]
            10 => Section::Exact(from_postcard(body, "exact section")?),
            #[cfg(feature = "tables")]
            11 => Section::Ledger(from_postcard(body, "ledger section")?),
            #[cfg(feature = "tables")]
            12 => Section::Regions(from_postcard(body, "regions section")?),
            kind => Section::Unknown {
                kind,
                bytes: body.len(),
            },
        })
    }
}

impl Iterator for Sections<'_> {
    type Item = Result<Section, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        let section = self.next_raw()?.and_then(|raw| raw.decode());
        self.failed |= section.is_err();
        Some(section)
    }
}
