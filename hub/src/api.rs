//! The first of the HTTP API: counters and sessions as JSON.

use crate::hub::Hub;
use axum::Json;
use axum::extract::State;
use heaptide_protocol::control::{PolicyState, Pulse, SessionState, SessionSummary};
use heaptide_protocol::session::{Capability, PlatformSignature};
use serde::Serialize;
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
