//! The past of a session for a console that asked for an overview: wide steps where nobody looks closely, narrow ones or
//! each frame where somebody does, and what is newest as it is.

use super::newest;
use super::{Part, steps};
use crate::hub::Hub;
use crate::session::Session;
use bytes::Bytes;
use heaptide_analysis::steps::STEPS_NS;
use heaptide_protocol::Envelope;
use heaptide_protocol::control::{Overview, Stretch};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Past {
    close_ns: Range<u64>,
    /// Indices into [`STEPS_NS`]; `None` is each frame.
    wide: Option<usize>,
    narrow: Option<usize>,
    parts: VecDeque<(PathBuf, Part)>,
}

/// What is to be sent of one part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Steps {
        stretch: Stretch,
        frames: Vec<Bytes>,
    },
    /// Each frame up to this number.
    Each {
        to_seq: u64,
    },
}

impl Past {
    /// Looks at sizes only.
    pub(crate) fn plan(hub: &Hub, session: &Session, ask: &Overview) -> io::Result<Self> {
        let stored = session.with_log(|log| log.end().saturating_sub(log.seek(1)));
        let mut past = Self {
            close_ns: ask.close_from_ns..ask.close_to_ns,
            wide: None,
            narrow: None,
            parts: VecDeque::new(),
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

    /// What comes next, behind `next_seq`; nothing when all parts are told. Reads a part's files.
    pub(crate) fn next(&mut self, hub: &Hub, session: &Session, next_seq: u64) -> Option<Vec<Told>> {
        let (folder, part) = self.parts.pop_front()?;
        let mut told = Vec::new();
        if next_seq < part.from_seq {
            told.push(Told::Each {
                to_seq: part.from_seq - 1,
            });
        }
        let of_part = match self.wide {
            Some(wide) if part.steps_bytes(wide) < u64::MAX => self.tell(session, &folder, &part, wide),
            _ => Ok(vec![Told::Each { to_seq: part.to_seq }]),
        };
        told.extend(of_part.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let text = format!("can't read steps: {error}; each frame is sent instead");
                hub.config.log.about("session", session.id).warning(text);
            }
            vec![Told::Each { to_seq: part.to_seq }]
        }));
        Some(told)
    }

    /// Steps nest, so where one of the wide ones ends, one of the narrow ones does.
    fn tell(&self, session: &Session, folder: &Path, part: &Part, wide: usize) -> io::Result<Vec<Told>> {
        let all = steps::read(folder, session.id, part, wide)?;
        let before = all.partition_point(|(step, _)| step.last_ns < self.close_ns.start);
        let until = all
            .partition_point(|(step, _)| step.first_ns < self.close_ns.end)
            .max(before);
        if before == until || self.narrow == Some(wide) {
            return Ok(vec![steps_of(part.from_seq, &all, wide)]);
        }
        let mut told = Vec::new();
        if before > 0 {
            told.push(steps_of(part.from_seq, &all[..before], wide));
        }
        let from_seq = before
            .checked_sub(1)
            .map_or(part.from_seq, |at| all[at].0.seq + 1);
        let to_seq = all[until - 1].0.seq;
        match self.narrow {
            None => told.push(Told::Each { to_seq }),
            Some(narrow) => {
                let mut closer = steps::read(folder, session.id, part, narrow)?;
                closer.retain(|(step, _)| (from_seq..=to_seq).contains(&step.seq));
                told.push(steps_of(from_seq, &closer, narrow));
            }
        }
        if until < all.len() {
            told.push(steps_of(to_seq + 1, &all[until..], wide));
        }
        Ok(told)
    }
}

fn steps_of(from_seq: u64, steps: &[(Envelope, Bytes)], width: usize) -> Told {
    Told::Steps {
        stretch: Stretch {
            from_seq,
            to_seq: steps.last().map_or(from_seq, |(step, _)| step.seq),
            step_ns: STEPS_NS[width],
        },
        frames: steps.iter().map(|(_, frame)| frame.clone()).collect(),
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
