//! A session as one file, out of the hub and into it.

use super::Problem;
use super::sessions::find;
use crate::access::{Caller, Role};
use crate::excerpt::{Feed, Pulled, Redactor, Rewriter};
use crate::hub::Hub;
use crate::secret;
use crate::store::replay::Item;
use crate::transfer::records::record;
use crate::transfer::{ImportError, take_in};
use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use heaptide_protocol::SessionId;
use heaptide_protocol::log::FILE_HEAD;
use heaptide_protocol::report::Window;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Pieces of a file that are waiting to be written.
const PIECES: usize = 8;
/// Whoever sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(import))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ExportParameters {
    /// On the session's clock; without it, from the beginning.
    #[serde(default)]
    from_ns: u64,
    /// Without it, to the newest.
    #[serde(default = "super::ever")]
    to_ns: u64,
    /// Without host name, paths and command line.
    #[serde(default)]
    redact: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ImportParameters {
    /// As a session of its own, also if the hub has the one that the file is of.
    #[serde(default)]
    new_id: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct ImportBody {
    /// 32 hexadecimal digits, as in links.
    session: String,
    frames: u64,
    bytes: u64,
    /// Sentences on what is not whole about the file; empty if it was ended as it should.
    flaws: Vec<String>,
}

/// A file on its way out.
struct Outgoing {
    hub: Arc<Hub>,
    feed: Feed,
    has_head: bool,
    _permit: OwnedSemaphorePermit,
}

/// A session, or a range of it, as a recording (`.htl`): what `heaptide report` reads and `heaptide hub --open` shows.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{session}/export",
    params(("session" = String, Path, description = "32 hexadecimal digits"), ExportParameters),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 400), (status = 404), (status = 503)
    )
)]
async fn export(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Path(session): Path<String>,
    parameters: Result<Query<ExportParameters>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let session = find(&hub, &session)?;
    let Query(parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let ExportParameters {
        from_ns,
        to_ns,
        redact,
    } = parameters;
    if from_ns >= to_ns {
        return Err(empty_range(from_ns, to_ns));
    }
    let permit = turn(&hub)?;
    let redactor = if redact {
        let salt = secret::random().map_err(Problem::unavailable)?;
        Some(Redactor::new(salt, &session.summary().signature, &[]))
    } else {
        None
    };
    let rewriter = Rewriter::new(session.id, Window { from_ns, to_ns }, redactor);
    let outgoing = Outgoing {
        feed: Feed::until_now(&hub, &session, rewriter),
        hub,
        has_head: false,
        _permit: permit,
    };
    // The first piece shows whether there is one at all, while there can still be another answer.
    let (first, outgoing) = outgoing
        .next()
        .await
        .map_err(Problem::unavailable)?
        .ok_or_else(|| empty_range(from_ns, to_ns))?;
    let rest = stream::try_unfold(outgoing, |outgoing| async {
        outgoing.next().await.map_err(io::Error::other)
    });
    let pieces = stream::once(async { Ok(first) }).chain(rest);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    let disposition = format!("attachment; filename=\"{}.htl\"", session.id);
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

impl Outgoing {
    /// The next bytes of the file. On a thread that may block, which is given back while the peer reads.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, String> {
        let read = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            while out.is_empty() {
                if *self.hub.closing.borrow() {
                    return Err("the hub is shutting down".to_owned());
                }
                let Pulled::Items(items) = self.feed.pull(&self.hub)? else {
                    return Ok(None);
                };
                for item in items {
                    // A gap in the numbers says that a frame is missing.
                    let Item::Frame(frame) = item else { continue };
                    if !std::mem::replace(&mut self.has_head, true) {
                        out.extend_from_slice(&FILE_HEAD);
                    }
                    record(&frame, 0, &mut out);
                }
            }
            Ok(Some((Bytes::from(out), self)))
        });
        read.await
            .unwrap_or_else(|_| Err("the hub is shutting down".to_owned()))
    }
}

fn empty_range(from_ns: u64, to_ns: u64) -> Problem {
    Problem::bad_request(format!(
        "there is nothing of this session from {from_ns} to {to_ns}: /api/v1/sessions says from when to when it is"
    ))
}

fn turn(hub: &Hub) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&hub.transfers).try_acquire_owned().map_err(|_| {
        Problem::unavailable("as many files as this hub moves at once are on their way: try again later")
    })
}

/// Takes in a recording as a session: under the id that it has, or as a new one.
#[utoipa::path(
    post,
    path = "/api/v1/import",
    params(ImportParameters),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = ImportBody),
        (status = 400), (status = 409, description = "the hub has this session"), (status = 413), (status = 503)
    )
)]
async fn import(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<ImportParameters>, QueryRejection>,
    body: Body,
) -> Result<(StatusCode, Json<ImportBody>), Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Query(parameters) = parameters.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let new_id = if parameters.new_id {
        Some(SessionId(secret::random().map_err(Problem::unavailable)?))
    } else {
        None
    };
    let permit = turn(&hub)?;
    let (pieces, mut incoming) = mpsc::channel(PIECES);
    let forward = forward(body.into_data_stream(), pieces);
    let for_thread = Arc::clone(&hub);
    let taking = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        take_in(&for_thread, new_id, || {
            let cut_off = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file was not sent to its end");
            incoming.blocking_recv().unwrap_or_else(|| Err(cut_off()))
        })
    });
    forward.await;
    let imported = taking
        .await
        .map_err(|_| Problem::unavailable("the hub is shutting down"))?
        .map_err(|error| problem(&error))?;
    let id = imported.session.id.to_string();
    let subject = id.clone();
    hub.catalog
        .change(move |change| change.audit(&caller, "session imported", &subject, ""))
        .await?;
    let body = ImportBody {
        session: id,
        frames: imported.frames,
        bytes: imported.bytes,
        flaws: imported.flaws,
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Passes a body on, and its end as `None`: a body that is cut off must not pass for a whole one.
async fn forward(mut body: BodyDataStream, pieces: mpsc::Sender<io::Result<Option<Bytes>>>) {
    loop {
        let piece = match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(None) => Ok(None),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let is_last = !matches!(piece, Ok(Some(_)));
        // Nobody takes what comes behind a mistake.
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn problem(error: &ImportError) -> Problem {
    let sentence = error.to_string();
    match error {
        ImportError::Conflict { .. } => Problem::conflict(sentence),
        ImportError::TooLong { .. } => Problem::too_large(sentence),
        ImportError::Full { .. } => Problem::unavailable(sentence),
        ImportError::Disk(io) if io.kind() != io::ErrorKind::UnexpectedEof => Problem::unavailable(sentence),
        _ => Problem::bad_request(sentence),
    }
}
