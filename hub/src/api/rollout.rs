//! How the newest revision of the fleet's policy goes out: where each session stands, and hurrying or stopping it.

use super::Problem;
use crate::access::{Caller, Role};
use crate::fleet_policy::Book;
use crate::fleet_policy::engine::{self, Look};
use crate::fleet_policy::revisions::Fate;
use crate::hub::Hub;
use crate::policy::Answer;
use crate::session::ForPolicy;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use heaptide_policy::{Labels, Rollout, RolloutEvent};
use heaptide_protocol::SessionId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const LISTED: usize = 5_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(rollout, steer))
        .routes(routes!(release))
}

#[derive(Debug, Serialize, ToSchema)]
struct RolloutBody {
    #[schema(value_type = Object)]
    rollout: Rollout,
    fate: Fate,
    counts: Counts,
    sessions: Vec<SessionStanding>,
    /// Sessions that are not listed because of `limit`.
    left_out: usize,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct Counts {
    pending: usize,
    applied: usize,
    rejected: usize,
    away: usize,
    /// Among these, sessions that a person has changed by themselves.
    overridden: usize,
    /// Among these, sessions whose host is short of memory.
    short_of_memory: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct SessionStanding {
    session: String,
    #[schema(value_type = Object)]
    labels: Labels,
    standing: StandingName,
    /// Why it was rejected.
    why: Option<String>,
    /// The revision of the fleet's policy that it is meant to follow, or, applied, follows.
    revision: u64,
    /// The number that the session itself gives the policy in force.
    session_revision: u64,
    /// Among those that get a new revision first.
    is_first: bool,
    /// Whether the newest revision is another policy to it than the one before.
    makes_a_difference: bool,
    /// Names of the rules that match it.
    rules: Vec<String>,
    /// Fields that a person has set for this session alone, and who did last.
    overridden: Vec<String>,
    overridden_by: Option<String>,
    is_short_of_memory: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StandingName {
    Pending,
    Applied,
    Rejected,
    /// Its collector is not there; it gets what holds when it is back.
    Away,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RolloutParameters {
    /// Sessions to list, at most 5000.
    #[serde(default = "many")]
    limit: usize,
}

fn many() -> usize {
    1_000
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// To all now; or, when it is with all, watch no longer.
    Promote,
    /// Back to the revision before.
    TakeBack,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SteerBody {
    /// The newest, as its author saw it.
    revision: u64,
    action: Action,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ReleaseParameters {
    /// For the audit log.
    #[serde(default)]
    why: String,
}

/// Where the newest revision is on its way, and how each session stands.
#[utoipa::path(
    get,
    path = "/api/v1/policy/rollout",
    params(RolloutParameters),
    responses((status = 200, body = RolloutBody), (status = 400))
)]
async fn rollout(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<RolloutParameters>, QueryRejection>,
) -> Result<Json<RolloutBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters?;
    if parameters.limit > LISTED {
        let got = parameters.limit;
        return Err(Problem::bad_request(format!(
            "limit: expected at most {LISTED}, got {got}"
        )));
    }
    Ok(Json(tell(&hub, parameters.limit)))
}

/// Hurries the newest revision on its way, or takes it back.
#[utoipa::path(
    post,
    path = "/api/v1/policy/rollout",
    request_body = SteerBody,
    responses((status = 200, body = RolloutBody), (status = 400), (status = 409))
)]
async fn steer(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SteerBody>, JsonRejection>,
) -> Result<Json<RolloutBody>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    let event = match body.action {
        Action::Promote => RolloutEvent::Promote,
        Action::TakeBack => RolloutEvent::TakeBack {
            why: if body.why.is_empty() {
                format!("{} took it back", caller.name)
            } else {
                body.why.clone()
            },
        },
    };
    let revision = body.revision;
    let stepped = hub
        .policies
        .step(&hub.catalog, &caller, revision, &event, &body.why)
        .await?;
    if !stepped {
        let newest = hub.policies.book().newest.revision;
        return Err(Problem::conflict(if newest == revision {
            format!(
                "revision {revision} has settled: nobody waits for it; POST /api/v1/policy/revert goes back to an \
                 earlier one"
            )
        } else {
            format!("revision {revision} is not the newest, {newest} is: look at that one first")
        }));
    }
    if body.action == Action::TakeBack {
        hub.stats.policy_roll_backs.add(1);
    }
    Ok(Json(tell(&hub, many())))
}

/// Lets a session follow the fleet's policy again, where a person had changed it by itself.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{session}/override",
    params(("session" = String, Path, description = "32 hexadecimal digits"), ReleaseParameters),
    responses((status = 200, body = SessionStanding), (status = 404), (status = 409))
)]
async fn release(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
    parameters: Result<Query<ReleaseParameters>, QueryRejection>,
) -> Result<Json<SessionStanding>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Query(ReleaseParameters { why }) = parameters?;
    let found = session
        .parse()
        .ok()
        .and_then(|id| hub.fleet.get(id))
        .ok_or_else(|| {
            Problem::not_found(format!(
                "there is no session {session}: /api/v1/sessions lists them"
            ))
        })?;
    if !found.with_policy(crate::policy::Authority::release) {
        return Err(Problem::conflict(format!(
            "nobody has changed session {session} by itself: it follows the fleet's policy"
        )));
    }
    let subject = format!("session {}", found.id);
    hub.catalog
        .change(move |change| change.audit(&caller, "policy of one session released", &subject, &why))
        .await?;
    hub.store.save_later(&found);
    hub.fleet.changed();
    hub.policies.changed();
    let view = found.for_policy().ok_or_else(|| {
        Problem::conflict(format!(
            "session {session} is over: nothing follows from it any more"
        ))
    })?;
    Ok(Json(stand(
        &hub.policies.book(),
        found.id,
        view,
        crate::clock::unix_ns(),
    )))
}

fn tell(hub: &Hub, limit: usize) -> RolloutBody {
    let book = hub.policies.book();
    let now_unix_ns = crate::clock::unix_ns();
    let mut sessions: Vec<SessionStanding> = hub
        .fleet
        .all()
        .into_iter()
        .filter_map(|session| Some((session.id, session.for_policy()?)))
        .map(|(id, view)| stand(&book, id, view, now_unix_ns))
        .collect();
    let mut counts = Counts::default();
    for session in &sessions {
        *match session.standing {
            StandingName::Pending => &mut counts.pending,
            StandingName::Applied => &mut counts.applied,
            StandingName::Rejected => &mut counts.rejected,
            StandingName::Away => &mut counts.away,
        } += 1;
        counts.overridden += usize::from(!session.overridden.is_empty());
        counts.short_of_memory += usize::from(session.is_short_of_memory);
    }
    // What a person has to look at comes first.
    sessions.sort_by(|a, b| {
        let rank = |session: &SessionStanding| match session.standing {
            StandingName::Rejected => 0,
            StandingName::Pending => 1,
            StandingName::Applied => 2,
            StandingName::Away => 3,
        };
        let order = |session: &SessionStanding| (rank(session), !session.is_first);
        order(a).cmp(&order(b)).then_with(|| a.session.cmp(&b.session))
    });
    let left_out = sessions.len().saturating_sub(limit);
    sessions.truncate(limit);
    RolloutBody {
        rollout: book.rollout.clone(),
        fate: book.newest.fate.clone(),
        counts,
        sessions,
        left_out,
    }
}

fn stand(book: &Book, id: SessionId, view: ForPolicy, now_unix_ns: u64) -> SessionStanding {
    let session = id.to_string();
    let standing = view.authority.standing();
    let is_short = standing.is_short_of_memory;
    let look = engine::look(book, id, &view, is_short, now_unix_ns);
    let (name, why) = match &look {
        _ if !view.is_live => (StandingName::Away, None),
        None => (StandingName::Pending, None),
        Some(Look { followed, .. }) => match &followed.answer {
            Answer::Pending => (StandingName::Pending, None),
            Answer::Applied => (StandingName::Applied, None),
            Answer::Rejected(why) => (StandingName::Rejected, Some(why.clone())),
        },
    };
    let revision = book.rollout.revision_of(&session);
    let document = if revision == book.newest.revision {
        &book.newest.document
    } else {
        &book.before
    };
    let matching = look.iter().flat_map(|look| &look.evaluated.rules);
    SessionStanding {
        is_first: book.rollout.chosen.contains(&session),
        session,
        standing: name,
        why,
        revision,
        session_revision: view
            .authority
            .state()
            .applied
            .as_ref()
            .map_or(0, |applied| applied.revision),
        makes_a_difference: look.as_ref().is_some_and(|look| look.makes_a_difference),
        rules: matching
            .filter_map(|index| document.rules.get(*index))
            .map(|rule| rule.name.clone())
            .collect(),
        overridden: standing.overrides.names(),
        overridden_by: standing.overridden_by.as_ref().map(|by| by.who.clone()),
        is_short_of_memory: is_short,
        labels: view.labels,
    }
}
