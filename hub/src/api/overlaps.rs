//! Whether what two sessions did overlapped, also on different machines, as far as their clocks allow to say.

use super::Problem;
use super::sessions::find;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use crate::reports;
use crate::session::Session;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use heaptide_analysis::clock::{Offset, OnClock, Overlap, judge, offset_over, pairs};
use heaptide_protocol::control::ClockReading;
use heaptide_protocol::report::Window;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Pairs that are looked at for one answer.
/// What is looked at around a window on another clock.
const MARGIN_NS: u64 = 60 * 1_000_000_000;
const MAX_PAIRS: usize = 100_000;
const MAX_ROWS: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(overlaps))
        .routes(routes!(overlap_of_spans))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    /// Times at which the world was stopped.
    #[default]
    Pauses,
    /// Collections, from their start to their end; one that runs is left out.
    Collections,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct OverlapParameters {
    /// A session: 32 hexadecimal digits.
    a: String,
    /// Another one.
    b: String,
    /// pauses or collections
    #[serde(default)]
    #[param(value_type = Option<String>)]
    what: What,
    /// On the clock of `a`; without it, from the beginning.
    #[serde(default)]
    from_ns: u64,
    /// Without it, to the newest.
    #[serde(default = "super::ever")]
    to_ns: u64,
    /// Rows, at most 1000.
    #[serde(default = "a_page")]
    limit: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct SpanParameters {
    /// A session: 32 hexadecimal digits.
    a: String,
    /// On its clock; both ends are in the span.
    a_from_ns: u64,
    a_to_ns: u64,
    /// Another one.
    b: String,
    b_from_ns: u64,
    b_to_ns: u64,
}

fn a_page() -> usize {
    200
}

/// `definite`: wherever within the errors of their clocks the two lie. `possible`: somewhere within them. `none`:
/// nowhere.
#[derive(Debug, Serialize, ToSchema)]
struct Verdict {
    #[schema(value_type = String)]
    verdict: Overlap,
    /// By how much they overlapped at least, and at most.
    least_ns: u64,
    most_ns: u64,
    /// How far the one can be shifted against the other, either way. What is closer than that has no order.
    error_ns: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct SpanBody {
    /// On the session's own clock.
    from_ns: u64,
    to_ns: u64,
    /// Since the session's first frame, and from there on.
    after_ns: u64,
    lasted_ns: u64,
    /// How far its clock may be off from the hub's at that time, either way; 0 where both have one clock.
    error_ns: u64,
    /// Why the world was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Row {
    a: SpanBody,
    b: SpanBody,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Serialize, ToSchema)]
struct OverlapsBody {
    /// Both sessions are of one boot of one machine, so no error comes between them.
    is_same_clock: bool,
    /// How many there were of each in the window to be compared.
    a_count: usize,
    b_count: usize,
    /// Since when they are known one by one, after each session's beginning: a long session is not read whole. Ask for a
    /// range to have one of before.
    a_known_after_ns: u64,
    b_known_after_ns: u64,
    definite: u64,
    possible: u64,
    /// There were more than could be looked at, so the two counts are lower bounds.
    is_cut: bool,
    /// The definite ones first, then the longest. Pairs that don't overlap are not told.
    rows: Vec<Row>,
    rows_left_out: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct SpansBody {
    is_same_clock: bool,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Two sessions' clocks.
struct Clocks {
    is_same: bool,
    a: SideClock,
    b: SideClock,
}

struct SideClock {
    readings: Vec<ClockReading>,
    /// When its session began.
    first_ns: u64,
}

/// Which pauses, or collections, of two sessions overlapped, and how surely that is known.
#[utoipa::path(
    get,
    path = "/api/v1/overlaps",
    params(OverlapParameters),
    responses((status = 200, body = OverlapsBody), (status = 400), (status = 404), (status = 409), (status = 503))
)]
async fn overlaps(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<OverlapParameters>, QueryRejection>,
) -> Result<Json<OverlapsBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters?;
    let (a, b) = (find(&hub, &parameters.a)?, find(&hub, &parameters.b)?);
    let clocks = Clocks::of(&a, &b)?;
    let window = Window {
        from_ns: parameters.from_ns,
        to_ns: parameters.to_ns,
    };
    let b_window = clocks.on_b(window);
    let a = spans(&hub, a, parameters.what, window).await?;
    let b = spans(&hub, b, parameters.what, b_window).await?;
    let turn = hub.reports.turn().await.map_err(Problem::unavailable)?;
    let limit = parameters.limit.min(MAX_ROWS);
    let computed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        compare(&clocks, &a, &b, limit)
    });
    let body = computed
        .await
        .map_err(|_| Problem::unavailable("the answer could not be computed: see the hub's log"))?;
    Ok(Json(body))
}

/// Whether two given spans of two sessions overlapped, and how surely that is known.
#[utoipa::path(
    get,
    path = "/api/v1/overlaps/spans",
    params(SpanParameters),
    responses((status = 200, body = SpansBody), (status = 400), (status = 404), (status = 409))
)]
async fn overlap_of_spans(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<SpanParameters>, QueryRejection>,
) -> Result<Json<SpansBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters?;
    let a = window(parameters.a_from_ns, parameters.a_to_ns)?;
    let b = window(parameters.b_from_ns, parameters.b_to_ns)?;
    let clocks = Clocks::of(&*find(&hub, &parameters.a)?, &*find(&hub, &parameters.b)?)?;
    let beyond = || Problem::bad_request("these spans have no place on the hub's clock");
    let a = clocks.place(&clocks.a, a).ok_or_else(beyond)?;
    let b = clocks.place(&clocks.b, b).ok_or_else(beyond)?;
    Ok(Json(SpansBody {
        is_same_clock: clocks.is_same,
        verdict: Verdict::from(judge(a, b)),
    }))
}

fn window(from_ns: u64, to_ns: u64) -> Result<Window, Problem> {
    if from_ns > to_ns {
        let why = format!("expected a span that ends at or behind its beginning, got {from_ns} to {to_ns}");
        return Err(Problem::bad_request(why));
    }
    Ok(Window { from_ns, to_ns })
}

impl Clocks {
    fn of(a: &Session, b: &Session) -> Result<Self, Problem> {
        let side = |session: &Session| SideClock {
            readings: session.clock().readings().to_vec(),
            first_ns: session.summary().first_ns,
        };
        let (of_a, of_b) = (a.summary().signature, b.summary().signature);
        let is_same = a.id == b.id
            || (!of_a.boot_id.is_empty()
                && of_a.boot_id == of_b.boot_id
                && of_a.clock.kind == of_b.clock.kind);
        let clocks = Self {
            is_same,
            a: side(a),
            b: side(b),
        };
        for (session, clock) in [(a, &clocks.a), (b, &clocks.b)] {
            if !is_same && clock.readings.is_empty() {
                return Err(Problem::conflict(format!(
                    "how the clock of session {} relates to this hub's is not known: its collector never said",
                    session.id
                )));
            }
        }
        Ok(clocks)
    }

    fn place(&self, clock: &SideClock, span: Window) -> Option<OnClock> {
        let clock = if self.is_same {
            Offset::default()
        } else {
            offset_over(&clock.readings, span)?
        };
        Some(OnClock { span, clock })
    }

    /// Where a window of the one lies on the other's clock, and more: which of it is a part of the question.
    fn on_b(&self, window: Window) -> Window {
        if self.is_same || window == reports::ALL {
            return window;
        }
        let offset = |clock: &SideClock| offset_over(&clock.readings, window).unwrap_or_default();
        let (a, b) = (offset(&self.a), offset(&self.b));
        let shift = a.offset_ns.saturating_sub(b.offset_ns);
        let margin = a.error_ns.saturating_add(b.error_ns).saturating_add(MARGIN_NS);
        Window {
            from_ns: window.from_ns.saturating_add_signed(shift).saturating_sub(margin),
            to_ns: window.to_ns.saturating_add_signed(shift).saturating_add(margin),
        }
    }
}

type Span = (Window, Option<String>);

struct Known {
    spans: Vec<Span>,
    since_ns: u64,
}

async fn spans(hub: &Arc<Hub>, session: Arc<Session>, what: What, window: Window) -> Result<Known, Problem> {
    let read = move |data: &heaptide_analysis::Session| Known {
        spans: spans_in(data, what, window),
        // One by one they are known only where each frame was read.
        since_ns: if data.step_in(window) > 0 {
            data.stepped_until_ns()
        } else {
            0
        },
    };
    let looked = reports::look(hub, &hub.reports, session, window, read).await;
    looked.map_err(Problem::unavailable)
}

fn spans_in(data: &heaptide_analysis::Session, what: What, window: Window) -> Vec<Span> {
    match what {
        What::Pauses => {
            let pauses = data.pauses(window).into_iter();
            let spans = pauses.map(|pause| {
                let span = Window {
                    from_ns: pause.begin_ns,
                    to_ns: pause.end_ns,
                };
                (span, Some(pause.reason_text))
            });
            spans.collect::<Vec<Span>>()
        }
        What::Collections => {
            let cycles = data.cycles(window).into_iter();
            let spans = cycles.filter_map(|cycle| {
                let span = Window {
                    from_ns: cycle.begin_ns,
                    to_ns: cycle.end_ns?,
                };
                Some((span, None))
            });
            spans.collect()
        }
    }
}

fn compare(clocks: &Clocks, a: &Known, b: &Known, limit: usize) -> OverlapsBody {
    let known_after = |side: &SideClock, known: &Known| known.since_ns.saturating_sub(side.first_ns);
    let known = (known_after(&clocks.a, a), known_after(&clocks.b, b));
    let (a, b) = (&*a.spans, &*b.spans);
    let placed = |clock: &SideClock, spans: &[Span]| {
        let placed = spans.iter().enumerate();
        let placed = placed.filter_map(|(at, (span, _))| Some((at, clocks.place(clock, *span)?)));
        placed.unzip::<usize, OnClock, Vec<usize>, Vec<OnClock>>()
    };
    let (a_at, a_placed) = placed(&clocks.a, a);
    let (b_at, b_placed) = placed(&clocks.b, b);
    let found = pairs(&a_placed, &b_placed, MAX_PAIRS);
    let body = |side: &SideClock, spans: &[Span], place: &OnClock, at: usize| {
        let (span, reason) = spans.get(at)?;
        Some(SpanBody {
            from_ns: span.from_ns,
            to_ns: span.to_ns,
            after_ns: span.from_ns.saturating_sub(side.first_ns),
            lasted_ns: span.to_ns.saturating_sub(span.from_ns),
            error_ns: place.clock.error_ns,
            reason: reason.clone(),
        })
    };
    let rows: Vec<Row> = found
        .rows
        .iter()
        .take(limit)
        .filter_map(|pair| {
            Some(Row {
                a: body(&clocks.a, a, a_placed.get(pair.a)?, *a_at.get(pair.a)?)?,
                b: body(&clocks.b, b, b_placed.get(pair.b)?, *b_at.get(pair.b)?)?,
                verdict: Verdict::from(pair.judgement),
            })
        })
        .collect();
    OverlapsBody {
        is_same_clock: clocks.is_same,
        a_count: a.len(),
        b_count: b.len(),
        a_known_after_ns: known.0,
        b_known_after_ns: known.1,
        definite: found.definite,
        possible: found.possible,
        is_cut: found.is_cut,
        rows_left_out: found.rows.len() - rows.len(),
        rows,
    }
}

impl From<heaptide_analysis::clock::Judgement> for Verdict {
    fn from(judgement: heaptide_analysis::clock::Judgement) -> Self {
        Self {
            verdict: judgement.overlap,
            least_ns: judgement.least_ns,
            most_ns: judgement.most_ns,
            error_ns: judgement.error_ns,
        }
    }
}
