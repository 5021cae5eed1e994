//! Many sessions at once: sums by label, and the dashboards that a team keeps.

use super::Problem;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use crate::pulses::{self, Group, Span};
use crate::search::{self, Filter};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use heaptide_protocol::control::SessionState;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const SECOND_NS: u64 = 1_000_000_000;
const BY: usize = 8;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(range))
}

#[derive(Debug, Serialize, ToSchema)]
struct RangeBody {
    from_unix_s: u64,
    to_unix_s: u64,
    step_s: u64,
    /// The labels that it is grouped by.
    by: Vec<String>,
    /// The one with most sessions first.
    groups: Vec<Group>,
    /// Groups that are not listed because there are too many.
    groups_left_out: usize,
}

/// The last minutes of live sessions that match, summed up by label: from their pulses, by the hub's clock.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/range",
    params(
        ("label" = Option<String>, Query, description = "KEY=VALUE; may be given several times"),
        ("text" = Option<String>, Query, description = "Part of a label, executable, command line, host or id"),
        ("by" = Option<String>, Query, description = "A label to group by; may be given several times"),
        ("seconds" = Option<u64>, Query, description = "How far back, at most what the hub keeps; 300"),
        ("step_s" = Option<u64>, Query, description = "Length of a step in seconds; 1"),
    ),
    responses((status = 200, body = RangeBody), (status = 400))
)]
async fn range(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<RangeBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(mut parameters) = parameters?;
    let filter = Filter::take(&mut parameters).map_err(Problem::bad_request)?;
    let most = hub.config.limits.pulse_history as u64;
    let (mut by, mut seconds, mut step_s) = (Vec::new(), most, 1);
    for (name, value) in &parameters {
        match name.as_str() {
            "by" => by.push(value.clone()),
            "seconds" => seconds = number(name, value, most)?,
            "step_s" => step_s = number(name, value, most)?,
            _ => {
                let known = "label, text, state, by, seconds or step_s";
                search::refuse_rest(&[(name.clone(), value.clone())], known).map_err(Problem::bad_request)?;
            }
        }
    }
    if by.len() > BY {
        let got = by.len();
        return Err(Problem::bad_request(format!(
            "by: expected at most {BY} labels, got {got}"
        )));
    }
    let to_unix_s = crate::clock::unix_ns() / SECOND_NS + 1;
    let span = Span {
        from_unix_s: to_unix_s.saturating_sub(seconds),
        to_unix_s,
        step_s,
    };
    let rings: Vec<_> = hub
        .fleet
        .all()
        .iter()
        .filter(|session| {
            let summary = session.summary();
            summary.state == SessionState::Live && filter.matches(&summary)
        })
        .map(|session| session.pulses())
        .collect();
    let (groups, groups_left_out) = pulses::merge(&rings, &by, &span);
    Ok(Json(RangeBody {
        from_unix_s: span.from_unix_s,
        to_unix_s: span.to_unix_s,
        step_s: span.step_s,
        by,
        groups,
        groups_left_out,
    }))
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, Problem> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Problem::bad_request(format!("{name}: expected 1 to {most}, got '{value}'")))
}
