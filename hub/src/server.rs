//! Starting, accepting connections, and going down in order.

use crate::catalog::Catalog;
use crate::config::HubConfig;
use crate::error::HubError;
use crate::fleet::{self, Fleet};
use crate::http;
use crate::hub::{Hub as Shared, Place};
use crate::reports::Reports;
use crate::stats::{Stats, StatsSnapshot};
use crate::store::Store;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// After `accept` failed for want of file descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
const MAX_HEADERS: usize = 64;

/// A hub that has its address and its data, and waits to be run.
#[derive(Debug)]
pub struct Hub {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// [`Hub::bind`] and [`Hub::run`] in one.
pub async fn serve(config: HubConfig, shutdown: impl Future<Output = ()>) -> Result<(), HubError> {
    Hub::bind(config).await?.run(shutdown).await;
    Ok(())
}

impl Hub {
    /// Takes the address and reads the data folder, cutting what a crash has torn.
    pub async fn bind(config: HubConfig) -> Result<Self, HubError> {
        let address = config.listen;
        if !address.ip().is_loopback() && !config.allow_remote {
            return Err(HubError::NoAccessControl { address });
        }
        #[cfg(unix)]
        raise_file_limit(&config);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => HubError::AddressInUse { address },
                _ => HubError::Listen { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| HubError::Listen { address, source })?;
        let stats = Arc::new(Stats::default());
        let (data_dir, limits, log) = (config.data_dir.clone(), config.limits, config.log.clone());
        let for_store = Arc::clone(&stats);
        let opened = tokio::task::spawn_blocking(move || {
            let (store, found) = Store::open(&data_dir, limits, &for_store, &log)?;
            let catalog = Catalog::open(&data_dir).map_err(|error| HubError::Catalog {
                why: error.to_string(),
            })?;
            Ok((store, catalog, found))
        });
        let (store, catalog, found) = opened.await.unwrap_or_else(|failed| {
            Err(HubError::DataDir {
                path: config.data_dir.clone(),
                source: io::Error::other(failed),
            })
        })?;
        let shared = Shared {
            fleet: Fleet::new(found.sessions, found.unreadable, config.limits.sessions),
            reports: Reports::new(config.limits.reported_sessions),
            stats,
            store,
            catalog,
            epoch: crate::clock::unix_ns(),
            closing: watch::Sender::new(false),
            numbers: AtomicU64::new(0),
            config,
        };
        Ok(Self {
            listener,
            address,
            shared: Arc::new(shared),
        })
    }

    /// The address that it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats.snapshot()
    }

    /// Serves until `shutdown` resolves. Then nothing more is accepted, what was received becomes durable
    /// and is acknowledged, sockets are closed with 1001, and the store is synced.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, shared, .. } = self;
        let limits = shared.config.limits;
        let places = Arc::new(Semaphore::new(limits.connections));
        let router = http::router(&shared);
        let list = tokio::spawn(fleet::keep_list(Arc::clone(&shared)));
        tokio::select! {
            () = accept(&listener, &shared, &router, &places) => {}
            () = shutdown => {}
        }
        drop(listener);
        shared.closing.send_replace(true);
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        // Twice: once for frames to become durable, once for peers to answer the close.
        let gone = tokio::time::timeout(limits.drain * 2, places.acquire_many(all)).await;
        if gone.is_err() {
            shared
                .config
                .log
                .warning("some connections did not close in time");
        }
        list.abort();
        // Not finding a thread to wait on is no reason not to end.
        let _ = tokio::task::spawn_blocking(move || shared.store.stop()).await;
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, router: &Router, places: &Arc<Semaphore>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                shared
                    .config
                    .log
                    .warning(format!("can't accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(places).try_acquire_owned() else {
            shared.stats.connections_refused.add(1);
            continue;
        };
        let place = Arc::new(Place::new(Arc::clone(&shared.stats), permit));
        tokio::spawn(converse(stream, Arc::clone(shared), router.clone(), place));
    }
}

/// One TCP connection, until it ends or becomes a WebSocket.
async fn converse(stream: TcpStream, shared: Arc<Shared>, router: Router, place: Arc<Place>) {
    // Frames are written whole, so waiting to fill segments would only add delay.
    let _ = stream.set_nodelay(true);
    let limits = shared.config.limits;
    let service = TowerToHyperService::new(router.layer(Extension(place)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake)
        .max_buf_size(limits.head_bytes.max(8 << 10))
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A peer that breaks HTTP only harms its own connection.
        _ = connection.as_mut() => {}
        () = shared.closed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// A socket and a file for each collector: the usual soft limit of 1024 is too low for a fleet.
#[cfg(unix)]
fn raise_file_limit(config: &HubConfig) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        config.log.warning(format!(
            "can't raise the limit of open files above {:?}; many collectors may not fit",
            limit.current
        ));
    }
}
