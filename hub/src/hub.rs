//! What all connections of a hub share.

use crate::access::Access;
use crate::alerts::Alerts;
use crate::catalog::Catalog;
use crate::config::HubConfig;
use crate::fleet::Fleet;
use crate::fleet_policy::Policies;
use crate::levels::Newest;
use crate::links::Links;
use crate::oidc::Oidc;
use crate::reports::Reports;
use crate::retention::Pins;
use crate::stats::Stats;
use crate::store::Store;
use crate::tls::Tls;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) stats: Arc<Stats>,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) fleet: Fleet,
    pub(crate) policies: Policies,
    pub(crate) reports: Reports,
    pub(crate) alerts: Alerts,
    pub(crate) access: Access,
    /// Sign-in through an identity provider, where that is set.
    pub(crate) oidc: Option<Oidc>,
    pub(crate) tls: Option<Tls>,
    /// The real one, also if any free one was asked for.
    pub(crate) port: u16,
    pub(crate) links: Links,
    /// Files on their way in or out.
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) pins: Pins,
    pub(crate) newest: Newest,
    /// One backup at a time.
    pub(crate) backup_turn: Arc<Semaphore>,
    /// The start time: another one tells peers that the hub was restarted.
    pub(crate) epoch: u64,
    /// Becomes true once, when the hub shuts down.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) numbers: AtomicU64,
}

/// Counts an open connection, from its first byte to the end of its WebSocket.
#[derive(Debug)]
pub(crate) struct Place {
    stats: Arc<Stats>,
    _permit: OwnedSemaphorePermit,
}

impl Hub {
    /// A number that no other connection of this run has.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// What is to be known about a hub that asks nobody for anything.
    pub(crate) fn open_words(&self) -> String {
        if self.config.listen.ip().is_loopback() {
            "this hub is open: everyone who can log in to this machine may read and tune every session; a first token \
             ends that: `heaptide hub token create --hub URL --role admin --name NAME`"
                .to_owned()
        } else {
            "this hub is open to everyone who reaches its address, as --insecure-allow-remote says: they may read and \
             tune every session"
                .to_owned()
        }
    }

    /// Resolves when the hub shuts down.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives as long as `self`.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

impl Place {
    pub(crate) fn new(stats: Arc<Stats>, permit: OwnedSemaphorePermit) -> Self {
        stats.connections.add(1);
        Self {
            stats,
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stats.connections.subtract(1);
    }
}
