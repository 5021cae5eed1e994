//! `cargo xtask tidy`: the house rules that no compiler knows, in well under a second.
//!
//! [`text`] looks at one file at a time, [`house`] at what the files say about each other. All rules are
//! pure functions from text to findings; this file walks the tree and prints. It leaves out what rustfmt,
//! clippy and cargo-deny see.

mod house;
mod text;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::place::Place;

const HELP: &str = "\
Check the house rules that no compiler knows: file lengths, forbidden words, layering, links, and that
every invariant in ARCHITECTURE.md names a test that is there.

Usage: cargo xtask tidy
";

/// Folders that are no source.
const SKIPPED: [&str; 5] = [".git", "target", "dist", "test-output", "node_modules"];

/// One file of the tree.
#[derive(Debug, Clone)]
struct File {
    /// With forward slashes, from the root.
    path: String,
    text: String,
}

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    if let Some(arg) = args.next()? {
        match arg {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    check(&Place::find()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints every finding; any is an error.
pub(crate) fn check(place: &Place) -> Result<()> {
    let mut files = Vec::new();
    walk(&place.root, "", &mut files)?;
    let mut findings: Vec<String> = files.iter().flat_map(text::check).collect();
    findings.extend(house::check(&files));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    eprintln!("tidy: {} files", files.len());
    Ok(())
}

/// All text files under a folder.
fn walk(root: &Path, folder: &str, files: &mut Vec<File>) -> Result<()> {
    let full = root.join(folder);
    let entries = fs::read_dir(&full).with_context(|| format!("can't list {}", full.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("a file name in {} is not UTF-8", full.display())
        };
        let path = if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !SKIPPED.contains(&name) {
                walk(root, &path, files)?;
            }
        } else if kind.is_file() {
            // What is not UTF-8 is a picture or a recording, and has no words.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}
