//! A range of a session at the level that a viewer's pixels need.

use super::Problem;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use crate::levels::{self, Range, RangeQuery};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, header};
use axum::response::IntoResponse as _;
use heaptide_protocol::SessionId;
use heaptide_protocol::gauges::Gauge;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const MAX_POINTS: usize = 2_000;
const MAX_SITES: usize = 500;
const MAX_GAUGES: usize = 8;
/// Of one answer.
const MAX_BYTES: usize = 2 << 20;
const POSTCARD: &str = "application/x-postcard";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RangeParameters {
    /// On the session's clock.
    from_ns: u64,
    to_ns: u64,
    /// At most so many, and as many if the range is long enough; up to 2000.
    #[serde(default = "a_screen")]
    points: usize,
    /// Call sites, at most 500.
    #[serde(default = "a_page")]
    sites: usize,
    /// Their numbers, with commas in between, at most 8; RSS and PSS if left out.
    #[serde(default)]
    gauges: Option<String>,
}

fn a_screen() -> usize {
    500
}

fn a_page() -> usize {
    50
}

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(range))
}

/// What was live, allocated and freed in a range, from the coarsest level that has enough points.
///
/// As JSON, or as postcard if `Accept` is `application/x-postcard`. At most 2 MB: where that is not enough for the
/// call sites asked for, the last ones are left out and counted.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{session}/range",
    params(("session" = String, Path, description = "32 hexadecimal digits"), RangeParameters),
    responses((status = 200, body = Range), (status = 400), (status = 404), (status = 503))
)]
async fn range(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
    headers: HeaderMap,
    parameters: Result<Query<RangeParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let found = session
        .parse::<SessionId>()
        .ok()
        .and_then(|session| hub.fleet.get(session))
        .ok_or_else(|| {
            Problem::not_found(format!(
                "there is no session {session}: /api/v1/sessions lists them"
            ))
        })?;
    let Query(parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let query = query(&parameters).map_err(Problem::bad_request)?;
    let turn = hub.reports.turn().await.map_err(Problem::unavailable)?;
    let asked = Arc::clone(&hub);
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        levels::answer(&asked, &found, &query)
    });
    let mut range = answered
        .await
        .map_err(|_| Problem::unavailable("the answer could not be computed: see the hub's log"))?
        .map_err(|error| Problem::unavailable(format!("can't read the levels: {error}")))?;
    hub.stats.ranges_answered.add(1);
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_postcard = accepted.is_some_and(|value| value.contains(POSTCARD));
    loop {
        let encoded = if is_postcard {
            postcard::to_allocvec(&range).map_err(|error| error.to_string())
        } else {
            serde_json::to_vec(&range).map_err(|error| error.to_string())
        };
        let bytes = encoded.map_err(Problem::unavailable)?;
        if bytes.len() <= MAX_BYTES {
            let kind = if is_postcard { POSTCARD } else { "application/json" };
            return Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response());
        }
        if range.sites.is_empty() {
            return Err(Problem::bad_request(
                "the answer is larger than 2 MB: ask for fewer points or gauges",
            ));
        }
        hub.stats.ranges_shortened.add(1);
        let fewer = range.sites.len() / 2;
        range.sites_left_out += (range.sites.len() - fewer) as u64;
        range.sites.truncate(fewer);
    }
}

fn query(parameters: &RangeParameters) -> Result<RangeQuery, String> {
    let RangeParameters {
        from_ns,
        to_ns,
        points,
        sites,
        gauges,
    } = parameters;
    if from_ns >= to_ns {
        return Err(format!("expected from_ns below to_ns, got {from_ns} and {to_ns}"));
    }
    if !(1..=MAX_POINTS).contains(points) {
        return Err(format!("expected 1 to {MAX_POINTS} points, got {points}"));
    }
    let gauges = match gauges {
        None => vec![Gauge::RSS_BYTES.0, Gauge::PSS_BYTES.0],
        Some(text) => text
            .split(',')
            .filter(|number| !number.is_empty())
            .map(|number| {
                number
                    .parse()
                    .map_err(|_| format!("expected gauges' numbers with commas, got '{number}'"))
            })
            .collect::<Result<Vec<u16>, _>>()?,
    };
    if gauges.len() > MAX_GAUGES {
        return Err(format!(
            "expected at most {MAX_GAUGES} gauges, got {}",
            gauges.len()
        ));
    }
    Ok(RangeQuery {
        from_ns: *from_ns,
        to_ns: *to_ns,
        points: *points,
        sites: (*sites).min(MAX_SITES),
        gauges,
    })
}
