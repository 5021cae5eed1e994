//! Annotations of a session.

use super::Problem;
use super::sessions::find;
use crate::access::{Caller, Role};
use crate::annotations::{self, Annotation, Annotations, Edit, Refused, Words};
use crate::hub::Hub;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(replace, delete))
}

/// Which state of an annotation the change starts from.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Seen {
    revision: u32,
}

/// By time.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{session}/annotations",
    params(("session" = String, Path, description = "32 hexadecimal digits")),
    responses((status = 200, body = Vec<Annotation>), (status = 404))
)]
async fn list(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
) -> Result<Json<Vec<Annotation>>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let session = find(&hub, &session)?;
    let all: Option<Annotations> = hub.catalog.get(&session.id.to_string())?;
    Ok(Json(all.unwrap_or_default().into_list()))
}

/// Says something about a span of time.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{session}/annotations",
    params(("session" = String, Path, description = "32 hexadecimal digits")),
    request_body = Words,
    responses((status = 201, body = Annotation), (status = 400), (status = 404), (status = 409))
)]
async fn add(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
    words: Result<Json<Words>, JsonRejection>,
) -> Result<(StatusCode, Json<Annotation>), Problem> {
    let Json(words) = words.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let added = change(&hub, caller, &session, Edit::Add(words)).await?;
    Ok((StatusCode::CREATED, added))
}

/// Other words, or another span.
#[utoipa::path(
    put,
    path = "/api/v1/sessions/{session}/annotations/{id}",
    params(
        ("session" = String, Path, description = "32 hexadecimal digits"),
        ("id" = u32, Path), Seen
    ),
    request_body = Words,
    responses(
        (status = 200, body = Annotation),
        (status = 400), (status = 404), (status = 409, description = "somebody else changed it since")
    )
)]
async fn replace(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path((session, id)): Path<(String, u32)>,
    seen: Result<Query<Seen>, QueryRejection>,
    words: Result<Json<Words>, JsonRejection>,
) -> Result<Json<Annotation>, Problem> {
    let Query(Seen { revision }) = seen.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let Json(words) = words.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    change(&hub, caller, &session, Edit::Replace { id, revision, words }).await
}

/// Takes it away; the answer is what it was.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{session}/annotations/{id}",
    params(
        ("session" = String, Path, description = "32 hexadecimal digits"),
        ("id" = u32, Path), Seen
    ),
    responses(
        (status = 200, body = Annotation),
        (status = 404), (status = 409, description = "somebody else changed it since")
    )
)]
async fn delete(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path((session, id)): Path<(String, u32)>,
    seen: Result<Query<Seen>, QueryRejection>,
) -> Result<Json<Annotation>, Problem> {
    let Query(Seen { revision }) = seen.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    change(&hub, caller, &session, Edit::Delete { id, revision }).await
}

async fn change(hub: &Hub, caller: Caller, session: &str, edit: Edit) -> Result<Json<Annotation>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let id = find(hub, session)?.id;
    let made = hub
        .catalog
        .change(move |change| annotations::edit(change, &caller, id, edit))
        .await?;
    made.map(Json).map_err(|refused| {
        let sentence = refused.to_string();
        match refused {
            Refused::Backwards { .. } | Refused::Text { .. } => Problem::bad_request(sentence),
            Refused::Unknown { .. } => Problem::not_found(sentence),
            Refused::Full | Refused::Changed { .. } => Problem::conflict(sentence),
        }
    })
}
