//! A copy of a data folder that opens as one: whole records up to a moment, every session's description, and the
//! catalogue. Of a running hub it is asked over HTTP, since the hub holds the folder; of any other it is made here.
//!
//! The copy gets its name when it is complete; before that it is called `NAME.partial`.

use crate::catalog::Catalog;
use crate::error::HubError;
use crate::hub::Hub;
use crate::session::Session;
use crate::stats::Stats;
use crate::store::index::Segment;
use crate::store::meta::sync_folder;
use crate::store::{create_private, find, lock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments expire while they are copied; a session is begun anew then, so many times.
const ATTEMPTS: usize = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackupReport {
    pub sessions: u64,
    pub segments: u64,
    pub bytes: u64,
}

/// Of a folder that no hub uses. Blocks.
pub fn backup(data_dir: &Path, target: &Path) -> Result<BackupReport, HubError> {
    let failed = |source: io::Error| HubError::Backup {
        path: target.to_owned(),
        source,
    };
    let _lock = lock(data_dir)?;
    let stats = Stats::default();
    let sessions_dir = data_dir.join("sessions");
    let found = find(&sessions_dir, &stats, &crate::log::Log::silent()).map_err(failed)?;
    if !found.unreadable.is_empty() {
        let why = "a session there can't be read; `heaptide hub check` tells more";
        return Err(failed(io::Error::other(why)));
    }
    let sessions: Vec<_> = found.sessions.into_values().collect();
    let catalog = Catalog::open(data_dir).map_err(|error| HubError::Catalog {
        why: error.to_string(),
    })?;
    copy_all(&sessions, data_dir, &catalog, target).map_err(failed)
}

/// Of a running hub. Blocks.
pub(crate) fn of_running(hub: &Hub, target: &Path) -> io::Result<BackupReport> {
    copy_all(&hub.fleet.all(), &hub.config.data_dir, &hub.catalog, target)
}

fn copy_all(
    sessions: &[Arc<Session>],
    data_dir: &Path,
    catalog: &Catalog,
    target: &Path,
) -> io::Result<BackupReport> {
    if target.exists() {
        let why = "it is there already: name a folder that is not, so that nothing is written over";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    create_private(&partial.join("sessions"))?;
    let mut report = BackupReport::default();
    for session in sessions {
        let from = data_dir.join("sessions").join(session.id.to_string());
        let to = partial.join("sessions").join(session.id.to_string());
        if copy_session(session, &from, &to, &mut report)? {
            report.sessions += 1;
        }
    }
    catalog.copy_to(&partial).map_err(io::Error::other)?;
    // Behind the catalogue, so that every link that it names has its copy, unless it has been revoked since.
    report.bytes += copy_links(data_dir, &partial)?;
    sync_folder(&partial.join("sessions"))?;
    sync_folder(&partial)?;
    fs::rename(&partial, target)?;
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(report)
}

/// What frozen links show, which may be all that is left of it.
fn copy_links(data_dir: &Path, partial: &Path) -> io::Result<u64> {
    let from = data_dir.join("links");
    let to = partial.join("links");
    if !from.is_dir() {
        return Ok(0);
    }
    create_private(&to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .filter(|_| path.extension().is_some_and(|ending| ending == "htl"))
        else {
            continue;
        };
        let mut source = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut target = File::create(to.join(name))?;
        bytes += io::copy(&mut source, &mut target)?;
        target.sync_all()?;
    }
    sync_folder(&to)?;
    Ok(bytes)
}

/// False for a session that expired meanwhile.
fn copy_session(session: &Session, from: &Path, to: &Path, report: &mut BackupReport) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        if session.is_removed() {
            break;
        }
        // Both at one moment: sizes end behind a durable record.
        let (meta, segments) = session.saved();
        create_private(to)?;
        match copy_segments(&segments, from, to) {
            Ok(bytes) => {
                meta.save(to)?;
                report.segments += segments.len() as u64;
                report.bytes += bytes;
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir_all(to)?,
            Err(error) => return Err(error),
        }
    }
    if session.is_removed() {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        return Ok(false);
    }
    Err(io::Error::other(format!(
        "segments of session {} expire faster than they can be copied: try again, or keep more",
        session.id
    )))
}

fn copy_segments(segments: &[Segment], from: &Path, to: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for segment in segments {
        let name = segment.file_name();
        let source = File::open(from.join(&name))?;
        let mut target = File::create(to.join(&name))?;
        bytes += io::copy(&mut source.take(segment.bytes), &mut target)?;
        target.sync_all()?;
    }
    sync_folder(to)?;
    Ok(bytes)
}
