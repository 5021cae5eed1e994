//! Names with a hash of the contents, so that a browser may keep a file for ever and still never runs an
//! old one.
//!
//! A static text file names another file as `{{name}}`; the bundle puts the hashed name there. A file's
//! hash covers its text after that, so a change travels up to `index.html`, the one file that keeps its
//! name. Generated JavaScript imports its snippets as `./snippets/…`; those names are replaced as well.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// The one file that keeps its name, and so is asked for again each time.
pub(crate) const INDEX: &str = "index.html";

/// Hex digits of the hash in a name: 64 bits, far beyond chance for a handful of files.
const HASH_DIGITS: usize = 16;

/// One input file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether `{{name}}` in it stands for another file.
    pub(crate) templated: bool,
}

/// One finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asset {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// Fills in the names, hashes, and renames. Files that name each other in a circle are an error.
pub(crate) fn assemble(sources: Vec<Source>) -> Result<Vec<Asset>> {
    let mut work = Work {
        sources: BTreeMap::new(),
        done: BTreeMap::new(),
        open: BTreeSet::new(),
    };
    for source in sources {
        if let Some(twice) = work.sources.insert(source.name.clone(), source) {
            bail!("two files are called {}", twice.name);
        }
    }
    if !work.sources.contains_key(INDEX) {
        bail!("there is no {INDEX} among the console's static files");
    }
    for name in work.sources.keys().cloned().collect::<Vec<_>>() {
        work.finish(&name)?;
    }
    Ok(work.done.into_values().collect())
}

struct Work {
    sources: BTreeMap<String, Source>,
    done: BTreeMap<String, Asset>,
    open: BTreeSet<String>,
}

impl Work {
    /// The finished path of a file, finishing first what it names.
    fn finish(&mut self, name: &str) -> Result<String> {
        if let Some(asset) = self.done.get(name) {
            return Ok(asset.path.clone());
        }
        let source = self.sources.get(name).with_context(|| {
            let known: Vec<&str> = self.sources.keys().map(String::as_str).collect();
            format!("no file {name}; there are: {}", known.join(", "))
        })?;
        let source = source.clone();
        if !self.open.insert(name.to_owned()) {
            bail!("{name} names itself, by way of other files");
        }
        let bytes = if source.templated {
            let text = String::from_utf8(source.bytes).with_context(|| format!("{name} is not UTF-8"))?;
            self.fill(&text)
                .with_context(|| format!("in {name}"))?
                .into_bytes()
        } else if name.ends_with(".js") {
            let text = String::from_utf8(source.bytes).with_context(|| format!("{name} is not UTF-8"))?;
            self.rename_snippets(text)?.into_bytes()
        } else {
            source.bytes
        };
        self.open.remove(name);
        let path = if name == INDEX {
            name.to_owned()
        } else {
            hashed(name, &bytes)
        };
        self.done.insert(
            name.to_owned(),
            Asset {
                path: path.clone(),
                bytes,
            },
        );
        Ok(path)
    }

    /// Puts hashed names in the place of `{{name}}`.
    fn fill(&mut self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            out.push_str(&rest[..at]);
            let after = &rest[at + 2..];
            match after.split_once("}}").filter(|(name, _)| is_name(name)) {
                Some((name, tail)) => {
                    out.push_str(&self.finish(name)?);
                    rest = tail;
                }
                None => {
                    out.push_str("{{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn rename_snippets(&mut self, mut text: String) -> Result<String> {
        let snippets: Vec<String> = self
            .sources
            .keys()
            .filter(|name| name.starts_with("snippets/"))
            .cloned()
            .collect();
        for name in snippets {
            if text.contains(&format!("./{name}")) {
                let path = self.finish(&name)?;
                text = text.replace(&format!("./{name}"), &format!("./{path}"));
            }
        }
        Ok(text)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

/// `worker.js` becomes `worker-0123456789abcdef.js`.
fn hashed(name: &str, bytes: &[u8]) -> String {
    let (folder, file) = name
        .rsplit_once('/')
        .map_or(("", name), |(folder, file)| (folder, file));
    let slash = if folder.is_empty() { "" } else { "/" };
    let (stem, dot, extension) = file
        .rsplit_once('.')
        .map_or((file, "", ""), |(stem, ext)| (stem, ".", ext));
    format!("{folder}{slash}{stem}-{}{dot}{extension}", hash(bytes))
}

/// The first digits of the SHA-256, in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.truncate(HASH_DIGITS);
    text
}

/// A hash of everything that the bundle depends on, itself included.
pub(crate) fn fingerprint(wasm: &[u8], statics: &[Source]) -> String {
    let mut all = Sha256::new();
    let mut add = |part: &[u8]| {
        all.update((part.len() as u64).to_le_bytes());
        all.update(part);
    };
    // Bump the number when the bundle's output changes for the same input.
    add(b"bundle 3, wasm-bindgen 0.2.130");
    add(wasm);
    for source in statics {
        add(source.name.as_bytes());
        add(&source.bytes);
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `{{name}}` is looked for in a static file of this name.
pub(crate) fn is_text(name: &str) -> bool {
    [".html", ".js", ".css", ".json", ".webmanifest"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

pub(crate) fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        let templated = is_text(name) && !name.starts_with("app") && !name.starts_with("snippets/");
        Source {
            name: name.into(),
            bytes: text.into(),
            templated,
        }
    }

    fn find<'a>(assets: &'a [Asset], start: &str) -> &'a Asset {
        assets.iter().find(|asset| asset.path.starts_with(start)).unwrap()
    }

    #[test]
    fn a_change_travels_up_to_the_index() {
        let files = |wasm: &str| {
            vec![
                source("index.html", "<script src=\"/{{boot.js}}\"></script>"),
                source("boot.js", "import '/{{app.js}}'; load('/{{app_bg.wasm}}')"),
                source("app.js", "glue"),
                source("app_bg.wasm", wasm),
                source("style.css", "a{{b}}"),
            ]
        };
        let files_of = |wasm: &str| {
            let mut files = files(wasm);
            files.pop();
            assemble(files).unwrap()
        };
        let (old, new) = (files_of("one"), files_of("two"));
        assert_eq!(
            find(&old, "app-").path,
            find(&new, "app-").path,
            "the glue did not change"
        );
        for changed in ["app_bg-", "boot-"] {
            assert_ne!(find(&old, changed).path, find(&new, changed).path, "{changed}");
        }
        let index = String::from_utf8(find(&new, INDEX).bytes.clone()).unwrap();
        assert_eq!(
            index,
            format!("<script src=\"/{}\"></script>", find(&new, "boot-").path)
        );
        // In the full set a style sheet names a file that is not there.
        let error = format!("{:#}", assemble(files("one")).unwrap_err());
        assert!(
            error.starts_with("in style.css: no file b; there are: app.js"),
            "{error}"
        );
    }

    #[test]
    fn braces_that_name_no_file_stay() {
        let assets = assemble(vec![source("index.html", "{{ x }} {{}} {{")]).unwrap();
        assert_eq!(assets[0].bytes, b"{{ x }} {{}} {{");
    }

    #[test]
    fn circles_twins_and_a_missing_index_are_errors() {
        let cases = [
            (
                vec![
                    source("index.html", "{{a.js}}"),
                    source("a.js", "{{b.js}}"),
                    source("b.js", "{{a.js}}"),
                ],
                "itself",
            ),
            (
                vec![source("index.html", ""), source("index.html", "")],
                "two files",
            ),
            (vec![source("a.js", "")], "no index.html"),
        ];
        for (files, expect) in cases {
            let error = format!("{:#}", assemble(files).unwrap_err());
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn snippets_are_renamed_where_the_glue_imports_them() {
        let files = vec![
            source("index.html", ""),
            source("app.js", "import {f} from './snippets/x-1/inline0.js';"),
            source("snippets/x-1/inline0.js", "export function f() {}"),
        ];
        let assets = assemble(files).unwrap();
        let snippet = find(&assets, "snippets/x-1/inline0-");
        let glue = String::from_utf8(find(&assets, "app-").bytes.clone()).unwrap();
        assert_eq!(glue, format!("import {{f}} from './{}';", snippet.path));
    }

    #[test]
    fn names_keep_their_folder_and_ending() {
        let hash = hash(b"");
        assert_eq!(hash, "e3b0c44298fc1c14");
        for (name, expect) in [
            ("worker.js", format!("worker-{hash}.js")),
            ("a/b.tar.gz", format!("a/b.tar-{hash}.gz")),
            ("LICENSE", format!("LICENSE-{hash}")),
        ] {
            assert_eq!(hashed(name, b""), expect);
        }
    }

    #[test]
    fn the_fingerprint_sees_every_input() {
        let base = fingerprint(b"w", &[source("a.js", "x")]);
        assert_eq!(base, fingerprint(b"w", &[source("a.js", "x")]));
        for (wasm, file) in [
            (&b"v"[..], source("a.js", "x")),
            (b"w", source("b.js", "x")),
            (b"w", source("a.js", "y")),
        ] {
            assert_ne!(base, fingerprint(wasm, &[file]));
        }
    }
}
