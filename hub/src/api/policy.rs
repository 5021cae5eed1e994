//! The fleet's policy: what holds, what changed, changing it, and going back.

use super::Problem;
use crate::access::{Caller, Role};
use crate::fleet_policy::diff::{FieldChange, changes};
use crate::fleet_policy::revisions::{Fate, Revision};
use crate::fleet_policy::{Book, Draft, Submitted};
use crate::hub::Hub;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use heaptide_policy::{FleetPolicy, FleetProblem, Rollout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const WHY_LETTERS: usize = 1_000;
const HISTORY: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(newest, change))
        .routes(routes!(check))
        .routes(routes!(history))
        .routes(routes!(one))
        .routes(routes!(revert))
        .routes(routes!(schema))
}

/// A revision, with its document.
#[derive(Debug, Serialize, ToSchema)]
struct RevisionBody {
    /// 0 before anybody wrote one.
    revision: u64,
    unix_ns: u64,
    who: String,
    why: String,
    reverts_to: Option<u64>,
    fate: Fate,
    /// `/api/v1/policy/schema` describes it.
    #[schema(value_type = Object)]
    document: FleetPolicy,
}

#[derive(Debug, Serialize, ToSchema)]
struct NewestBody {
    #[serde(flatten)]
    revision: RevisionBody,
    /// Where it is on its way; `/api/v1/policy/rollout` tells it by session.
    #[schema(value_type = Object)]
    rollout: Rollout,
    /// False where the document was the newest one's already.
    changed: bool,
}

/// A revision in the history: what it changed of the one before it.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryLine {
    revision: u64,
    unix_ns: u64,
    who: String,
    why: String,
    reverts_to: Option<u64>,
    fate: Fate,
    changes: Vec<FieldChange>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// The revision that this change was made from: the newest that its author saw.
    from_revision: u64,
    #[schema(value_type = Object)]
    document: FleetPolicy,
    /// For the history and the audit log.
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevertBody {
    from_revision: u64,
    /// The revision whose document shall hold again; 0 is no rule at all.
    to_revision: u64,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    #[schema(value_type = Object)]
    document: FleetPolicy,
    /// What to compare it with; the newest without it.
    from_revision: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CheckedBody {
    /// What keeps the document from being used.
    #[schema(value_type = Vec<Object>)]
    problems: Vec<FleetProblem>,
    /// The revision that it is compared with.
    from_revision: u64,
    changes: Vec<FieldChange>,
    /// Live sessions that each rule matches, by the rule's name.
    matching: BTreeMap<String, usize>,
    /// Live sessions for which it would be another policy than the one compared with.
    changed_sessions: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct HistoryParameters {
    /// Only revisions before this one.
    before: Option<u64>,
    /// At most 1000.
    #[serde(default = "a_page")]
    limit: usize,
}

fn a_page() -> usize {
    50
}

/// The newest revision of the fleet's policy.
#[utoipa::path(get, path = "/api/v1/policy", responses((status = 200, body = NewestBody)))]
async fn newest(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<NewestBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    Ok(Json(NewestBody::new(&hub.policies.book(), true)))
}

/// Makes a document the newest revision, which then goes out by steps. 409 if somebody else was faster: with the
/// revision that it was made from, the newest, and what changed between them.
#[utoipa::path(
    post,
    path = "/api/v1/policy",
    request_body = ChangeBody,
    responses((status = 200, body = NewestBody), (status = 400), (status = 409))
)]
async fn change(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ChangeBody>, JsonRejection>,
) -> Result<Json<NewestBody>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    let draft = Draft {
        from_revision: body.from_revision,
        document: body.document,
        reverts_to: None,
        why: body.why,
    };
    submit(&hub, &caller, draft).await
}

/// Goes back to the document of an earlier revision, as a new one that goes out by steps like any other.
#[utoipa::path(
    post,
    path = "/api/v1/policy/revert",
    request_body = RevertBody,
    responses((status = 200, body = NewestBody), (status = 400), (status = 404), (status = 409))
)]
async fn revert(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<RevertBody>, JsonRejection>,
) -> Result<Json<NewestBody>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    let draft = Draft {
        from_revision: body.from_revision,
        document: load(&hub, body.to_revision)?.document,
        reverts_to: Some(body.to_revision),
        why: body.why,
    };
    submit(&hub, &caller, draft).await
}

/// What a document would do, without doing it.
#[utoipa::path(
    post,
    path = "/api/v1/policy/check",
    request_body = CheckBody,
    responses((status = 200, body = CheckedBody), (status = 400), (status = 404))
)]
async fn check(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<CheckBody>, JsonRejection>,
) -> Result<Json<CheckedBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    let from = match body.from_revision {
        Some(revision) => load(&hub, revision)?,
        None => hub.policies.book().newest.clone(),
    };
    let now_unix_s = crate::clock::unix_ns() / 1_000_000_000;
    let (mut matching, mut changed_sessions) = (BTreeMap::new(), 0);
    for session in hub.fleet.all() {
        let Some(view) = session.for_policy().filter(|view| view.is_live) else {
            continue;
        };
        let is_short = view.authority.standing().is_short_of_memory;
        let Some(subject) = view.authority.subject(&view.labels, is_short) else {
            continue;
        };
        let after = body.document.evaluate(&subject, now_unix_s);
        changed_sessions += usize::from(after.policy != from.document.evaluate(&subject, now_unix_s).policy);
        for rule in after
            .rules
            .iter()
            .filter_map(|index| body.document.rules.get(*index))
        {
            *matching.entry(rule.name.clone()).or_insert(0) += 1;
        }
    }
    Ok(Json(CheckedBody {
        problems: body.document.problems(),
        from_revision: from.revision,
        changes: changes(&from.document, &body.document),
        matching,
        changed_sessions,
    }))
}

/// Earlier revisions with what each changed, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/policy/history",
    params(HistoryParameters),
    responses((status = 200, body = Vec<HistoryLine>), (status = 400))
)]
async fn history(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<HistoryParameters>, QueryRejection>,
) -> Result<Json<Vec<HistoryLine>>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters?;
    if !(1..=HISTORY).contains(&parameters.limit) {
        let got = parameters.limit;
        return Err(Problem::bad_request(format!(
            "limit: expected 1 to {HISTORY}, got {got}"
        )));
    }
    // One more, for the last one to be compared with.
    let revisions = Revision::history(&hub.catalog, parameters.before, parameters.limit + 1)?;
    let none = FleetPolicy::default();
    let lines = revisions
        .iter()
        .take(parameters.limit)
        .enumerate()
        .map(|(index, revision)| {
            let before = revisions.get(index + 1).map_or(&none, |before| &before.document);
            HistoryLine {
                revision: revision.revision,
                unix_ns: revision.unix_ns,
                who: revision.who.clone(),
                why: revision.why.clone(),
                reverts_to: revision.reverts_to,
                fate: revision.fate.clone(),
                changes: changes(before, &revision.document),
            }
        });
    Ok(Json(lines.collect()))
}

/// One revision with its document.
#[utoipa::path(
    get,
    path = "/api/v1/policy/history/{revision}",
    params(("revision" = u64, Path)),
    responses((status = 200, body = RevisionBody), (status = 404))
)]
async fn one(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(revision): Path<String>,
) -> Result<Json<RevisionBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let number = revision
        .parse()
        .map_err(|_| Problem::bad_request(format!("revision '{revision}': expected a number")))?;
    Ok(Json(RevisionBody::from(&load(&hub, number)?)))
}

/// The JSON Schema of the document.
#[utoipa::path(get, path = "/api/v1/policy/schema", responses((status = 200, body = Object)))]
async fn schema(Extension(caller): Extension<Caller>) -> Result<Json<Value>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    Ok(Json(schemars::schema_for!(FleetPolicy).to_value()))
}

async fn submit(hub: &Hub, caller: &Caller, draft: Draft) -> Result<Json<NewestBody>, Problem> {
    let letters = draft.why.chars().count();
    if letters > WHY_LETTERS {
        return Err(Problem::bad_request(format!(
            "why: expected at most {WHY_LETTERS} letters, got {letters}"
        )));
    }
    let problems = draft.document.problems();
    if let Some(first) = problems.first() {
        return Err(Problem::bad_request(first.to_string()).with("problems", &problems));
    }
    let from_revision = draft.from_revision;
    match hub.policies.submit(&hub.catalog, caller, draft).await? {
        Submitted::Accepted(book) => Ok(Json(NewestBody::new(&book, true))),
        Submitted::Unchanged(book) => Ok(Json(NewestBody::new(&book, false))),
        Submitted::Overtaken(book) => Err(overtaken(hub, from_revision, &book.newest)),
    }
}

fn overtaken(hub: &Hub, from_revision: u64, newest: &Revision) -> Problem {
    let sentence = format!(
        "this change starts from revision {from_revision}, but revision {} is the newest (by {}: {}): look at what \
         it changed, then make yours from there",
        newest.revision, newest.who, newest.why
    );
    let problem = Problem::conflict(sentence).with("newest", &RevisionBody::from(newest));
    match load(hub, from_revision) {
        Ok(from) => problem
            .with("changes", &changes(&from.document, &newest.document))
            .with("from", &RevisionBody::from(&from)),
        // A revision that never was can't be compared with.
        Err(_) => problem,
    }
}

fn load(hub: &Hub, revision: u64) -> Result<Revision, Problem> {
    Revision::load(&hub.catalog, revision)?.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no revision {revision} of the fleet's policy: /api/v1/policy/history lists them"
        ))
    })
}

impl NewestBody {
    fn new(book: &Book, changed: bool) -> Self {
        Self {
            revision: RevisionBody::from(&book.newest),
            rollout: book.rollout.clone(),
            changed,
        }
    }
}

impl From<&Revision> for RevisionBody {
    fn from(revision: &Revision) -> Self {
        let Revision {
            revision,
            unix_ns,
            who,
            why,
            document,
            reverts_to,
            fate,
        } = revision.clone();
        Self {
            revision,
            unix_ns,
            who,
            why,
            reverts_to,
            fate,
            document,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_published_schema_takes_what_the_code_takes_and_refuses_what_it_refuses() {
        let schema = schemars::schema_for!(FleetPolicy).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let example: Value = serde_json::from_str(include_str!("../../../docs/policy.example.json")).unwrap();
        let with = |rule: Value| json!({ "rules": [rule] });
        for (document, expected) in [
            (json!({}), true),
            (example, true),
            (with(json!({ "name": "a" })), true),
            (json!({ "rollout": { "first_percent": 20 } }), true),
            (json!({ "rollout": { "first_percent": 0 } }), false),
            (json!({ "rule": [] }), false),
            (with(json!({})), false),
            (with(json!({ "name": "" })), false),
            (with(json!({ "name": "a", "set": { "tier": {} } })), false),
            (
                with(json!({ "name": "a", "set": { "tiers": { "hashed_percent": 101 } } })),
                false,
            ),
            (
                with(json!({ "name": "a", "set": { "sampling_rate_bytes": "x" } })),
                false,
            ),
            (with(json!({ "name": "a", "memory_pressure": {} })), false),
            (with(json!({ "name": "a", "labels": { "service": 1 } })), false),
        ] {
            let by_code = serde_json::from_value::<FleetPolicy>(document.clone())
                .is_ok_and(|parsed| parsed.problems().is_empty());
            assert_eq!(
                (validator.is_valid(&document), by_code),
                (expected, expected),
                "{document}"
            );
        }
    }
}
