//! The past of a session for a console that asked for an overview: wide steps where nobody looks closely, narrow ones or
//! each frame where somebody does, and what is newest as it is.

use super::newest;
use super::{Part, steps};
use crate::hub::Hub;
use crate::session::{Cursor, Session};
use crate::store::replay::{self, Chunk, Item};
use bytes::Bytes;
use heaptide_analysis::steps::STEPS_NS;
use heaptide_protocol::control::{Overview, Stretch};
use heaptide_protocol::{Envelope, SessionId};
use std::collections::VecDeque;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

/// Read from disk at once.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Past {
    close_ns: Range<u64>,
    /// No step goes across one of these.
    edges_ns: Vec<u64>,
    /// Indices into [`STEPS_NS`]; `None` is each frame.
    wide: Option<usize>,
    narrow: Option<usize>,
    parts: VecDeque<(PathBuf, Part)>,
    /// Of the part before these.
    told: VecDeque<Told>,
}

/// What comes next of the past.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Steps { stretch: Stretch, frames: Vec<Bytes> },
    Items(Vec<Item>),
}

/// What is to be sent of one part.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Steps {
        stretch: Stretch,
        frames: Vec<Bytes>,
    },
    /// Each frame up to this number.
    Each {
        to_seq: u64,
    },
}

/// The steps of one part, by width, as far down as they are needed.
struct Widths {
    narrowest: usize,
    steps: Vec<Vec<(Envelope, Bytes)>>,
}

impl Past {
    /// Looks at sizes only. `edges_ns` are times across which no step may go, since not all of it is to be seen.
    pub(crate) fn plan(hub: &Hub, session: &Session, ask: &Overview, edges_ns: Vec<u64>) -> io::Result<Self> {
        let stored = session.with_log(|log| log.end().saturating_sub(log.seek(1)));
        let mut past = Self {
            close_ns: ask.close_from_ns..ask.close_to_ns,
            edges_ns,
            wide: None,
            narrow: None,
            parts: VecDeque::new(),
            told: VecDeque::new(),
        };
        if stored <= ask.past_bytes {
            return Ok(past);
        }
        past.parts = newest::all(hub, session.id)?.into();
        let half = ask.past_bytes / 2;
        let of_all = |width: usize| {
            past.parts
                .iter()
                .map(|(_, part)| part.steps_bytes(width))
                .sum::<u64>()
        };
        past.wide = (0..STEPS_NS.len())
            .find(|width| of_all(*width) <= half)
            .or(Some(STEPS_NS.len() - 1));
        let close = |bytes: &dyn Fn(&Part) -> u64| {
            let parts = past.parts.iter().map(|(_, part)| part);
            let shares = parts.map(|part| bytes(part) as f64 * part.share_of(&past.close_ns));
            shares.sum::<f64>() as u64
        };
        let each = |part: &Part| {
            session.with_log(|log| log.seek(part.to_seq + 1).saturating_sub(log.seek(part.from_seq)))
        };
        past.narrow = if close(&each) <= half {
            None
        } else {
            let narrow = (0..STEPS_NS.len()).find(|width| close(&|part| part.steps_bytes(*width)) <= half);
            narrow.map_or(past.wide, |narrow| past.wide.min(Some(narrow)))
        };
        Ok(past)
    }

    /// The next piece; the cursor moves behind it. Nothing when the past is told: the rest comes as it is. Blocks.
    pub(crate) fn pull(&mut self, hub: &Hub, session: &Session, cursor: &mut Cursor) -> Option<Piece> {
        let told = loop {
            if let Some(told) = self.told.pop_front() {
                break told;
            }
            self.next_part(hub, session, cursor.next_seq)?;
        };
        match told {
            Told::Steps { stretch, frames } => {
                *cursor = session.cursor_after(stretch.to_seq);
                Some(Piece::Steps { stretch, frames })
            }
            Told::Each { to_seq } if cursor.next_seq <= to_seq => {
                let before = *cursor;
                let chunk = match session.with_log(|log| log.stretch(before)) {
                    Some(stretch) => replay::read_or_missed(hub, session, &stretch, before, PIECE_BYTES),
                    None => Chunk {
                        items: Vec::new(),
                        cursor: before,
                    },
                };
                let mut items = chunk.items;
                items.retain(|item| item.first_seq() <= to_seq);
                if chunk.cursor == before || chunk.cursor.next_seq > to_seq {
                    // What has expired meanwhile is told as missed by what follows.
                    *cursor = session.cursor_after(to_seq);
                } else {
                    *cursor = chunk.cursor;
                    self.told.push_front(Told::Each { to_seq });
                }
                Some(Piece::Items(items))
            }
            Told::Each { .. } => Some(Piece::Items(Vec::new())),
        }
    }

    /// Reads a part's files. Nothing when there is no part left.
    fn next_part(&mut self, hub: &Hub, session: &Session, next_seq: u64) -> Option<()> {
        let (folder, part) = self.parts.pop_front()?;
        let mut told = VecDeque::new();
        if next_seq < part.from_seq {
            told.push_back(Told::Each {
                to_seq: part.from_seq - 1,
            });
        }
        let each = Told::Each { to_seq: part.to_seq };
        match self.wide {
            Some(wide) if part.steps_bytes(wide) < u64::MAX => {
                let read = Widths::read(&folder, session.id, &part, self.closest(&part, wide)..=wide);
                match read {
                    Ok(widths) => self.tell(&widths, wide, part.from_seq..=part.to_seq, &mut told),
                    Err(error) => {
                        if error.kind() != io::ErrorKind::NotFound {
                            let text = format!("can't read steps: {error}; each frame is sent instead");
                            hub.config.log.about("session", session.id).warning(text);
                        }
                        told.push_back(each);
                    }
                }
            }
            _ => told.push_back(each),
        }
        self.told = told;
        Some(())
    }

    /// The narrowest steps that can be needed of a part.
    fn closest(&self, part: &Part, wide: usize) -> usize {
        let lasts = part.first_ns..=part.last_ns;
        if self.edges_ns.iter().any(|edge| lasts.contains(edge)) {
            0
        } else if part.share_of(&self.close_ns) > 0.0 {
            self.narrow.unwrap_or(0)
        } else {
            wide
        }
    }

    /// How wide a step may be that lies where this one does; `None` is each frame.
    fn allowed(&self, step: &Envelope) -> Option<usize> {
        let is_across = |edge: &u64| step.first_ns < *edge && *edge <= step.last_ns;
        if self.edges_ns.iter().any(is_across) {
            None
        } else if step.first_ns < self.close_ns.end && self.close_ns.start <= step.last_ns {
            self.narrow
        } else {
            self.wide
        }
    }

    /// Tells steps of a width, and narrower ones in place of those that are too wide: they nest.
    fn tell(&self, widths: &Widths, width: usize, seqs: RangeInclusive<u64>, told: &mut VecDeque<Told>) {
        let mut from_seq = *seqs.start();
        for step in widths.of(width, &seqs) {
            let [.., (last, _)] = step else { continue };
            let to_seq = last.seq;
            let next = match (self.allowed(last), width.checked_sub(1)) {
                (Some(allowed), _) if width <= allowed => Told::Steps {
                    stretch: Stretch {
                        from_seq,
                        to_seq,
                        step_ns: STEPS_NS[width],
                    },
                    frames: step.iter().map(|(_, frame)| frame.clone()).collect(),
                },
                (_, Some(narrower)) => {
                    self.tell(widths, narrower, from_seq..=to_seq, told);
                    from_seq = to_seq + 1;
                    continue;
                }
                (_, None) => Told::Each { to_seq },
            };
            from_seq = to_seq + 1;
            if let Some(next) = told.back_mut().map_or(Some(next.clone()), |last| last.join(next)) {
                told.push_back(next);
            }
        }
    }
}

impl Told {
    /// Takes in what follows, if it is of the same kind; else gives it back.
    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Each { to_seq }, Self::Each { to_seq: next }) => *to_seq = next,
            (
                Self::Steps { stretch, frames },
                Self::Steps {
                    stretch: next,
                    frames: more,
                },
            ) if stretch.step_ns == next.step_ns && stretch.to_seq + 1 == next.from_seq => {
                stretch.to_seq = next.to_seq;
                frames.extend(more);
            }
            (_, next) => return Some(next),
        }
        None
    }
}

impl Widths {
    fn read(
        folder: &Path,
        session: SessionId,
        part: &Part,
        widths: RangeInclusive<usize>,
    ) -> io::Result<Self> {
        let narrowest = *widths.start();
        let read = widths.map(|width| steps::read(folder, session, part, width));
        Ok(Self {
            narrowest,
            steps: read.collect::<io::Result<_>>()?,
        })
    }

    /// Steps of a width that end in a range of frames, each with all its frames.
    fn of(&self, width: usize, seqs: &RangeInclusive<u64>) -> impl Iterator<Item = &[(Envelope, Bytes)]> {
        let steps = self
            .steps
            .get(width - self.narrowest)
            .map_or(&[][..], Vec::as_slice);
        let from = steps.partition_point(|(step, _)| step.seq < *seqs.start());
        let until = steps.partition_point(|(step, _)| step.seq <= *seqs.end());
        let within = steps.get(from..until).unwrap_or_default();
        within.chunk_by(|(a, _), (b, _)| (a.first_ns, a.last_ns) == (b.first_ns, b.last_ns))
    }
}

impl Part {
    /// Of its file of steps; more than anything if there is none.
    fn steps_bytes(&self, width: usize) -> u64 {
        self.step_bytes.get(width).copied().unwrap_or(u64::MAX)
    }

    /// How much of its time lies in a range.
    fn share_of(&self, range_ns: &Range<u64>) -> f64 {
        let from_ns = self.first_ns.max(range_ns.start);
        let to_ns = self.last_ns.saturating_add(1).min(range_ns.end);
        let length_ns = self.last_ns.saturating_sub(self.first_ns) + 1;
        to_ns.saturating_sub(from_ns) as f64 / length_ns as f64
    }
}
