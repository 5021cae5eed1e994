//! One spool file: records of `length:u32le frame`, frames in sequence. A frame carries its own checksum.

use heaptide_protocol::frame::MAX_FRAME_BYTES;
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

pub(super) const RECORD_HEAD_BYTES: u64 = 4;
const SUFFIX: &str = ".frames";
const READ_BUFFER_BYTES: usize = 64 << 10;

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

/// Reads one file in order.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: BufReader<File>,
    next_seq: u64,
}

/// Why a record can't be used.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// Torn, damaged, or not the frame that belongs here.
    Damaged(String),
}

impl Segment {
    pub(super) fn empty(first_seq: u64) -> Self {
        Self {
            first_seq,
            frames: 0,
            bytes: 0,
        }
    }

    /// The first sequence number behind this file.
    pub(super) fn end_seq(&self) -> u64 {
        self.first_seq + self.frames
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}{SUFFIX}", self.first_seq))
    }

    /// The sequence number in a file's name.
    pub(super) fn parse_name(name: &str) -> Option<u64> {
        name.strip_suffix(SUFFIX)?.parse().ok().filter(|seq| *seq > 0)
    }
}

pub(super) fn write_record(file: &mut File, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // One call, ten times a second.
    file.write_all(&[&length.to_le_bytes(), frame].concat())
}

impl SegmentReader {
    pub(super) fn open(dir: &Path, segment: &Segment) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::with_capacity(READ_BUFFER_BYTES, File::open(segment.path(dir))?),
            next_seq: segment.first_seq,
        })
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn skip_to(&mut self, seq: u64) -> Result<(), ReadError> {
        while self.next_seq < seq {
            let length = self.length()?.ok_or_else(ends_early)?;
            self.file.seek_relative(length as i64)?;
            self.next_seq += 1;
        }
        Ok(())
    }

    /// The next frame, checked; `None` at the end of the file.
    pub(super) fn read(&mut self, session: SessionId) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        self.file
            .read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ends_early(),
                _ => ReadError::Io(error),
            })?;
        check(&bytes, session, self.next_seq).map_err(ReadError::Damaged)?;
        self.next_seq += 1;
        Ok(Some(bytes))
    }

    fn length(&mut self) -> Result<Option<usize>, ReadError> {
        let mut head = [0; RECORD_HEAD_BYTES as usize];
        let mut filled = 0;
        while filled < head.len() {
            match self.file.read(&mut head[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ends_early()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        let length = u32::from_le_bytes(head) as usize;
        if length == 0 || length > MAX_FRAME_BYTES {
            return Err(ReadError::Damaged(format!(
                "record length is {length}: expected 1 to {MAX_FRAME_BYTES}"
            )));
        }
        Ok(Some(length))
    }
}

fn check(bytes: &[u8], session: SessionId, seq: u64) -> Result<(), String> {
    let envelope = Frame::parse(bytes).map_err(|error| error.to_string())?.envelope;
    if envelope.kind != FrameKind::Data || envelope.session != session || envelope.seq != seq {
        return Err(format!(
            "expected data frame {seq} of session {session}, got {:?} {} of {}",
            envelope.kind, envelope.seq, envelope.session
        ));
    }
    Ok(())
}

fn ends_early() -> ReadError {
    ReadError::Damaged("the file ends inside a record".to_owned())
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
