//! `heaptide hub check`: whether everything in a data folder is as it was written, and what can be done if not.

use crate::catalog::Catalog;
use crate::error::HubError;
use crate::store::check::{self, Finding};
use crate::store::lock;
use heaptide_protocol::SessionId;
use serde::Serialize;
use std::io;
use std::path::Path;

/// Where a repair puts what it takes out, below the data folder.
const ASIDE: &str = "set-aside";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub sessions: u64,
    pub segments: u64,
    pub records: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Whether the findings have been seen to.
    pub repaired: bool,
}

/// Reads all of it; no hub may run on the folder meanwhile. Blocks.
pub fn check(data_dir: &Path, repair: bool) -> Result<CheckReport, HubError> {
    let failed = |source: io::Error| HubError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    if !data_dir.join("sessions").is_dir() {
        let why = "there is no folder `sessions` in it, so it is no hub's data folder";
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, why)));
    }
    let _lock = lock(data_dir)?;
    let aside = data_dir.join(ASIDE);
    let mut report = CheckReport {
        repaired: repair,
        ..CheckReport::default()
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(data_dir.join("sessions")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<SessionId>().ok());
        folders.extend(id.map(|id| (id, entry.path())));
    }
    folders.sort();
    for (id, folder) in folders {
        let own_aside = aside.join(id.to_string());
        let checked = check::check(&folder, id, repair.then_some(own_aside.as_path())).map_err(failed)?;
        report.sessions += 1;
        report.segments += checked.segments;
        report.records += checked.records;
        report.bytes += checked.bytes;
        report.findings.extend(checked.findings);
    }
    if let Err(why) = Catalog::check(data_dir) {
        report.findings.push(Finding {
            file: Catalog::FILE.to_owned(),
            from_byte: 0,
            to_byte: 0,
            what: format!("the catalogue is damaged ({why})"),
            remedy: Some(
                "is put aside; the hub begins a new one, without what people had decided".to_owned(),
            ),
        });
        if repair {
            check::move_aside(data_dir, Catalog::FILE, &aside).map_err(failed)?;
        }
    }
    Ok(report)
}
