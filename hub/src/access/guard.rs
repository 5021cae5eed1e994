//! What every HTTP request passes first: the right host, somebody known, not too often, the security headers.
//!
//! A route needs a [`Caller`](super::Caller) unless it stands in [`PUBLIC`], so a forgotten one is closed, not
//! open. WebSockets decide for themselves, since their first frame may bring the token.

use super::Caller;
use super::gate::{Denied, Grant, Identity, NO_TOKEN, Refused, Visitor, WRONG_TOKEN};
use crate::api::Problem;
use crate::assets::sentence;
use crate::hub::Hub;
use crate::oidc;
use crate::origin::{Verdict, check_host, check_origin};
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use std::sync::Arc;

/// Routes that need nobody. Files of the console have no route and need nobody either.
const PUBLIC: [&str; 9] = [
    "/healthz",
    "/readyz",
    SIGN_IN,
    "/api/v1/oidc/start",
    oidc::CALLBACK,
    // The secret in the address of a link is all that its bearer needs.
    "/s/{secret}",
    "/s/{secret}/{*tab}",
    "/api/v1/shared/{secret}",
    "/ws/link/{secret}",
];
const SIGN_IN: &str = "/api/v1/sign-in";
const SOCKETS: [&str; 2] = ["/ws/collector", "/ws/console"];

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
/// A year, as browsers' lists ask for.
const STRICT_TRANSPORT: &str = "max-age=31536000";

pub(crate) async fn guard(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response<Body> {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let is_api = route.as_deref().is_some_and(|route| route.starts_with("/api/"));
    let mut response = answer(&hub, route.as_deref(), request, next).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if hub.tls.is_some() {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static(STRICT_TRANSPORT),
        );
    }
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn answer(hub: &Arc<Hub>, route: Option<&str>, mut request: Request, next: Next) -> Response<Body> {
    // Probes of an orchestrator come by address, and learn nothing.
    let is_probe = matches!(route, Some("/healthz" | "/readyz"));
    let names = hub
        .config
        .listen
        .ip()
        .is_loopback()
        .then_some(hub.config.allowed_hosts.as_slice());
    if let Verdict::Denied(why) = check_host(request.headers(), names)
        && !is_probe
    {
        return sentence(StatusCode::FORBIDDEN, why + "\n");
    }
    let Some(visitor) = request.extensions().get::<Visitor>().cloned() else {
        return sentence(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The hub lost this connection's address.\n",
        );
    };
    let is_socket = route.is_some_and(|route| SOCKETS.contains(&route));
    if let Some(route) = route.filter(|_| !is_probe) {
        let identity = match identify(hub, &visitor, request.headers()) {
            Ok(identity) => identity,
            Err(refused) => return refuse(hub, &visitor, refused).await.into_response(),
        };
        if identity.is_none() && !is_socket && !PUBLIC.contains(&route) {
            hub.stats.requests_unknown.add(1);
            return Problem::unauthorized(NO_TOKEN).into_response();
        }
        if let Some(left) = hub.access.locked_out(&visitor).filter(|_| identity.is_none()) {
            return Problem::wait(left).into_response();
        }
        if !is_socket && let Verdict::Denied(why) = same_origin(hub, &request, identity.as_ref()) {
            return Problem::forbidden(why).into_response();
        }
        // Many collectors behind one address come back at once after a restart; each has one connection.
        if route != "/ws/collector"
            && let Err(left) = hub.access.take_turn(&visitor, identity.as_ref())
        {
            hub.stats.requests_limited.add(1);
            return Problem::wait(left).into_response();
        }
        if let Some(identity) = identity {
            request.extensions_mut().insert::<Caller>(identity.caller.clone());
            request.extensions_mut().insert(identity);
        }
    }
    if route != Some(SIGN_IN) {
        return next.run(request).await;
    }
    // Whoever is not known yet can't keep the hub waiting for a body.
    let limit = hub.config.limits.handshake;
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    answered.unwrap_or_else(|_| sentence(StatusCode::REQUEST_TIMEOUT, "The request took too long.\n"))
}

/// Whoever the headers or the connection say it is. Wrong headers are an answer of their own.
fn identify(hub: &Hub, visitor: &Visitor, headers: &HeaderMap) -> Result<Option<Identity>, Refused> {
    if hub.access.is_open() {
        return Ok(hub.access.unasked(visitor));
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer).unwrap_or_default();
        return hub.access.token(visitor, token).map(Some);
    }
    let signed_in = cookie(&cookie_name(hub), headers).and_then(|cookie| hub.access.cookie(cookie));
    Ok(signed_in.or_else(|| hub.access.unasked(visitor)))
}

/// A page of another site can make a browser send a request with the cookie on it.
fn same_origin(hub: &Hub, request: &Request, identity: Option<&Identity>) -> Verdict {
    let by_cookie = identity.is_some_and(|identity| matches!(identity.grant, Grant::SignIn { .. }));
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    check_origin(request.headers(), !by_cookie || only_reads, hub.tls.is_some())
}

/// Counts a refusal, and writes down the ones that are to be.
pub(crate) async fn refuse(hub: &Hub, visitor: &Visitor, refused: Refused) -> Problem {
    hub.stats.tokens_refused.add(1);
    if let Some(line) = refused.line {
        write_down(hub, visitor, line).await;
    }
    match refused.denied {
        Denied::Wrong => Problem::unauthorized(WRONG_TOKEN),
        Denied::Wait(left) => Problem::wait(left),
    }
}

/// Into the log and the audit log.
pub(crate) async fn write_down(hub: &Hub, visitor: &Visitor, line: String) {
    let address = visitor.address;
    hub.config
        .log
        .about("peer", address)
        .warning(format!("refused: {line}"));
    let nobody = Caller {
        name: "nobody".to_owned(),
        role: super::Role::Collector,
    };
    let written = hub
        .catalog
        .change(move |change| change.audit(&nobody, "refused", &address.to_string(), &line));
    if let Err(error) = written.await {
        hub.config.log.error(error.to_string());
    }
}

/// RFC 6750, section 2.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Browsers keep cookies by host and not by port, so that of each hub has a name of its own.
pub(crate) fn cookie_name(hub: &Hub) -> String {
    let prefix = if hub.tls.is_some() { "__Host-" } else { "" };
    format!("{prefix}heaptide-{}", hub.port)
}

/// The first of this name.
pub(crate) fn cookie<'a>(name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}
