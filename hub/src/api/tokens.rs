//! Tokens: listed, created and revoked by an admin.

use super::Problem;
use crate::access::{Caller, NewToken, Role, TokenError, TokenInfo, Wanted};
use crate::hub::Hub;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedBody {
    /// Whose it is, or what it is for. Stands in the audit log.
    name: String,
    role: Role,
    /// Without it, until it is revoked.
    #[serde(default)]
    lasts_s: Option<u64>,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct WhyParameters {
    /// For the audit log.
    #[serde(default)]
    why: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// All tokens, the newest first, without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    responses((status = 200, body = Vec<TokenInfo>), (status = 401), (status = 403))
)]
async fn list(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<TokenInfo>>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    Ok(Json(hub.access.tokens.list()))
}

/// Makes a token. Its text is in this answer and nowhere else.
///
/// The first one has to be an admin's; with it, the hub stops being open.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    request_body = WantedBody,
    responses((status = 201, body = NewToken), (status = 400), (status = 401), (status = 403), (status = 409))
)]
async fn create(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<WantedBody>, JsonRejection>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    let Json(wanted) = wanted.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    if hub.access.is_open() && wanted.role != Role::Admin {
        return Err(Problem::conflict(
            "the first token has to be an admin's: with it the hub asks everybody for one, and only an admin makes \
             more",
        ));
    }
    let lasts_ns = wanted
        .lasts_s
        .map(|lasts_s| lasts_s.saturating_mul(1_000_000_000));
    let expires_unix_ns = lasts_ns.map(|lasts_ns| crate::clock::unix_ns().saturating_add(lasts_ns));
    let why = wanted.why;
    let wanted = Wanted {
        name: wanted.name,
        role: wanted.role,
        expires_unix_ns,
    };
    let made = changed(&hub, move |hub| {
        hub.access.tokens.create(&hub.catalog, &caller, &wanted, &why)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Ends a token, and every connection and sign-in that came by it.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    params(("id" = String, Path, description = "the middle part of the token's text"), WhyParameters),
    responses((status = 200, body = TokenInfo), (status = 401), (status = 403), (status = 404), (status = 409))
)]
async fn revoke(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    why: Result<Query<WhyParameters>, QueryRejection>,
) -> Result<Json<TokenInfo>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    let Query(WhyParameters { why }) = why.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let revoked = changed(&hub, move |hub| {
        hub.access.tokens.revoke(&hub.catalog, &caller, &id, &why, false)
    })
    .await?;
    Ok(Json(revoked))
}

/// Runs a change to its end, also if whoever asked for it goes away, and has connections look whether they may stay.
async fn changed<T: Send + 'static>(
    hub: &Arc<Hub>,
    make: impl FnOnce(&Hub) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, Problem> {
    let hub = Arc::clone(hub);
    let made = tokio::task::spawn_blocking(move || {
        let made = make(&hub);
        hub.access.tell_changed();
        made
    })
    .await
    .map_err(|_| Problem::unavailable("the hub is shutting down"))?;
    Ok(made?)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let sentence = error.to_string();
        match error {
            TokenError::Wrong(_) => Self::bad_request(sentence),
            TokenError::Conflict(_) => Self::conflict(sentence),
            TokenError::Unknown(_) => Self::not_found(sentence),
            TokenError::Catalog(_) | TokenError::NoRandom(_) => Self::unavailable(sentence),
        }
    }
}
