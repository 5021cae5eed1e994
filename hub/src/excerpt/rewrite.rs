//! From the frames of a session to those of a part of it, in order, with or without names.
//!
//! A part that begins with the session keeps the frames' numbers. One that begins later is numbered anew, from
//! a few frames that say what was when it begins ([`Carry`]).

use super::carry::Carry;
use super::redact::Redactor;
use crate::store::replay::Item;
use bytes::Bytes;
use heaptide_protocol::control::{Missed, MissedReason};
use heaptide_protocol::frame::encode;
use heaptide_protocol::report::Window;
use heaptide_protocol::section::{SectionWriter, Sections};
use heaptide_protocol::{Envelope, Frame, ProtocolError, SessionId};

/// A frame of names is made when so much has come together.
const NAMES_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Rewriter {
    session: SessionId,
    window: Window,
    redactor: Option<Redactor>,
    part: Part,
    next_seq: u64,
    /// The frames before the part, as sections.
    before: SectionWriter,
    over: bool,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Part {
    /// Nothing has come yet.
    Unknown,
    /// It begins with the session.
    Whole,
    /// What comes is before it.
    Before(Box<Carry>),
    /// It has begun, later than the session.
    Later,
}

impl Rewriter {
    /// All of it, as it is.
    pub(crate) fn whole(session: SessionId) -> Self {
        let window = Window {
            from_ns: 0,
            to_ns: u64::MAX,
        };
        Self::new(session, window, None)
    }

    pub(crate) fn new(session: SessionId, window: Window, redactor: Option<Redactor>) -> Self {
        Self {
            session,
            window,
            redactor,
            part: Part::Unknown,
            next_seq: 1,
            before: SectionWriter::default(),
            over: false,
            scratch: Vec::new(),
        }
    }

    /// Where the part begins and ends within the session: a frame that stands for others must not go across.
    pub(crate) fn edges_ns(&self) -> Vec<u64> {
        let Window { from_ns, to_ns } = self.window;
        [from_ns, to_ns]
            .into_iter()
            .filter(|edge| (1..u64::MAX).contains(edge))
            .collect()
    }

    /// The number behind the last frame that came out.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Takes in what was read.
    pub(crate) fn items(&mut self, read: Vec<Item>, out: &mut Vec<Item>) -> Result<(), String> {
        for item in read {
            match item {
                Item::Frame(frame) => self.frame(&frame, out)?,
                Item::Missed(missed) => self.missed(missed, out),
            }
        }
        Ok(())
    }

    /// Nothing more of the part can come.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes in the next frame. `Err` is a sentence on why the part can't be had at all.
    pub(crate) fn frame(&mut self, bytes: &Bytes, out: &mut Vec<Item>) -> Result<(), String> {
        if self.over {
            return Ok(());
        }
        let Ok(frame) = Frame::parse(bytes) else {
            return Ok(());
        };
        let envelope = frame.envelope;
        if envelope.first_ns >= self.window.to_ns {
            self.over = true;
            return Ok(());
        }
        if matches!(self.part, Part::Unknown) {
            self.part = if envelope.last_ns < self.window.from_ns {
                Part::Before(Box::new(Carry::new()))
            } else {
                Part::Whole
            };
        }
        if let Part::Before(carry) = &mut self.part {
            if envelope.last_ns < self.window.from_ns {
                let understood = take_in(
                    carry,
                    &frame,
                    self.window.from_ns,
                    &mut self.before,
                    &mut self.scratch,
                )?;
                if !understood {
                    self.hole(out);
                }
                if self.before.len() >= NAMES_BYTES {
                    self.flush_before(out)?;
                }
                return Ok(());
            }
            self.begin(out)?;
        }
        self.emit(&frame, bytes, out);
        Ok(())
    }

    /// Frames that there are no more.
    pub(crate) fn missed(&mut self, missed: Missed, out: &mut Vec<Item>) {
        match self.part {
            // Numbers stay, so the gap has the numbers that it had.
            Part::Unknown | Part::Whole => out.push(Item::Missed(missed)),
            Part::Before(_) | Part::Later => self.hole(out),
        }
    }

    /// Says that something is missing, where numbers are new: one number that no frame has.
    fn hole(&mut self, out: &mut Vec<Item>) {
        out.push(Item::Missed(Missed {
            from_seq: self.next_seq,
            to_seq: self.next_seq,
            reason: MissedReason::Damaged,
        }));
        self.next_seq += 1;
    }

    fn begin(&mut self, out: &mut Vec<Item>) -> Result<(), String> {
        let Part::Before(carry) = std::mem::replace(&mut self.part, Part::Later) else {
            return Ok(());
        };
        let from_ns = self.window.from_ns;
        let (first_ns, last_ns) = (carry.base_ns(from_ns), carry.last_ns(from_ns));
        let mut before = std::mem::take(&mut self.before);
        let mut made = Vec::new();
        carry.finish(from_ns, &mut before, |writer| {
            if !writer.is_empty() {
                made.push(writer.take());
            }
            Ok(())
        })?;
        for payload in made {
            self.push_made(first_ns, last_ns, &payload, out)?;
        }
        Ok(())
    }

    fn flush_before(&mut self, out: &mut Vec<Item>) -> Result<(), String> {
        let Part::Before(carry) = &self.part else {
            return Ok(());
        };
        let from_ns = self.window.from_ns;
        let (first_ns, last_ns) = (carry.base_ns(from_ns), carry.last_ns(from_ns));
        let payload = self.before.take();
        self.push_made(first_ns, last_ns, &payload, out)
    }

    /// Every frame that is made here passes here, and so loses its names.
    fn push_made(
        &mut self,
        first_ns: u64,
        last_ns: u64,
        payload: &[u8],
        out: &mut Vec<Item>,
    ) -> Result<(), String> {
        let envelope = Envelope::data(self.session, self.next_seq, first_ns, last_ns);
        let made = match &self.redactor {
            None => encode(envelope, payload),
            Some(redactor) => {
                without_names(redactor, payload).and_then(|(payload, _)| encode(envelope, &payload))
            }
        };
        let bytes =
            made.map_err(|error| format!("what was before this range does not fit into a frame: {error}"))?;
        self.next_seq += 1;
        out.push(Item::Frame(bytes.into()));
        Ok(())
    }

    fn emit(&mut self, frame: &Frame<'_>, bytes: &Bytes, out: &mut Vec<Item>) {
        let is_later = matches!(self.part, Part::Later);
        let seq = if is_later {
            self.next_seq
        } else {
            frame.envelope.seq
        };
        let envelope = Envelope {
            session: self.session,
            seq,
            ..frame.envelope
        };
        let rewritten = match &self.redactor {
            None => Ok(None),
            Some(redactor) => redacted(redactor, frame, &envelope, &mut self.scratch),
        };
        let rewritten = rewritten.and_then(|rewritten| match rewritten {
            Some(rewritten) => Ok(Bytes::from(rewritten)),
            None if envelope == frame.envelope => Ok(bytes.clone()),
            None => frame.readdressed(envelope).map(Bytes::from),
        });
        match rewritten {
            Ok(bytes) => {
                self.next_seq = seq + 1;
                out.push(Item::Frame(bytes));
            }
            // What can't be read can't be shown without its names.
            Err(_) => {
                self.next_seq = seq;
                self.hole(out);
            }
        }
    }
}

/// Sums up a frame before the part. False if it can't be read to its end.
fn take_in(
    carry: &mut Carry,
    frame: &Frame<'_>,
    from_ns: u64,
    before: &mut SectionWriter,
    scratch: &mut Vec<u8>,
) -> Result<bool, String> {
    let Ok(raw) = frame.raw(scratch) else {
        return Ok(false);
    };
    for section in Sections::new(raw) {
        let Ok(section) = section else { return Ok(false) };
        let Some(told) = carry.take(section, from_ns)? else {
            continue;
        };
        let pushed = before.push(&told);
        if pushed.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The frame without names; `None` if there were none in it.
fn redacted(
    redactor: &Redactor,
    frame: &Frame<'_>,
    envelope: &Envelope,
    scratch: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, ProtocolError> {
    let (payload, changed) = without_names(redactor, frame.raw(scratch)?)?;
    if changed {
        encode(*envelope, &payload).map(Some)
    } else {
        Ok(None)
    }
}

/// The payload, and whether it differs from what came.
fn without_names(redactor: &Redactor, payload: &[u8]) -> Result<(Vec<u8>, bool), ProtocolError> {
    let mut sections = Sections::new(payload);
    let mut writer = SectionWriter::default();
    let mut changed = false;
    while let Some(section) = sections.next_raw() {
        changed |= redactor.section(section?, &mut writer)?;
    }
    Ok((writer.take(), changed))
}
