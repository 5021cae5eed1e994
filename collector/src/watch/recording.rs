//! A session straight into a file, without a hub.
//!
//! Each record is one write, so a file that a killed collector leaves is whole up to its last record, which
//! may be torn. The page cache keeps it through `kill -9`; only the end is synced, so a power cut may cost
//! more.
//!
//! Left out: several files for one session. A file that has reached its limit ends the watch.

use crate::CollectorError;
use heaptide_protocol::log::{FILE_HEAD, RecordHead};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    pub frames: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Recording {
    file: File,
    path: PathBuf,
    recorded: Recorded,
    max_bytes: u64,
    buffer: Vec<u8>,
}

impl Recording {
    /// Command lines and symbols are nobody else's business: the file is its owner's alone.
    pub(super) fn create(path: &Path, replace: bool, max_bytes: u64) -> Result<Self, CollectorError> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if replace {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let mut file = options.open(path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                CollectorError::RecordingExists {
                    path: path.to_owned(),
                }
            } else {
                failed(path, source)
            }
        })?;
        file.write_all(&FILE_HEAD)
            .map_err(|source| failed(path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            recorded: Recorded {
                frames: 0,
                bytes: FILE_HEAD.len() as u64,
            },
            max_bytes,
            buffer: Vec::new(),
        })
    }

    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), CollectorError> {
        let head = RecordHead {
            frame_bytes: frame.len() as u32,
            // Nothing is ever synced before the end.
            synced_seq: 0,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&head.encode());
        self.buffer.extend_from_slice(frame);
        self.file
            .write_all(&self.buffer)
            .map_err(|source| failed(&self.path, source))?;
        self.recorded.frames += 1;
        self.recorded.bytes += self.buffer.len() as u64;
        Ok(())
    }

    pub(super) fn has_room(&self, frame_bytes: usize) -> bool {
        self.recorded.bytes + frame_bytes as u64 <= self.max_bytes
    }

    pub(super) fn recorded(&self) -> Recorded {
        self.recorded
    }

    pub(super) fn sync(&self) -> Result<(), CollectorError> {
        match self.file.sync_data() {
            // A pipe or a device has nothing to sync.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed(&self.path, error)),
            _ => Ok(()),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> CollectorError {
    CollectorError::Recording {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::frame::encode;
    use heaptide_protocol::log::RECORD_HEAD_BYTES;
    use heaptide_protocol::{Envelope, Frame, SessionId};
    use std::os::unix::fs::PermissionsExt as _;

    const SESSION: SessionId = SessionId([7; 16]);

    #[test]
    fn records_follow_the_head_and_carry_the_frames_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.htl");
        let mut recording = Recording::create(&path, false, 1 << 20).unwrap();
        for seq in 1..=3 {
            let frame = encode(Envelope::data(SESSION, seq, seq, seq), b"payload").unwrap();
            recording.append(&frame).unwrap();
        }
        recording.sync().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let expected = Recorded {
            frames: 3,
            bytes: bytes.len() as u64,
        };
        assert_eq!(recording.recorded(), expected);
        assert_eq!(bytes[..8], FILE_HEAD);
        let mut at = FILE_HEAD.len();
        for seq in 1..=3 {
            let head = RecordHead::decode(&bytes[at..]).unwrap();
            let end = at + head.record_bytes() as usize;
            let frame = Frame::parse(&bytes[at + RECORD_HEAD_BYTES..end]).unwrap();
            assert_eq!((frame.envelope.seq, frame.payload), (seq, &b"payload"[..]));
            at = end;
        }
        assert_eq!(at, bytes.len());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_file_that_exists_is_written_over_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.htl");
        std::fs::write(&path, "precious").unwrap();
        let error = Recording::create(&path, false, 1 << 20).unwrap_err();
        assert!(matches!(error, CollectorError::RecordingExists { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let recording = Recording::create(&path, true, 100).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), FILE_HEAD);
        assert!(recording.has_room(92) && !recording.has_room(93));
        let nowhere = folder.path().join("no/such/folder");
        let error = Recording::create(&nowhere, false, 1).unwrap_err().to_string();
        assert!(error.contains("no/such/folder"), "{error}");
    }
}
