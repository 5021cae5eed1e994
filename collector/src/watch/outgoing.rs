//! From sections to numbered frames in the spool or in a file.

use super::recording::{Recorded, Recording};
use crate::CollectorError;
use crate::uplink::Spool;
use heaptide_policy::Policy;
use heaptide_protocol::frame;
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, SessionId};
use std::sync::{Arc, Mutex, PoisonError};

/// A frame is closed here; the largest section is well below the rest of a frame's limit.
const CLOSE_AT_BYTES: usize = 400 << 10;
/// Room that a tick must find before it is closed.
const TICK_ROOM_BYTES: usize = 2 << 20;

#[derive(Debug)]
pub(super) struct Outgoing {
    session: SessionId,
    next_seq: u64,
    writer: SectionWriter,
    store: Store,
    made_bytes: u64,
}

/// Where frames are kept.
#[derive(Debug)]
pub(super) enum Store {
    /// Until the hub has them.
    Spool(Arc<Mutex<Spool>>),
    /// For good.
    File(Recording),
}

impl Outgoing {
    pub(super) fn new(session: SessionId, store: Store) -> Self {
        Self {
            session,
            next_seq: 1,
            writer: SectionWriter::default(),
            store,
            made_bytes: 0,
        }
    }

    /// All frames so far, as they travel.
    pub(super) fn made_bytes(&self) -> u64 {
        self.made_bytes
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn has_room(&self) -> bool {
        match &self.store {
            Store::Spool(spool) => lock(spool).has_room(TICK_ROOM_BYTES),
            Store::File(recording) => recording.has_room(TICK_ROOM_BYTES),
        }
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        match &self.store {
            Store::Spool(spool) => lock(spool).bytes(),
            Store::File(_) => 0,
        }
    }

    /// How far the file has come, if there is one.
    pub(super) fn recorded(&self) -> Option<Recorded> {
        match &self.store {
            Store::Spool(_) => None,
            Store::File(recording) => Some(recording.recorded()),
        }
    }

    /// Whether a file has reached its limit. A spool is emptied by the hub, so it only waits.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.store, Store::File(_)) && !self.has_room()
    }

    /// Makes a file durable; a spool is the hub's to make so.
    pub(super) fn sync(&self) -> Result<(), CollectorError> {
        match &self.store {
            Store::Spool(_) => Ok(()),
            Store::File(recording) => recording.sync(),
        }
    }

    /// Frames for these sections; a tick is one frame unless it is very large.
    pub(super) fn send(
        &mut self,
        sections: &[Section],
        first_ns: u64,
        last_ns: u64,
    ) -> Result<(), CollectorError> {
        for section in sections {
            self.writer.push(section)?;
            if self.writer.len() >= CLOSE_AT_BYTES {
                self.close(first_ns, last_ns)?;
            }
        }
        self.close(first_ns, last_ns)
    }

    /// The next `Open`, and whoever uploads what we leave, tells this policy.
    pub(super) fn remember_policy(&self, policy: &Policy) {
        let Store::Spool(spool) = &self.store else { return };
        let mut spool = lock(spool);
        let mut open = spool.head().open.clone();
        open.policy = policy.clone();
        // A spool on a failing disk has said so already, by its own notice.
        let _ = spool.set_open(open);
    }

    /// What the hub can't take any more.
    pub(super) fn abandon(&self) {
        if let Store::Spool(spool) = &self.store {
            let _ = lock(spool).remove();
        }
    }

    fn close(&mut self, first_ns: u64, last_ns: u64) -> Result<(), CollectorError> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let payload = self.writer.take();
        let envelope = Envelope::data(self.session, self.next_seq, first_ns, last_ns);
        let bytes = frame::encode(envelope, &payload)?;
        match &mut self.store {
            Store::Spool(spool) => lock(spool).append(self.next_seq, &bytes)?,
            Store::File(recording) => recording.append(&bytes)?,
        }
        self.next_seq += 1;
        self.made_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn lock(spool: &Mutex<Spool>) -> std::sync::MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}
