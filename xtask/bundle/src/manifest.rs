//! `manifest.json`: what is in the console's folder. The binary's build script embeds what it lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

const FILE: &str = "manifest.json";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// A hash of everything that the folder was made from.
    pub(crate) inputs: String,
    pub(crate) files: Vec<Entry>,
}

/// One file; its bytes are in `<path>.br`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) etag: String,
    /// Whether the name changes with the contents.
    pub(crate) immutable: bool,
    pub(crate) bytes: u64,
    pub(crate) br_bytes: u64,
}

impl Manifest {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let text = fs::read(&file)
            .with_context(|| format!("can't read {}: run `cargo xtask build` first", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("can't understand {}", file.display()))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        crate::write(&folder.join(FILE), &text)
    }

    pub(crate) fn is_complete(&self, folder: &Path) -> bool {
        self.files
            .iter()
            .all(|file| folder.join(format!("{}.br", file.path)).is_file())
    }

    /// Removes what an earlier build left.
    pub(crate) fn remove_strangers(&self, folder: &Path) -> Result<()> {
        let ours: BTreeSet<_> = self
            .files
            .iter()
            .map(|file| folder.join(format!("{}.br", file.path)))
            .collect();
        let mut open = vec![folder.to_path_buf()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ending| ending == "br") && !ours.contains(&path) {
                    fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}
