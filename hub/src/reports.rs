//! Reports, computed from what is stored, beside the ingest path and never on it.
//!
//! Of the sessions that were asked about last, the analysis is kept and catches up with the store at each
//! question. It is bounded by itself, and so is how many are kept and how many are at work at once.

use crate::excerpt::{Feed, Pulled, Rewriter};
use crate::hub::Hub;
use crate::session::Session;
use crate::store::replay::Item;
use heaptide_protocol::Frame;
use heaptide_protocol::report::{Report, ReportQuery};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// More rows than this are no table for a person, and too long for a frame.
const MAX_ROWS: u32 = 1_000;

/// What is asked about: a session's id, or that of a link, which shows less of it.
pub(crate) type Key = [u8; 16];

#[derive(Debug)]
pub(crate) struct Reports {
    /// The one asked about last comes last.
    kept: Mutex<VecDeque<(Key, Arc<Mutex<Kept>>)>>,
    limit: usize,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Kept {
    data: heaptide_analysis::Session,
    /// Opened at the first question.
    feed: Option<Feed>,
}

/// A report, and the last frame that is counted in.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) report: Report,
    pub(crate) last_seq: u64,
}

impl Reports {
    /// Keeps the analysis of `limit` sessions, and leaves a processor to the ingest path.
    pub(crate) fn new(limit: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            kept: Mutex::default(),
            limit,
            turns: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }

    /// For whatever takes a processor for a while.
    pub(crate) async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, &'static str> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| "the hub is shutting down")
    }

    /// Forgets what is kept of all others.
    pub(crate) fn retain(&self, is_wanted: &dyn Fn(&Key) -> bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(key, _)| is_wanted(key));
    }

    fn kept(&self, key: Key) -> Arc<Mutex<Kept>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(known, _)| *known == key);
        let entry = found.and_then(|at| kept.remove(at)).unwrap_or_else(|| {
            let fresh = Kept {
                data: heaptide_analysis::Session::new(),
                feed: None,
            };
            (key, Arc::new(Mutex::new(fresh)))
        });
        let data = Arc::clone(&entry.1);
        kept.push_back(entry);
        while kept.len() > self.limit {
            kept.pop_front();
        }
        data
    }
}

/// The same, of a whole session.
pub(crate) async fn of_session(
    hub: &Arc<Hub>,
    session: Arc<Session>,
    query: ReportQuery,
) -> Result<Told, String> {
    let for_feed = Arc::clone(hub);
    let key = session.id.0;
    let open = move || Ok(Feed::live(&for_feed, &session, Rewriter::whole(session.id)));
    compute(hub, key, query, open).await
}

/// Waits for its turn, reads what is new of the session, and computes. `open` reads it from its first frame.
pub(crate) async fn compute(
    hub: &Arc<Hub>,
    key: Key,
    mut query: ReportQuery,
    open: impl FnOnce() -> Result<Feed, String> + Send + 'static,
) -> Result<Told, String> {
    query.limit = query.limit.min(MAX_ROWS);
    let kept = hub.reports.kept(key);
    let for_count = Arc::clone(hub);
    let computed = in_turn(hub, kept, open, move |data| {
        for_count.stats.reports_computed.add(1);
        query.window.to_ns = query.window.to_ns.min(data.span().to_ns);
        Told {
            report: data.report(&query),
            last_seq: data.last_seq(),
        }
    });
    computed.await
}

/// Looks at all that is stored of a session. What is kept of it is in `reports`, which may be somebody's own.
pub(crate) async fn look<T: Send + 'static>(
    hub: &Arc<Hub>,
    reports: &Reports,
    session: Arc<Session>,
    read: impl FnOnce(&heaptide_analysis::Session) -> T + Send + 'static,
) -> Result<T, String> {
    let for_feed = Arc::clone(hub);
    let kept = reports.kept(session.id.0);
    let open = move || Ok(Feed::live(&for_feed, &session, Rewriter::whole(session.id)));
    in_turn(hub, kept, open, read).await
}

async fn in_turn<T: Send + 'static>(
    hub: &Arc<Hub>,
    kept: Arc<Mutex<Kept>>,
    open: impl FnOnce() -> Result<Feed, String> + Send + 'static,
    read: impl FnOnce(&heaptide_analysis::Session) -> T + Send + 'static,
) -> Result<T, String> {
    let stopped = "the hub is shutting down";
    let turn = hub.reports.turn().await?;
    let hub = Arc::clone(hub);
    let computed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        // What a panic left half done is not shown.
        let mut kept = kept
            .lock()
            .map_err(|_| "an earlier question about this session failed; restart the hub".to_owned())?;
        kept.catch_up(&hub, open)?;
        Ok(read(&kept.data))
    });
    computed.await.unwrap_or_else(|_| Err(stopped.to_owned()))
}

impl Kept {
    /// Takes in everything durable. A damaged frame is counted by the analysis, which says so.
    fn catch_up(&mut self, hub: &Hub, open: impl FnOnce() -> Result<Feed, String>) -> Result<(), String> {
        let mut feed = match self.feed.take() {
            Some(feed) if !feed.is_replaced() => feed,
            _ => {
                // What was read may be part of a sum by now: only from the beginning is that right.
                self.data = heaptide_analysis::Session::new();
                open()?
            }
        };
        let caught_up = self.read(hub, &mut feed);
        self.feed = Some(feed);
        caught_up
    }

    fn read(&mut self, hub: &Hub, feed: &mut Feed) -> Result<(), String> {
        loop {
            if *hub.closing.borrow() {
                return Err("the hub is shutting down".to_owned());
            }
            let Pulled::Items(items) = feed.pull()? else {
                return Ok(());
            };
            for item in items {
                match item {
                    Item::Frame(frame) => self.apply(&frame),
                    Item::Missed(missed) => self.data.missed(missed.from_seq, missed.to_seq),
                }
            }
        }
    }

    fn apply(&mut self, bytes: &[u8]) {
        if let Ok(frame) = Frame::parse(bytes) {
            let _ = self.data.apply(&frame);
        }
    }
}
