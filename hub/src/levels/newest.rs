//! Levels of the segment that is still being written, in parts of about half a mebibyte of frames, so that a
//! range never has to read more of them than that. They are known to this run of the hub only, never made durable, and go when the
//! segment is closed and has levels of its own.

use super::part::Part;
use super::{FOLDER, folder, parts};
use crate::hub::Hub;
use crate::session::Session;
use heaptide_protocol::SessionId;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Within [`FOLDER`].
const NEWEST: &str = "newest";

#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// In order, each behind the one before.
    parts: Mutex<HashMap<SessionId, Vec<Part>>>,
}

/// Where newest parts lie.
pub(super) fn newest_folder(hub: &Hub, session: SessionId) -> PathBuf {
    hub.store.folder(session).join(FOLDER).join(NEWEST)
}

impl Newest {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<SessionId, Vec<Part>>) -> T) -> T {
        work(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn of(&self, session: SessionId) -> Vec<Part> {
        self.with(|parts| parts.get(&session).cloned().unwrap_or_default())
    }

    pub(super) fn add(&self, session: SessionId, part: Part) {
        self.with(|parts| parts.entry(session).or_default().push(part));
    }

    /// Deletes what is wanted gone. A file that stays is overwritten or deleted by the next run.
    pub(super) fn forget(&self, hub: &Hub, session: SessionId, wanted: &dyn Fn(&Part) -> bool) {
        let gone: Vec<Part> = self.with(|parts| {
            let Some(of) = parts.get_mut(&session) else {
                return Vec::new();
            };
            let (gone, kept): (Vec<Part>, Vec<Part>) =
                std::mem::take(of).into_iter().partition(|part| wanted(part));
            if kept.is_empty() {
                parts.remove(&session);
            } else {
                *of = kept;
            }
            gone
        });
        let folder = newest_folder(hub, session);
        for part in gone {
            let _ = part.delete(&folder);
        }
    }
}

/// What an earlier run left, which nobody knows any more.
pub(super) fn clear(hub: &Hub, session: SessionId) -> io::Result<()> {
    match std::fs::remove_dir_all(newest_folder(hub, session)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// All parts of a session in order, with the folders of their files.
pub(super) fn all(hub: &Hub, session: SessionId) -> io::Result<Vec<(PathBuf, Part)>> {
    let lasting = parts(hub, session)?;
    let sealed_to = lasting.last().map_or(0, |part| part.to_seq);
    let newest = hub.newest.of(session);
    let newest = newest.into_iter().filter(|part| part.from_seq > sealed_to);
    let (lasting_folder, newest_folder) = (folder(hub, session), newest_folder(hub, session));
    let lasting = lasting.into_iter().map(|part| (lasting_folder.clone(), part));
    Ok(lasting
        .chain(newest.map(|part| (newest_folder.clone(), part)))
        .collect())
}

/// Where the next newest part goes on, if there is enough behind it: its first and last frame.
pub(super) fn due(hub: &Hub, session: &Session) -> io::Result<Option<(u64, u64)>> {
    let to_seq = all(hub, session.id)?.last().map_or(0, |(_, part)| part.to_seq);
    let threshold = hub.config.limits.newest_bytes;
    Ok(session.with_log(|log| {
        let open = log.last_segment().filter(|segment| segment.summary.is_none())?;
        let from_seq = open.base_seq.max(to_seq + 1);
        let is_next = log
            .sealed()
            .all(|segment| segment.summary.is_some() || segment.frames == 0 || segment.last_seq <= to_seq);
        let bytes = log.end().saturating_sub(log.seek(from_seq));
        (is_next && from_seq <= open.last_seq && bytes >= threshold).then_some((from_seq, open.last_seq))
    }))
}
