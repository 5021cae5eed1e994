//! Spools of dead collectors: found by a lock that nobody holds, checked frame by frame.

use super::disk::{self, Disk, io_error};
use super::segment::{ReadError, Segment, SegmentReader};
use super::{Recovery, Spool, SpoolError, SpoolHead};
use heaptide_protocol::control::Open;
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A locked folder, not read yet.
#[derive(Debug)]
pub struct Orphan {
    dir: PathBuf,
    session: SessionId,
    lock: File,
    bytes: u64,
    modified: SystemTime,
}

impl Orphan {
    pub fn session(&self) -> SessionId {
        self.session
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// On disk, torn parts included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads and checks every frame, so it may take a while: not for an async task.
    pub fn open(&self) -> Result<Spool, SpoolError> {
        let root = self.dir.parent().unwrap_or(Path::new("")).to_owned();
        let (head, head_bytes) = self.head()?;
        let (segments, recovery) = self.check()?;
        // The lock belongs to the open file, which both share.
        let lock = self
            .lock
            .try_clone()
            .map_err(|source| io_error("lock", &self.dir, source))?;
        let disk = Disk::reopened(self.dir.clone(), lock, head_bytes, segments);
        Ok(Spool::reopened(root, head, disk, recovery))
    }

    /// Deletes it unread.
    pub fn remove(&self) -> Result<(), SpoolError> {
        disk::remove_dir(&self.dir)
    }

    fn head(&self) -> Result<(SpoolHead, u64), SpoolError> {
        let unusable = |reason: String| SpoolError::Unusable {
            path: self.dir.clone(),
            reason,
        };
        let bytes = disk::read_head(&self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unusable("the session's head is missing".to_owned()),
            _ => io_error("read the session's head in", &self.dir, error),
        })?;
        let frame = Frame::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
        let open: Open = frame
            .control("open")
            .map_err(|error| unusable(error.to_string()))?;
        if frame.envelope.kind != FrameKind::Open || frame.envelope.session != self.session {
            return Err(unusable("the head is not this session's".to_owned()));
        }
        let session = self.session;
        Ok((SpoolHead { session, open }, bytes.len() as u64))
    }

    /// The files up to the first hole. What lies behind it can't be used and is cut.
    fn check(&self) -> Result<(VecDeque<Segment>, Recovery), SpoolError> {
        let mut firsts = Vec::new();
        for entry in self.entries()? {
            if let Some(seq) = entry.file_name().to_str().and_then(Segment::parse_name) {
                firsts.push((seq, entry.metadata().map_or(0, |meta| meta.len())));
            }
        }
        firsts.sort_unstable();
        let mut segments = VecDeque::new();
        let mut recovery = Recovery::default();
        let mut next_seq = firsts.first().map_or(1, |(first_seq, _)| *first_seq);
        for (first_seq, file_bytes) in firsts {
            if first_seq != next_seq {
                recovery.cut_bytes += file_bytes;
                continue;
            }
            let segment = self.check_file(first_seq)?;
            recovery.frames += segment.frames;
            recovery.cut_bytes += file_bytes.saturating_sub(segment.bytes);
            next_seq = segment.end_seq();
            segments.push_back(segment);
        }
        segments.retain(|segment: &Segment| segment.frames > 0);
        if segments.is_empty() {
            segments.push_back(Segment::empty(next_seq));
        }
        Ok((segments, recovery))
    }

    fn check_file(&self, first_seq: u64) -> Result<Segment, SpoolError> {
        let mut segment = Segment::empty(first_seq);
        let path = segment.path(&self.dir);
        let failed = |source| io_error("read", &path, source);
        let mut reader = SegmentReader::open(&self.dir, &segment).map_err(failed)?;
        loop {
            match reader.read(self.session) {
                Ok(Some(frame)) => {
                    segment.frames += 1;
                    segment.bytes += super::segment::RECORD_HEAD_BYTES + frame.len() as u64;
                }
                Ok(None) | Err(ReadError::Damaged(_)) => return Ok(segment),
                Err(ReadError::Io(source)) => return Err(failed(source)),
            }
        }
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, SpoolError> {
        fs::read_dir(&self.dir)
            .and_then(Iterator::collect)
            .map_err(|source| io_error("list", &self.dir, source))
    }
}

pub(super) fn scan(root: &Path) -> Result<Vec<Orphan>, SpoolError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let _root_lock = disk::lock_root(root)?;
    let mut orphans = Vec::new();
    for entry in fs::read_dir(root).map_err(|source| io_error("list", root, source))? {
        let entry = entry.map_err(|source| io_error("list", root, source))?;
        let Some(session) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let dir = entry.path();
        let Some(lock) = disk::lock_dir(&dir, false)? else {
            continue;
        };
        let mut orphan = Orphan {
            dir,
            session,
            lock,
            bytes: 0,
            modified: SystemTime::UNIX_EPOCH,
        };
        for file in orphan.entries()? {
            if let Ok(meta) = file.metadata() {
                orphan.bytes += meta.len();
                orphan.modified = meta
                    .modified()
                    .map_or(orphan.modified, |at| orphan.modified.max(at));
            }
        }
        orphans.push(orphan);
    }
    orphans.sort_by_key(|orphan| orphan.modified);
    Ok(orphans)
}
