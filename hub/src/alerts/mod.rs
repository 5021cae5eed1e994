//! Alerts: rules on figures of sessions, what they stand at, and who is told.
//!
//! `rule`, `figure` and `machine` decide and are pure. `engine` looks at all sessions now and then, `reader` fetches
//! the figures that only stored frames tell, beside the ingest path, and `delivery` brings notices to the webhook, one
//! after another. What fires, and what is still to be told, is in the catalogue: a restart tells nothing twice but
//! what was under way when it happened.

mod delivery;
mod engine;
mod figure;
mod machine;
mod notice;
mod reader;
mod rule;
mod webhook;
mod words;

pub(crate) use delivery::{CA_SETTING, DeliveryState};
pub(crate) use engine::run as keep;
pub(crate) use machine::State;
#[cfg(test)]
pub(crate) use rule::MAX_RULES;
pub(crate) use rule::{Figure, FigureUnit, Rules, When};
pub(crate) use webhook::{Webhook, problem as webhook_problem};
pub(crate) use words::told;

use crate::access::Caller;
use crate::catalog::{Catalog, CatalogError, Entry};
use crate::error::HubError;
use crate::reports::Reports;
use crate::stats::Stats;
use figure::Reading;
use heaptide_protocol::SessionId;
use machine::Alert;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The key of what there is one of.
const ONLY: &str = "only";

/// A rule's name and a session.
pub(crate) type Pair = (String, SessionId);

/// The rules with their revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RuleBook {
    /// 0 before anybody wrote one.
    pub(crate) revision: u64,
    pub(crate) unix_ns: u64,
    pub(crate) who: String,
    pub(crate) why: String,
    pub(crate) document: Rules,
}

impl Entry for RuleBook {
    const TABLE: &'static str = "alert_rules";
}

/// An alert that fires or did, over a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    rule: String,
    session: String,
    alert: Alert,
    /// What somebody was told about it, for the notice of its end.
    told: notice::Told,
}

impl Entry for Kept {
    const TABLE: &'static str = "alerts";
}

/// An alert, and what was told when it began to fire.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) alert: Alert,
    pub(crate) told: Option<notice::Told>,
}

#[derive(Debug)]
pub(crate) struct Alerts {
    rules: Mutex<Arc<RuleBook>>,
    /// One change at a time, from looking at the newest revision to writing the next.
    turn: tokio::sync::Mutex<()>,
    board: Mutex<BTreeMap<Pair, Posted>>,
    /// Pairs that are not looked at because there are too many.
    left_out: AtomicUsize,
    /// What stored frames said last, and when.
    stored: Mutex<HashMap<(SessionId, Figure), (Reading, u64)>>,
    /// Analyses of the sessions that rules read.
    reads: Reports,
    delivery: delivery::Delivery,
    changed: Notify,
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Changed {
    Done(Arc<RuleBook>),
    Overtaken(Arc<RuleBook>),
}

impl Alerts {
    pub(crate) fn open(catalog: &Catalog, sessions: usize, ca: Option<&Path>) -> Result<Self, HubError> {
        let failed = |why: String| HubError::Catalog { why };
        let of_catalog = |error: CatalogError| failed(error.to_string());
        let book = catalog
            .get::<RuleBook>(ONLY)
            .map_err(of_catalog)?
            .unwrap_or_default();
        let mut board = BTreeMap::new();
        for (key, kept) in catalog.list::<Kept>().map_err(of_catalog)? {
            let session = kept
                .session
                .parse()
                .map_err(|_| failed(format!("alert '{key}' is of no session")))?;
            let posted = Posted {
                alert: kept.alert,
                told: Some(kept.told),
            };
            board.insert((kept.rule, session), posted);
        }
        Ok(Self {
            rules: Mutex::new(Arc::new(book)),
            turn: tokio::sync::Mutex::default(),
            board: Mutex::new(board),
            left_out: AtomicUsize::new(0),
            stored: Mutex::default(),
            reads: Reports::new(sessions),
            delivery: delivery::Delivery::open(catalog, ca)?,
            changed: Notify::new(),
        })
    }

    pub(crate) fn rules(&self) -> Arc<RuleBook> {
        Arc::clone(&lock(&self.rules))
    }

    /// All of them at one moment.
    pub(crate) fn board(&self) -> BTreeMap<Pair, Posted> {
        lock(&self.board).clone()
    }

    pub(crate) fn left_out(&self) -> usize {
        self.left_out.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn delivery(&self) -> &delivery::Delivery {
        &self.delivery
    }

    /// How many there are of each state that any is in.
    pub(crate) fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for posted in lock(&self.board).values() {
            *counts.entry(posted.alert.state).or_default() += 1;
        }
        counts
    }

    /// A document becomes the newest, unless somebody else was faster.
    pub(crate) async fn submit(
        &self,
        catalog: &Catalog,
        caller: &Caller,
        from_revision: u64,
        document: Rules,
        why: String,
    ) -> Result<Changed, CatalogError> {
        let _turn = self.turn.lock().await;
        let book = self.rules();
        if book.revision != from_revision {
            return Ok(Changed::Overtaken(book));
        }
        let next = Arc::new(RuleBook {
            revision: from_revision + 1,
            unix_ns: crate::clock::unix_ns(),
            who: caller.name.clone(),
            why,
            document,
        });
        let (put, who) = (Arc::clone(&next), caller.clone());
        catalog
            .change(move |change| {
                change.put(ONLY, &*put)?;
                let subject = format!("revision {}", put.revision);
                change.audit(&who, "alert rules changed", &subject, &put.why)
            })
            .await?;
        *lock(&self.rules) = Arc::clone(&next);
        self.changed.notify_one();
        Ok(Changed::Done(next))
    }

    /// Sets the webhook, or takes it away, unless somebody else was faster; then the newest one's revision.
    pub(crate) async fn set_webhook(
        &self,
        catalog: &Catalog,
        stats: &Stats,
        caller: &Caller,
        from_revision: u64,
        next: Option<Webhook>,
        why: String,
    ) -> Result<Result<(), u64>, CatalogError> {
        let _turn = self.turn.lock().await;
        let revision = self.delivery.webhook().map_or(0, |webhook| webhook.revision);
        if revision != from_revision {
            return Ok(Err(revision));
        }
        let (put, who) = (next.clone(), caller.clone());
        catalog
            .change(move |change| match put {
                Some(webhook) => {
                    change.put(ONLY, &webhook)?;
                    change.audit(&who, "alert webhook set", "webhook", &why)
                }
                None => {
                    change.remove::<Webhook>(ONLY)?;
                    change.audit(&who, "alert webhook removed", "webhook", &why)
                }
            })
            .await?;
        self.delivery.set_webhook(catalog, stats, next).await?;
        Ok(Ok(()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
