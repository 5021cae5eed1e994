//! The files of a part's steps: frames that stand for many, one file for each width, in the form of a segment.

use super::Part;
use super::file::temporary;
use crate::store::record::{RecordHead, SEGMENT_HEAD};
use crate::store::segment::{SegmentReader, Step};
use bytes::Bytes;
use heaptide_analysis::steps::{STEP_NAMES, STEPS_NS};
use heaptide_protocol::{Envelope, SessionId};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// `steps-1min-<first sequence number>.htl`.
pub(super) fn name(width: usize, from_seq: u64) -> String {
    format!("steps-{}-{from_seq:020}.htl", STEP_NAMES[width])
}

/// All widths side by side, under temporary names until they are complete. An error stays until the end.
pub(super) struct StepWriter {
    files: Vec<(PathBuf, BufWriter<File>)>,
    failed: Option<io::Error>,
}

impl StepWriter {
    pub(super) fn create(folder: &Path, from_seq: u64) -> io::Result<Self> {
        let create = |width| {
            let path = folder.join(name(width, from_seq));
            let mut file = BufWriter::new(File::create(temporary(&path))?);
            file.write_all(&SEGMENT_HEAD)?;
            Ok((path, file))
        };
        Ok(Self {
            files: (0..STEPS_NS.len()).map(create).collect::<io::Result<_>>()?,
            failed: None,
        })
    }

    pub(super) fn step(&mut self, width: usize, frames: &[Vec<u8>]) {
        if let (None, Some((_, file))) = (&self.failed, self.files.get_mut(width)) {
            self.failed = frames.iter().try_for_each(|frame| append(file, frame)).err();
        }
    }

    /// The size of each file, which is under its name and, if that is asked for, durable.
    pub(super) fn finish(self, durable: bool) -> io::Result<Vec<u64>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let finish = |(path, writer): (PathBuf, BufWriter<File>)| {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            if durable {
                file.sync_all()?;
            }
            std::fs::rename(temporary(&path), &path)?;
            Ok(file.metadata()?.len())
        };
        self.files.into_iter().map(finish).collect()
    }
}

fn append(file: &mut BufWriter<File>, frame: &[u8]) -> io::Result<()> {
    let head = RecordHead {
        frame_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        synced_seq: 0,
    };
    file.write_all(&head.encode())?;
    file.write_all(frame)
}

/// Steps of a part, in order. An error if one of them is damaged: what is left would not be whole.
pub(super) fn read(
    folder: &Path,
    session: SessionId,
    part: &Part,
    width: usize,
) -> io::Result<Vec<(Envelope, Bytes)>> {
    let file = File::open(folder.join(name(width, part.from_seq)))?;
    let until = file.metadata()?.len();
    let mut reader = SegmentReader::new(file, session, SEGMENT_HEAD.len() as u64, until);
    let mut steps = Vec::new();
    loop {
        match reader.step()? {
            Step::Record(record) => steps.push((record.envelope, record.frame)),
            Step::Bad { from, to } => {
                let what = format!("{}: nothing readable in {from}..{to}", name(width, part.from_seq));
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Step::End => return Ok(steps),
        }
    }
}
