//! What is inside of what is shipped: a bill of materials in CycloneDX 1.5, `dist/heaptide.cdx.json`.
//!
//! Three parts become one file: the binary, the console inside it, and the eBPF programs inside it. Listed is what cargo
//! would link into them, by `cargo tree`, with the checksums of the lock files; what only runs while compiling is left
//! out. Libraries in C that a crate brings along (zstd) are in that crate's entry, and not named beside it. There is no
//! time and no random number in it, so that the same commit gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::place::Place;
use crate::toolchain::Rust;

const HELP: &str = "\
Writes which crates are in the binary, the console and the eBPF programs: dist/heaptide.cdx.json, in CycloneDX 1.5.

Usage: cargo xtask sbom
";

/// A part's name, how cargo is asked for what is in it, and the lock file that pins that.
const PARTS: [(&str, &[&str], &str); 3] = [
    (
        "binary",
        &["--package", "heaptide", "--target", "x86_64-unknown-linux-gnu"],
        "Cargo.lock",
    ),
    (
        "console",
        &["--package", "heaptide-web", "--target", "wasm32-unknown-unknown"],
        "Cargo.lock",
    ),
    (
        "ebpf",
        &["--manifest-path", "ebpf/programs/Cargo.toml"],
        "ebpf/programs/Cargo.lock",
    ),
];

/// A crate, by name and version.
type Name = (String, String);

#[derive(Debug, Default, PartialEq, Eq)]
struct Component {
    license: String,
    /// Of one's own there is none.
    sha256: Option<String>,
    parts: Vec<&'static str>,
}

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    match args.next()? {
        None => {}
        Some(Long("help") | Short('h')) => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    }
    let path = write(&Place::find()?)?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn write(place: &Place) -> Result<PathBuf> {
    let mut components = BTreeMap::new();
    for (part, arguments, lock) in PARTS {
        let output = Rust::own()?
            .cargo(place)
            .args(["tree", "--locked", "--edges", "normal,no-proc-macro"])
            .args(["--prefix", "none", "--format", "{p}|{l}"])
            .args(arguments)
            .output()
            .context("can't start cargo")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let lock = place.root.join(lock);
        let lock = fs::read_to_string(&lock).with_context(|| format!("can't read {}", lock.display()))?;
        add(
            &mut components,
            part,
            &String::from_utf8_lossy(&output.stdout),
            &lock,
        )?;
    }
    let version = own_version(&components)?;
    let path = place.dist().join("heaptide.cdx.json");
    fs::create_dir_all(place.dist())?;
    fs::write(&path, document(&version, &components))
        .with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}

fn own_version(components: &BTreeMap<Name, Component>) -> Result<String> {
    let mut names = components.keys();
    let own = names.find(|(name, _)| name == "heaptide");
    Ok(own
        .context("the binary is not in its own bill of materials")?
        .1
        .clone())
}

/// Lines as `serde v1.0.2|MIT OR Apache-2.0 (*)`; with a folder in brackets behind the version, a crate is our own.
fn add(components: &mut BTreeMap<Name, Component>, part: &'static str, tree: &str, lock: &str) -> Result<()> {
    let checksums = checksums(lock);
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let (package, license) = line
            .split_once('|')
            .with_context(|| format!("expected NAME VERSION|LICENCE of cargo tree, got {line:?}"))?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) =
            (words.next(), words.next().and_then(|word| word.strip_prefix('v')))
        else {
            bail!("expected NAME vVERSION of cargo tree, got {package:?}");
        };
        let key = (name.to_owned(), version.to_owned());
        let is_own = package.contains(" (/");
        let sha256 = checksums.get(&key).cloned();
        if !is_own && sha256.is_none() {
            bail!("{name} {version} has no checksum in the lock file");
        }
        // Before SPDX had words for it, a stroke was written.
        let license = license.trim_end_matches(" (*)").replace('/', " OR ");
        let component = components.entry(key).or_default();
        component.license = license;
        component.sha256 = sha256;
        if !component.parts.contains(&part) {
            component.parts.push(part);
        }
    }
    Ok(())
}

fn checksums(lock: &str) -> BTreeMap<Name, String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            value.map(|value| value.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}

fn document(version: &str, components: &BTreeMap<Name, Component>) -> String {
    let own = ("heaptide".to_owned(), version.to_owned());
    let listed: Vec<String> = components
        .iter()
        .filter(|(name, _)| **name != own)
        .map(|((name, version), component)| entry(name, version, component))
        .collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {{\n    \
         \"component\": {{ \"type\": \"application\", \"bom-ref\": \"heaptide\", \"name\": \"heaptide\", \"version\": {} \
         }}\n  }},\n  \"components\": [\n{}\n  ]\n}}\n",
        quoted(version),
        listed.join(",\n")
    )
}

fn entry(name: &str, version: &str, component: &Component) -> String {
    let mut out = String::new();
    let reference = quoted(&format!("pkg:cargo/{name}@{version}"));
    // Writing to a string can't fail.
    let _ = write!(
        out,
        "    {{ \"type\": \"library\", \"bom-ref\": {reference}, \"name\": {}, \"version\": {}, \"purl\": {reference}",
        quoted(name),
        quoted(version)
    );
    if let Some(sha256) = &component.sha256 {
        let _ = write!(
            out,
            ", \"hashes\": [{{ \"alg\": \"SHA-256\", \"content\": {} }}]",
            quoted(sha256)
        );
    }
    if !component.license.is_empty() {
        let _ = write!(
            out,
            ", \"licenses\": [{{ \"expression\": {} }}]",
            quoted(&component.license)
        );
    }
    let parts = component
        .parts
        .iter()
        .map(|part| format!("{{ \"name\": \"heaptide:part\", \"value\": {} }}", quoted(part)));
    let parts: Vec<String> = parts.collect();
    let _ = write!(out, ", \"properties\": [{}] }}", parts.join(", "));
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"heaptide\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\n\
                        version = \"1.0.2\"\nsource = \"registry\"\nchecksum = \"ab12\"\ndependencies = [\n \"x\",\n]\n";

    #[test]
    fn what_cargo_tells_becomes_components_with_their_checksums() {
        let mut components = BTreeMap::new();
        let tree = "heaptide v0.1.0 (/a/cli)|MIT OR Apache-2.0\nserde v1.0.2|MIT/Apache-2.0\nserde v1.0.2|MIT/Apache-2.0 (*)\n";
        add(&mut components, "binary", tree, LOCK).unwrap();
        add(&mut components, "console", "serde v1.0.2|MIT/Apache-2.0", LOCK).unwrap();
        let serde = &components[&("serde".to_owned(), "1.0.2".to_owned())];
        let expected = Component {
            license: "MIT OR Apache-2.0".to_owned(),
            sha256: Some("ab12".to_owned()),
            parts: vec!["binary", "console"],
        };
        assert_eq!(*serde, expected);
        assert_eq!(own_version(&components).unwrap(), "0.1.0");
        let text = document("0.1.0", &components);
        for part in [
            "\"bomFormat\": \"CycloneDX\"",
            "\"purl\": \"pkg:cargo/serde@1.0.2\"",
            "\"alg\": \"SHA-256\", \"content\": \"ab12\"",
            "\"expression\": \"MIT OR Apache-2.0\"",
        ] {
            assert_eq!(text.matches(part).count(), 1, "{part} in {text}");
        }
        // The application is not one of its own parts, and no path of a machine is in it.
        assert!(
            !text.contains("pkg:cargo/heaptide@") && !text.contains("/a/cli"),
            "{text}"
        );
    }

    #[test]
    fn what_has_no_checksum_is_not_passed_over() {
        let mut components = BTreeMap::new();
        for (tree, expected) in [
            ("other v1.0.0|MIT", "other 1.0.0 has no checksum"),
            ("serde v1.0.2", "expected NAME VERSION|LICENCE"),
            ("serde|MIT", "expected NAME vVERSION"),
        ] {
            let error = add(&mut components, "binary", tree, LOCK)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn text_is_quoted_for_json() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
