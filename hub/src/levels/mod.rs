//! Levels: closed stretches of sessions as rows per tick in Parquet files, which open fast at any width and which
//! other engines read.
//!
//! One thread makes them, beside the ingest path and one session at a time, of segments that are not written any
//! more. A part is complete when the catalogue names it; a file that it does not name is made again. The segment that is
//! being written has levels too, which last as long as it stays open.

mod cover;
mod file;
mod history;
mod newest;
mod part;
mod past;
mod range;
mod read;
mod steps;

pub(crate) use history::{history, lasted};
pub(crate) use newest::Newest;
pub(crate) use part::{Part, parts, parts_bytes, removed};
pub(crate) use past::{Past, Piece};
pub(crate) use range::{Range, RangeQuery, answer};

use crate::hub::Hub;
use crate::session::Session;
use crate::store::index::{Segment, Summary as Mark};
use crate::store::{create_private, replay, rewrite};
use file::LevelWriter;
use heaptide_analysis::levels::{GaugeRow, LEVELS_NS, LevelBuilder, LevelSink, SiteRow, TagRow};
use heaptide_analysis::steps::StepBuilder;
use heaptide_analysis::summary::Summary;
use heaptide_protocol::Frame;
use heaptide_protocol::control::SessionState;
use std::collections::HashSet;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steps::StepWriter;

/// Of a session's folder.
pub(crate) const FOLDER: &str = "levels";
/// Below the hub's own threads, which acknowledge.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Goes through all sessions again and again until the hub closes. Blocks.
pub(crate) fn keep(hub: &Arc<Hub>, runtime: &tokio::runtime::Handle) {
    #[cfg(target_os = "linux")]
    // On Linux this is about the calling thread. Without it, levels compete; nothing breaks.
    let _ = rustix::process::setpriority_process(None, NICE);
    for session in hub.fleet.all() {
        let ready = part::forget_if_missing(hub, session.id).and_then(|()| newest::clear(hub, session.id));
        if let Err(error) = ready {
            hub.config
                .log
                .warning(format!("session {}: can't look for levels: {error}", session.id));
        }
    }
    // A disk that fails does so each time, and is told of once.
    let mut failing = HashSet::new();
    while !*hub.closing.borrow() {
        // A session that can't be opened comes and goes, so what is gone is not forgotten at once.
        if failing.len() > hub.config.limits.sessions {
            failing.clear();
        }
        for session in hub.fleet.all() {
            // One part at a time, so that no session waits for another's past.
            match seal_next(hub, &session).and_then(|()| seal_newest(hub, &session)) {
                Ok(()) => {
                    failing.remove(&session.id);
                }
                Err(error) => {
                    hub.stats.levels_failed.add(1);
                    if failing.insert(session.id) {
                        hub.config.log.about("session", session.id).warning(format!(
                            "can't write levels: {error}; its frames are not touched by that"
                        ));
                    }
                }
            }
            if *hub.closing.borrow() {
                return;
            }
        }
        // Ends at once when the hub closes.
        let pause = async { tokio::time::timeout(hub.config.limits.level_interval, hub.closed()).await };
        let _ = runtime.block_on(pause);
    }
}

/// The next stretch of a session that is not written any more and has no levels.
fn seal_next(hub: &Hub, session: &Arc<Session>) -> io::Result<()> {
    let sealed_to = parts(hub, session.id)?.last().map_or(0, |part| part.to_seq);
    let is_over = session.state() == SessionState::Ended;
    let segments: Vec<Segment> = session.with_log(|log| {
        let last = log.segments().count().saturating_sub(1);
        let all = log.segments().enumerate();
        all.filter(|(at, segment)| (*at < last || is_over) && segment.frames > 0)
            .map(|(_, segment)| segment.clone())
            .collect()
    });
    let next = segments
        .iter()
        .find(|segment| segment.last_seq > sealed_to && segment.summary.is_none());
    let Some(next) = next else { return Ok(()) };
    let seqs = next.base_seq.max(sealed_to + 1)..=next.last_seq;
    let folder = folder(hub, session.id);
    let (part, kept_state) = make(hub, session, seqs, &folder, true)?;
    crate::store::meta::sync_folder(&folder)?;
    if session.is_removed() {
        return Ok(());
    }
    part::add(hub, session.id, &part)?;
    hub.newest
        .forget(hub, session.id, &|newest| newest.from_seq <= part.to_seq);
    // Only now does nobody need the state before.
    remove_states(&folder, kept_state.as_deref())?;
    hub.stats.level_rows.add(part.rows.iter().sum());
    hub.stats.level_bytes.add(part.bytes);
    hub.stats.level_parts.add(1);
    Ok(())
}

/// The next stretch of the segment that is being written, if it is long enough.
fn seal_newest(hub: &Hub, session: &Arc<Session>) -> io::Result<()> {
    if session.state() == SessionState::Ended {
        return Ok(());
    }
    let Some((from_seq, to_seq)) = newest::due(hub, session)? else {
        return Ok(());
    };
    let folder = newest::newest_folder(hub, session.id);
    let (part, kept_state) = make(hub, session, from_seq..=to_seq, &folder, false)?;
    remove_states(&folder, kept_state.as_deref())?;
    hub.newest.add(session.id, part);
    hub.stats.newest_level_parts.add(1);
    Ok(())
}

/// Files of frames of one segment in a folder, and the name of the state behind them.
fn make(
    hub: &Hub,
    session: &Arc<Session>,
    seqs: RangeInclusive<u64>,
    folder: &Path,
    durable: bool,
) -> io::Result<(Part, Option<String>)> {
    create_private(folder)?;
    let (from_seq, to_seq) = (*seqs.start(), *seqs.end());
    let mut builder = LevelBuilder::default();
    let mut state = Summary::default();
    warm_up(hub, session, from_seq, &mut builder, &mut state)?;

    let mut sink = Sink::create(folder, from_seq)?;
    let mut step_writer = StepWriter::create(folder, from_seq)?;
    let mut step_builder = StepBuilder::new(session.id);
    let step_sink = &mut |width: usize, frames: Vec<Vec<u8>>| step_writer.step(width, &frames);
    let (mut begun, mut first_ns, mut last_ns) = (false, u64::MAX, 0);
    let session_folder = hub.store.folder(session.id);
    if from_seq > 1 {
        let before = from_seq - 1..=from_seq - 1;
        replay::between(&session_folder, session, before, &mut |frame| {
            step_builder.warm_up(frame);
        })?;
    }
    replay::between(&session_folder, session, seqs, &mut |frame| {
        state.apply(frame);
        first_ns = first_ns.min(frame.envelope.first_ns);
        last_ns = last_ns.max(frame.envelope.last_ns);
        if !begun {
            builder.begin(frame.envelope.first_ns);
            begun = true;
        }
        builder.apply(frame, &mut sink);
        step_builder.apply(frame, step_sink);
    })?;
    builder.finish(&mut sink);
    step_builder.finish(step_sink);
    let (rows, bytes) = sink.finish(durable)?;
    let mut step_bytes = step_writer.finish(durable)?;
    if let Some(why) = step_builder.failed {
        hub.config.log.about("session", session.id).warning(format!(
            "no steps for frames {from_seq} to {to_seq}: {why}; they are sent as they are"
        ));
        step_bytes.clear();
    }
    hub.stats.level_samples_left_out.add(builder.left_out);
    let kept_state = save_state(folder, session, state, to_seq)?;
    let part = Part {
        from_seq,
        to_seq,
        first_ns,
        last_ns,
        rows,
        bytes: bytes + step_bytes.iter().sum::<u64>(),
        step_bytes,
    };
    Ok((part, kept_state))
}

/// Brings the state up to before `from_seq`: from what was kept of the stretch before, or from the beginning.
fn warm_up(
    hub: &Hub,
    session: &Session,
    from_seq: u64,
    builder: &mut LevelBuilder,
    state: &mut Summary,
) -> io::Result<()> {
    let mut take = |bytes: &[u8]| {
        if let Ok(frame) = Frame::parse(bytes)
            && frame.envelope.seq < from_seq
        {
            builder.warm_up(&frame);
            state.apply(&frame);
        }
    };
    for folder in [newest::newest_folder(hub, session.id), folder(hub, session.id)] {
        let mut kept = states(&folder)?;
        kept.retain(|segment| segment.last_seq + 1 == from_seq);
        if let Some(segment) = kept.first() {
            let first = segment.summary.map_or(1, |summary| summary.from_seq);
            return replay::each(&folder, session.id, segment, first, &mut take);
        }
    }
    let session_folder = hub.store.folder(session.id);
    let before: Vec<Segment> = session.with_log(|log| {
        log.segments()
            .filter(|segment| segment.base_seq < from_seq)
            .cloned()
            .collect()
    });
    for segment in before {
        let first = segment
            .summary
            .map_or(segment.base_seq, |summary| summary.from_seq);
        replay::each(&session_folder, session.id, &segment, first, &mut take)?;
    }
    Ok(())
}

/// The state behind a stretch, as a summary of all that came before. Its name; none if it would be too long.
fn save_state(folder: &Path, session: &Session, state: Summary, last_seq: u64) -> io::Result<Option<String>> {
    let Ok(made) = state.finish(session.id, 1, last_seq) else {
        return Ok(None);
    };
    if made.frames.is_empty() {
        return Ok(None);
    }
    let segment = Segment {
        base_seq: made.base_seq,
        last_seq,
        bytes: 0,
        frames: made.frames.len() as u64,
        first_ns: made.last_ns,
        last_ns: made.last_ns,
        written_unix_ns: 0,
        summary: Some(Mark {
            from_seq: 1,
            sums_from_seq: made.sums_from_seq,
        }),
    };
    rewrite::segment(folder, &segment, &made.frames)?;
    Ok(Some(segment.file_name()))
}

/// Of a folder with levels.
fn states(folder: &Path) -> io::Result<Vec<Segment>> {
    match crate::store::summaries(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

fn remove_states(folder: &Path, but: Option<&str>) -> io::Result<()> {
    let mut old = states(folder)?;
    old.retain(|segment| Some(segment.file_name().as_str()) != but);
    rewrite::remove(folder, &old)
}

/// Writes all levels side by side. An error stays until the end, where it is told.
struct Sink {
    writers: Vec<LevelWriter>,
    failed: Option<io::Error>,
}

impl Sink {
    fn create(folder: &Path, from_seq: u64) -> io::Result<Self> {
        let create = |level| LevelWriter::create(folder, level, from_seq);
        Ok(Self {
            writers: (0..LEVELS_NS.len()).map(create).collect::<io::Result<_>>()?,
            failed: None,
        })
    }

    fn write(&mut self, level: usize, write: impl FnOnce(&mut LevelWriter) -> io::Result<()>) {
        if let (None, Some(writer)) = (&self.failed, self.writers.get_mut(level)) {
            self.failed = write(writer).err();
        }
    }

    /// Rows of each level, and bytes of all.
    fn finish(self, durable: bool) -> io::Result<(Vec<u64>, u64)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        for writer in self.writers {
            let (of_level, size) = writer.finish(durable)?;
            rows.push(of_level);
            bytes += size;
        }
        Ok((rows, bytes))
    }
}

impl LevelSink for Sink {
    fn site(&mut self, level: usize, row: SiteRow) {
        self.write(level, |writer| writer.site(row));
    }

    fn tag(&mut self, level: usize, row: TagRow) {
        self.write(level, |writer| writer.tag(row));
    }

    fn gauge(&mut self, level: usize, row: GaugeRow) {
        self.write(level, |writer| writer.gauge(row));
    }
}

/// The folder of a session's levels.
fn folder(hub: &Hub, session: heaptide_protocol::SessionId) -> PathBuf {
    hub.store.folder(session).join(FOLDER)
}
