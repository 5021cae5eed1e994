//! Routes, security headers, and the checks before a WebSocket is opened.

use crate::access::Caller;
use crate::assets::sentence;
use crate::hub::{Hub, Place};
use crate::origin::{Verdict, check_host, check_origin};
use crate::{api, collector, console, metrics};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::routing::{any, get};
use heaptide_protocol::frame::MAX_FRAME_BYTES;
use std::sync::Arc;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

pub(crate) fn router(hub: &Arc<Hub>) -> Router {
    Router::new()
        .route("/ws/collector", any(collector_socket))
        .route("/ws/console", any(console_socket))
        .route("/healthz", get(|| async { sentence(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .merge(api::router())
        .fallback(file)
        .layer(middleware::from_fn_with_state(Arc::clone(hub), guard))
        .with_state(Arc::clone(hub))
}

/// Turns away requests under a wrong name, and puts the security headers on every answer.
async fn guard(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Response<Body> {
    request.extensions_mut().insert(Caller::local());
    // Probes of an orchestrator come by address, and learn nothing.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let names = hub
        .config
        .listen
        .ip()
        .is_loopback()
        .then_some(hub.config.allowed_hosts.as_slice());
    let mut response = match check_host(request.headers(), names) {
        Verdict::Denied(why) if !is_probe => sentence(StatusCode::FORBIDDEN, why + "\n"),
        _ => next.run(request).await,
    };
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn collector_socket(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response<Body> {
    match check_origin(&headers, true) {
        Verdict::Denied(why) => sentence(StatusCode::FORBIDDEN, why + "\n"),
        Verdict::Allowed => match upgrade {
            Err(_) => not_a_socket(),
            Ok(upgrade) => limited(upgrade).on_upgrade(move |socket| async move {
                collector::run(socket, hub).await;
                drop(place);
            }),
        },
    }
}

async fn console_socket(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response<Body> {
    match check_origin(&headers, false) {
        Verdict::Denied(why) => sentence(StatusCode::FORBIDDEN, why + "\n"),
        Verdict::Allowed => match upgrade {
            Err(_) => not_a_socket(),
            Ok(upgrade) => limited(upgrade).on_upgrade(move |socket| async move {
                console::run(socket, hub).await;
                drop(place);
            }),
        },
    }
}

fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .read_buffer_size(32 << 10)
}

fn not_a_socket() -> Response<Body> {
    sentence(
        StatusCode::UPGRADE_REQUIRED,
        "Open this address as a WebSocket.\n",
    )
}

/// Ready means: frames can be stored.
async fn ready(State(hub): State<Arc<Hub>>) -> Response<Body> {
    match hub.store.health.why() {
        None => sentence(StatusCode::OK, "ready\n"),
        Some(why) => sentence(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
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
