//! A session that comes as a whole and not from a collector: its folder is filled beside the others, and moved in
//! when all of it is on disk.

use super::Store;
use super::index::Segment;
use super::meta::{Meta, sync_folder};
use super::record::{RECORD_HEAD_BYTES, RecordHead, SEGMENT_HEAD, segment_name};
use super::recover;
use crate::session::Session;
use heaptide_protocol::{Envelope, SessionId};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Beside the sessions' folder, so that moving in is renaming.
const INCOMING: &str = "incoming";

/// A folder in the making; removed again unless it is adopted.
#[derive(Debug)]
pub(crate) struct Filler {
    folder: PathBuf,
    open: Option<BufWriter<File>>,
    segments: Vec<Segment>,
    segment_bytes: u64,
}

impl Store {
    /// An empty folder. Blocks, as all of these do.
    pub(crate) fn filler(&self, segment_bytes: u64) -> io::Result<Filler> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let incoming = self.incoming();
        super::create_private(&incoming)?;
        let folder = incoming.join(NUMBERS.fetch_add(1, Relaxed).to_string());
        // One of this name is what a hub left that was killed.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        super::create_private(&folder)?;
        Ok(Filler {
            folder,
            open: None,
            segments: Vec::new(),
            segment_bytes,
        })
    }

    /// Makes a filled folder that of a session, which must not have one. Gives the session with sentences on what
    /// is wrong with it.
    pub(crate) fn adopt(
        &self,
        mut filler: Filler,
        id: SessionId,
        meta: Meta,
    ) -> io::Result<(Arc<Session>, Vec<String>)> {
        filler.seal()?;
        let mut sealed = std::mem::take(&mut filler.segments);
        // The last one is read through when it is taken in.
        sealed.pop();
        let meta = Meta { sealed, ..meta };
        meta.save(&filler.folder)?;
        let folder = self.folder(id);
        fs::rename(&filler.folder, &folder)?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent)?;
        }
        let recovered = recover::recover(&folder, id)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "there is no frame in it"))?;
        let session = Session::new(id, recovered.meta, recovered.log);
        Ok((Arc::new(session), recovered.findings))
    }

    fn incoming(&self) -> PathBuf {
        self.sessions_dir
            .parent()
            .map_or_else(|| self.sessions_dir.join(INCOMING), |data| data.join(INCOMING))
    }
}

impl Filler {
    pub(crate) fn push(&mut self, envelope: &Envelope, frame: &[u8]) -> io::Result<()> {
        if self
            .segments
            .last()
            .is_some_and(|segment| segment.bytes >= self.segment_bytes)
        {
            self.seal()?;
        }
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.next_segment(envelope)?,
        };
        let Some(segment) = self.segments.last_mut() else {
            return Ok(());
        };
        let head = RecordHead {
            frame_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            // All of it is durable before any of it is adopted.
            synced_seq: segment.last_seq,
        };
        file.write_all(&head.encode())?;
        file.write_all(frame)?;
        segment.bytes += (RECORD_HEAD_BYTES + frame.len()) as u64;
        segment.first_ns = if segment.frames == 0 {
            envelope.first_ns
        } else {
            segment.first_ns.min(envelope.first_ns)
        };
        segment.last_ns = segment.last_ns.max(envelope.last_ns);
        segment.last_seq = envelope.seq;
        segment.frames += 1;
        self.open = Some(file);
        Ok(())
    }

    fn next_segment(&mut self, envelope: &Envelope) -> io::Result<BufWriter<File>> {
        let mut file = BufWriter::new(File::create(self.folder.join(segment_name(envelope.seq)))?);
        file.write_all(&SEGMENT_HEAD)?;
        self.segments.push(Segment {
            base_seq: envelope.seq,
            last_seq: envelope.seq.saturating_sub(1),
            bytes: SEGMENT_HEAD.len() as u64,
            frames: 0,
            first_ns: 0,
            last_ns: 0,
            written_unix_ns: crate::clock::steady_unix_ns(),
            summary: None,
        });
        Ok(file)
    }

    fn seal(&mut self) -> io::Result<()> {
        if let Some(file) = self.open.take() {
            file.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Gone already if it was adopted; what can't be removed is at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what imports left that were cut off.
pub(super) fn clear(data_dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(data_dir.join(INCOMING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
