//! A recording becomes a session of the hub: checked record by record while it comes in, and there only when all of
//! it is on disk.
//!
//! What `report` would read, this takes: a torn end, a bad place or a gap cost what they hide, and are told. What
//! is no recording, or not one of a single session from its beginning, is refused.

use super::records::{Found, NotRecords, Records};
use crate::fleet::{Fleet, Occupied};
use crate::hub::Hub;
use crate::session::Session;
use crate::store::Store;
use crate::store::adopt::Filler;
use crate::store::meta::Meta;
use bytes::Bytes;
use heaptide_protocol::control::{PolicyResult, PolicyState, SessionState};
use heaptide_protocol::section::{Section, SectionKind, Sections, SessionStart};
use heaptide_protocol::{Envelope, Frame, SessionId};
use std::io;
use std::sync::Arc;

/// More of it is no recording with a flaw, but something else.
const MAX_BAD_BYTES: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    NotRecords(#[from] NotRecords),
    #[error("frame {seq} belongs to session {got}, expected {expected}: a file holds one session")]
    OtherSession {
        seq: u64,
        expected: SessionId,
        got: SessionId,
    },
    #[error(
        "frame {got} comes after frame {last}: the frames of a recording rise, so this one was put together wrongly"
    )]
    Order { last: u64, got: u64 },
    #[error(
        "it begins with frame {seq}, which doesn't say what it is about: a recording begins with its session's \
         first frame, and so does what a hub exports"
    )]
    NoStart { seq: u64 },
    #[error("there is no whole frame in it: it ended before its first one was written")]
    Empty,
    #[error("more than {MAX_BAD_BYTES} bytes of it can't be read: get the file anew")]
    Damaged,
    #[error("it is longer than the {limit} bytes that this hub takes in: export a shorter range")]
    TooLong { limit: u64 },
    #[error(
        "the hub has session {session} already: look at that one, or import this file beside it with `new_id=true`"
    )]
    Conflict { session: SessionId },
    #[error("the hub has {count} sessions, which is its limit: remove old ones from its data folder")]
    Full { count: usize },
    #[error("can't store it: {0}; check the disk of the data folder")]
    Disk(#[from] io::Error),
}

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) session: Arc<Session>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Sentences on what is not whole.
    pub(crate) flaws: Vec<String>,
}

/// One file on its way in. Blocks.
#[derive(Debug)]
pub(crate) struct Importer {
    filler: Filler,
    records: Records,
    /// To be another session than the file says.
    new_id: Option<SessionId>,
    /// As the file says.
    session: Option<SessionId>,
    start: Option<SessionStart>,
    policy: PolicyState,
    frames: u64,
    last_seq: u64,
    bytes: u64,
    limit_bytes: u64,
    bad_bytes: u64,
    missing: u64,
    unreadable: u64,
    has_end: bool,
    scratch: Vec<u8>,
}

impl Importer {
    pub(crate) fn new(
        store: &Store,
        segment_bytes: u64,
        limit_bytes: u64,
        new_id: Option<SessionId>,
    ) -> Result<Self, ImportError> {
        Ok(Self {
            filler: store.filler(segment_bytes)?,
            records: Records::default(),
            new_id,
            session: None,
            start: None,
            policy: PolicyState::default(),
            frames: 0,
            last_seq: 0,
            bytes: 0,
            limit_bytes,
            bad_bytes: 0,
            missing: 0,
            unreadable: 0,
            has_end: false,
            scratch: Vec::new(),
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(ImportError::TooLong {
                limit: self.limit_bytes,
            });
        }
        self.records.push(bytes);
        self.read(false)
    }

    fn read(&mut self, is_end: bool) -> Result<(), ImportError> {
        while let Some(found) = self.records.next(is_end)? {
            match found {
                Found::Frame { envelope, frame } => self.take(envelope, &frame)?,
                Found::Bad { bytes } => self.bad_bytes += bytes,
            }
            if self.bad_bytes > MAX_BAD_BYTES {
                return Err(ImportError::Damaged);
            }
        }
        Ok(())
    }

    fn take(&mut self, envelope: Envelope, bytes: &Bytes) -> Result<(), ImportError> {
        let seq = envelope.seq;
        let expected = *self.session.get_or_insert(envelope.session);
        if expected != envelope.session {
            return Err(ImportError::OtherSession {
                seq,
                expected,
                got: envelope.session,
            });
        }
        if seq <= self.last_seq {
            return Err(ImportError::Order {
                last: self.last_seq,
                got: seq,
            });
        }
        if self.frames > 0 {
            self.missing += seq - self.last_seq - 1;
        }
        if let Ok(frame) = Frame::parse(bytes) {
            let understood = self.look(&frame);
            self.unreadable += u64::from(!understood);
            if self.start.is_none() {
                return Err(ImportError::NoStart { seq });
            }
            match self.new_id {
                None => self.filler.push(&envelope, bytes)?,
                Some(session) => {
                    let envelope = Envelope { session, ..envelope };
                    let moved = frame.readdressed(envelope).map_err(io::Error::other)?;
                    self.filler.push(&envelope, &moved)?;
                }
            }
            self.frames += 1;
            self.last_seq = seq;
        }
        Ok(())
    }

    /// What the hub knows of a session besides its frames. False if the frame can't be read to its end.
    fn look(&mut self, frame: &Frame<'_>) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let understood = frame
            .raw(&mut scratch)
            .is_ok_and(|payload| self.look_at(Sections::new(payload)));
        self.scratch = scratch;
        understood
    }

    fn look_at(&mut self, mut sections: Sections<'_>) -> bool {
        const WANTED: [u8; 3] = [
            SectionKind::Start as u8,
            SectionKind::PolicyOutcome as u8,
            SectionKind::End as u8,
        ];
        while let Some(section) = sections.next_raw() {
            let Ok(section) = section else { return false };
            if !WANTED.contains(&section.kind) {
                continue;
            }
            match section.decode() {
                Ok(Section::Start(start)) => {
                    self.policy.applied = Some(start.policy.clone());
                    self.start.get_or_insert(start);
                }
                Ok(Section::PolicyOutcome(outcome)) => {
                    if let PolicyResult::Applied { policy, .. } = &outcome.result {
                        self.policy.applied = Some(policy.clone());
                    }
                    self.policy.last_outcome = Some(outcome);
                }
                Ok(Section::End(_)) => self.has_end = true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// The end of the file: the session is there, or nothing of it is.
    pub(crate) fn finish(mut self, store: &Store, fleet: &Fleet) -> Result<Imported, ImportError> {
        self.read(true)?;
        let Some(own) = self.session.filter(|_| self.frames > 0) else {
            return Err(ImportError::Empty);
        };
        let flaws = self.flaws();
        let id = self.new_id.unwrap_or(own);
        let start = self.start.take().ok_or(ImportError::Empty)?;
        fleet.reserve(id).map_err(|occupied| match occupied {
            Occupied::Known => ImportError::Conflict { session: id },
            Occupied::Full { count } => ImportError::Full { count },
        })?;
        let revision = self.policy.applied.as_ref().map_or(0, |policy| policy.revision);
        let meta = Meta {
            signature: start.signature,
            labels: start.labels,
            capabilities: start.capabilities,
            policy: self.policy,
            // No collector comes for it.
            state: SessionState::Ended,
            issued_revision: revision,
            ..Meta::unknown(id)
        };
        let adopted = store.adopt(self.filler, id, meta);
        fleet.settle(id, adopted.as_ref().ok().map(|(session, _)| Arc::clone(session)));
        let (session, _) = adopted?;
        Ok(Imported {
            session,
            frames: self.frames,
            bytes: self.bytes,
            flaws,
        })
    }

    fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        if self.bad_bytes > 0 {
            flaws.push(format!("{} of its bytes are no whole record", self.bad_bytes));
        }
        if self.missing > 0 {
            flaws.push(format!("frames are missing, {} in all", self.missing));
        }
        if self.unreadable > 0 {
            flaws.push(format!(
                "whole frames could not be understood, {} in all",
                self.unreadable
            ));
        }
        if !self.has_end {
            flaws.push("it has no end: what came later is not in it".to_owned());
        }
        flaws
    }
}

/// All of what `pieces` gives, as it comes.
pub(crate) fn take_in(
    hub: &Hub,
    new_id: Option<SessionId>,
    mut next_piece: impl FnMut() -> io::Result<Option<Bytes>>,
) -> Result<Imported, ImportError> {
    let limits = &hub.config.limits;
    let mut importer = Importer::new(&hub.store, limits.segment_bytes, limits.import_bytes, new_id)?;
    while let Some(piece) = next_piece()? {
        importer.push(&piece)?;
    }
    let imported = importer.finish(&hub.store, &hub.fleet)?;
    hub.stats.sessions_imported.add(1);
    Ok(imported)
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
