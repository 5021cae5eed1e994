//! Routes, and the checks before a WebSocket is opened.

use crate::access::{Identity, Visitor, guard};
use crate::assets::sentence;
use crate::hub::{Hub, Place};
use crate::origin::{Verdict, check_origin};
use crate::{api, collector, console, links, metrics};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::middleware;
use axum::routing::{any, get};
use heaptide_protocol::frame::MAX_FRAME_BYTES;
use std::sync::Arc;

pub(crate) fn router(hub: &Arc<Hub>) -> Router {
    Router::new()
        .route("/ws/collector", any(collector_socket))
        .route("/ws/console", any(console_socket))
        .route("/healthz", get(|| async { sentence(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .merge(links::routes())
        .merge(api::router())
        .fallback(file)
        .layer(middleware::from_fn_with_state(Arc::clone(hub), guard))
        .with_state(Arc::clone(hub))
}

async fn collector_socket(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    Extension(visitor): Extension<Visitor>,
    identity: Option<Extension<Identity>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response<Body> {
    match check_origin(&headers, true, hub.tls.is_some()) {
        Verdict::Denied(why) => sentence(StatusCode::FORBIDDEN, why + "\n"),
        Verdict::Allowed => match upgrade {
            Err(_) => not_a_socket(),
            Ok(upgrade) => limited(upgrade).on_upgrade(move |socket| async move {
                let identity = identity.map(|Extension(identity)| identity);
                collector::run(socket, hub, &visitor, identity).await;
                drop(place);
            }),
        },
    }
}

async fn console_socket(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    Extension(visitor): Extension<Visitor>,
    identity: Option<Extension<Identity>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response<Body> {
    match check_origin(&headers, false, hub.tls.is_some()) {
        Verdict::Denied(why) => sentence(StatusCode::FORBIDDEN, why + "\n"),
        Verdict::Allowed => match upgrade {
            Err(_) => not_a_socket(),
            Ok(upgrade) => limited(upgrade).on_upgrade(move |socket| async move {
                let identity = identity.map(|Extension(identity)| identity);
                console::run(socket, hub, &visitor, identity).await;
                drop(place);
            }),
        },
    }
}

pub(crate) fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .read_buffer_size(32 << 10)
}

pub(crate) fn not_a_socket() -> Response<Body> {
    sentence(
        StatusCode::UPGRADE_REQUIRED,
        "Open this address as a WebSocket.\n",
    )
}

/// Ready means: frames can be stored.
async fn ready(State(hub): State<Arc<Hub>>) -> Response<Body> {
    match hub.store.health.why() {
        None => sentence(StatusCode::OK, "ready\n"),
        Some(why) if hub.access.is_open() => {
            sentence(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
        }
        // Whoever asks is not known; the log tells why.
        Some(_) => sentence(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn file(State(hub): State<Arc<Hub>>, method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let path = uri.path();
    if method != Method::GET && method != Method::HEAD {
        return sentence(StatusCode::METHOD_NOT_ALLOWED, "Only GET works here.\n");
    }
    if path.starts_with("/api/") || path.starts_with("/ws/") {
        return sentence(StatusCode::NOT_FOUND, "There is no such address.\n");
    }
    hub.config.assets.respond(path, &headers)
}
