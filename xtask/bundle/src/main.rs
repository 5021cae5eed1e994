//! Turns the console's wasm module and static files into what the one binary embeds.
//!
//! `wasm-bindgen` makes the JavaScript side ([`bindgen`]), both sides are freed of what only costs
//! ([`slim`]), like functions are put side by side ([`order`]), every file but `index.html` gets a name with
//! a hash of its contents ([`names`]), everything is compressed with brotli at its highest level
//! ([`compress`]), and a manifest says what there is ([`manifest`]). A crate of its own, apart from
//! `xtask`, because these dependencies are heavy and only some commands need them. It leaves out
//! `wasm-opt`: version 108 makes the module 14 % smaller and what brotli makes of it 4 % larger.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to a person"
)]

mod bindgen;
mod compress;
mod manifest;
mod names;
mod order;
mod size;
mod slim;
mod wasm_test;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::manifest::{Entry, Manifest};
use crate::names::Source;

const HELP: &str = "\
Usage: heaptide-bundle console --wasm FILE --static DIR --out DIR --cache DIR
       heaptide-bundle size --out DIR --limit BYTES
       heaptide-bundle wasm-test WASM [FILTER]
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let (mut command, mut wasm, mut statics, mut out, mut cache, mut limit) =
        (None, None, None, None, None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Value(name) if command.is_none() => {
                let name = name.string()?;
                if name == "wasm-test" {
                    return wasm_test(args);
                }
                command = Some(name);
            }
            Long("wasm") => wasm = Some(PathBuf::from(args.value()?)),
            Long("static") => statics = Some(PathBuf::from(args.value()?)),
            Long("out") => out = Some(PathBuf::from(args.value()?)),
            Long("cache") => cache = Some(PathBuf::from(args.value()?)),
            Long("limit") => limit = Some(args.value()?.parse::<u64>()?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let out = out.context("--out is missing")?;
    match command.as_deref() {
        Some("console") => {
            let wasm = wasm.context("--wasm is missing")?;
            let statics = statics.context("--static is missing")?;
            let cache = cache.context("--cache is missing")?;
            console(&wasm, &statics, &out, &cache)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("size") => size::report(&Manifest::read(&out)?, limit.context("--limit is missing")?),
        _ => bail!("expected a command\n{HELP}"),
    }
}

/// What cargo starts as the runner of a wasm32 test: the module, then what stands after `--`.
fn wasm_test(mut args: lexopt::Parser) -> Result<ExitCode> {
    let wasm = PathBuf::from(args.value().context("no wasm module was named")?);
    let mut filter = None;
    while let Some(arg) = args.next()? {
        match arg {
            Value(name) if filter.is_none() => filter = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    wasm_test::run(&wasm, filter.as_deref())
}

/// Builds the console's folder, or finds that nothing it depends on has changed.
fn console(wasm_file: &Path, statics: &Path, out: &Path, cache: &Path) -> Result<()> {
    let wasm = read(wasm_file)?;
    let mut sources = read_folder(statics)?;
    let inputs = names::fingerprint(&wasm, &sources);
    if Manifest::read(out).is_ok_and(|old| old.inputs == inputs && old.is_complete(out)) {
        return Ok(());
    }
    sources.extend(bindgen::generate(wasm)?);
    let assets = names::assemble(sources)?;
    fs::create_dir_all(out).with_context(|| format!("can't create {}", out.display()))?;
    let mut files = Vec::new();
    for asset in assets {
        let packed = compress::brotli(&asset.bytes, cache)?;
        write(&out.join(format!("{}.br", asset.path)), &packed)?;
        files.push(Entry {
            content_type: names::content_type(&asset.path).to_owned(),
            etag: names::hash(&asset.bytes),
            immutable: asset.path != names::INDEX,
            bytes: asset.bytes.len() as u64,
            br_bytes: packed.len() as u64,
            path: asset.path,
        });
    }
    let manifest = Manifest { inputs, files };
    manifest.remove_strangers(out)?;
    manifest.write(out)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("can't read {}", file.display()))
}

/// Writes a file whole or not at all, so that a reader never meets half of it.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
    let half = folder.join(format!(".half-{}", std::process::id()));
    fs::write(&half, bytes).with_context(|| format!("can't write {}", half.display()))?;
    fs::rename(&half, file).with_context(|| format!("can't write {}", file.display()))
}

/// All files under the folder, named by their path in it, in a fixed order.
fn read_folder(folder: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("can't list {}", next.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path
                .strip_prefix(folder)?
                .to_str()
                .context("a file name that is not UTF-8")?
                .to_owned();
            sources.push(Source {
                bytes: read(&path)?,
                templated: names::is_text(&name),
                name,
            });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}
