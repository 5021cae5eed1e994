//! Counters, sessions and their reports as JSON.

use super::Problem;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use crate::reports;
use crate::search::{self, Filter, LabelCount};
use crate::session::Session;
use crate::session_clock::SessionClock;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use heaptide_policy::Labels;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{ClockReading, PolicyState, Pulse, SessionState, SessionSummary};
use heaptide_protocol::report::{Report, ReportKind, ReportQuery, Window};
use heaptide_protocol::session::{Capability, Clock, PlatformSignature};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(sessions))
        .routes(routes!(labels))
        .routes(routes!(report))
}

#[derive(Debug, Serialize, ToSchema)]
struct StatsBody {
    agent: String,
    hub_epoch: u64,
    sessions: usize,
    /// Why frames can't be stored at the moment.
    stalled: Option<String>,
    #[schema(value_type = Object)]
    counters: crate::stats::StatsSnapshot,
}

#[derive(Debug, Serialize, ToSchema)]
struct SessionBody {
    /// 32 hexadecimal digits, as in links.
    session: String,
    #[schema(value_type = Object)]
    labels: Labels,
    #[schema(value_type = Object)]
    state: SessionState,
    first_ns: u64,
    last_ns: u64,
    frames: u64,
    stored_bytes: u64,
    rate_write_granted: bool,
    #[schema(value_type = Object)]
    signature: PlatformSignature,
    #[schema(value_type = Vec<Object>)]
    capabilities: Vec<Capability>,
    #[schema(value_type = Object)]
    policy: PolicyState,
    #[schema(value_type = Option<Object>)]
    pulse: Option<Pulse>,
    clock: ClockBody,
}

/// How a session's clock relates to the hub's: `hub_unix_ns = session_ns + offset_ns`, within `error_ns`.
#[derive(Debug, Serialize, ToSchema)]
struct ClockBody {
    /// The newest reading. Without one, nothing is known: the collector is older, or has not said yet.
    #[schema(value_type = Option<Object>)]
    newest: Option<ClockReading>,
    /// By how much the wall clock of its host was ahead of the hub's when the session began, if it told.
    host_ahead_ns: Option<i64>,
    host_ahead_error_ns: Option<u64>,
    /// The same for a person.
    words: String,
    /// Kept, of all epochs.
    readings: usize,
    /// Made room for newer ones.
    forgotten: u64,
    /// Could not be: an absurd error, or a time that is not now.
    refused: u64,
}

/// What a report is asked of; all but `kind` can be left out.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ReportParameters {
    /// goroutines, pauses, mappings, ledger, drift or exact
    #[param(value_type = String)]
    kind: ReportKind,
    /// On the session's clock; without it, from the beginning.
    #[serde(default)]
    from_ns: u64,
    /// Without it, to the newest.
    #[serde(default = "super::ever")]
    to_ns: u64,
    /// Keeps rows whose stack or text contains this.
    #[serde(default)]
    filter: String,
    /// Rows of each table, at most 1000.
    #[serde(default = "a_page")]
    limit: u32,
}

fn a_page() -> u32 {
    200
}

/// The session that an address names.
pub(super) fn find(hub: &Hub, session: &str) -> Result<Arc<Session>, Problem> {
    session
        .parse::<SessionId>()
        .ok()
        .and_then(|session| hub.fleet.get(session))
        .ok_or_else(|| {
            Problem::not_found(format!(
                "there is no session {session}: /api/v1/sessions lists them"
            ))
        })
}

/// How much has come in, gone out and been left out since the hub started.
#[utoipa::path(get, path = "/api/v1/stats", responses((status = 200, body = StatsBody)))]
async fn stats(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<StatsBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    Ok(Json(StatsBody {
        agent: hub.config.agent.clone(),
        hub_epoch: hub.epoch,
        sessions: hub.fleet.summaries().len(),
        stalled: hub.store.health.why(),
        counters: hub.stats.snapshot(),
    }))
}

/// Sessions that match, or all: live ones first, then the newest. A parameter may be given several times: all
/// labels must match, of several values for one label any.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    params(
        ("label" = Option<String>, Query, description = "KEY=VALUE"),
        ("text" = Option<String>, Query, description = "Part of a label, executable, command line, host or id"),
        ("state" = Option<String>, Query, description = "live, away or ended"),
    ),
    responses((status = 200, body = Vec<SessionBody>), (status = 400))
)]
async fn sessions(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Vec<SessionBody>>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(mut parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let filter = Filter::take(&mut parameters).map_err(Problem::bad_request)?;
    search::refuse_rest(&parameters, "label, text or state").map_err(Problem::bad_request)?;
    let mut found = hub.fleet.summaries();
    found.retain(|summary| filter.matches(summary));
    let clock = |session| hub.fleet.get(session).map(|session| session.clock());
    let bodies = found.into_iter().map(|summary| {
        let clock = clock(summary.session).unwrap_or_default();
        SessionBody::of(summary, &clock)
    });
    Ok(Json(bodies.collect()))
}

/// All labels with their values, and how many sessions have them: the most common first.
#[utoipa::path(get, path = "/api/v1/labels", responses((status = 200, body = Vec<LabelCount>)))]
async fn labels(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<LabelCount>>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    Ok(Json(search::count_labels(&hub.fleet.summaries())))
}

/// One of the tables, computed from what is stored.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{session}/report",
    params(("session" = String, Path, description = "32 hexadecimal digits"), ReportParameters),
    responses((status = 200, body = Object), (status = 400), (status = 404), (status = 503))
)]
async fn report(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
    parameters: Result<Query<ReportParameters>, QueryRejection>,
) -> Result<Json<Report>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let found = find(&hub, &session)?;
    let Query(parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let query = ReportQuery {
        kind: parameters.kind,
        window: Window {
            from_ns: parameters.from_ns,
            to_ns: parameters.to_ns,
        },
        filter: parameters.filter,
        limit: parameters.limit,
    };
    let told = reports::of_session(&hub, found, query)
        .await
        .map_err(Problem::unavailable)?;
    Ok(Json(told.report))
}

impl SessionBody {
    fn of(summary: SessionSummary, clock: &SessionClock) -> Self {
        let clock = ClockBody::of(&summary.signature.clock, clock);
        Self {
            session: summary.session.to_string(),
            labels: summary.labels,
            state: summary.state,
            first_ns: summary.first_ns,
            last_ns: summary.last_ns,
            frames: summary.frames,
            stored_bytes: summary.stored_bytes,
            rate_write_granted: summary.rate_write_granted,
            signature: summary.signature,
            capabilities: summary.capabilities,
            policy: summary.policy,
            pulse: summary.pulse,
            clock,
        }
    }
}

impl ClockBody {
    fn of(start: &Clock, clock: &SessionClock) -> Self {
        let ahead = clock.host_ahead(start);
        let words = match ahead {
            Some(ahead) => format!(
                "{}{} ± {}",
                if ahead.offset_ns < 0 { "-" } else { "+" },
                short(ahead.offset_ns.unsigned_abs()),
                short(ahead.error_ns)
            ),
            None => "not told".to_owned(),
        };
        Self {
            newest: clock.readings().last().copied(),
            host_ahead_ns: ahead.map(|ahead| ahead.offset_ns),
            host_ahead_error_ns: ahead.map(|ahead| ahead.error_ns),
            words,
            readings: clock.readings().len(),
            forgotten: clock.forgotten(),
            refused: clock.refused(),
        }
    }
}

fn short(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.1} s", value / 1e9),
    }
}
