//! The first of the HTTP API: counters and sessions as JSON.

use crate::hub::Hub;
use crate::assets::sentence;
use crate::reports;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use heaptide_protocol::control::{PolicyState, Pulse, SessionState, SessionSummary};
use heaptide_protocol::session::{Capability, PlatformSignature};
use heaptide_protocol::SessionId;
use heaptide_protocol::report::{ReportKind, ReportQuery, Window};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Serialize)]
pub(crate) struct StatsBody {
    agent: String,
    hub_epoch: u64,
    sessions: usize,
    /// Why frames can't be stored at the moment.
    stalled: Option<String>,
    counters: crate::stats::StatsSnapshot,
}

#[derive(Debug, Serialize)]
pub(crate) struct SessionBody {
    /// 32 hexadecimal digits, as in links.
    session: String,
    state: SessionState,
    first_ns: u64,
    last_ns: u64,
    frames: u64,
    stored_bytes: u64,
    rate_write_granted: bool,
    signature: PlatformSignature,
    capabilities: Vec<Capability>,
    policy: PolicyState,
    pulse: Option<Pulse>,
}

pub(crate) async fn stats(State(hub): State<Arc<Hub>>) -> Json<StatsBody> {
    Json(StatsBody {
        agent: hub.config.agent.clone(),
        hub_epoch: hub.epoch,
        sessions: hub.fleet.summaries().len(),
        stalled: hub.store.health.why(),
        counters: hub.stats.snapshot(),
    })
}

pub(crate) async fn sessions(State(hub): State<Arc<Hub>>) -> Json<Vec<SessionBody>> {
    Json(hub.fleet.summaries().into_iter().map(SessionBody::from).collect())
}

/// What a report is asked of; all but `kind` can be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportParameters {
    kind: ReportKind,
    #[serde(default)]
    from_ns: u64,
    #[serde(default = "ever")]
    to_ns: u64,
    #[serde(default)]
    filter: String,
    #[serde(default = "a_page")]
    limit: u32,
}

fn ever() -> u64 {
    u64::MAX
}

fn a_page() -> u32 {
    200
}

pub(crate) async fn report(
    State(hub): State<Arc<Hub>>,
    Path(session): Path<String>,
    parameters: Result<Query<ReportParameters>, QueryRejection>,
) -> Response<Body> {
    let found = session
        .parse::<SessionId>()
        .ok()
        .and_then(|session| hub.fleet.get(session));
    let Some(found) = found else {
        let why = format!("There is no session {session}; /api/v1/sessions lists them.\n");
        return sentence(StatusCode::NOT_FOUND, why);
    };
    let Query(parameters) = match parameters {
        Ok(parameters) => parameters,
        Err(wrong) => {
            return sentence(StatusCode::BAD_REQUEST, wrong.body_text() + "\n");
        }
    };
    let query = ReportQuery {
        kind: parameters.kind,
        window: Window {
            from_ns: parameters.from_ns,
            to_ns: parameters.to_ns,
        },
        filter: parameters.filter,
        limit: parameters.limit,
    };
    match reports::compute(&hub, found, query).await {
        Ok(told) => Json(told.report).into_response(),
        Err(why) => sentence(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

impl From<SessionSummary> for SessionBody {
    fn from(summary: SessionSummary) -> Self {
        Self {
            session: summary.session.to_string(),
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
        }
    }
}
