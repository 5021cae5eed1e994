//! Whole segments that the hub makes itself, and the removal of those that have expired.

use super::index::Segment;
use super::meta::sync_folder;
use super::record::{RecordHead, SEGMENT_HEAD};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const TEMPORARY_NAME: &str = "summary.tmp";

/// Writes a segment of frames with consecutive numbers; durable when this returns. Its size.
pub(crate) fn segment(folder: &Path, segment: &Segment, frames: &[Vec<u8>]) -> io::Result<u64> {
    let temporary = folder.join(TEMPORARY_NAME);
    let written = write(&temporary, segment.base_seq, frames);
    if written.is_err() {
        // On a full disk it would take away room.
        let _ = fs::remove_file(&temporary);
    }
    let bytes = written?;
    fs::rename(&temporary, folder.join(segment.file_name()))?;
    sync_folder(folder)?;
    Ok(bytes)
}

fn write(path: &Path, base_seq: u64, frames: &[Vec<u8>]) -> io::Result<u64> {
    let mut file = File::create(path)?;
    file.write_all(&SEGMENT_HEAD)?;
    let last_seq = base_seq + frames.len() as u64 - 1;
    for frame in frames {
        let head = RecordHead {
            frame_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            // All of what it stands for was durable.
            synced_seq: last_seq,
        };
        file.write_all(&head.encode())?;
        file.write_all(frame)?;
    }
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Deletes segments; those that are gone already are fine.
pub(crate) fn remove(folder: &Path, segments: &[Segment]) -> io::Result<()> {
    for segment in segments {
        match fs::remove_file(folder.join(segment.file_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder(folder)
}
