//! What the catalogue knows of levels: which stretches of a session have them, over which time.

use super::{file, folder, steps};
use crate::catalog::{CatalogError, Entry};
use crate::hub::Hub;
use heaptide_analysis::levels::LEVELS_NS;
use heaptide_analysis::steps::STEPS_NS;
use heaptide_protocol::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Frames of which every level is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Also in the names of its files.
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// Of each level.
    pub(crate) rows: Vec<u64>,
    pub(crate) bytes: u64,
    /// Of each width of steps; empty if it has none.
    #[serde(default)]
    pub(crate) step_bytes: Vec<u64>,
}

impl Part {
    /// Deletes its files; those that are gone already are fine.
    pub(super) fn delete(&self, folder: &Path) -> io::Result<()> {
        let of_level = |level| file::KINDS.map(|what| file::name(what, level, self.from_seq));
        let levels = (0..LEVELS_NS.len()).flat_map(of_level);
        let steps = (0..STEPS_NS.len()).map(|width| steps::name(width, self.from_seq));
        for name in levels.chain(steps) {
            match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Entry for Part {
    const TABLE: &'static str = "level_parts";
}

fn key(session: SessionId, from_seq: u64) -> String {
    format!("{session}-{from_seq:020}")
}

/// Of one session, in order.
pub(crate) fn parts(hub: &Hub, session: SessionId) -> io::Result<Vec<Part>> {
    let (from, until) = (format!("{session}-"), format!("{session}."));
    let found = hub.catalog.between::<Part>(&from, &until);
    Ok(found.map_err(failed)?.into_iter().map(|(_, part)| part).collect())
}

/// Size of all files by session.
pub(crate) fn parts_bytes(hub: &Hub) -> HashMap<SessionId, u64> {
    let mut bytes = HashMap::new();
    for (key, part) in hub.catalog.list::<Part>().unwrap_or_default() {
        let session = key.split('-').next().and_then(|id| id.parse().ok());
        if let Some(session) = session {
            *bytes.entry(session).or_default() += part.bytes;
        }
    }
    bytes
}

pub(super) fn add(hub: &Hub, session: SessionId, part: &Part) -> io::Result<()> {
    let added = hub
        .catalog
        .change_now(|change| change.put(&key(session, part.from_seq), part));
    added.map_err(failed)
}

/// Files that somebody deleted, or that a backup left out, are made anew: all of a session, since each part builds
/// on the one before.
pub(super) fn forget_if_missing(hub: &Hub, session: SessionId) -> io::Result<()> {
    let folder = folder(hub, session);
    // An earlier version made no tags.
    let is_there = |part: &Part| {
        let exists = |what| folder.join(file::name(what, 0, part.from_seq)).exists();
        exists("sites") && exists("tags")
    };
    if !parts(hub, session)?.iter().all(is_there) {
        removed(hub, session, |_| true)?;
    }
    Ok(())
}

/// Takes out parts of which nothing is stored any more, and their files. `wanted` tells what goes.
pub(crate) fn removed(hub: &Hub, session: SessionId, wanted: impl Fn(&Part) -> bool) -> io::Result<u64> {
    hub.newest.forget(hub, session, &wanted);
    let gone: Vec<Part> = parts(hub, session)?
        .into_iter()
        .filter(|part| wanted(part))
        .collect();
    let change = |change: &mut crate::catalog::Change| {
        for part in &gone {
            change.remove::<Part>(&key(session, part.from_seq))?;
        }
        Ok::<_, CatalogError>(())
    };
    if gone.is_empty() {
        return Ok(0);
    }
    hub.catalog.change_now(change).map_err(failed)?;
    let folder = folder(hub, session);
    for part in &gone {
        part.delete(&folder)?;
    }
    Ok(gone.iter().map(|part| part.bytes).sum())
}

fn failed(error: CatalogError) -> io::Error {
    io::Error::other(error)
}
