//! Puts the console and the eBPF object into the binary, as `cargo xtask build` left them.
//!
//! `HEAPTIDE_DIST_DIR` names the folder: `web/manifest.json`, the compressed files that it lists, and
//! `heaptide.bpf.o`. Without the variable, or without a part, that part of the table is empty and the
//! binary says so when it is needed: a plain `cargo build` must work on a machine that has no wasm32 target.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=HEAPTIDE_DIST_DIR");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let dist = env::var_os("HEAPTIDE_DIST_DIR").map(PathBuf::from);
    let mut table = String::from("pub(super) const ASSETS: &[Asset] = &[\n");
    if let Some(dist) = &dist {
        console(dist, &mut table)?;
    }
    table.push_str("];\n");
    table.push_str("pub(super) const BPF_OBJECT: Option<&Aligned<[u8]>> = ");
    match dist
        .map(|dist| dist.join("heaptide.bpf.o"))
        .map(watched)
        .filter(|file| file.is_file())
    {
        Some(object) => writeln!(table, "Some(&Aligned(*include_bytes!({:?})));", text(&object)?)?,
        None => table.push_str("None;\n"),
    }
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

/// A row for every file of the manifest.
fn console(dist: &Path, table: &mut String) -> Result<(), Box<dyn Error>> {
    let web = dist.join("web");
    let manifest_file = watched(web.join("manifest.json"));
    if !manifest_file.is_file() {
        return Ok(());
    }
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(&manifest_file)?)?;
    let files = manifest["files"]
        .as_array()
        .ok_or("manifest.json has no list of files")?;
    for file in files {
        let field = |name: &str| {
            file[name]
                .as_str()
                .ok_or_else(|| format!("manifest.json: a file has no {name}"))
        };
        let path = field("path")?;
        let packed = watched(web.join(format!("{path}.br")));
        let immutable = file["immutable"]
            .as_bool()
            .ok_or("manifest.json: a file has no immutable")?;
        writeln!(
            table,
            "    Asset {{ path: {path:?}, content_type: {:?}, etag: {:?}, immutable: {immutable}, \
             brotli: include_bytes!({:?}) }},",
            field("content_type")?,
            field("etag")?,
            text(&packed)?,
        )?;
    }
    Ok(())
}

/// Tells cargo to look at the file's time; a missing file counts as changed once it appears.
fn watched(file: PathBuf) -> PathBuf {
    println!("cargo::rerun-if-changed={}", file.display());
    file
}

fn text(file: &Path) -> Result<&str, Box<dyn Error>> {
    Ok(file
        .to_str()
        .ok_or_else(|| format!("{} is not UTF-8", file.display()))?)
}
