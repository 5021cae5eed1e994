//! A backup while the hub runs.

use super::Problem;
use crate::access::{Caller, Role};
use crate::backup::{self, BackupReport};
use crate::hub::Hub;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackupBody {
    /// On the hub's own disk, absolute, and not there yet.
    #[schema(value_type = String)]
    folder: PathBuf,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(backup_now))
}

/// Copies all that is durable into a folder of the hub's disk, which then opens as a data folder.
#[utoipa::path(
    post,
    path = "/api/v1/backup",
    request_body = BackupBody,
    responses((status = 200, body = BackupReport), (status = 400), (status = 403), (status = 503))
)]
async fn backup_now(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<BackupBody>, JsonRejection>,
) -> Result<Json<BackupReport>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    let Json(BackupBody { folder }) = body.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    if !folder.is_absolute() {
        return Err(Problem::bad_request(format!(
            "expected an absolute path on the hub's disk, got {}",
            folder.display()
        )));
    }
    let Ok(turn) = Arc::clone(&hub.backup_turn).try_acquire_owned() else {
        return Err(Problem::unavailable(
            "another backup is being written: wait for that one",
        ));
    };
    let subject = folder.display().to_string();
    let copying = Arc::clone(&hub);
    let copied = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        backup::of_running(&copying, &folder)
    });
    let report = copied
        .await
        .map_err(|_| Problem::unavailable("the hub is shutting down"))?
        .map_err(|error| Problem::unavailable(format!("can't write the backup to {subject}: {error}")))?;
    hub.stats.backups.add(1);
    hub.catalog
        .change(move |change| change.audit(&caller, "backup written", &subject, ""))
        .await?;
    Ok(Json(report))
}
