//! The audit log.

use super::Problem;
use crate::access::{Caller, Role};
use crate::hub::Hub;
use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const LINES: usize = 1_000;

#[derive(Debug, Serialize, ToSchema)]
struct AuditLineBody {
    unix_ns: u64,
    who: String,
    what: String,
    /// Which session, link or token.
    subject: String,
    /// In the person's own words.
    why: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(audit))
}

/// Who did what, when and why: the newest thousand, newest first.
#[utoipa::path(get, path = "/api/v1/audit", responses((status = 200, body = Vec<AuditLineBody>)))]
async fn audit(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<AuditLineBody>>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let lines = hub.catalog.audit_lines(LINES)?;
    let bodies = lines.into_iter().map(|line| AuditLineBody {
        unix_ns: line.unix_ns,
        who: line.who,
        what: line.what,
        subject: line.subject,
        why: line.why,
    });
    Ok(Json(bodies.collect()))
}
