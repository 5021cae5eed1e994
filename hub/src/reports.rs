//! Reports, computed from what is stored, beside the ingest path and never on it.
//!
//! Of the sessions that were asked about last, the analysis is kept and catches up with the store at each
//! question. It is bounded by itself, and so is how many are kept and how many are at work at once. So is what is read:
//! of a long session, each frame of what is asked about or newest, and steps of the rest.

use crate::excerpt::{Feed, Pulled, Rewriter};
use crate::hub::Hub;
use crate::session::Session;
use crate::store::replay::Item;
use heaptide_protocol::Frame;
use heaptide_protocol::control::Overview;
use heaptide_protocol::report::{Report, ReportKind, ReportQuery, Window};
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
    /// Of this, each frame is read.
    close: Window,
}

/// Where the frames come from.
struct Source<F> {
    /// The live session; a copy is never long.
    session: Option<Arc<Session>>,
    /// Reads it from its first frame.
    open: F,
}

pub(crate) const ALL: Window = Window {
    from_ns: 0,
    to_ns: u64::MAX,
};

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
                close: ALL,
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

/// Of a whole session.
pub(crate) async fn of_session(
    hub: &Arc<Hub>,
    session: Arc<Session>,
    query: ReportQuery,
) -> Result<Told, String> {
    let key = session.id.0;
    let open = open_whole(hub, &session);
    compute(hub, key, Some(session), query, open).await
}

fn open_whole(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
) -> impl FnOnce(&Overview) -> Result<Feed, String> + Send + use<> {
    let (hub, session) = (Arc::clone(hub), Arc::clone(session));
    move |ask| {
        let rewriter = Rewriter::whole(session.id);
        Ok(Feed::overview(&hub, &session, rewriter, ask))
    }
}

/// Waits for its turn, reads what is new of the session, and computes. `open` reads it from its first frame.
pub(crate) async fn compute(
    hub: &Arc<Hub>,
    key: Key,
    session: Option<Arc<Session>>,
    mut query: ReportQuery,
    open: impl FnOnce(&Overview) -> Result<Feed, String> + Send + 'static,
) -> Result<Told, String> {
    query.limit = query.limit.min(MAX_ROWS);
    let kept = hub.reports.kept(key);
    let for_count = Arc::clone(hub);
    let source = Source { session, open };
    let mut window = query.window;
    if query.kind == ReportKind::Drift {
        // Against the time before.
        let length_ns = window.to_ns.saturating_sub(window.from_ns);
        window.from_ns = window.from_ns.saturating_sub(length_ns);
    }
    let computed = in_turn(hub, kept, source, window, move |data| {
        for_count.stats.reports_computed.add(1);
        query.window.to_ns = query.window.to_ns.min(data.span().to_ns);
        Told {
            report: data.report(&query),
            last_seq: data.last_seq(),
        }
    });
    computed.await
}

/// Looks at a window of what is stored of a session. What is kept of it is in `reports`, which may be somebody's own.
pub(crate) async fn look<T: Send + 'static>(
    hub: &Arc<Hub>,
    reports: &Reports,
    session: Arc<Session>,
    window: Window,
    read: impl FnOnce(&heaptide_analysis::Session) -> T + Send + 'static,
) -> Result<T, String> {
    let kept = reports.kept(session.id.0);
    let open = open_whole(hub, &session);
    let source = Source {
        session: Some(session),
        open,
    };
    in_turn(hub, kept, source, window, read).await
}

async fn in_turn<T: Send + 'static>(
    hub: &Arc<Hub>,
    kept: Arc<Mutex<Kept>>,
    source: Source<impl FnOnce(&Overview) -> Result<Feed, String> + Send + 'static>,
    window: Window,
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
        kept.catch_up(&hub, source, window)?;
        Ok(read(&kept.data))
    });
    computed.await.unwrap_or_else(|_| Err(stopped.to_owned()))
}

/// What is to be read frame by frame for a question about a window: all of a session, the window, or, where that is too
/// much, what is newest.
fn close(session: &Session, window: Window, limit_bytes: u64) -> Window {
    let most = limit_bytes / 2;
    session.with_log(|log| {
        if log.end().saturating_sub(log.seek(1)) <= limit_bytes {
            return ALL;
        }
        // As if a segment's frames were spread evenly over its time.
        let of_window = log.segments().map(|segment| {
            let length_ns = segment.last_ns.saturating_sub(segment.first_ns) + 1;
            let from_ns = window.from_ns.max(segment.first_ns);
            let to_ns = window.to_ns.min(segment.last_ns.saturating_add(1));
            segment.bytes as f64 * to_ns.saturating_sub(from_ns) as f64 / length_ns as f64
        });
        if of_window.sum::<f64>() <= most as f64 {
            return window;
        }
        let mut from_ns = u64::MAX;
        let segments: Vec<_> = log.segments().collect();
        let mut bytes = 0;
        for segment in segments.into_iter().rev() {
            bytes += segment.bytes;
            if bytes > most {
                break;
            }
            from_ns = segment.first_ns;
        }
        Window {
            from_ns,
            to_ns: u64::MAX,
        }
    })
}

impl Kept {
    /// Takes in everything durable. A damaged frame is counted by the analysis, which says so.
    fn catch_up(
        &mut self,
        hub: &Hub,
        source: Source<impl FnOnce(&Overview) -> Result<Feed, String>>,
        window: Window,
    ) -> Result<(), String> {
        let limit_bytes = hub.config.limits.report_bytes;
        let session = source.session.as_deref();
        let wanted = session.map_or(ALL, |session| close(session, window, limit_bytes));
        let has_it = self.close.from_ns <= wanted.from_ns && wanted.to_ns <= self.close.to_ns;
        let mut feed = match self.feed.take() {
            Some(feed) if !feed.is_replaced() && has_it => feed,
            _ => {
                // What was read may be part of a sum by now: only from the beginning is that right.
                self.data = heaptide_analysis::Session::new();
                self.close = wanted;
                (source.open)(&Overview {
                    past_bytes: limit_bytes,
                    close_from_ns: wanted.from_ns,
                    close_to_ns: wanted.to_ns,
                })?
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
            let items = match feed.pull(hub)? {
                Pulled::Items(items) => items,
                Pulled::Steps(stretch, items) => {
                    self.data
                        .stretch(stretch.from_seq, stretch.to_seq, stretch.step_ns);
                    items
                }
                Pulled::CaughtUp | Pulled::Over => return Ok(()),
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
