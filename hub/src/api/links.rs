//! Share links: made, listed and revoked by people of the hub; looked at by whoever has one.

use super::Problem;
use super::sessions::find;
use crate::access::{Caller, Role, Visitor};
use crate::annotations::Annotation;
use crate::hub::Hub;
use crate::links::{self, CreateError, FreezeError, Link, Openings, Revoked, Wish};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
        .routes(routes!(openings))
        .routes(routes!(shared))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLink {
    /// 32 hexadecimal digits.
    session: String,
    kind: Kind,
    /// On the session's clock; without it, from the beginning.
    #[serde(default)]
    from_ns: u64,
    /// Without it, to the newest; of a live link, and on.
    #[serde(default = "super::ever")]
    to_ns: u64,
    /// What the console has behind the `?` of its address.
    #[serde(default)]
    view: String,
    /// Without host name, paths and command line.
    #[serde(default = "yes")]
    redact: bool,
    /// Patterns of words that go as well, such as `customer-*`; only with `redact`.
    #[serde(default)]
    hide: Vec<String>,
    /// Without it, in 30 days; at most in 366.
    expires_unix_ns: Option<u64>,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Follows the session, and ends with it.
    Live,
    /// A copy of its own, which stays as it is.
    Frozen,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Serialize, ToSchema)]
struct LinkBody {
    id: String,
    session: String,
    kind: Kind,
    from_ns: u64,
    /// Null for a live link that goes on.
    to_ns: Option<u64>,
    view: String,
    redact: bool,
    hide: Vec<String>,
    created_unix_ns: u64,
    /// Who made it.
    author: String,
    expires_unix_ns: u64,
    revoked: Option<RevokedBody>,
    /// Neither expired nor revoked.
    is_open: bool,
    /// How often, by whomever.
    opened: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct RevokedBody {
    unix_ns: u64,
    by: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedBody {
    link: LinkBody,
    /// The address below this hub's, with the secret in it. Told this once: the hub doesn't keep it.
    path: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    /// Only links of this session.
    session: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RevokeParameters {
    /// For the audit log.
    #[serde(default)]
    why: String,
}

/// What the bearer of a link is shown.
#[derive(Debug, Serialize, ToSchema)]
struct SharedBody {
    session: String,
    kind: Kind,
    from_ns: u64,
    /// Null if it goes on.
    to_ns: Option<u64>,
    /// What the console puts behind the `?` of its address.
    view: String,
    /// Whether names were taken away.
    redacted: bool,
    expires_unix_ns: u64,
    annotations: Vec<Annotation>,
}

/// All links, the newest first; those that ended for 90 days more. Without their secrets.
#[utoipa::path(get, path = "/api/v1/links", params(ListParameters), responses((status = 200, body = Vec<LinkBody>)))]
async fn list(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<ListParameters>, QueryRejection>,
) -> Result<Json<Vec<LinkBody>>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let mut all: Vec<_> = hub
        .catalog
        .list::<Link>()?
        .into_iter()
        .map(|(_, link)| link)
        .collect();
    if let Some(session) = parameters.session {
        all.retain(|link| link.session.to_string() == session);
    }
    all.sort_by_key(|link| std::cmp::Reverse(link.created_unix_ns));
    all.into_iter()
        .map(|link| body(&hub, link))
        .collect::<Result<_, _>>()
        .map(Json)
}

/// Shares a session or a range of it with whoever gets the address.
#[utoipa::path(
    post,
    path = "/api/v1/links",
    request_body = NewLink,
    responses(
        (status = 201, body = CreatedBody),
        (status = 400), (status = 404), (status = 409), (status = 413), (status = 503)
    )
)]
async fn create(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    wish: Result<Json<NewLink>, JsonRejection>,
) -> Result<(StatusCode, Json<CreatedBody>), Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(wish) = wish.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let session = find(&hub, &wish.session)?;
    let wish = Wish {
        frozen: wish.kind == Kind::Frozen,
        from_ns: wish.from_ns,
        to_ns: wish.to_ns,
        view: wish.view,
        redact: wish.redact,
        hide: wish.hide,
        expires_unix_ns: wish.expires_unix_ns,
        why: wish.why,
    };
    let (link, secret) = links::create(&hub, caller, session, wish)
        .await
        .map_err(|error| problem(&error))?;
    let body = CreatedBody {
        link: body(&hub, link)?,
        path: format!("/s/{secret}"),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Ends a link at once, also for those who have it open, and deletes its copy.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{id}",
    params(("id" = String, Path), RevokeParameters),
    responses((status = 200, body = LinkBody), (status = 404))
)]
async fn revoke(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    parameters: Result<Query<RevokeParameters>, QueryRejection>,
) -> Result<Json<LinkBody>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Query(RevokeParameters { why }) =
        parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let revoked = links::revoke(&hub, caller, id.clone(), why).await?;
    let link = revoked.ok_or_else(|| no_such_id(&id))?;
    body(&hub, link).map(Json)
}

/// Who opened a link, from which network, and when.
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}/openings",
    params(("id" = String, Path)),
    responses((status = 200, body = Openings), (status = 404))
)]
async fn openings(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Openings>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    if hub.catalog.get::<Link>(&id)?.is_none() {
        return Err(no_such_id(&id));
    }
    Ok(Json(hub.catalog.get(&id)?.unwrap_or_default()))
}

/// For the bearer of a link, who needs no other right: what it shows. The frames come over `/ws/link/SECRET`.
#[utoipa::path(
    get,
    path = "/api/v1/shared/{secret}",
    params(("secret" = String, Path, description = "from the link's address")),
    responses(
        (status = 200, body = SharedBody),
        (status = 404, description = "wrong, expired and revoked ones alike")
    )
)]
async fn shared(
    State(hub): State<Arc<Hub>>,
    Extension(visitor): Extension<Visitor>,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Json<SharedBody>, Problem> {
    let shown = links::enter(&hub, &secret, &visitor, &headers)
        .await?
        .ok_or_else(|| Problem::not_found(links::NO_LINK))?;
    let link = &shown.link;
    Ok(Json(SharedBody {
        session: link.session.to_string(),
        kind: kind(link),
        from_ns: link.from_ns,
        to_ns: end(link.to_ns),
        view: shown.view(),
        redacted: link.redact,
        expires_unix_ns: link.expires_unix_ns,
        annotations: shown.annotations(&hub)?,
    }))
}

fn end(to_ns: u64) -> Option<u64> {
    (to_ns < u64::MAX).then_some(to_ns)
}

fn no_such_id(id: &str) -> Problem {
    Problem::not_found(format!("there is no link {id}: /api/v1/links lists them"))
}

fn problem(error: &CreateError) -> Problem {
    let sentence = error.to_string();
    match error {
        CreateError::Full { .. } | CreateError::CopiesFull { .. } => Problem::conflict(sentence),
        CreateError::Freeze(FreezeError::TooLong { .. }) => Problem::too_large(sentence),
        CreateError::Freeze(FreezeError::Disk(_) | FreezeError::Catalog(_))
        | CreateError::Catalog(_)
        | CreateError::Unavailable(_) => Problem::unavailable(sentence),
        _ => Problem::bad_request(sentence),
    }
}

fn kind(link: &Link) -> Kind {
    if link.frozen { Kind::Frozen } else { Kind::Live }
}

fn body(hub: &Hub, link: Link) -> Result<LinkBody, Problem> {
    let openings: Option<Openings> = hub.catalog.get(&link.id)?;
    Ok(LinkBody {
        is_open: link.is_open(crate::clock::unix_ns()),
        opened: openings.map_or(0, |openings| openings.times()),
        kind: kind(&link),
        id: link.id,
        session: link.session.to_string(),
        from_ns: link.from_ns,
        to_ns: end(link.to_ns),
        view: link.view,
        redact: link.redact,
        hide: link.hide,
        created_unix_ns: link.created_unix_ns,
        author: link.created_by,
        expires_unix_ns: link.expires_unix_ns,
        revoked: link
            .revoked
            .map(|Revoked { unix_ns, by }| RevokedBody { unix_ns, by }),
    })
}
