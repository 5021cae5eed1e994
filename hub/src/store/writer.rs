//! The one thread that writes. It takes what has arrived from all sessions, writes it, syncs each file that
//! it touched, and only then lets the sessions know: that is group commit.
//!
//! After any error of a file nothing is assumed about what it holds behind the last durable byte (a failed
//! `fdatasync` may have dropped pages). The handle is closed, the frames are given up without an
//! acknowledgement, and the next attempt cuts the file back first.

use super::Health;
use super::index::{Added, Segment};
use super::meta::sync_folder;
use super::record::{RECORD_HEAD_BYTES, RecordHead, SEGMENT_HEAD, segment_name};
use super::sync::sync_files;
use crate::config::Limits;
use crate::session::Session;
use crate::stats::Stats;
use bytes::Bytes;
use heaptide_protocol::{Envelope, SessionId};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;

/// How soon a `meta.json` that could not be written is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Job {
    Append(Append),
    Save {
        session: Arc<Session>,
        done: Option<oneshot::Sender<Result<(), String>>>,
    },
    Release(SessionId),
    /// Moves a session's folder out of the way, whose removal has been decided.
    Remove {
        session: Arc<Session>,
        to: PathBuf,
        done: oneshot::Sender<io::Result<()>>,
    },
    Stop,
}

#[derive(Debug)]
pub(super) struct Append {
    pub(super) session: Arc<Session>,
    pub(super) envelope: Envelope,
    pub(super) frame: Bytes,
    /// Given back when the frame is durable or given up.
    pub(super) _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) struct Writer {
    sessions_dir: PathBuf,
    limits: Limits,
    stats: Arc<Stats>,
    health: Arc<Health>,
    queue: Receiver<Job>,
    open: HashMap<SessionId, OpenFile>,
    unsaved: HashMap<SessionId, Arc<Session>>,
    buffer: Vec<u8>,
}

/// A segment file, positioned behind its last durable byte.
#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
    /// Set until the first commit into a new file is published.
    new: Option<Segment>,
}

/// One session's part of a commit.
struct Batch {
    session: Arc<Session>,
    frames: Vec<Append>,
    written: Vec<Added>,
}

impl Writer {
    pub(super) fn new(
        sessions_dir: PathBuf,
        limits: Limits,
        stats: Arc<Stats>,
        health: Arc<Health>,
        queue: Receiver<Job>,
    ) -> Self {
        Self {
            sessions_dir,
            limits,
            stats,
            health,
            queue,
            open: HashMap::new(),
            unsaved: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        let mut running = true;
        while running {
            let first = if self.unsaved.is_empty() {
                self.queue.recv().ok()
            } else {
                match self.queue.recv_timeout(SAVE_AGAIN) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => {
                        self.save_unsaved();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => None,
                }
            };
            let Some(first) = first else { break };
            running = self.round(first);
        }
        self.save_unsaved();
    }

    /// One group commit: `first` and what else has arrived. False when told to stop.
    fn round(&mut self, first: Job) -> bool {
        let mut batches: Vec<Batch> = Vec::new();
        let mut places: HashMap<SessionId, usize> = HashMap::new();
        let mut others = Vec::new();
        let mut bytes = 0;
        let mut job = Some(first);
        while let Some(next) = job {
            match next {
                Job::Append(append) => {
                    bytes += append.frame.len();
                    let place = *places.entry(append.session.id).or_insert(batches.len());
                    match batches.get_mut(place) {
                        Some(batch) => batch.frames.push(append),
                        None => batches.push(Batch {
                            session: Arc::clone(&append.session),
                            frames: vec![append],
                            written: Vec::new(),
                        }),
                    }
                }
                other => others.push(other),
            }
            job = (bytes < self.limits.batch_bytes)
                .then(|| self.queue.try_recv().ok())
                .flatten();
        }
        if !batches.is_empty() {
            self.commit(batches);
        }
        let mut running = true;
        for other in others {
            match other {
                Job::Append(_) => {}
                Job::Save { session, done } => self.save(session, done),
                Job::Release(session) => {
                    self.open.remove(&session);
                }
                Job::Remove { session, to, done } => {
                    self.open.remove(&session.id);
                    self.unsaved.remove(&session.id);
                    let folder = self.sessions_dir.join(session.id.to_string());
                    let moved = fs::rename(folder, to).and_then(|()| sync_folder(&self.sessions_dir));
                    // Who asked may be gone with the hub.
                    let _ = done.send(moved);
                }
                Job::Stop => running = false,
            }
        }
        running
    }

    fn commit(&mut self, mut batches: Vec<Batch>) {
        let mut failures = Vec::new();
        batches.retain_mut(|batch| match self.write(batch) {
            Ok(()) => !batch.written.is_empty(),
            Err(error) => {
                failures.push((Arc::clone(&batch.session), batch.frames.len(), error));
                false
            }
        });
        let files: Vec<_> = batches
            .iter()
            .filter_map(|batch| self.open.get(&batch.session.id))
            .map(|open| &open.file)
            .collect();
        let synced = sync_files(&files);
        for (batch, synced) in batches.into_iter().zip(synced) {
            match synced {
                Ok(()) => self.publish(batch),
                Err(error) => failures.push((batch.session, batch.frames.len(), error)),
            }
        }
        for (session, frames, error) in failures {
            self.give_up(&session, frames, &error);
        }
    }

    /// What was written of these frames is worth nothing.
    fn give_up(&mut self, session: &Session, frames: usize, error: &io::Error) {
        self.open.remove(&session.id);
        self.stats.commit_failures.add(1);
        self.stats.frames_abandoned.add(frames as u64);
        let why = explain(error, &self.sessions_dir);
        self.health.failed(&why, Instant::now());
        session.fail(&why);
    }

    /// Writes a batch behind the durable end, leaving out what does not follow on.
    fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        let session = &batch.session;
        if session.is_removed() {
            // Nobody waits for these: a session is removed only while it has no connection.
            self.stats.frames_abandoned.add(batch.frames.len() as u64);
            batch.frames.clear();
            return Ok(());
        }
        let synced_seq = session.durable_seq();
        let mut next_seq = synced_seq + 1;
        // Repeats, and what is left of a connection whose earlier frames were given up.
        batch.frames.retain(|append| {
            let seq = append.envelope.seq;
            let follows = seq == next_seq;
            next_seq += u64::from(follows);
            self.stats
                .frames_repeated
                .add(u64::from(!follows && seq < next_seq));
            self.stats
                .frames_abandoned
                .add(u64::from(!follows && seq > next_seq));
            follows
        });
        if batch.frames.is_empty() {
            return Ok(());
        }
        let mut open = self.take_file(session)?;
        self.buffer.clear();
        for append in &batch.frames {
            let head = RecordHead {
                frame_bytes: u32::try_from(append.frame.len()).unwrap_or(u32::MAX),
                synced_seq,
            };
            let offset = open.bytes + self.buffer.len() as u64;
            self.buffer.extend_from_slice(&head.encode());
            self.buffer.extend_from_slice(&append.frame);
            batch.written.push(Added {
                seq: append.envelope.seq,
                first_ns: append.envelope.first_ns,
                last_ns: append.envelope.last_ns,
                offset,
                end: offset + (RECORD_HEAD_BYTES + append.frame.len()) as u64,
            });
        }
        open.file.write_all(&self.buffer)?;
        open.bytes += self.buffer.len() as u64;
        self.open.insert(session.id, open);
        Ok(())
    }

    fn publish(&mut self, batch: Batch) {
        let new = self
            .open
            .get_mut(&batch.session.id)
            .and_then(|open| open.new.take());
        let rolled = new.is_some();
        let bytes: u64 = batch.frames.iter().map(|append| append.frame.len() as u64).sum();
        self.stats.commits.add(1);
        self.stats.frames_durable.add(batch.frames.len() as u64);
        self.stats.bytes_durable.add(bytes);
        let frames = batch.frames.into_iter().map(|append| append.frame);
        let records = batch.written.into_iter().zip(frames);
        batch.session.publish(new, records, self.limits.tail_bytes);
        self.health.succeeded();
        if rolled {
            self.save(batch.session, None);
        }
    }

    /// The file that the session's next record goes to.
    fn take_file(&mut self, session: &Session) -> io::Result<OpenFile> {
        let open = self
            .open
            .remove(&session.id)
            .filter(|open| open.bytes < self.limits.segment_bytes);
        if let Some(open) = open {
            return Ok(open);
        }
        let folder = self.sessions_dir.join(session.id.to_string());
        let (last, next_seq) = session.with_log(|log| (log.last_segment().cloned(), log.durable_seq() + 1));
        match last.filter(|last| last.bytes < self.limits.segment_bytes) {
            Some(last) => reopen(&folder, &last),
            None => create(&folder, next_seq),
        }
    }

    fn save(&mut self, session: Arc<Session>, done: Option<oneshot::Sender<Result<(), String>>>) {
        let folder = self.sessions_dir.join(session.id.to_string());
        if session.is_removed() {
            if let Some(done) = done {
                let _ = done.send(Err("its session has expired meanwhile".to_owned()));
            }
            return;
        }
        let result = session.meta().save(&folder).map_err(|error| {
            let why = explain(&error, &self.sessions_dir);
            self.health.save_failed(&why, Instant::now());
            why
        });
        match (&result, &done) {
            (Ok(()), _) => {
                self.unsaved.remove(&session.id);
                self.health.saved();
            }
            // Who waits for the answer deals with it.
            (Err(_), Some(_)) => {}
            (Err(_), None) => {
                self.unsaved.insert(session.id, session);
            }
        }
        if let Some(done) = done {
            // The connection may be gone by now.
            let _ = done.send(result);
        }
    }

    fn save_unsaved(&mut self) {
        for (_, session) in std::mem::take(&mut self.unsaved) {
            self.save(session, None);
        }
    }
}

/// Opens a segment for appending, cut back to what is durable.
fn reopen(folder: &Path, segment: &Segment) -> io::Result<OpenFile> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(folder.join(segment_name(segment.base_seq)))?;
    if file.metadata()?.len() != segment.bytes {
        file.set_len(segment.bytes)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::Start(segment.bytes))?;
    Ok(OpenFile {
        file,
        bytes: segment.bytes,
        new: None,
    })
}

fn create(folder: &Path, base_seq: u64) -> io::Result<OpenFile> {
    let path = folder.join(segment_name(base_seq));
    // Only a failed attempt can have left a file of this name: no durable frame has this number. Its name may be what
    // could not be made durable, so it is made anew as well.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create(path)?;
    file.write_all(&SEGMENT_HEAD)?;
    file.sync_all()?;
    sync_folder(folder)?;
    let bytes = SEGMENT_HEAD.len() as u64;
    Ok(OpenFile {
        file,
        bytes,
        new: Some(Segment {
            base_seq,
            last_seq: base_seq - 1,
            bytes,
            frames: 0,
            first_ns: 0,
            last_ns: 0,
            written_unix_ns: 0,
            summary: None,
        }),
    })
}

/// A sentence with what to do about it.
fn explain(error: &io::Error, sessions_dir: &Path) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        io::ErrorKind::ReadOnlyFilesystem => "mount it for writing",
        io::ErrorKind::PermissionDenied => "give the hub the right to write there",
        _ => "check the disk and its file system",
    };
    format!("{error} at {}: {remedy}", sessions_dir.display())
}
