//! Which segments have to go, as a pure function: by age, by bytes of a session, and by bytes in all.
//!
//! Oldest first; never the segment that may still be written, never one that is pinned. A session's last segment
//! goes only with the whole session, when its collector is gone and nothing else is left.

use crate::store::index::Segment;
use heaptide_protocol::SessionId;
use std::time::Duration;

/// How long stored data is kept; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since the last frame of a segment was written.
    pub max_age: Option<Duration>,
    pub max_session_bytes: Option<u64>,
    pub max_total_bytes: Option<u64>,
}

impl Default for Retention {
    /// A hub that nobody looks after must not fill the disk.
    fn default() -> Self {
        Self {
            max_age: None,
            max_session_bytes: None,
            max_total_bytes: Some(20 << 30),
        }
    }
}

/// What is stored of a session.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) session: SessionId,
    pub(super) segments: Vec<Segment>,
    /// What was made of its segments, and goes only with it.
    pub(super) other_bytes: u64,
    /// Its collector has been gone for long enough not to come back.
    pub(super) settled: bool,
}

/// What is to be done about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Neighbouring segments, by their numbers; a summary takes their place.
    Stretch {
        session: SessionId,
        base_seqs: Vec<u64>,
    },
    Whole {
        session: SessionId,
    },
}

pub(super) fn plan(
    stored: &[Stored],
    retention: &Retention,
    now_unix_ns: u64,
    is_pinned: &dyn Fn(SessionId, u64, u64) -> bool,
) -> Vec<Expiry> {
    let mut marks: Vec<Vec<bool>> = stored.iter().map(|one| vec![false; one.segments.len()]).collect();
    // Places of what may go, oldest first.
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (nth, one) in stored.iter().enumerate() {
        let last = one.segments.len().saturating_sub(1);
        for (at, segment) in one.segments.iter().enumerate() {
            let may_go = segment.summary.is_none()
                && (at < last || one.settled)
                && !is_pinned(one.session, segment.first_ns, segment.last_ns);
            if may_go {
                places.push((nth, at));
            }
        }
    }
    let segment = |(nth, at): (usize, usize)| &stored[nth].segments[at];
    places.sort_by_key(|place| (segment(*place).written_unix_ns, *place));

    if let Some(max_age) = retention.max_age {
        let max_age_ns = u64::try_from(max_age.as_nanos()).unwrap_or(u64::MAX);
        let oldest_unix_ns = now_unix_ns.saturating_sub(max_age_ns);
        for (nth, at) in &places {
            marks[*nth][*at] = segment((*nth, *at)).written_unix_ns < oldest_unix_ns;
        }
    }
    let bytes = |nth: usize, marks: &[Vec<bool>]| {
        let kept = stored[nth]
            .segments
            .iter()
            .zip(&marks[nth])
            .filter(|(_, gone)| !**gone);
        kept.map(|(segment, _)| segment.bytes).sum::<u64>() + stored[nth].other_bytes
    };
    if let Some(limit) = retention.max_session_bytes {
        for (nth, one) in stored.iter().enumerate() {
            let mut left = bytes(nth, &marks);
            let last = one.segments.len().saturating_sub(1);
            for (of, at) in places.iter().filter(|(of, at)| *of == nth && *at < last) {
                if left > limit && !marks[*of][*at] {
                    marks[*of][*at] = true;
                    left -= segment((*of, *at)).bytes;
                }
            }
        }
    }
    if let Some(limit) = retention.max_total_bytes {
        let mut left: u64 = (0..stored.len()).map(|nth| bytes(nth, &marks)).sum();
        for (nth, at) in &places {
            if left > limit && !marks[*nth][*at] {
                marks[*nth][*at] = true;
                left -= segment((*nth, *at)).bytes;
            }
        }
    }
    let expiries = stored.iter().zip(marks);
    expiries
        .flat_map(|(one, marks)| of_session(one, marks, is_pinned))
        .collect()
}

fn of_session(
    one: &Stored,
    mut marks: Vec<bool>,
    is_pinned: &dyn Fn(SessionId, u64, u64) -> bool,
) -> Vec<Expiry> {
    let session = one.session;
    let all = marks
        .iter()
        .zip(&one.segments)
        .all(|(gone, segment)| *gone || segment.summary.is_some());
    if !marks.is_empty() && all && marks.last() == Some(&true) {
        if !is_pinned(session, 0, u64::MAX) {
            return vec![Expiry::Whole { session }];
        }
        marks.fill(false);
    }
    // Not before all the others are gone.
    if let Some(last) = marks.last_mut() {
        *last = false;
    }
    // A summary joins what expires beside it.
    for at in 0..marks.len() {
        let is_summary = one.segments[at].summary.is_some();
        let after_gone = at > 0 && marks[at - 1];
        let before_gone = marks.get(at + 1) == Some(&true);
        if is_summary && at + 1 < marks.len() && (after_gone || before_gone) {
            marks[at] = true;
        }
    }
    let mut stretches: Vec<Vec<u64>> = Vec::new();
    let mut open = false;
    for (gone, segment) in marks.iter().zip(&one.segments) {
        match (gone, open) {
            (true, true) => stretches
                .last_mut()
                .into_iter()
                .for_each(|stretch| stretch.push(segment.base_seq)),
            (true, false) => stretches.push(vec![segment.base_seq]),
            _ => {}
        }
        open = *gone;
    }
    stretches
        .into_iter()
        .map(|base_seqs| Expiry::Stretch { session, base_seqs })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::Summary;

    const ONE: SessionId = SessionId([1; 16]);
    const TWO: SessionId = SessionId([2; 16]);
    const SECOND_NS: u64 = 1_000_000_000;

    /// Segments of 100 bytes, written at these seconds.
    fn stored(session: SessionId, settled: bool, written_s: &[u64]) -> Stored {
        let segments = written_s.iter().zip(1_u64..).map(|(written_s, nth)| Segment {
            base_seq: nth,
            last_seq: nth,
            bytes: 100,
            frames: 1,
            first_ns: nth * 10,
            last_ns: nth * 10 + 9,
            written_unix_ns: written_s * SECOND_NS,
            summary: None,
        });
        Stored {
            session,
            segments: segments.collect(),
            other_bytes: 0,
            settled,
        }
    }

    fn summarised(mut stored: Stored, at: usize) -> Stored {
        stored.segments[at].summary = Some(Summary {
            from_seq: 1,
            sums_from_seq: 1,
        });
        stored
    }

    fn stretch(session: SessionId, base_seqs: &[u64]) -> Expiry {
        Expiry::Stretch {
            session,
            base_seqs: base_seqs.to_vec(),
        }
    }

    #[test]
    fn what_has_to_go_as_a_table() {
        let none = Retention {
            max_age: None,
            max_session_bytes: None,
            max_total_bytes: None,
        };
        let age = Retention {
            max_age: Some(Duration::from_secs(50)),
            ..none
        };
        let each = Retention {
            max_session_bytes: Some(250),
            ..none
        };
        let total = Retention {
            max_total_bytes: Some(300),
            ..none
        };
        let live = stored(ONE, false, &[10, 20, 60, 90]);
        let settled = stored(TWO, true, &[10, 20]);
        // What, the sessions, the limits, pinned session time of session one, what goes at second 100.
        let cases = [
            ("no limit", vec![live.clone()], none, None, vec![]),
            ("age", vec![live.clone()], age, None, vec![stretch(ONE, &[1, 2])]),
            (
                "pinned",
                vec![live.clone()],
                age,
                Some((10, 11)),
                vec![stretch(ONE, &[2])],
            ),
            (
                "bytes of a session",
                vec![live.clone()],
                each,
                None,
                vec![stretch(ONE, &[1, 2])],
            ),
            (
                "the one being written stays",
                vec![stored(ONE, false, &[1])],
                age,
                None,
                vec![],
            ),
            (
                "a session that is over goes whole",
                vec![settled.clone()],
                age,
                None,
                vec![Expiry::Whole { session: TWO }],
            ),
            (
                "unless it is pinned",
                vec![stored(ONE, true, &[1, 2])],
                age,
                Some((500, 600)),
                vec![],
            ),
            (
                "the oldest of all",
                vec![live.clone(), settled],
                total,
                None,
                vec![stretch(ONE, &[1, 2]), stretch(TWO, &[1])],
            ),
            (
                "what was made of it counts, too",
                vec![Stored {
                    other_bytes: 100,
                    ..live.clone()
                }],
                total,
                None,
                vec![stretch(ONE, &[1, 2])],
            ),
            (
                "a summary joins its neighbours, and does not go by itself",
                vec![summarised(live, 0)],
                age,
                None,
                vec![stretch(ONE, &[1, 2])],
            ),
            (
                "only a summary is old",
                vec![summarised(stored(ONE, false, &[10, 90, 95]), 0)],
                age,
                None,
                vec![],
            ),
            (
                "two stretches",
                vec![stored(ONE, false, &[1, 99, 2, 99])],
                age,
                None,
                vec![stretch(ONE, &[1]), stretch(ONE, &[3])],
            ),
        ];
        for (what, stored, retention, pinned, expected) in cases {
            let is_pinned = |session: SessionId, from_ns: u64, to_ns: u64| {
                session == ONE && pinned.is_some_and(|(from, to)| from <= to_ns && from_ns <= to)
            };
            let got = plan(&stored, &retention, 100 * SECOND_NS, &is_pinned);
            assert_eq!(got, expected, "{what}");
        }
    }
}
