//! Sessions on disk: a folder each, `meta.json` and append-only segment files.
//!
//! One thread writes everything ([`writer`]) and commits what has arrived from all sessions together;
//! consoles read for themselves ([`replay`]). Payloads are never decoded here.

pub(crate) mod adopt;
pub(crate) mod check;
#[cfg(test)]
mod crash_tests;
mod health;
pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod record;
mod recover;
pub(crate) mod replay;
pub(crate) mod rewrite;
pub(crate) mod segment;
mod sync;
mod writer;

use crate::config::Limits;
use crate::error::HubError;
use crate::log::Log;
use crate::session::Session;
use crate::stats::Stats;
use bytes::Bytes;
pub(crate) use health::Health;
use heaptide_protocol::{Envelope, SessionId};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};
use writer::{Append, Job, Writer};

/// Begins the name of a session's folder that is being deleted, which no session has.
const EXPIRED: &str = "expired-";
/// What a queued job costs besides its frame.
const JOB_BYTES: usize = 256;

#[derive(Debug)]
pub(crate) struct Store {
    sessions_dir: PathBuf,
    jobs: mpsc::Sender<Job>,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
    pub(crate) health: Arc<Health>,
    queue_bytes: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held for as long as the hub runs.
    _lock: File,
}

/// What was on disk at start.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) sessions: HashMap<SessionId, Arc<Session>>,
    /// Folders that can't be read; their collectors must not start over in them.
    pub(crate) unreadable: HashSet<SessionId>,
}

impl Store {
    /// Reads what is there and starts the writer. Blocks.
    pub(crate) fn open(
        data_dir: &Path,
        limits: Limits,
        stats: &Arc<Stats>,
        log: &Log,
    ) -> Result<(Self, Found), HubError> {
        let failed = |source| HubError::DataDir {
            path: data_dir.to_owned(),
            source,
        };
        let sessions_dir = data_dir.join("sessions");
        create_private(&sessions_dir).map_err(failed)?;
        let lock = lock(data_dir)?;
        meta::sync_folder(data_dir).map_err(failed)?;
        adopt::clear(data_dir).map_err(failed)?;
        let found = find(&sessions_dir, stats, log).map_err(failed)?;
        let health = Arc::new(Health::new(log.clone()));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer::new(
            sessions_dir.clone(),
            limits,
            Arc::clone(stats),
            Arc::clone(&health),
            queue,
        );
        let thread = std::thread::Builder::new()
            .name("heaptide-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| HubError::WriterThread { source })?;
        let store = Self {
            sessions_dir,
            jobs,
            queue_bytes: limits.queue_bytes.min(u32::MAX as usize),
            room: Arc::new(Semaphore::new(limits.queue_bytes.min(u32::MAX as usize))),
            health,
            thread: Mutex::new(Some(thread)),
            _lock: lock,
        };
        Ok((store, found))
    }

    /// Queues a frame; waits while the queue is full. The session tells when it is durable.
    pub(crate) async fn append(&self, session: &Arc<Session>, envelope: Envelope, frame: Bytes) {
        let bytes = u32::try_from(frame.len() + JOB_BYTES).unwrap_or(u32::MAX);
        // The semaphore is never closed and the writer outlives every connection.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else {
            return;
        };
        let append = Append {
            session: Arc::clone(session),
            envelope,
            frame,
            _room: room,
        };
        if self.jobs.send(Job::Append(append)).is_err() {
            session.fail("the store's writer has stopped; restart the hub");
        }
    }

    /// Writes a session's `meta.json`; durable when this returns `Ok`.
    pub(crate) async fn save(&self, session: &Arc<Session>) -> Result<(), String> {
        let (done, saved) = oneshot::channel();
        let job = Job::Save {
            session: Arc::clone(session),
            done: Some(done),
        };
        let stopped = || "the store's writer has stopped; restart the hub".to_owned();
        self.jobs.send(job).map_err(|_| stopped())?;
        saved.await.map_err(|_| stopped())?
    }

    /// The same without waiting; tried again until it works.
    pub(crate) fn save_later(&self, session: &Arc<Session>) {
        let session = Arc::clone(session);
        // A stopped writer has written the last word already.
        let _ = self.jobs.send(Job::Save { session, done: None });
    }

    /// The session's collector is gone: its file can be closed.
    pub(crate) fn release(&self, session: SessionId) {
        let _ = self.jobs.send(Job::Release(session));
    }

    /// Frames that were received and are not durable yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue_bytes.saturating_sub(self.room.available_permits())
    }

    /// Deletes the folder of a session that takes nothing more in.
    pub(crate) async fn remove(&self, session: &Arc<Session>) -> std::io::Result<()> {
        let stopped = || std::io::Error::other("the store's writer has stopped");
        let to = self.sessions_dir.join(format!("{EXPIRED}{}", session.id));
        let (done, moved) = oneshot::channel();
        let job = Job::Remove {
            session: Arc::clone(session),
            to: to.clone(),
            done,
        };
        self.jobs.send(job).map_err(|_| stopped())?;
        moved.await.map_err(|_| stopped())??;
        tokio::fs::remove_dir_all(to).await
    }

    /// Deletes what an earlier run moved out of the way and did not come to delete. Blocks.
    pub(crate) fn remove_leftovers(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.sessions_dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(EXPIRED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn folder(&self, session: SessionId) -> PathBuf {
        self.sessions_dir.join(session.to_string())
    }

    /// Everything queued is written, then the thread ends. Blocks.
    pub(crate) fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Held until it is dropped; nobody else may use the data folder meanwhile.
pub(crate) fn lock(data_dir: &Path) -> Result<File, HubError> {
    let failed = |source| HubError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    let lock = File::create(data_dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(HubError::DataDirInUse {
            path: data_dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Command lines and symbols are nobody else's business.
pub(crate) fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Summaries that lie in a folder by themselves.
pub(crate) fn summaries(folder: &Path) -> std::io::Result<Vec<index::Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(record::parse_segment_name);
        let Some(name) = name else { continue };
        if let Some((summary, last_seq)) = name.summary {
            found.push(index::Segment {
                base_seq: name.base_seq,
                last_seq,
                bytes: entry.metadata()?.len(),
                frames: last_seq + 1 - name.base_seq,
                first_ns: 0,
                last_ns: 0,
                written_unix_ns: 0,
                summary: Some(summary),
            });
        }
    }
    Ok(found)
}

/// Every session of a data folder; cuts what a crash has torn.
pub(crate) fn find(sessions_dir: &Path, stats: &Stats, log: &Log) -> std::io::Result<Found> {
    let mut found = Found {
        sessions: HashMap::new(),
        unreadable: HashSet::new(),
    };
    for entry in fs::read_dir(sessions_dir)? {
        let entry = entry?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<SessionId>().ok())
        else {
            continue;
        };
        match recover::recover(&entry.path(), id) {
            Ok(None) => {}
            Ok(Some(recovered)) => {
                stats.damaged_places.add(recovered.damaged_places);
                stats.cut_bytes.add(recovered.cut_bytes);
                for finding in &recovered.findings {
                    log.about("session", id).warning(finding);
                }
                let session = Session::new(id, recovered.meta, recovered.log);
                found.sessions.insert(id, Arc::new(session));
            }
            Err(error) => {
                log.about("session", id)
                    .error(format!("it can't be read and is left alone: {error}"));
                found.unreadable.insert(id);
            }
        }
    }
    Ok(found)
}
