//! All sessions of a hub, and the list of them that every console gets.

use crate::hub::Hub;
use crate::session::Session;
use bytes::Bytes;
use heaptide_protocol::control::{RefuseCode, SessionState, SessionSummary, Sessions};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{FrameKind, SessionId};
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

use crate::peer::Refusal;
use crate::store::index::LogView;
use crate::store::meta::Meta;

#[derive(Debug)]
pub(crate) struct Fleet {
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    unreadable: HashSet<SessionId>,
    /// Sessions that are being taken in from a file. Locked behind `sessions`.
    incoming: Mutex<HashSet<SessionId>>,
    limit: usize,
    changed: Notify,
    list: watch::Sender<Bytes>,
}

/// Why a session can't be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occupied {
    /// The hub has it already.
    Known,
    Full {
        count: usize,
    },
}

impl Fleet {
    pub(crate) fn new(
        sessions: HashMap<SessionId, Arc<Session>>,
        unreadable: HashSet<SessionId>,
        limit: usize,
    ) -> Self {
        Self {
            sessions: Mutex::new(sessions),
            unreadable,
            incoming: Mutex::default(),
            limit,
            changed: Notify::new(),
            list: watch::Sender::new(Bytes::new()),
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// The session of this id, and whether it is new.
    pub(crate) fn get_or_create(&self, id: SessionId) -> Result<(Arc<Session>, bool), Refusal> {
        if self.unreadable.contains(&id) {
            return Err(Refusal::new(
                RefuseCode::SequenceGap,
                format!(
                    "the hub can't read what it has of session {id}: see the hub's log, or start a new session"
                ),
            ));
        }
        let mut sessions = self.lock();
        if self.incoming().contains(&id) {
            return Err(Refusal::new(
                RefuseCode::TooManySessions,
                format!("session {id} is being taken in from a file: try again when that is done"),
            ));
        }
        let count = sessions.len();
        match sessions.entry(id) {
            Entry::Occupied(entry) => Ok((Arc::clone(entry.get()), false)),
            Entry::Vacant(_) if count >= self.limit => Err(Refusal::new(
                RefuseCode::TooManySessions,
                format!(
                    "the hub has {count} sessions, which is its limit: remove old ones from its data folder"
                ),
            )),
            Entry::Vacant(entry) => {
                let session = Arc::new(Session::new(id, Meta::unknown(id), LogView::new()));
                Ok((Arc::clone(entry.insert(session)), true))
            }
        }
    }

    /// Keeps the place of a session that comes from a file, or says why it has none.
    pub(crate) fn reserve(&self, id: SessionId) -> Result<(), Occupied> {
        let sessions = self.lock();
        let mut incoming = self.incoming();
        if sessions.contains_key(&id) || self.unreadable.contains(&id) || incoming.contains(&id) {
            return Err(Occupied::Known);
        }
        let count = sessions.len() + incoming.len();
        if count >= self.limit {
            return Err(Occupied::Full { count });
        }
        incoming.insert(id);
        Ok(())
    }

    /// Fills a reserved place, or gives it back.
    pub(crate) fn settle(&self, id: SessionId, session: Option<Arc<Session>>) {
        let mut sessions = self.lock();
        if let Some(session) = session {
            sessions.insert(id, session);
        }
        self.incoming().remove(&id);
        drop(sessions);
        self.changed();
    }

    /// Takes back a session that came to nothing.
    pub(crate) fn forget(&self, id: SessionId) {
        self.lock().remove(&id);
    }

    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Bytes> {
        self.list.subscribe()
    }

    /// Live ones first, then the newest.
    pub(crate) fn summaries(&self) -> Vec<SessionSummary> {
        let sessions = self.all();
        let mut summaries: Vec<_> = sessions.iter().map(|session| session.summary()).collect();
        summaries.sort_by_key(|summary| {
            let rank = match summary.state {
                SessionState::Live => 0,
                SessionState::Away { .. } => 1,
                SessionState::Ended => 2,
            };
            (rank, Reverse(summary.signature.clock.unix_ns), summary.session)
        });
        summaries
    }

    fn incoming(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the list up to date, at most once in `fleet_interval`. Runs until it is dropped.
pub(crate) async fn keep_list(hub: Arc<Hub>) {
    loop {
        let list = encode_list(&hub);
        hub.fleet.list.send_replace(list);
        tokio::time::sleep(hub.config.limits.fleet_interval).await;
        hub.fleet.changed.notified().await;
    }
}

/// A frame is bounded, so of very many sessions only the first ones fit.
fn encode_list(hub: &Hub) -> Bytes {
    let mut sessions = Sessions {
        sessions: hub.fleet.summaries(),
    };
    loop {
        match encode_control(FrameKind::Sessions, SessionId::default(), &sessions) {
            Ok(frame) => return frame.into(),
            Err(_) if sessions.sessions.is_empty() => return Bytes::new(),
            Err(_) => {
                hub.stats.session_lists_shortened.add(1);
                let fewer = sessions.sessions.len() * 3 / 4;
                sessions.sessions.truncate(fewer);
            }
        }
    }
}
