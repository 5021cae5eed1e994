//! The ways in for whoever has a link: the page, the description and the WebSocket. All say the same to a secret
//! that opens nothing.

use super::registry::Wrong;
use super::{NO_LINK, Shown, openings, socket};
use crate::access::Visitor;
use crate::assets::sentence;
use crate::catalog::CatalogError;
use crate::hub::{Hub, Place};
use crate::origin::{Verdict, check_origin};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use axum::routing::{any, get};
use heaptide_protocol::SessionId;
use std::sync::Arc;

/// The console's own pages have addresses of the same form, with a session's id in the place of the secret.
pub(crate) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/s/{secret}", get(page))
        .route("/s/{secret}/{*tab}", get(tab))
        .route("/ws/link/{secret}", any(link_socket))
}

/// Looks a secret up for somebody who wants to see what it shows, and writes down who that was.
pub(crate) async fn enter(
    hub: &Hub,
    secret: &str,
    visitor: &Visitor,
    headers: &HeaderMap,
) -> Result<Option<Shown>, CatalogError> {
    let Some(shown) = look(hub, secret, visitor)? else {
        return Ok(None);
    };
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    openings::note(hub, &shown.link, visitor.address, agent.unwrap_or_default()).await?;
    Ok(Some(shown))
}

/// A guess counts against the address that it came from; a link that was one once does not, since pages that stay
/// open come back with it.
fn look(hub: &Hub, secret: &str, visitor: &Visitor) -> Result<Option<Shown>, CatalogError> {
    match hub.links.open(secret) {
        Ok(link) => Shown::find(hub, link),
        Err(wrong) => {
            hub.stats.links_not_found.add(1);
            if wrong == Wrong::Guess {
                hub.access.guessed(visitor);
            }
            Ok(None)
        }
    }
}

async fn tab(
    hub: State<Arc<Hub>>,
    visitor: Extension<Visitor>,
    Path((secret, _)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    page(hub, visitor, Path(secret), uri, headers).await
}

/// The console itself, which then asks for what the link shows.
async fn page(
    State(hub): State<Arc<Hub>>,
    Extension(visitor): Extension<Visitor>,
    Path(secret): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if secret.parse::<SessionId>().is_ok() {
        return hub.config.assets.respond(uri.path(), &headers);
    }
    let mut response = match look(&hub, &secret, &visitor) {
        Ok(Some(_)) => hub.config.assets.respond(uri.path(), &headers),
        Ok(None) => no_link(),
        Err(error) => unavailable(&error),
    };
    // A link that somebody posted in public is not for search engines.
    response.headers_mut().insert(
        HeaderName::from_static("x-robots-tag"),
        HeaderValue::from_static("noindex"),
    );
    response
}

async fn link_socket(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    Extension(visitor): Extension<Visitor>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response<Body> {
    if let Verdict::Denied(why) = check_origin(&headers, false, hub.tls.is_some()) {
        return sentence(StatusCode::FORBIDDEN, why + "\n");
    }
    let Ok(upgrade) = upgrade else {
        return crate::http::not_a_socket();
    };
    match enter(&hub, &secret, &visitor, &headers).await {
        Ok(Some(shown)) => crate::http::limited(upgrade).on_upgrade(move |socket| async move {
            socket::run(socket, hub, shown).await;
            drop(place);
        }),
        Ok(None) => no_link(),
        Err(error) => unavailable(&error),
    }
}

fn no_link() -> Response<Body> {
    sentence(StatusCode::NOT_FOUND, format!("{NO_LINK}\n"))
}

fn unavailable(error: &CatalogError) -> Response<Body> {
    sentence(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}
