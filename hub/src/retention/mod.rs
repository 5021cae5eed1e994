//! Deletes what is too old or too much, whole segments at a time, beside the ingest path.
//!
//! What goes is replaced by a summary ([`heaptide_analysis::summary`]): names are sent once in a session, so
//! without it nothing that comes later could be read. Readers are told what they miss as expired.

mod pins;
mod plan;

pub(crate) use pins::Pins;
pub use plan::Retention;

use crate::hub::Hub;
use crate::levels;
use crate::session::Session;
use crate::store::index::{Segment, Summary as Mark};
use crate::store::{replay, rewrite};
use heaptide_analysis::AnalysisError;
use heaptide_analysis::summary::Summary;
use heaptide_protocol::control::SessionState;
use heaptide_protocol::{Frame, SessionId};
use plan::{Expiry, Stored};
use std::io;
use std::sync::Arc;

/// Why there is no summary.
enum Failed {
    TooLong,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Looks again and again. Runs until it is dropped.
pub(crate) async fn keep(hub: Arc<Hub>) {
    remove_leftovers(&hub).await;
    loop {
        tokio::time::sleep(hub.config.limits.retention_interval).await;
        for expiry in due(&hub) {
            match expiry {
                Expiry::Whole { session } => remove(&hub, session).await,
                Expiry::Stretch { session, base_seqs } => {
                    let hub = Arc::clone(&hub);
                    // The thread ends by itself, also if nobody waits for it any more.
                    let _ = tokio::task::spawn_blocking(move || shorten(&hub, session, &base_seqs)).await;
                }
            }
        }
    }
}

fn due(hub: &Hub) -> Vec<Expiry> {
    let level_bytes = levels::parts_bytes(hub);
    let stored: Vec<Stored> = hub
        .fleet
        .all()
        .iter()
        .map(|session| Stored {
            session: session.id,
            segments: session.with_log(|log| log.segments().cloned().collect()),
            other_bytes: level_bytes.get(&session.id).copied().unwrap_or(0),
            settled: is_settled(hub, session),
        })
        .collect();
    let is_pinned = |session, from_ns, to_ns| hub.pins.is_pinned(session, from_ns, to_ns);
    plan::plan(
        &stored,
        &hub.config.retention,
        crate::clock::steady_unix_ns(),
        &is_pinned,
    )
}

/// A collector that is only away for a while goes on where it was.
fn is_settled(hub: &Hub, session: &Session) -> bool {
    match session.state() {
        SessionState::Live => false,
        SessionState::Ended => true,
        SessionState::Away { since_unix_ns } => {
            let patience_ns = u64::try_from(hub.config.limits.away_patience.as_nanos()).unwrap_or(u64::MAX);
            crate::clock::unix_ns().saturating_sub(since_unix_ns) > patience_ns
        }
    }
}

/// Replaces segments by a summary of them. A disk that is full has no room for that one before they are gone.
fn shorten(hub: &Hub, session: SessionId, base_seqs: &[u64]) {
    let Some(session) = hub.fleet.get(session) else {
        return;
    };
    let log = &hub.config.log;
    let folder = hub.store.folder(session.id);
    let segments: Vec<Segment> = session.with_log(|log| {
        let these = log
            .segments()
            .filter(|segment| base_seqs.contains(&segment.base_seq));
        these.cloned().collect()
    });
    let made = match summarise(hub, session.id, &segments) {
        // More has to expire before it is worth it.
        Err(Failed::TooLong) => return,
        Err(Failed::Io(error)) => Err(error),
        Ok(made) => Ok(made),
    };
    let written = made.and_then(|made| {
        let Some((segment, frames)) = made else {
            return Ok(None);
        };
        let write = || rewrite::segment(&folder, &segment, &frames);
        let bytes = write().or_else(|_| {
            rewrite::remove(&folder, &segments)?;
            write()
        })?;
        Ok(Some(Segment { bytes, ..segment }))
    });
    if let Err(why) = &written {
        hub.stats.summaries_failed.add(1);
        log.about("session", session.id).warning(format!(
            "expired frames leave no names behind ({why}); call sites that only they named show as unknown"
        ));
    }
    let gone = session.expire(base_seqs, written.ok().flatten());
    if let Err(error) = rewrite::remove(&folder, &segments) {
        log.about("session", session.id)
            .warning(format!("can't delete expired segments: {error}"));
    }
    count(hub, &gone);
    // Rows go with the frames that they were made of.
    let expired = |part: &levels::Part| {
        let of = |segment: &Segment| segment.base_seq <= part.from_seq && part.to_seq <= segment.last_seq;
        gone.iter().any(of)
    };
    if let Err(error) = levels::removed(hub, session.id, expired) {
        log.about("session", session.id)
            .warning(format!("can't delete expired levels: {error}"));
    }
    hub.store.save_later(&session);
    hub.fleet.changed();
}

fn count(hub: &Hub, gone: &[Segment]) {
    for segment in gone.iter().filter(|segment| segment.summary.is_none()) {
        hub.stats.segments_expired.add(1);
        hub.stats.frames_expired.add(segment.frames);
        hub.stats.bytes_expired.add(segment.bytes);
    }
}

/// What stands for segments that are gone: its own segment, and its frames.
type StandIn = (Segment, Vec<Vec<u8>>);

/// The summary's segment, of which only the size is not known yet, and its frames; none if there is nothing to say.
fn summarise(hub: &Hub, session: SessionId, segments: &[Segment]) -> Result<Option<StandIn>, Failed> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(Failed::Io(io::Error::other("the segments are gone already")));
    };
    let stands_from = |segment: &Segment| {
        segment
            .summary
            .map_or(segment.base_seq, |earlier| earlier.from_seq)
    };
    let from_seq = stands_from(first);
    let folder = hub.store.folder(session);
    let mut summary = Summary::default();
    for segment in segments {
        replay::each(&folder, session, segment, stands_from(segment), &mut |frame| {
            if let Ok(frame) = Frame::parse(frame) {
                summary.apply(&frame);
            }
        })?;
    }
    let made = summary
        .finish(session, from_seq, last.last_seq)
        .map_err(|error| match error {
            AnalysisError::SummaryTooLong { .. } => Failed::TooLong,
            other => Failed::Io(io::Error::other(other)),
        })?;
    if made.frames.is_empty() {
        return Ok(None);
    }
    let segment = Segment {
        base_seq: made.base_seq,
        last_seq: last.last_seq,
        bytes: 0,
        frames: made.frames.len() as u64,
        first_ns: made.last_ns,
        last_ns: made.last_ns,
        written_unix_ns: last.written_unix_ns,
        summary: Some(Mark {
            from_seq,
            sums_from_seq: made.sums_from_seq,
        }),
    };
    Ok(Some((segment, made.frames)))
}

/// Takes a session off the disk, then out of the fleet: until then its collector is told to come back.
async fn remove(hub: &Arc<Hub>, id: SessionId) {
    let Some(session) = hub.fleet.get(id) else { return };
    let gone = session.with_log(|log| log.segments().cloned().collect::<Vec<_>>());
    if !session.remove() {
        return;
    }
    let forgetting = Arc::clone(hub);
    let forgotten = tokio::task::spawn_blocking(move || levels::removed(&forgetting, id, |_| true)).await;
    if let Ok(Err(error)) = forgotten {
        hub.config
            .log
            .warning(format!("session {id}: can't delete its levels: {error}"));
    }
    let removed = hub.store.remove(&session).await;
    hub.fleet.forget(id);
    hub.stats.sessions_expired.add(1);
    count(hub, &gone);
    hub.fleet.changed();
    match removed {
        Ok(()) => hub
            .config
            .log
            .info(format!("session {id} has expired and is deleted")),
        Err(error) => hub
            .config
            .log
            .warning(format!("session {id} has expired; its folder stays: {error}")),
    }
}

/// Folders that were moved out of the way when the hub was stopped.
async fn remove_leftovers(hub: &Arc<Hub>) {
    let hub = Arc::clone(hub);
    let removed = tokio::task::spawn_blocking(move || {
        if let Err(error) = hub.store.remove_leftovers() {
            hub.config
                .log
                .warning(format!("can't delete what is left of expired sessions: {error}"));
        }
    });
    let _ = removed.await;
}
