//! Many sessions at once: sums by label, and the dashboards that a team keeps.

use super::Problem;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use crate::levels;
use crate::pulses::{self, Group, Headline, Span};
use crate::search::{self, Filter};
use crate::session::Session;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use heaptide_policy::Labels;
use heaptide_protocol::control::SessionState;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const SECOND_NS: u64 = 1_000_000_000;
const BY: usize = 8;
/// Two years.
const MOST_SECONDS: u64 = 2 * 366 * 86_400;
const MOST_STEPS: u64 = 2_000;
/// Steps that are made if nobody says how long they are to be, and their least length in what is stored.
const STEPS: u64 = 300;
const STORED_STEP_S: u64 = 10;
/// Sessions that are read for one answer; what more there are is counted.
const SESSIONS_READ: usize = 500;

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
    source: SumSource,
    /// The one with most sessions first.
    groups: Vec<Group>,
    /// Groups that are not listed because there are too many.
    groups_left_out: usize,
    /// Sessions that are not in the sums because there are too many: those that were silent longest.
    sessions_left_out: usize,
}

/// What sums are made from.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SumSource {
    /// Those of live sessions.
    Pulses,
    /// What is stored of all sessions, live or not.
    Levels,
}

/// Sessions that match, summed up by label, by the hub's clock.
///
/// The last minutes are those of live sessions, from their pulses. What reaches further back is made from the levels of
/// all that is stored, also of sessions that have ended, and begins where the first of them does.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/range",
    params(
        ("label" = Option<String>, Query, description = "KEY=VALUE; may be given several times"),
        ("text" = Option<String>, Query, description = "Part of a label, executable, command line, host or id"),
        ("by" = Option<String>, Query, description = "A label to group by; may be given several times"),
        ("seconds" = Option<u64>, Query, description = "How far back; 300, which pulses reach"),
        ("step_s" = Option<u64>, Query, description = "Length of a step in seconds; 1 for pulses, else at least 10 and a 300th"),
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
    let reached_s = hub.config.limits.pulse_history as u64;
    let (mut by, mut seconds, mut step_s) = (Vec::new(), reached_s, None);
    for (name, value) in &parameters {
        match name.as_str() {
            "by" => by.push(value.clone()),
            "seconds" => seconds = number(name, value, MOST_SECONDS)?,
            "step_s" => step_s = Some(number(name, value, MOST_SECONDS)?),
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
    let steps = seconds / step_s.unwrap_or(seconds);
    if steps > MOST_STEPS {
        return Err(Problem::bad_request(format!(
            "step_s: expected at most {MOST_STEPS} steps in {seconds} s, got {steps}"
        )));
    }
    let to_unix_s = crate::clock::unix_ns() / SECOND_NS + 1;
    let wanted = Wanted {
        filter,
        by,
        from_unix_s: to_unix_s.saturating_sub(seconds),
        to_unix_s,
        step_s,
    };
    if seconds <= reached_s {
        return Ok(Json(wanted.of_pulses(&hub)));
    }
    let turn = hub.reports.turn().await.map_err(Problem::unavailable)?;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        wanted.of_levels(&hub)
    });
    match made.await {
        Ok(made) => Ok(Json(made?)),
        Err(_) => Err(Problem::unavailable("the hub is shutting down")),
    }
}

struct Wanted {
    filter: Filter,
    by: Vec<String>,
    from_unix_s: u64,
    to_unix_s: u64,
    step_s: Option<u64>,
}

impl Wanted {
    fn of_pulses(self, hub: &Hub) -> RangeBody {
        let span = self.span(self.from_unix_s, 1);
        let is_meant = |session: &&Arc<Session>| {
            let summary = session.summary();
            summary.state == SessionState::Live && self.filter.matches(&summary)
        };
        let sessions = hub.fleet.all();
        let live = sessions.iter().filter(is_meant);
        let told: Vec<_> = live
            .map(|session| {
                let (labels, ring) = session.pulses();
                (labels, ring.by_step(&span))
            })
            .collect();
        self.body(&span, SumSource::Pulses, &told, 0)
    }

    /// Reads files. Blocks.
    fn of_levels(self, hub: &Hub) -> Result<RangeBody, Problem> {
        let meant = hub.fleet.all().into_iter().filter_map(|session| {
            let lasted = levels::lasted(&session)?;
            let is_meant = *lasted.end() >= self.from_unix_s && self.filter.matches(&session.summary());
            is_meant.then_some((lasted, session))
        });
        let mut sessions: Vec<_> = meant.collect();
        sessions.sort_by_key(|(lasted, _)| std::cmp::Reverse(*lasted.end()));
        let left_out = sessions.len().saturating_sub(SESSIONS_READ);
        sessions.truncate(SESSIONS_READ);
        let began = sessions.iter().map(|(lasted, _)| *lasted.start()).min();
        let from_unix_s = self.from_unix_s.max(began.unwrap_or(self.from_unix_s));
        let span = self.span(from_unix_s, STORED_STEP_S);
        let mut told = Vec::new();
        for (_, session) in sessions {
            if *hub.closing.borrow() {
                return Err(Problem::unavailable("the hub is shutting down"));
            }
            let steps = levels::history(hub, &session, &span)
                .map_err(|error| Problem::unavailable(format!("session {}: {error}", session.id)))?;
            told.push((session.pulses().0, steps));
        }
        Ok(self.body(&span, SumSource::Levels, &told, left_out))
    }

    fn span(&self, from_unix_s: u64, least_s: u64) -> Span {
        let length_s = self.to_unix_s.saturating_sub(from_unix_s);
        let step_s = match self.step_s {
            Some(step_s) => step_s,
            None if least_s == 1 => 1,
            None => length_s.div_ceil(STEPS).max(least_s),
        };
        Span {
            from_unix_s,
            to_unix_s: self.to_unix_s,
            step_s,
        }
    }

    fn body(
        self,
        span: &Span,
        source: SumSource,
        told: &[(Labels, BTreeMap<u64, Headline>)],
        sessions_left_out: usize,
    ) -> RangeBody {
        let (groups, groups_left_out) = pulses::merge(told, &self.by);
        RangeBody {
            from_unix_s: span.from_unix_s,
            to_unix_s: span.to_unix_s,
            step_s: span.step_s,
            by: self.by,
            source,
            groups,
            groups_left_out,
            sessions_left_out,
        }
    }
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, Problem> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Problem::bad_request(format!("{name}: expected 1 to {most}, got '{value}'")))
}
