//! From a file's bytes to a session, as far as the bytes are good.
//!
//! A bad place is stepped over and counted: the frames behind it are read, and the session notes the gap. A
//! record that is cut off at the end is what `kill -9` or a full disk leaves; everything before it counts.

use crate::RecordingError;
use crate::quantity::{self, plural};
use heaptide_analysis::Session;
use heaptide_analysis::views::Window;
use heaptide_protocol::log::{FILE_HEAD, RECORD_HEAD_BYTES, RecordHead};
use heaptide_protocol::session::PlatformSignature;
use heaptide_protocol::{Frame, FrameKind, SessionId};

/// Read bytes are given up in steps of this, so that a large file is not moved at each record.
const GIVE_UP_BYTES: usize = 1 << 20;

/// Takes a file's bytes in pieces of any length; several files of one session one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Of `buffer`, how much has been read.
    at: usize,
    has_head: bool,
    /// Length of the bad place that the reader is in.
    lost_bytes: u64,
    recording: Recording,
}

/// A session as its file tells it.
#[derive(Debug, Default)]
pub struct Recording {
    pub session: Session,
    pub id: SessionId,
    pub frames: u64,
    /// Of the file or files, heads included.
    pub bytes: u64,
    first_seq: u64,
    bad_places: u64,
    bad_bytes: u64,
    torn_bytes: u64,
    unreadable_frames: u64,
}

impl Reader {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        self.buffer.extend_from_slice(bytes);
        self.recording.bytes += bytes.len() as u64;
        self.read(false)?;
        if self.at >= GIVE_UP_BYTES {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        Ok(())
    }

    /// The end of one file. What is left of it is torn.
    pub fn end_of_file(&mut self) -> Result<(), RecordingError> {
        self.read(true)?;
        let rest = (self.buffer.len() - self.at) as u64;
        self.recording.torn_bytes += std::mem::take(&mut self.lost_bytes) + rest;
        self.buffer.clear();
        (self.at, self.has_head) = (0, false);
        Ok(())
    }

    pub fn finish(self) -> Result<Recording, RecordingError> {
        if self.recording.frames == 0 {
            return Err(RecordingError::Empty);
        }
        Ok(self.recording)
    }

    fn read(&mut self, is_end: bool) -> Result<(), RecordingError> {
        if !self.has_head && !self.read_head()? {
            return Ok(());
        }
        loop {
            let rest = &self.buffer[self.at..];
            if rest.len() < RECORD_HEAD_BYTES {
                return Ok(());
            }
            // A head that was not written as one says nothing of what follows: try the next byte.
            let mut step = 1;
            if let Some(head) = RecordHead::decode(rest) {
                let record_bytes = head.record_bytes() as usize;
                match rest.get(RECORD_HEAD_BYTES..record_bytes) {
                    None if !is_end => return Ok(()),
                    None => {}
                    Some(bytes) => {
                        step = record_bytes;
                        if let Some(frame) = data_frame(bytes) {
                            self.recording.take(&frame)?;
                            self.recording.bad_places += u64::from(self.lost_bytes > 0);
                            self.recording.bad_bytes += std::mem::take(&mut self.lost_bytes);
                            self.at += step;
                            continue;
                        }
                    }
                }
            }
            self.lost_bytes += step as u64;
            self.at += step;
        }
    }

    /// Whether the file's head is there.
    fn read_head(&mut self) -> Result<bool, RecordingError> {
        let [.., expected] = FILE_HEAD;
        let magic_bytes = FILE_HEAD.len() - 1;
        let got = &self.buffer[..self.buffer.len().min(FILE_HEAD.len())];
        let length = got.len().min(magic_bytes);
        if got[..length] != FILE_HEAD[..length] {
            return Err(RecordingError::NotARecording { got: got.to_vec() });
        }
        match got.get(magic_bytes) {
            None => Ok(false),
            Some(version) if *version != expected => Err(RecordingError::Version {
                expected,
                got: *version,
            }),
            Some(_) => {
                self.at = FILE_HEAD.len();
                self.has_head = true;
                Ok(true)
            }
        }
    }
}

fn data_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    Frame::parse(bytes)
        .ok()
        .filter(|frame| frame.envelope.kind == FrameKind::Data && frame.envelope.seq > 0)
}

impl Recording {
    fn take(&mut self, frame: &Frame<'_>) -> Result<(), RecordingError> {
        let envelope = &frame.envelope;
        if self.frames == 0 {
            self.id = envelope.session;
            self.first_seq = envelope.seq;
        } else if self.id != envelope.session {
            return Err(RecordingError::OtherSession {
                seq: envelope.seq,
                expected: self.id.to_string(),
                got: envelope.session.to_string(),
            });
        }
        self.frames += 1;
        // The session counts what it could not read, and goes on.
        self.unreadable_frames += u64::from(self.session.apply(frame).is_err());
        Ok(())
    }

    /// `None` if the first frame is missing.
    pub fn signature(&self) -> Option<&PlatformSignature> {
        self.session.start().map(|start| &start.signature)
    }

    /// How long it is.
    pub fn length_s(&self) -> f64 {
        let span = self.session.span();
        span.to_ns.saturating_sub(span.from_ns) as f64 / 1e9
    }

    /// A part of it, in seconds from its beginning.
    pub fn window(&self, from_s: Option<f64>, to_s: Option<f64>) -> Result<Window, RecordingError> {
        let span = self.session.span();
        let at = |seconds: f64| span.from_ns.saturating_add((seconds.max(0.0) * 1e9) as u64);
        let window = Window {
            from_ns: from_s.map_or(span.from_ns, at),
            to_ns: to_s.map_or(span.to_ns, at).min(span.to_ns),
        };
        if window.from_ns < window.to_ns || (from_s, to_s) == (None, None) {
            return Ok(window);
        }
        Err(RecordingError::Window {
            from_s: from_s.unwrap_or(0.0),
            to_s: to_s.unwrap_or(self.length_s()),
            length_s: self.length_s(),
        })
    }

    /// Wall time of a moment of the session; `None` if the first frame is missing.
    pub fn unix_ns(&self, session_ns: u64) -> Option<u64> {
        let clock = &self.signature()?.clock;
        Some((clock.unix_ns + session_ns).saturating_sub(clock.session_ns))
    }

    /// What is not whole about it, in sentences; none for one that was ended as it should.
    pub fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        if self.first_seq > 1 {
            flaws.push(format!(
                "it begins with frame {}: names and signature are in the frames before, so give the folder with \
                 all segments",
                self.first_seq
            ));
        }
        if self.bad_places > 0 {
            flaws.push(format!(
                "{} can't be read ({}); the frames behind it could",
                plural(self.bad_places, "place", "places"),
                quantity::bytes(self.bad_bytes as f64)
            ));
        }
        if self.session.missed_frames() > 0 {
            flaws.push(format!(
                "{} missing",
                plural(self.session.missed_frames(), "frame is", "frames are")
            ));
        }
        if self.unreadable_frames > 0 {
            flaws.push(format!(
                "{} could not be understood",
                plural(self.unreadable_frames, "whole frame", "whole frames")
            ));
        }
        if self.torn_bytes > 0 {
            flaws.push(format!(
                "its last {} are no whole record: whoever wrote it was stopped in the middle",
                plural(self.torn_bytes, "byte", "bytes")
            ));
        }
        if self.session.headline().ended.is_none() {
            flaws.push(format!(
                "it has no end: what came after {:.1} s is not in it",
                self.length_s()
            ));
        }
        flaws
    }
}
