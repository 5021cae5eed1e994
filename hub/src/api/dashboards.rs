//! Dashboards that a team keeps: a name, a title, and what the console makes of them.
//!
//! The hub does not look into a dashboard's view. It sees to it that nobody's change is lost: each has a revision,
//! and a change says which one it was made from.

use super::Problem;
use crate::access::{Caller, Role};
use crate::catalog::Entry;
use crate::hub::Hub;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const DASHBOARDS: usize = 500;
const VIEW_BYTES: usize = 64 << 10;
const TITLE_LETTERS: usize = 200;
const NAME_BYTES: usize = 63;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
struct Dashboard {
    name: String,
    title: String,
    /// Grows with every change.
    revision: u64,
    /// Who changed it last, and when.
    who: String,
    unix_ns: u64,
    #[schema(value_type = Object)]
    view: Map<String, Value>,
}

impl Entry for Dashboard {
    const TABLE: &'static str = "dashboards";
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutBody {
    /// The revision that this change was made from; 0 for a new one.
    from_revision: u64,
    title: String,
    #[schema(value_type = Object)]
    view: Map<String, Value>,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct DeleteParameters {
    /// The revision that its author saw.
    from_revision: u64,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

/// What a change in the catalogue came to.
enum Changed {
    Done(Dashboard),
    Overtaken(Option<Dashboard>),
    TooMany,
}

/// All dashboards, by name.
#[utoipa::path(get, path = "/api/v1/dashboards", responses((status = 200, body = Vec<Dashboard>)))]
async fn list(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<Dashboard>>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let all = hub.catalog.list::<Dashboard>()?;
    Ok(Json(all.into_iter().map(|(_, dashboard)| dashboard).collect()))
}

/// One dashboard.
#[utoipa::path(
    get,
    path = "/api/v1/dashboards/{name}",
    params(("name" = String, Path)),
    responses((status = 200, body = Dashboard), (status = 404))
)]
async fn get(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Dashboard>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let found = hub.catalog.get::<Dashboard>(&name)?;
    found.map(Json).ok_or_else(|| missing(&name))
}

/// Makes or changes a dashboard. 409 with the newest one if somebody else was faster.
#[utoipa::path(
    put,
    path = "/api/v1/dashboards/{name}",
    params(("name" = String, Path, description = "1 to 63 lower-case letters, digits and '-'")),
    request_body = PutBody,
    responses((status = 200, body = Dashboard), (status = 400), (status = 409))
)]
async fn put(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<PutBody>, JsonRejection>,
) -> Result<Json<Dashboard>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    check(&name, &body)?;
    let from_revision = body.from_revision;
    let (key, who) = (name.clone(), caller.clone());
    let count = hub.catalog.list::<Dashboard>()?.len();
    let changed = hub
        .catalog
        .change(move |change| {
            let before = change.get::<Dashboard>(&key)?;
            if before.as_ref().map_or(0, |before| before.revision) != body.from_revision {
                return Ok(Changed::Overtaken(before));
            }
            if before.is_none() && count >= DASHBOARDS {
                return Ok(Changed::TooMany);
            }
            let next = Dashboard {
                name: key.clone(),
                title: body.title,
                revision: body.from_revision + 1,
                who: who.name.clone(),
                unix_ns: crate::clock::unix_ns(),
                view: body.view,
            };
            change.put(&key, &next)?;
            let what = if before.is_some() {
                "dashboard changed"
            } else {
                "dashboard made"
            };
            change.audit(&who, what, &key, &body.why)?;
            Ok(Changed::Done(next))
        })
        .await?;
    answer(changed, &name, from_revision)
}

/// Removes a dashboard.
#[utoipa::path(
    delete,
    path = "/api/v1/dashboards/{name}",
    params(("name" = String, Path), DeleteParameters),
    responses((status = 200, body = Dashboard), (status = 404), (status = 409))
)]
async fn delete(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    parameters: Result<Query<DeleteParameters>, QueryRejection>,
) -> Result<Json<Dashboard>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Query(DeleteParameters { from_revision, why }) = parameters?;
    let (key, who) = (name.clone(), caller.clone());
    let changed = hub
        .catalog
        .change(move |change| match change.get::<Dashboard>(&key)? {
            Some(found) if found.revision == from_revision => {
                change.remove::<Dashboard>(&key)?;
                change.audit(&who, "dashboard removed", &key, &why)?;
                Ok(Changed::Done(found))
            }
            other => Ok(Changed::Overtaken(other)),
        })
        .await?;
    answer(changed, &name, from_revision)
}

fn answer(changed: Changed, name: &str, from_revision: u64) -> Result<Json<Dashboard>, Problem> {
    match changed {
        Changed::Done(dashboard) => Ok(Json(dashboard)),
        Changed::Overtaken(Some(newest)) => Err(Problem::conflict(format!(
            "this change starts from revision {from_revision} of '{name}', but {} (by {}) is the newest: look at \
             that one, then make yours from there",
            newest.revision, newest.who
        ))
        .with("newest", &newest)),
        Changed::Overtaken(None) => Err(missing(name)),
        Changed::TooMany => Err(Problem::conflict(format!(
            "there are {DASHBOARDS} dashboards, which is the limit: remove one first"
        ))),
    }
}

fn missing(name: &str) -> Problem {
    Problem::not_found(format!(
        "there is no dashboard '{name}': /api/v1/dashboards lists them, and one with from_revision 0 is new"
    ))
}

fn check(name: &str, body: &PutBody) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(allowed) {
        let got: String = name.chars().take(80).collect();
        return Err(Problem::bad_request(format!(
            "name '{got}': expected 1 to {NAME_BYTES} lower-case letters, digits and '-'"
        )));
    }
    let letters = body.title.chars().count();
    if !(1..=TITLE_LETTERS).contains(&letters) {
        return Err(Problem::bad_request(format!(
            "title: expected 1 to {TITLE_LETTERS} letters, got {letters}"
        )));
    }
    let bytes = serde_json::to_vec(&body.view).map_or(usize::MAX, |bytes| bytes.len());
    if bytes > VIEW_BYTES {
        return Err(Problem::bad_request(format!(
            "view: expected at most {VIEW_BYTES} bytes, got {bytes}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::attack;

    #[test]
    fn hostile_dashboards_are_survived_and_what_is_taken_is_bounded() {
        let seeds: [&[u8]; 2] = [
            br#"{"from_revision":0,"title":"A title","view":{"charts":[{"figure":"rss","by":"service"},[1,2.5e3,null,true]],"deep":{"er":{"still":[]}}},"why":"x"}"#,
            br#"{"from_revision":18446744073709551615,"title":"t","view":{}}"#,
        ];
        let mut taken = 0_u64;
        attack(&seeds, false, 1, |bytes| {
            if let Ok(body) = serde_json::from_slice::<PutBody>(bytes)
                && check("a", &body).is_ok()
            {
                taken += 1;
                assert!((1..=TITLE_LETTERS).contains(&body.title.chars().count()));
                // What is kept is read again at every look.
                let kept = serde_json::to_vec(&body.view).unwrap();
                assert!(kept.len() <= VIEW_BYTES);
                serde_json::from_slice::<Map<String, Value>>(&kept).unwrap();
            }
        });
        assert!(
            taken > 0,
            "none got through, so nothing behind the parser was reached"
        );
    }

    #[test]
    fn hostile_names_of_dashboards_are_no_paths() {
        let body: PutBody = serde_json::from_str(r#"{"from_revision":0,"title":"t","view":{}}"#).unwrap();
        attack(&[b"memory-of-shops-7", b"../a/%2e%2e\0"], false, 1, |bytes| {
            let name = String::from_utf8_lossy(bytes);
            if check(&name, &body).is_ok() {
                assert!((1..=NAME_BYTES).contains(&name.len()));
                assert!(!name.contains(['/', '.', '%', '\\', '\0', ' ']), "{name:?}");
            }
        });
    }
}
