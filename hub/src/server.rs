//! Starting, accepting connections, and going down in order.

use crate::access::{Access, Origin, Role, Visitor};
use crate::alerts::{self, Alerts};
use crate::catalog::Catalog;
use crate::config::HubConfig;
use crate::error::HubError;
use crate::fleet::{self, Fleet};
use crate::fleet_policy::{Policies, engine};
use crate::http;
use crate::hub::{Hub as Shared, Place};
use crate::levels;
use crate::links::{self, Links};
use crate::oidc::Oidc;
use crate::reports::Reports;
use crate::retention::{self, Pins};
use crate::stats::{Stats, StatsSnapshot};
use crate::store::{Found, Store};
use crate::tls::{self, Tls};
use crate::transfer;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// How often it is written down when tokens were used last.
const SAVE_USES: Duration = Duration::from_secs(60);
/// After `accept` failed for want of file descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
const MAX_HEADERS: usize = 64;
/// Of a file that is opened at start, read at once.
const PIECE_BYTES: usize = 1 << 20;

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
        #[cfg(unix)]
        raise_file_limit(&config);
        let tls = config.tls.clone().map(Tls::open).transpose()?;
        let oidc = config.oidc.clone().map(Oidc::open).transpose();
        let oidc = oidc.map_err(|why| HubError::Oidc { why })?;
        let stats = Arc::new(Stats::default());
        let (store, found, catalog, access, links, policies, alerts) = open_data(&config, &stats).await?;
        if !address.ip().is_loopback() && access.is_open() && !config.allow_remote {
            return Err(HubError::NoAccessControl { address });
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => HubError::AddressInUse { address },
                _ => HubError::Listen { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| HubError::Listen { address, source })?;
        // For `heaptide hub backup`, which finds the hub of a folder by it.
        let scheme = if tls.is_some() { "https" } else { "http" };
        let named =
            tokio::fs::write(config.data_dir.join("address"), format!("{scheme}://{address}\n")).await;
        named.map_err(|source| HubError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        let shared = Shared {
            fleet: Fleet::new(found.sessions, found.unreadable, config.limits.sessions),
            reports: Reports::new(config.limits.reported_sessions),
            alerts,
            transfers: Arc::new(Semaphore::new(config.limits.transfers)),
            pins: Pins::default(),
            newest: levels::Newest::default(),
            backup_turn: Arc::new(Semaphore::new(1)),
            stats,
            store,
            catalog,
            access,
            oidc,
            tls,
            port: address.port(),
            links,
            policies,
            epoch: crate::clock::unix_ns(),
            closing: watch::Sender::new(false),
            numbers: AtomicU64::new(0),
            config,
        };
        let shared = Arc::new(shared);
        let for_files = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || open_files(&for_files))
            .await
            .unwrap_or_else(|failed| {
                Err(HubError::DataDir {
                    path: shared.config.data_dir.clone(),
                    source: io::Error::other(failed),
                })
            })?;
        tell_access(&shared);
        Ok(Self {
            listener,
            address,
            shared,
        })
    }

    /// The address that it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats.snapshot()
    }

    /// A token for a collector in this very process, that ends with the hub and is listed nowhere.
    pub fn lend_collector_token(&self) -> Result<String, HubError> {
        let lent = self.shared.access.tokens.lend("own collector", Role::Collector);
        lent.map_err(|error| HubError::Catalog {
            why: error.to_string(),
        })
    }

    /// Serves until `shutdown` resolves. Then nothing more is accepted, what was received becomes durable
    /// and is acknowledged, sockets are closed with 1001, and the store is synced.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, shared, .. } = self;
        let limits = shared.config.limits;
        let places = Arc::new(Semaphore::new(limits.connections));
        let router = http::router(&shared);
        let beside = [
            tokio::spawn(fleet::keep_list(Arc::clone(&shared))),
            tokio::spawn(links::sweep(Arc::clone(&shared))),
            tokio::spawn(engine::run(Arc::clone(&shared))),
            tokio::spawn(alerts::keep(Arc::clone(&shared))),
            tokio::spawn(save_uses(Arc::clone(&shared))),
            tokio::spawn(tls::follow_files(Arc::clone(&shared))),
            tokio::spawn(retention::keep(Arc::clone(&shared))),
        ];
        let for_levels = Arc::clone(&shared);
        let runtime = tokio::runtime::Handle::current();
        let levels = std::thread::Builder::new()
            .name("heaptide-levels".to_owned())
            .spawn(move || levels::keep(&for_levels, &runtime));
        if let Err(error) = &levels {
            shared
                .config
                .log
                .warning(format!("can't start the thread that makes levels: {error}"));
        }
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
        for task in beside {
            task.abort();
            // Until it is gone, it may hold on to the data folder.
            let _ = task.await;
        }
        if let Ok(levels) = levels {
            // It looks whether the hub closes between two parts.
            let _ = tokio::task::spawn_blocking(move || levels.join()).await;
        }
        // Not finding a thread to wait on is no reason not to end.
        let _ = tokio::task::spawn_blocking(move || {
            save_uses_now(&shared);
            shared.store.stop();
        })
        .await;
    }
}

/// Reads the data folder on a thread that may block.
async fn open_data(
    config: &HubConfig,
    stats: &Arc<Stats>,
) -> Result<(Store, Found, Catalog, Access, Links, Policies, Alerts), HubError> {
    let (data_dir, limits, log) = (config.data_dir.clone(), config.limits, config.log.clone());
    // Whoever sets a provider wants to know who people are.
    let asks = config.require_token || config.oidc.is_some();
    let stats = Arc::clone(stats);
    let webhook_ca = config.webhook_ca.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let (store, found) = Store::open(&data_dir, limits, &stats, &log)?;
        let catalog = Catalog::open(&data_dir)?;
        let access = Access::open(&catalog, asks, &limits, stats)?;
        let links = Links::load(&catalog, &data_dir)?;
        let policies = Policies::open(&catalog, crate::clock::unix_ns())?;
        let alerts = Alerts::open(&catalog, limits.alert_sessions, webhook_ca.as_deref())?;
        Ok((store, found, catalog, access, links, policies, alerts))
    });
    opened.await.unwrap_or_else(|failed| {
        Err(HubError::DataDir {
            path: config.data_dir.clone(),
            source: io::Error::other(failed),
        })
    })
}

/// Says at the start who will be let in.
fn tell_access(hub: &Shared) {
    let log = &hub.config.log;
    if hub.access.is_open() {
        if hub.config.listen.ip().is_loopback() {
            log.info(hub.open_words());
        } else {
            log.warning(hub.open_words());
        }
        return;
    }
    if let Some(oidc) = &hub.oidc {
        log.info(format!("people sign in with {}", oidc.issuer()));
    } else if !hub.access.tokens.any() {
        log.warning(
            "this hub asks for a token and none exists: stop it and create one with `heaptide hub token create --role \
             admin --name NAME` on the same --data",
        );
    }
    if hub.tls.is_none() && !hub.config.listen.ip().is_loopback() {
        log.warning("tokens travel readable for everyone on the way: give --tls-cert and --tls-key, or put TLS before this hub");
    }
}

async fn save_uses(hub: Arc<Shared>) {
    loop {
        tokio::time::sleep(SAVE_USES).await;
        let hub = Arc::clone(&hub);
        let _ = tokio::task::spawn_blocking(move || save_uses_now(&hub)).await;
    }
}

fn save_uses_now(hub: &Shared) {
    if let Err(error) = hub.access.tokens.save_uses(&hub.catalog) {
        hub.config.log.error(error.to_string());
    }
}

/// The recordings that the hub was told to show.
fn open_files(shared: &Shared) -> Result<(), HubError> {
    for path in &shared.config.open {
        let failed = |why: String| HubError::Open {
            path: path.clone(),
            why,
        };
        let mut file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let imported = transfer::take_in(shared, None, || {
            let mut piece = vec![0; PIECE_BYTES];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok((length > 0).then(|| piece.into()))
        })
        .map_err(|error| failed(error.to_string()))?;
        for flaw in imported.flaws {
            shared.config.log.info(format!("{}: {flaw}", path.display()));
        }
    }
    Ok(())
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, router: &Router, places: &Arc<Semaphore>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
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
        tokio::spawn(welcome(
            stream,
            from.ip(),
            Arc::clone(shared),
            router.clone(),
            place,
        ));
    }
}

/// One TCP connection, with TLS if the hub has that.
async fn welcome(stream: TcpStream, address: IpAddr, shared: Arc<Shared>, router: Router, place: Arc<Place>) {
    // Frames are written whole, so waiting to fill segments would only add delay.
    let _ = stream.set_nodelay(true);
    let mut visitor = Visitor {
        origin: Origin::of(address),
        address: address.to_canonical(),
        certificate: None,
    };
    let Some(tls) = &shared.tls else {
        let router = router.layer((Extension(place), Extension(visitor)));
        return converse(stream, &shared, router).await;
    };
    match tokio::time::timeout(shared.config.limits.handshake, tls.accept(stream)).await {
        Ok(Ok((stream, certificate))) => {
            visitor.certificate = certificate;
            let router = router.layer((Extension(place), Extension(visitor)));
            converse(stream, &shared, router).await;
        }
        // Anybody can cause this at any rate, so it is counted and not told.
        Ok(Err(_)) | Err(_) => shared.stats.tls_failures.add(1),
    }
}

/// HTTP, until the connection ends or becomes a WebSocket.
async fn converse<S>(stream: S, shared: &Shared, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = shared.config.limits;
    let service = TowerToHyperService::new(router);
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
