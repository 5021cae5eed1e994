//! Signing in through the identity provider: a browser goes there, and comes back.
//!
//! Both are addresses that a browser navigates to, so that what goes wrong is a sentence on a page and no JSON.

use super::Problem;
use super::sign_in::signed_in;
use crate::access::{Caller, Visitor, cookie, cookie_name, write_down};
use crate::assets::sentence;
use crate::hub::Hub;
use crate::oidc::{Back, Fault, Oidc, Person};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const OFF: &str = "This hub has no identity provider: sign in with a token. Who runs the hub sets one with --oidc-issuer.\n";

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(callback))
}

/// Sends a browser to the identity provider. Answers everybody.
#[utoipa::path(
    get,
    path = "/api/v1/oidc/start",
    responses(
        (status = 303, description = "to the provider"),
        (status = 404, description = "no provider is set"),
        (status = 503, description = "the provider can't be asked")
    )
)]
async fn start(State(hub): State<Arc<Hub>>, Extension(visitor): Extension<Visitor>) -> Response<Body> {
    let Some(oidc) = &hub.oidc else {
        return sentence(StatusCode::NOT_FOUND, OFF);
    };
    match oidc.begin(visitor.origin).await {
        Ok((address, value)) => {
            let cookie = own_cookie(&hub, oidc, &value, oidc.cookie_lasts_s());
            see_other(&address, [cookie])
        }
        Err(fault) => refused(&hub, &visitor, &fault).await,
    }
}

/// Where the identity provider sends the browser back to. Gives a cookie for the pages of this hub, and goes to them.
#[utoipa::path(
    get,
    path = "/api/v1/oidc/callback",
    params(
        ("code" = Option<String>, Query, description = "from the provider"),
        ("state" = Option<String>, Query, description = "as it was sent there"),
        ("error" = Option<String>, Query, description = "in the place of a code"),
        ("iss" = Option<String>, Query, description = "which provider it is")
    ),
    responses(
        (status = 303, description = "signed in, to the console"),
        (status = 400, description = "this browser has not begun this"),
        (status = 403, description = "not believed, or without a role here"),
        (status = 404, description = "no provider is set"),
        (status = 503, description = "the provider can't be asked")
    )
)]
async fn callback(
    State(hub): State<Arc<Hub>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    back: Result<Query<Back>, QueryRejection>,
) -> Response<Body> {
    let Some(oidc) = &hub.oidc else {
        return sentence(StatusCode::NOT_FOUND, OFF);
    };
    let name = own_cookie_name(&hub, oidc);
    // What can't be read is like nothing: without a state nothing is begun.
    let back = back.map_or_else(|_| Back::default(), |Query(back)| back);
    let person = match oidc.finish(back, cookie(&name, &headers)).await {
        Ok(person) => person,
        Err(fault) => return refused(&hub, &visitor, &fault).await,
    };
    match open(&hub, &visitor, person).await {
        // The console's page asks for all else with the cookie that it then has.
        Ok(cookie) => see_other("/", [cookie, own_cookie(&hub, oidc, "", 0)]),
        Err(problem) => problem.into_response(),
    }
}

async fn open(hub: &Hub, visitor: &Visitor, person: Person) -> Result<HeaderValue, Problem> {
    let Person { name, subject, role } = person;
    let opened = hub.access.sign_in_person(Caller { name, role }, subject);
    let opened = opened.map_err(Problem::unavailable)?;
    let (cookie, _) = signed_in(hub, visitor, opened, "by the identity provider").await?;
    let [(_, value)] = cookie.0;
    Ok(value)
}

async fn refused(hub: &Hub, visitor: &Visitor, fault: &Fault) -> Response<Body> {
    hub.stats.sign_ins_refused.add(1);
    if let Fault::Code { .. } = fault {
        // Codes are not for guessing either.
        hub.access.guessed(visitor);
    }
    if fault.is_told()
        && let Some(line) = hub.access.tell_refusal(fault.to_string())
    {
        write_down(hub, visitor, line).await;
    }
    let status = match fault {
        Fault::NotBegun { .. } => StatusCode::BAD_REQUEST,
        Fault::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Declined { .. } | Fault::Code { .. } | Fault::Token(_) | Fault::NoRole { .. } => {
            StatusCode::FORBIDDEN
        }
    };
    sentence(status, format!("{fault}\n"))
}

fn see_other(address: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response<Body> {
    let mut response = sentence(StatusCode::SEE_OTHER, "");
    let Ok(address) = HeaderValue::from_str(address) else {
        return sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "The provider's address can't be sent.\n",
        );
    };
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, address);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// Of the hub's own cookie the name, and a word more.
fn own_cookie_name(hub: &Hub, oidc: &Oidc) -> String {
    // The prefix has browsers take it over TLS alone, which here the public address tells: a proxy may speak it.
    let prefix = if oidc.is_plain() { "" } else { "__Host-" };
    let name = cookie_name(hub);
    format!("{prefix}{}-oidc", name.trim_start_matches("__Host-"))
}

/// Not `Strict`: the browser comes back from another site, and has to bring it.
fn own_cookie(hub: &Hub, oidc: &Oidc, value: &str, lasts_s: u64) -> HeaderValue {
    let name = own_cookie_name(hub, oidc);
    let secure = if oidc.is_plain() { "" } else { "; Secure" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={lasts_s}{secure}");
    // Letters, digits and the few signs above can always be a header's value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
