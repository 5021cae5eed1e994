//! Signing in with a browser, and who one is.
//!
//! The token goes in once and a cookie comes back that scripts can't read; so no page ever keeps a token.

use super::Problem;
use crate::access::{Caller, Grant, Identity, Role, Visitor, cookie_name, refuse};
use crate::hub::Hub;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::AppendHeaders;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A token and its quotes are a tenth of this.
const BODY_BYTES: usize = 1 << 10;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    token: String,
}

/// How somebody can be let in here.
#[derive(Debug, Serialize, ToSchema)]
struct WaysBody {
    /// Nobody is asked for anything.
    open: bool,
    /// Whoever asks this need not sign in.
    known: bool,
    /// With a token, by POST to this address.
    token: bool,
    /// With an identity provider, by going to `/api/v1/oidc/start`.
    oidc: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct MeBody {
    /// As in the audit log.
    name: String,
    role: Role,
    /// open, token, sign_in or certificate
    by: &'static str,
    /// Until then, if it ends by itself.
    expires_unix_ns: Option<u64>,
    /// A sentence on an open hub, which a console shows.
    warning: Option<String>,
}

pub(super) type SetCookie = AppendHeaders<[(header::HeaderName, HeaderValue); 1]>;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    let public = OpenApiRouter::new()
        .routes(routes!(ways, sign_in))
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    public.routes(routes!(sign_out)).routes(routes!(me))
}

/// Whether one has to sign in, and with what. Answers everybody.
#[utoipa::path(get, path = "/api/v1/sign-in", responses((status = 200, body = WaysBody)))]
async fn ways(State(hub): State<Arc<Hub>>, identity: Option<Extension<Identity>>) -> Json<WaysBody> {
    Json(WaysBody {
        open: hub.access.is_open(),
        known: identity.is_some(),
        token: true,
        oidc: hub.oidc.is_some(),
    })
}

/// Takes a token, and gives a cookie for the pages of this hub.
#[utoipa::path(
    post,
    path = "/api/v1/sign-in",
    request_body = SignInBody,
    responses((status = 200, body = MeBody), (status = 400), (status = 401), (status = 403), (status = 429))
)]
async fn sign_in(
    State(hub): State<Arc<Hub>>,
    Extension(visitor): Extension<Visitor>,
    body: Result<Json<SignInBody>, JsonRejection>,
) -> Result<(SetCookie, Json<MeBody>), Problem> {
    // Not the rejection's own words: they may repeat what was sent.
    let Json(SignInBody { token }) =
        body.map_err(|_| Problem::bad_request("expected {\"token\": \"ht_…\"} as application/json"))?;
    if hub.access.is_open() {
        return Err(Problem::conflict(
            "this hub is open and knows no tokens: there is nothing to sign in to",
        ));
    }
    let identity = match hub.access.token(&visitor, token.trim()) {
        Ok(identity) => identity,
        Err(refused) => return Err(refuse(&hub, &visitor, refused).await),
    };
    identity.caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let opened = hub.access.sign_in(&identity);
    let opened = opened.map_err(Problem::unavailable)?;
    let (cookie, signed_in) = signed_in(&hub, &visitor, opened, "").await?;
    Ok((cookie, Json(told(&hub, signed_in))))
}

/// Counts and writes down a sign-in that was opened, and makes its cookie.
pub(super) async fn signed_in(
    hub: &Hub,
    visitor: &Visitor,
    (cookie, ended): (String, u64),
    why: &'static str,
) -> Result<(SetCookie, Identity), Problem> {
    hub.stats.sign_ins.add(1);
    hub.stats.sign_ins_ended.add(ended);
    let signed_in = hub
        .access
        .cookie(&cookie)
        .ok_or_else(|| Problem::unavailable("the token was revoked in this moment"))?;
    let (caller, subject) = (signed_in.caller.clone(), visitor.address.to_string());
    hub.catalog
        .change(move |change| change.audit(&caller, "signed in", &subject, why))
        .await?;
    let lasts_s = hub.access.sign_ins.lasts().as_secs();
    Ok((set_cookie(hub, &cookie, lasts_s)?, signed_in))
}

/// Ends the sign-in of this browser, and its connections.
#[utoipa::path(post, path = "/api/v1/sign-out", responses((status = 204), (status = 401)))]
async fn sign_out(
    State(hub): State<Arc<Hub>>,
    Extension(identity): Extension<Identity>,
) -> Result<(StatusCode, SetCookie), Problem> {
    if let Grant::SignIn { key } = &identity.grant {
        hub.access.sign_ins.close(key);
        hub.access.tell_changed();
        let caller = identity.caller;
        hub.catalog
            .change(move |change| change.audit(&caller, "signed out", "", ""))
            .await?;
    }
    Ok((StatusCode::NO_CONTENT, set_cookie(&hub, "", 0)?))
}

/// Who one is to this hub, and what one may do.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = MeBody), (status = 401)))]
async fn me(State(hub): State<Arc<Hub>>, Extension(identity): Extension<Identity>) -> Json<MeBody> {
    Json(told(&hub, identity))
}

fn told(hub: &Hub, identity: Identity) -> MeBody {
    let until = hub
        .access
        .holds_until(&identity.grant, crate::clock::unix_ns())
        .filter(|until| *until != u64::MAX);
    let Caller { name, role } = identity.caller;
    let (by, warning) = match identity.grant {
        Grant::Open => ("open", Some(hub.open_words())),
        Grant::Token { .. } => ("token", None),
        Grant::SignIn { .. } => ("sign_in", None),
        Grant::Certificate { .. } => ("certificate", None),
    };
    MeBody {
        name,
        role,
        by,
        expires_unix_ns: until,
        warning,
    }
}

fn set_cookie(hub: &Hub, value: &str, lasts_s: u64) -> Result<SetCookie, Problem> {
    let secure = if hub.tls.is_some() { "; Secure" } else { "" };
    let name = cookie_name(hub);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts_s}{secure}");
    let value = HeaderValue::from_str(&text).map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(AppendHeaders([(header::SET_COOKIE, value)]))
}
