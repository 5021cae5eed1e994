//! Copies of ranges, each a file in the form of a recording: made with a link, deleted with it.

use super::{Link, Links, shown};
use crate::annotations::Annotation;
use crate::catalog::{CatalogError, Entry};
use crate::excerpt::{Feed, Pulled, Rewriter};
use crate::hub::Hub;
use crate::session::Session;
use crate::store::meta::sync_folder;
use crate::store::replay::Item;
use crate::transfer::records::record;
use heaptide_protocol::control::{SessionState, SessionSummary};
use heaptide_protocol::log::FILE_HEAD;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Links that open nothing stay in the list for so long.
const TOLD_FOR_NS: u64 = 90 * 24 * 3600 * 1_000_000_000;

/// What a link shows besides frames, as it was when the copy was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frozen {
    pub(crate) summary: SessionSummary,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) view: String,
    pub(crate) bytes: u64,
}

impl Entry for Frozen {
    const TABLE: &'static str = "link_copies";
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezeError {
    #[error("there is nothing of this session in that range: /api/v1/sessions says from when to when it is")]
    Empty,
    #[error(
        "the range has more than {limit} bytes, which is the limit of a frozen link: choose a shorter one"
    )]
    TooLong { limit: u64 },
    #[error("{0}")]
    Range(String),
    #[error("can't store the copy: {0}; check the disk of the data folder")]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Copies the range to disk; durable when this returns. Blocks.
pub(super) fn freeze(hub: &Hub, session: &Arc<Session>, link: &Link) -> Result<Frozen, FreezeError> {
    let folder = &hub.links.folder;
    fs::create_dir_all(folder)?;
    let path = hub.links.copy(&link.id);
    let temporary = path.with_extension("tmp");
    let frozen = write(hub, session, link, &temporary).and_then(|frozen| {
        fs::rename(&temporary, &path)?;
        sync_folder(folder)?;
        Ok(frozen)
    });
    if frozen.is_err() {
        // Swept away later if this fails.
        let _ = fs::remove_file(&temporary);
    }
    frozen
}

fn write(hub: &Hub, session: &Arc<Session>, link: &Link, path: &Path) -> Result<Frozen, FreezeError> {
    let limit = hub.config.limits.frozen_bytes;
    let whole = session.summary();
    let redactor = link.redactor(&whole.signature);
    let rewriter = Rewriter::new(session.id, link.window(), redactor.clone());
    let mut feed = Feed::until_now(hub, session, rewriter);
    let mut file = BufWriter::new(create(path)?);
    file.write_all(&FILE_HEAD)?;
    let (mut frames, mut bytes) = (0, FILE_HEAD.len() as u64);
    let mut buffer = Vec::new();
    loop {
        if *hub.closing.borrow() {
            return Err(FreezeError::Range("the hub is shutting down".to_owned()));
        }
        let Pulled::Items(items) = feed.pull(hub).map_err(FreezeError::Range)? else {
            break;
        };
        for item in items {
            // A gap in the numbers says that a frame is missing.
            let Item::Frame(frame) = item else { continue };
            buffer.clear();
            record(&frame, 0, &mut buffer);
            frames += 1;
            bytes += buffer.len() as u64;
            if bytes > limit {
                return Err(FreezeError::TooLong { limit });
            }
            file.write_all(&buffer)?;
        }
    }
    if frames == 0 {
        return Err(FreezeError::Empty);
    }
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    let summary = SessionSummary {
        state: SessionState::Ended,
        pulse: None,
        frames,
        stored_bytes: bytes,
        ..shown::shown(whole, link, redactor.as_ref())
    };
    Ok(Frozen {
        summary,
        annotations: shown::annotations(hub, link, redactor.as_ref())?,
        view: redactor.map_or_else(|| link.view.clone(), |redactor| redactor.text(&link.view)),
        bytes,
    })
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Bytes of all copies.
pub(super) fn stored_bytes(links: &Links) -> u64 {
    let entries = fs::read_dir(&links.folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|about| about.len())
        .sum()
}

/// Deletes copies of links that have ended, and forgets links that ended long ago. Runs until it is dropped.
pub(crate) async fn sweep(hub: Arc<Hub>) {
    loop {
        let for_thread = Arc::clone(&hub);
        let swept =
            tokio::task::spawn_blocking(move || sweep_now(&for_thread, crate::clock::unix_ns())).await;
        if let Ok(Err(why)) = swept {
            hub.config
                .log
                .warning(format!("can't clear away expired links: {why}"));
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

fn sweep_now(hub: &Hub, now_unix_ns: u64) -> Result<(), String> {
    // Not while one is being made, whose copy comes before its entry.
    let Ok(_turn) = hub.links.turn.try_acquire() else {
        return Ok(());
    };
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let all = hub.catalog.list::<Link>().map_err(|error| failed(&error))?;
    for (id, link) in &all {
        let ended_unix_ns = link
            .revoked
            .as_ref()
            .map_or(link.expires_unix_ns, |revoked| revoked.unix_ns);
        if link.is_open(now_unix_ns) || ended_unix_ns > now_unix_ns {
            continue;
        }
        let forgotten = now_unix_ns - ended_unix_ns > TOLD_FOR_NS;
        let has_copy = hub
            .catalog
            .get::<Frozen>(id)
            .map_err(|error| failed(&error))?
            .is_some();
        if has_copy || forgotten {
            let change = |change: &mut crate::catalog::Change| {
                change.remove::<Frozen>(id)?;
                if forgotten {
                    change.remove::<super::Openings>(id)?;
                    change.remove::<Link>(id)?;
                }
                Ok(())
            };
            hub.catalog.change_now(change).map_err(|error| failed(&error))?;
            if forgotten {
                hub.links.forget(id);
            }
        }
    }
    // Files without an entry: of links that ended, and of hubs that were killed while they made one.
    for entry in fs::read_dir(&hub.links.folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".htl"));
        let wanted = match id {
            Some(id) => hub
                .catalog
                .get::<Frozen>(id)
                .map_err(|error| failed(&error))?
                .is_some(),
            None => false,
        };
        if !wanted {
            fs::remove_file(entry.path()).map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}
