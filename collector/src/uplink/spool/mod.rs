//! Unacknowledged frames of one session, kept until the hub says that they are durable.
//!
//! Frames are written through the page cache before they are sent, so they survive `kill -9` of the
//! collector. There is no `fsync`: a power cut may cost what the kernel had not written yet. When the disk
//! fails (full, read-only, broken) frames go to memory instead, up to [`MEMORY_MAX_BYTES`], and return to
//! disk as soon as that works again; [`Spool::take_notice`] says each change once.
//!
//! Left out: checking what is appended. The pipeline builds the frames; they are checked when read back.

mod disk;
mod orphan;
mod segment;

pub use orphan::Orphan;

use disk::Disk;
use heaptide_protocol::control::Open;
use heaptide_protocol::frame::{self, MAX_FRAME_BYTES};
use heaptide_protocol::{FrameKind, ProtocolError, SessionId};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// What memory takes while the disk does not.
pub(crate) const MEMORY_MAX_BYTES: u64 = 16 << 20;

/// What a hub must be told before it takes the frames of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolHead {
    pub session: SessionId,
    /// Its `first_seq` is ignored: the spool knows better.
    pub open: Open,
}

/// What was found when the spool of a dead collector was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Whole and in order.
    pub frames: u64,
    /// Torn or damaged, with all that came after: a hub takes no frames behind a gap.
    pub cut_bytes: u64,
}

/// A change that a person should hear of, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolNotice {
    /// Frames are kept in memory for now and would not survive the collector.
    FellBack { error: String },
    /// Frames go to disk again, and those in memory were moved there.
    Recovered,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    #[error(
        "spool is full: {used_bytes} of {max_bytes} bytes used, {frame_bytes} more expected to fit; bring \
         the hub back or raise the policy's spool_bytes"
    )]
    Full {
        used_bytes: u64,
        max_bytes: u64,
        frame_bytes: u64,
    },
    #[error("can't {doing} {path}: {source}; choose another spool folder or make room and give access there")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("frame {got} out of order: expected {expected}")]
    OutOfOrder { expected: u64, got: u64 },
    #[error("frame of {got} bytes: expected 1 to {MAX_FRAME_BYTES}")]
    FrameSize { got: usize },
    #[error("frame {seq} in {path} is damaged: {reason}; check that disk")]
    Damaged { seq: u64, path: PathBuf, reason: String },
    #[error("another collector uses the spool {path}: give this session another id")]
    InUse { path: PathBuf },
    #[error("{path} holds no usable spool: {reason}; delete it")]
    Unusable { path: PathBuf, reason: String },
    #[error("spool {path} has been removed")]
    Removed { path: PathBuf },
    #[error("spool work was cut short: {0}")]
    Task(String),
    #[error("session head can't be encoded: {0}")]
    Head(#[from] ProtocolError),
}

/// See the module's head. One at a time per session; a lock file keeps others away while it lives.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    head: SpoolHead,
    max_bytes: u64,
    /// `None` until the folder could be made, and after removal.
    disk: Option<Disk>,
    /// Frames that the disk did not take, behind those that it did.
    memory: VecDeque<Vec<u8>>,
    memory_first_seq: u64,
    memory_bytes: u64,
    in_memory: bool,
    last_seq: u64,
    acked_seq: u64,
    notice: Option<SpoolNotice>,
    recovery: Recovery,
    removed: bool,
}

impl Spool {
    /// Makes `root/<session>` and takes its lock. On a full, read-only or broken disk the spool begins in
    /// memory; a folder without access is an error.
    pub fn create(root: &Path, head: SpoolHead, max_bytes: u64) -> Result<Self, SpoolError> {
        let mut spool = Self {
            root: root.to_owned(),
            head,
            max_bytes,
            disk: None,
            memory: VecDeque::new(),
            memory_first_seq: 1,
            memory_bytes: 0,
            in_memory: false,
            last_seq: 0,
            acked_seq: 0,
            notice: None,
            recovery: Recovery::default(),
            removed: false,
        };
        match spool.create_disk(1) {
            Ok(()) => {}
            Err(SpoolError::Io { source, .. }) if is_disk_trouble(&source) => spool.fall_back(&source),
            Err(error) => return Err(error),
        }
        Ok(spool)
    }

    /// Spools whose collectors are dead, oldest first. They stay locked while the result lives.
    pub fn orphans(root: &Path) -> Result<Vec<Orphan>, SpoolError> {
        orphan::scan(root)
    }

    fn reopened(root: PathBuf, head: SpoolHead, disk: Disk, recovery: Recovery) -> Self {
        let last_seq = disk.next_seq() - 1;
        Self {
            root,
            head,
            max_bytes: disk.bytes(),
            disk: Some(disk),
            memory: VecDeque::new(),
            memory_first_seq: last_seq + 1,
            memory_bytes: 0,
            in_memory: false,
            last_seq,
            acked_seq: 0,
            notice: None,
            recovery,
            removed: false,
        }
    }

    /// Takes the next frame. After `Full` the same `seq` may be used for a later frame: count the loss.
    pub fn append(&mut self, seq: u64, frame: &[u8]) -> Result<(), SpoolError> {
        if self.removed {
            return Err(SpoolError::Removed { path: self.dir() });
        }
        if seq != self.last_seq + 1 {
            return Err(SpoolError::OutOfOrder {
                expected: self.last_seq + 1,
                got: seq,
            });
        }
        if frame.is_empty() || frame.len() > MAX_FRAME_BYTES {
            return Err(SpoolError::FrameSize { got: frame.len() });
        }
        self.try_recover();
        if !self.has_room(frame.len()) {
            return Err(SpoolError::Full {
                used_bytes: self.bytes(),
                max_bytes: if self.in_memory {
                    MEMORY_MAX_BYTES
                } else {
                    self.max_bytes
                },
                frame_bytes: frame.len() as u64,
            });
        }
        if !self.in_memory
            && let Some(disk) = &mut self.disk
            && let Err(error) = disk.append(seq, frame)
        {
            self.fall_back(&error);
        }
        if self.in_memory {
            if self.memory.is_empty() {
                self.memory_first_seq = seq;
            }
            self.memory_bytes += frame.len() as u64;
            self.memory.push_back(frame.to_vec());
        }
        self.last_seq = seq;
        self.try_recover();
        Ok(())
    }

    /// Everything up to here is durable at the hub; whole files of it are deleted.
    pub fn ack(&mut self, durable_seq: u64) {
        self.acked_seq = self.acked_seq.max(durable_seq.min(self.last_seq));
        if let Some(disk) = &mut self.disk {
            disk.ack(self.acked_seq);
        }
        while !self.memory.is_empty() && self.memory_first_seq <= self.acked_seq {
            if let Some(frame) = self.memory.pop_front() {
                self.memory_bytes -= frame.len() as u64;
                self.memory_first_seq += 1;
            }
        }
    }

    /// The first frame after `seq` that is still there, checked. Reads from the page cache as a rule.
    pub fn next_after(&mut self, seq: u64) -> Result<Option<(u64, Vec<u8>)>, SpoolError> {
        if let Some(disk) = &mut self.disk
            && let Some(found) = disk.next_after(seq, self.head.session)?
        {
            return Ok(Some(found));
        }
        if self.memory.is_empty() {
            return Ok(None);
        }
        let wanted = seq.saturating_add(1).max(self.memory_first_seq);
        let index = usize::try_from(wanted - self.memory_first_seq).unwrap_or(usize::MAX);
        Ok(self.memory.get(index).map(|frame| (wanted, frame.clone())))
    }

    /// Used on disk and in memory.
    pub fn bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::bytes) + self.memory_bytes
    }

    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// A policy may change it; what is there already stays.
    pub fn set_max_bytes(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    pub fn has_room(&mut self, frame_bytes: usize) -> bool {
        let frame_bytes = frame_bytes as u64;
        if self.in_memory {
            return self.memory_bytes + frame_bytes <= MEMORY_MAX_BYTES;
        }
        let needed_bytes = frame_bytes + segment::RECORD_HEAD_BYTES;
        let Some(disk) = &mut self.disk else {
            return false;
        };
        disk.bytes() + needed_bytes <= self.max_bytes
            || (disk.roll_if_acked(self.acked_seq) && disk.bytes() + needed_bytes <= self.max_bytes)
    }

    /// The first frame that is still there; the next one to come if there is none.
    pub fn first_seq(&self) -> u64 {
        match &self.disk {
            Some(disk) if disk.frames() > 0 => disk.first_seq(),
            _ if self.memory.is_empty() => self.last_seq + 1,
            _ => self.memory_first_seq,
        }
    }

    /// The last frame appended; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn head(&self) -> &SpoolHead {
        &self.head
    }

    /// What a next connection, or a next collector, should tell the hub about the session.
    pub fn set_open(&mut self, open: Open) -> Result<(), SpoolError> {
        self.head.open = open;
        let bytes = self.head_frame()?;
        match &self.disk {
            Some(disk) => disk.write_head(&bytes),
            None => Ok(()),
        }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.join(self.head.session.to_string())
    }

    /// Whether frames would survive the collector.
    pub fn is_on_disk(&self) -> bool {
        !self.in_memory
    }

    pub fn take_notice(&mut self) -> Option<SpoolNotice> {
        self.notice.take()
    }

    /// For the spool of a dead collector: what was left of it.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Deletes everything. Only for a session that is fully acknowledged, or given up.
    pub fn remove(&mut self) -> Result<(), SpoolError> {
        self.removed = true;
        self.memory.clear();
        self.memory_bytes = 0;
        match self.disk.take() {
            Some(disk) => disk.remove(),
            None => Ok(()),
        }
    }

    fn create_disk(&mut self, next_seq: u64) -> Result<(), SpoolError> {
        let head = self.head_frame()?;
        let disk = Disk::create(&self.root, self.head.session, &head, next_seq, self.max_bytes)?;
        self.disk = Some(disk);
        Ok(())
    }

    fn head_frame(&self) -> Result<Vec<u8>, SpoolError> {
        Ok(frame::encode_control(
            FrameKind::Open,
            self.head.session,
            &self.head.open,
        )?)
    }

    fn fall_back(&mut self, error: &io::Error) {
        if !self.in_memory {
            self.in_memory = true;
            self.notice = Some(SpoolNotice::FellBack {
                error: error.to_string(),
            });
        }
    }

    /// Moves memory to disk, oldest first, as far as that goes. Only a frame that got there proves that the
    /// disk works again.
    fn try_recover(&mut self) {
        if self.memory.is_empty() || (self.disk.is_none() && self.create_disk(self.memory_first_seq).is_err())
        {
            return;
        }
        let Some(disk) = &mut self.disk else { return };
        while let Some(frame) = self.memory.front() {
            let needed_bytes = frame.len() as u64 + segment::RECORD_HEAD_BYTES;
            if disk.bytes() + needed_bytes > self.max_bytes
                || disk.append(self.memory_first_seq, frame).is_err()
            {
                return;
            }
            self.memory_bytes -= frame.len() as u64;
            self.memory.pop_front();
            self.memory_first_seq += 1;
        }
        self.in_memory = false;
        self.notice = Some(SpoolNotice::Recovered);
    }
}

/// Trouble that may pass, as against a folder that is simply wrong.
fn is_disk_trouble(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    ) || (cfg!(unix) && error.raw_os_error() == Some(EIO))
}
