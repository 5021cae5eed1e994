//! Notices on their way: a bounded queue that survives a restart, one attempt at a time, in order, with growing pauses.

use super::webhook::{self, Parcel, Webhook};
use super::{ONLY, lock};
use crate::catalog::{Catalog, CatalogError, Change, Entry};
use crate::error::HubError;
use crate::hub::Hub;
use crate::outgoing::Outgoing;
use crate::stats::Stats;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Names more authorities to believe.
pub(crate) const CA_SETTING: &str = "webhook-ca";
/// Notices that wait; above it the oldest ones are given up.
const WAITING: usize = 1_000;
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// What could not be told for so long is no news.
const GIVE_UP_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    id: String,
    made_unix_ns: u64,
    body: String,
}

impl Entry for Waiting {
    const TABLE: &'static str = "alert_outbox";
}

#[derive(Debug)]
pub(crate) struct Delivery {
    webhook: Mutex<Option<Arc<Webhook>>>,
    queue: Mutex<Queue>,
    outgoing: Outgoing,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(u64, Waiting)>,
    next: u64,
    told: DeliveryState,
}

/// How it goes with the webhook since the hub's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct DeliveryState {
    /// Whether a webhook is set.
    pub(crate) is_set: bool,
    /// Notices that wait to be brought there.
    pub(crate) waiting: usize,
    pub(crate) last_sent_unix_ns: Option<u64>,
    /// Attempts in a row that failed, and why the last one did.
    pub(crate) failures_in_a_row: u64,
    pub(crate) last_failure: Option<String>,
    pub(crate) last_failure_unix_ns: Option<u64>,
}

impl Delivery {
    pub(super) fn open(catalog: &Catalog, ca: Option<&Path>) -> Result<Self, HubError> {
        let failed = |why: String| HubError::Catalog { why };
        let of_catalog = |error: CatalogError| failed(error.to_string());
        let webhook = catalog.get::<Webhook>(ONLY).map_err(of_catalog)?;
        let mut waiting = VecDeque::new();
        for (key, notice) in catalog.list::<Waiting>().map_err(of_catalog)? {
            let number = key
                .parse::<u64>()
                .map_err(|_| failed(format!("notice '{key}' has no number")))?;
            waiting.push_back((number, notice));
        }
        let next = waiting.back().map_or(1, |(number, _)| number + 1);
        Ok(Self {
            webhook: Mutex::new(webhook.map(Arc::new)),
            queue: Mutex::new(Queue {
                waiting,
                next,
                told: DeliveryState::default(),
            }),
            outgoing: Outgoing::new(ca, CA_SETTING).map_err(|why| HubError::WebhookCa { why })?,
            changed: Notify::new(),
        })
    }

    pub(crate) fn webhook(&self) -> Option<Arc<Webhook>> {
        lock(&self.webhook).clone()
    }

    pub(crate) fn state(&self) -> DeliveryState {
        let queue = lock(&self.queue);
        DeliveryState {
            is_set: self.webhook().is_some(),
            waiting: queue.waiting.len(),
            ..queue.told.clone()
        }
    }

    /// Whoever is told from now on. Without anybody, what waits is given up.
    pub(super) async fn set_webhook(
        &self,
        catalog: &Catalog,
        stats: &Stats,
        next: Option<Webhook>,
    ) -> Result<(), CatalogError> {
        let is_none = next.is_none();
        *lock(&self.webhook) = next.map(Arc::new);
        let gone: Vec<u64> = {
            let mut queue = lock(&self.queue);
            queue.told = DeliveryState::default();
            let all = queue.waiting.iter().map(|(number, _)| *number).collect();
            if is_none {
                queue.waiting.clear();
                all
            } else {
                Vec::new()
            }
        };
        self.changed.notify_one();
        stats.alert_notices_given_up.add(gone.len() as u64);
        catalog
            .change(move |change| gone.into_iter().try_for_each(|number| remove(change, number)))
            .await
    }

    /// Numbers for notices, to be put into the catalogue with the change that they are about and then
    /// [`queued`](Self::queued). None without a webhook.
    pub(super) fn number(&self, notices: Vec<(String, String)>, now_unix_ns: u64) -> Vec<(u64, Waiting)> {
        if self.webhook().is_none() {
            return Vec::new();
        }
        let mut queue = lock(&self.queue);
        let mut numbered = Vec::new();
        for (id, body) in notices {
            let waiting = Waiting {
                id,
                made_unix_ns: now_unix_ns,
                body,
            };
            numbered.push((queue.next, waiting));
            queue.next += 1;
        }
        numbered
    }

    /// They are durable. Those that had to make room for them.
    pub(super) fn queued(&self, notices: Vec<(u64, Waiting)>) -> Vec<u64> {
        let mut queue = lock(&self.queue);
        queue.waiting.extend(notices);
        let excess = queue.waiting.len().saturating_sub(WAITING);
        let gone = queue.waiting.drain(..excess).map(|(number, _)| number).collect();
        self.changed.notify_one();
        gone
    }

    fn first(&self) -> Option<(u64, Waiting)> {
        lock(&self.queue).waiting.front().cloned()
    }

    fn done(&self, number: u64) {
        lock(&self.queue).waiting.retain(|(one, _)| *one != number);
    }
}

/// Of the catalogue.
pub(super) fn put(change: &mut Change, number: u64, notice: &Waiting) -> Result<(), CatalogError> {
    change.put(&key(number), notice)
}

pub(super) fn remove(change: &mut Change, number: u64) -> Result<(), CatalogError> {
    change.remove::<Waiting>(&key(number)).map(|_| ())
}

fn key(number: u64) -> String {
    format!("{number:020}")
}

/// Brings notices to the webhook until it is dropped.
pub(super) async fn run(hub: &Arc<Hub>) {
    let delivery = hub.alerts.delivery();
    let mut pause = hub.config.limits.alert_retry;
    loop {
        let (Some(webhook), Some((number, notice))) = (delivery.webhook(), delivery.first()) else {
            delivery.changed.notified().await;
            continue;
        };
        let now_unix_ns = crate::clock::unix_ns();
        if now_unix_ns.saturating_sub(notice.made_unix_ns) > GIVE_UP_NS {
            hub.stats.alert_notices_given_up.add(1);
            hub.config.log.error(format!(
                "notice {} could not be told for a day and is given up",
                notice.id
            ));
            forget(hub, number).await;
            continue;
        }
        let parcel = Parcel {
            id: notice.id,
            unix_s: now_unix_ns / 1_000_000_000,
            body: notice.body.into(),
        };
        let patience = hub.config.limits.alert_patience;
        match webhook::post(&webhook, &parcel, patience, &delivery.outgoing).await {
            Ok(()) => {
                pause = hub.config.limits.alert_retry;
                {
                    let told = &mut lock(&delivery.queue).told;
                    told.last_sent_unix_ns = Some(crate::clock::unix_ns());
                    told.failures_in_a_row = 0;
                }
                forget(hub, number).await;
                hub.stats.alert_notices_sent.add(1);
            }
            Err(why) => {
                hub.stats.alert_attempts_failed.add(1);
                let in_a_row = {
                    let told = &mut lock(&delivery.queue).told;
                    told.failures_in_a_row += 1;
                    told.last_failure = Some(why.clone());
                    told.last_failure_unix_ns = Some(crate::clock::unix_ns());
                    told.failures_in_a_row
                };
                if in_a_row == 1 {
                    hub.config.log.warning(format!(
                        "the alert webhook was not told: {why}; it is tried again, with growing pauses"
                    ));
                }
                // Another webhook is tried at once.
                let changed = tokio::time::timeout(pause, delivery.changed.notified()).await;
                let is_same = delivery.webhook().as_ref() == Some(&webhook);
                pause = match is_same {
                    true if changed.is_err() => (pause * 2).min(LONGEST_PAUSE),
                    true => pause,
                    false => hub.config.limits.alert_retry,
                };
            }
        }
    }
}

async fn forget(hub: &Hub, number: u64) {
    let gone = hub.catalog.change(move |change| remove(change, number)).await;
    hub.alerts.delivery().done(number);
    if let Err(error) = gone {
        hub.config.log.error(format!(
            "a notice that was told will be told again after a restart: {error}"
        ));
    }
}
