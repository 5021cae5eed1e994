//! The spool's folder: `lock`, `open` (one Open frame: the session's head) and the files of frames.
//!
//! There is always a last file, named by the first sequence number in it, so that an empty spool still
//! tells where its session is. In memory there is one small entry per file, none per frame.

use super::SpoolError;
use super::segment::{RECORD_HEAD_BYTES, ReadError, Segment, SegmentReader, write_record};
use heaptide_protocol::SessionId;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A file is closed when the next frame would take it past this.
const SEGMENT_BYTES: u64 = 4 << 20;
const LOCK_NAME: &str = "lock";
const HEAD_NAME: &str = "open";
const NEW_HEAD_NAME: &str = "open.new";
/// In the root: held while folders are made and looked for, so that none is taken for dead before its
/// maker has locked it.
const ROOT_LOCK_NAME: &str = "lock";

#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// Held, not read.
    _lock: File,
    /// Contiguous, oldest first, never empty.
    segments: VecDeque<Segment>,
    /// Writes to the last segment; `None` begins a new one.
    writer: Option<File>,
    reader: Option<SegmentReader>,
    segment_bytes: u64,
    head_bytes: u64,
    frames_bytes: u64,
}

impl Disk {
    pub(super) fn create(
        root: &Path,
        session: SessionId,
        head: &[u8],
        next_seq: u64,
        max_bytes: u64,
    ) -> Result<Self, SpoolError> {
        make_dir(root).map_err(|source| io_error("make the spool folder", root, source))?;
        let dir = root.join(session.to_string());
        let root_lock = lock_root(root)?;
        make_dir(&dir).map_err(|source| io_error("make the spool folder", &dir, source))?;
        let lock = lock_dir(&dir, true)?.ok_or_else(|| SpoolError::InUse { path: dir.clone() })?;
        drop(root_lock);
        if dir.join(HEAD_NAME).exists() {
            return Err(SpoolError::InUse { path: dir });
        }
        let mut disk = Self::new(
            dir,
            lock,
            head.len() as u64,
            VecDeque::from([Segment::empty(next_seq)]),
        );
        disk.segment_bytes = SEGMENT_BYTES.min(max_bytes / 4).max(1);
        let made = disk.write_head(head).and_then(|()| {
            disk.begin_segment(next_seq)
                .map_err(|source| io_error("make a file in", &disk.dir, source))
        });
        if let Err(error) = made {
            // Without a head it holds nothing; the next collector would remove it as well.
            let _ = disk.remove();
            return Err(error);
        }
        Ok(disk)
    }

    /// For the folder of a dead collector, whose files have been checked.
    pub(super) fn reopened(dir: PathBuf, lock: File, head_bytes: u64, segments: VecDeque<Segment>) -> Self {
        Self::new(dir, lock, head_bytes, segments)
    }

    fn new(dir: PathBuf, lock: File, head_bytes: u64, segments: VecDeque<Segment>) -> Self {
        Self {
            dir,
            _lock: lock,
            frames_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments,
            writer: None,
            reader: None,
            segment_bytes: SEGMENT_BYTES,
            head_bytes,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.head_bytes + self.frames_bytes
    }

    pub(super) fn frames(&self) -> u64 {
        self.next_seq() - self.first_seq()
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.segments.front().map_or(1, |segment| segment.first_seq)
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.segments.back().map_or(1, Segment::end_seq)
    }

    /// Atomic: an old head or the new one, never half of it.
    pub(super) fn write_head(&self, bytes: &[u8]) -> Result<(), SpoolError> {
        let new = self.dir.join(NEW_HEAD_NAME);
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, self.dir.join(HEAD_NAME)))
            .map_err(|source| io_error("write the session's head in", &self.dir, source))
    }

    /// All or nothing, as far as later reads can tell.
    pub(super) fn append(&mut self, seq: u64, frame: &[u8]) -> io::Result<()> {
        if seq != self.next_seq() {
            // Frames between were acknowledged from memory, so all files are acknowledged too. They must
            // go first: a hole inside the spool would hide what comes behind it.
            self.clear_segments()?;
        }
        let record_bytes = RECORD_HEAD_BYTES + frame.len() as u64;
        let fits = self
            .segments
            .back()
            .is_some_and(|last| last.frames == 0 || last.bytes + record_bytes <= self.segment_bytes);
        if self.writer.is_none() || !fits {
            self.begin_segment(seq)?;
        }
        let (Some(file), Some(last)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no file to write to"));
        };
        if let Err(error) = write_record(file, frame) {
            // A torn record at the end of a file is cut by readers; no more may follow it there.
            if file
                .set_len(last.bytes)
                .and_then(|()| file.seek(SeekFrom::End(0)))
                .is_err()
            {
                self.writer = None;
            }
            return Err(error);
        }
        last.frames += 1;
        last.bytes += record_bytes;
        self.frames_bytes += record_bytes;
        Ok(())
    }

    /// Deletes files that are wholly acknowledged, the last one only when it is half full.
    pub(super) fn ack(&mut self, acked_seq: u64) {
        if self
            .segments
            .back()
            .is_some_and(|last| last.bytes >= self.segment_bytes / 2)
        {
            self.roll_if_acked(acked_seq);
        }
        self.drop_acked(acked_seq);
    }

    /// Puts an empty file in the place of files that are wholly acknowledged. Says whether that freed any.
    pub(super) fn roll_if_acked(&mut self, acked_seq: u64) -> bool {
        let next_seq = self.next_seq();
        if self.frames() == 0 || acked_seq + 1 < next_seq || self.begin_segment(next_seq).is_err() {
            return false;
        }
        self.drop_acked(acked_seq)
    }

    pub(super) fn next_after(
        &mut self,
        seq: u64,
        session: SessionId,
    ) -> Result<Option<(u64, Vec<u8>)>, SpoolError> {
        let wanted = seq.saturating_add(1).max(self.first_seq());
        if wanted >= self.next_seq() {
            return Ok(None);
        }
        let index = self
            .segments
            .partition_point(|segment| segment.end_seq() <= wanted);
        let Some(segment) = self.segments.get(index).copied() else {
            return Ok(None);
        };
        let path = segment.path(&self.dir);
        let failed = |error| match error {
            ReadError::Io(source) => io_error("read", &path, source),
            ReadError::Damaged(reason) => SpoolError::Damaged {
                seq: wanted,
                path: path.clone(),
                reason,
            },
        };
        // A reader at the end of its file stands at the first frame of the next one.
        let mut reader = match self.reader.take() {
            Some(reader) if reader.next_seq() == wanted && wanted != segment.first_seq => reader,
            _ => {
                let mut reader = SegmentReader::open(&self.dir, &segment).map_err(|e| failed(e.into()))?;
                reader.skip_to(wanted).map_err(failed)?;
                reader
            }
        };
        let frame = reader
            .read(session)
            .and_then(|frame| frame.ok_or_else(|| ReadError::Damaged("the file ends early".to_owned())))
            .map_err(failed)?;
        self.reader = Some(reader);
        Ok(Some((wanted, frame)))
    }

    /// Deletes the folder, the head first: what has no head is nobody's.
    pub(super) fn remove(self) -> Result<(), SpoolError> {
        remove_dir(&self.dir)
    }

    fn begin_segment(&mut self, first_seq: u64) -> io::Result<()> {
        let segment = Segment::empty(first_seq);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(segment.path(&self.dir))?;
        self.writer = Some(file);
        if self.segments.back().is_some_and(|last| last.frames == 0) {
            let old = self.segments.pop_back();
            if let Some(old) = old.filter(|old| old.first_seq != first_seq) {
                let _ = fs::remove_file(old.path(&self.dir));
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    fn drop_acked(&mut self, acked_seq: u64) -> bool {
        let mut dropped = false;
        while self.segments.len() > 1
            && let Some(first) = self.segments.front().copied()
            && first.end_seq() <= acked_seq + 1
            // What can't be deleted stays on the books and is tried again.
            && remove_file(&first.path(&self.dir)).is_ok()
        {
            self.frames_bytes -= first.bytes;
            self.segments.pop_front();
            dropped = true;
        }
        dropped
    }

    fn clear_segments(&mut self) -> io::Result<()> {
        while let Some(first) = self.segments.front().copied() {
            remove_file(&first.path(&self.dir))?;
            self.frames_bytes -= first.bytes;
            self.segments.pop_front();
            self.writer = None;
        }
        Ok(())
    }
}

/// `None` when another process holds it, or when there is none and `create` is not set.
pub(super) fn lock_dir(dir: &Path, create: bool) -> Result<Option<File>, SpoolError> {
    let path = dir.join(LOCK_NAME);
    let file = match OpenOptions::new()
        .write(true)
        .create(create)
        .truncate(false)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if !create && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("open", &path, source)),
    };
    // flock(2) on Unix: gone with the process, however it dies.
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path, source)),
    }
}

pub(super) fn lock_root(root: &Path) -> Result<File, SpoolError> {
    let path = root.join(ROOT_LOCK_NAME);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| io_error("lock", &path, source))
}

pub(super) fn read_head(dir: &Path) -> io::Result<Vec<u8>> {
    fs::read(dir.join(HEAD_NAME))
}

pub(super) fn remove_dir(dir: &Path) -> Result<(), SpoolError> {
    let failed = |source| io_error("delete", dir, source);
    remove_file(&dir.join(HEAD_NAME)).map_err(failed)?;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| name == NEW_HEAD_NAME || Segment::parse_name(name).is_some());
        if ours {
            remove_file(&entry.path()).map_err(failed)?;
        }
    }
    remove_file(&dir.join(LOCK_NAME)).map_err(failed)?;
    fs::remove_dir(dir).map_err(failed)
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// For the owner alone: frames carry command lines and function names.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
