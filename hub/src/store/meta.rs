//! `meta.json` of a session: everything but its frames. Written whole to a temporary file, synced, renamed.
//!
//! JSON because it grows: a field that an older hub did not write takes its default.

use super::index::Segment;
use crate::policy::Standing;
use crate::session_clock::SessionClock;
use heaptide_policy::Labels;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{PolicyState, SessionState};
use heaptide_protocol::session::{Capability, Clock, ClockKind, PlatformSignature};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

pub(super) const NAME: &str = "meta.json";
pub(super) const TEMPORARY_NAME: &str = "meta.json.tmp";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Hexadecimal; must agree with the folder's name.
    pub(crate) session: String,
    pub(crate) signature: PlatformSignature,
    #[serde(default)]
    pub(crate) labels: Labels,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) rate_write_granted: bool,
    pub(crate) state: SessionState,
    pub(crate) policy: PolicyState,
    /// How it stands with the fleet's policy.
    #[serde(default)]
    pub(crate) standing: Standing,
    /// The highest policy revision ever given out, so that no number is used twice.
    #[serde(default)]
    pub(crate) issued_revision: u64,
    /// The last frame that was durable when this was written: at least so many must be there.
    #[serde(default)]
    pub(crate) durable_seq: u64,
    /// How its clock relates to the hub's.
    #[serde(default)]
    pub(crate) clock: SessionClock,
    /// Segments that won't change any more. One that is missing here is read through at start.
    #[serde(default)]
    pub(crate) sealed: Vec<Segment>,
}

impl Meta {
    /// For a session whose own could not be read: empty text means "not known".
    pub(crate) fn unknown(session: SessionId) -> Self {
        Self {
            session: session.to_string(),
            signature: PlatformSignature {
                os: String::new(),
                os_version: String::new(),
                kernel: String::new(),
                architecture: String::new(),
                cpus: 0,
                page_size_bytes: 0,
                huge_page_mode: String::new(),
                libc: String::new(),
                runtime: String::new(),
                runtime_version: String::new(),
                build_id: String::new(),
                host_name: String::new(),
                boot_id: String::new(),
                pid: 0,
                executable: String::new(),
                command_line: Vec::new(),
                collector_version: String::new(),
                clock: Clock {
                    kind: ClockKind::LinuxMonotonic,
                    session_ns: 0,
                    unix_ns: 0,
                    error_ns: 0,
                },
            },
            labels: Labels::default(),
            capabilities: Vec::new(),
            rate_write_granted: false,
            state: SessionState::Away { since_unix_ns: 0 },
            policy: PolicyState::default(),
            standing: Standing::default(),
            issued_revision: 0,
            durable_seq: 0,
            clock: SessionClock::default(),
            sealed: Vec::new(),
        }
    }

    pub(crate) fn load(folder: &Path, session: SessionId) -> io::Result<Self> {
        let meta: Self = serde_json::from_slice(&fs::read(folder.join(NAME))?)?;
        if meta.session == session.to_string() {
            Ok(meta)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("expected session {session}, got {}", meta.session),
            ))
        }
    }

    /// Durable when this returns. Creates the folder if need be.
    pub(crate) fn save(&self, folder: &Path) -> io::Result<()> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
        }
        let temporary = folder.join(TEMPORARY_NAME);
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(NAME))?;
        sync_folder(folder)
    }
}

/// Makes new names in a folder durable. Windows does that on its own and can't open folders.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_from_before_there_were_labels_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let id = SessionId([7; 16]);
        let mut meta = Meta::unknown(id);
        meta.policy.applied = Some(heaptide_policy::Policy::default());
        let mut old = serde_json::to_value(&meta).unwrap();
        old.as_object_mut().unwrap().remove("labels");
        old.as_object_mut().unwrap().remove("standing");
        old.as_object_mut().unwrap().remove("clock");
        let policy = old["policy"].as_object_mut().unwrap();
        policy.remove("fleet_revision");
        policy.remove("is_overridden");
        policy["applied"]["budget"]
            .as_object_mut()
            .unwrap()
            .remove("sent_bytes_per_s");
        fs::write(folder.path().join(NAME), old.to_string()).unwrap();
        assert_eq!(Meta::load(folder.path(), id).unwrap(), meta);
    }
}
