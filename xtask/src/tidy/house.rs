//! Rules about what the files say of each other: layers, lints, links, and invariants with their tests.

use std::collections::BTreeSet;

use super::File;

/// What the crates in a folder must not depend on: an edge that would point upwards.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "shared/",
        &[
            "tokio",
            "web-sys",
            "js-sys",
            "axum",
            "aya",
            "libc",
            "rustix",
            "heaptide-hub",
            "heaptide-collector",
            "heaptide-symbols",
            "heaptide-web",
        ],
    ),
    (
        "ebpf/abi/",
        &["aya", "tokio", "heaptide-protocol", "heaptide-collector"],
    ),
    ("collector/", &["heaptide-hub", "heaptide-web", "axum"]),
    // Reports and levels are analysis beside the ingest path; the hub itself observes nothing.
    (
        "hub/",
        &["heaptide-collector", "heaptide-symbols", "heaptide-web", "aya"],
    ),
    (
        "web/",
        &["tokio", "heaptide-hub", "heaptide-collector", "heaptide-symbols"],
    ),
    (
        "",
        &[
            "heaptide",
            "heaptide-e2e",
            "heaptide-bench",
            "xtask",
            "heaptide-bundle",
        ],
    ),
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with("/Cargo.toml") {
            findings.extend(manifest(file));
        }
        if file.path.ends_with(".md") {
            findings.extend(links(file, files));
        }
        if file.path == "ARCHITECTURE.md" {
            findings.extend(invariants(file, files));
        }
    }
    findings
}

/// A crate's lints and the layers below it. The eBPF programs are a workspace of their own.
fn manifest(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    if !file.text.contains("[lints]\nworkspace = true") && !file.path.starts_with("ebpf/programs/") {
        findings.push(format!("{}: no `[lints] workspace = true`", file.path));
    }
    for (folder, forbidden) in LAYERS {
        if !file.path.starts_with(folder) {
            continue;
        }
        for name in dependencies(&file.text) {
            if forbidden.contains(&name.as_str()) {
                let layer = file.path.trim_end_matches("/Cargo.toml");
                findings.push(format!("{}: {layer} must not depend on {name}", file.path));
            }
        }
    }
    findings
}

/// The names in every dependency table but the one for tests, which may look from outside.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(head) = line.strip_prefix('[') {
            let head = head.trim_end().trim_end_matches(']');
            inside = head.ends_with("dependencies") && !head.ends_with("dev-dependencies");
            if let Some((_, name)) = head.rsplit_once("dependencies.") {
                names.push(name.to_owned());
            }
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or("");
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if inside && is_name && line.contains('=') {
            names.push(name.to_owned());
        }
    }
    names
}

/// Links to files that are not there. Addresses and headings are left to others.
fn links(file: &File, files: &[File]) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else {
                continue;
            };
            let target = target.split(['#', ' ']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !is_there(&joined(folder, target), files) {
                findings.push(format!(
                    "{}:{}: the link {target} leads nowhere",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Whether a text file of that path or a folder with one exists; pictures are no text, and believed.
fn is_there(path: &str, files: &[File]) -> bool {
    let picture = [".png", ".svg", ".jpg", ".webp", ".gif"]
        .iter()
        .any(|ending| path.ends_with(ending));
    let folder = format!("{path}/");
    picture
        || files
            .iter()
            .any(|file| file.path == path || file.path.starts_with(&folder))
}

/// A relative path without `.` and `..`.
fn joined(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        vec![]
    } else {
        folder.split('/').collect()
    };
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

/// Every paragraph that states an invariant names, in backticks, at least one function that exists, and
/// none that doesn't.
fn invariants(file: &File, files: &[File]) -> Vec<String> {
    let functions: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .flat_map(|file| file.text.lines().filter_map(function))
        .collect();
    let mut findings = Vec::new();
    let mut stated = 0;
    for (number, paragraph) in paragraphs(&file.text) {
        let Some((_, statement)) = paragraph.split_once("**Invariant") else {
            continue;
        };
        stated += 1;
        // A test's name is a sentence in snake case: that much tells it from a type or a folder.
        let tests: Vec<&str> = statement
            .split('`')
            .skip(1)
            .step_by(2)
            .map(last_name)
            .filter(|name| is_sentence(name))
            .collect();
        if tests.is_empty() {
            findings.push(format!("{}:{number}: this invariant names no test", file.path));
        }
        for test in tests.iter().filter(|test| !functions.contains(*test)) {
            findings.push(format!("{}:{number}: there is no test {test}", file.path));
        }
    }
    if stated == 0 {
        findings.push(format!("{}: states no invariant (`**Invariant …**`)", file.path));
    }
    findings
}

/// Paragraphs, list items and table rows, each with the number of its first line.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let item = start.starts_with("- ") || start.starts_with("| ") || starts_with_number(start);
        if start.is_empty() {
            open = false;
            continue;
        }
        match all.last_mut() {
            Some((_, paragraph)) if open && !item => {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
            _ => all.push((number + 1, line.to_owned())),
        }
        open = true;
    }
    all
}

fn starts_with_number(line: &str) -> bool {
    line.split_once(". ")
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn last_name(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path).trim_end_matches("()")
}

fn is_sentence(name: &str) -> bool {
    name.matches('_').count() >= 2
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The name in `fn name(` or `async fn name(`.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let code = !before.contains("//") && !before.contains('"');
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    (code && end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn upward_edges_are_found_in_every_table_but_that_of_tests() {
        let lints = "[lints]\nworkspace = true\n";
        let cases = [
            (
                "shared/protocol/Cargo.toml",
                "[dependencies]\ntokio.workspace = true\n",
                1,
            ),
            (
                "shared/protocol/Cargo.toml",
                "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n",
                1,
            ),
            (
                "shared/protocol/Cargo.toml",
                "[dependencies.tokio]\nversion = \"1\"\n",
                1,
            ),
            (
                "shared/protocol/Cargo.toml",
                "[dev-dependencies]\ntokio = \"1\"\n",
                0,
            ),
            (
                "hub/Cargo.toml",
                "[dependencies]\nheaptide-collector.workspace = true\ntokio.workspace = true\n",
                1,
            ),
            (
                "collector/Cargo.toml",
                "[dependencies]\nheaptide-symbols.workspace = true\n",
                0,
            ),
            (
                "collector/symbols/Cargo.toml",
                "[dependencies]\nheaptide-hub = { path = \"x\" }\n",
                1,
            ),
            (
                "cli/Cargo.toml",
                "[dependencies]\nheaptide-hub.workspace = true\n",
                0,
            ),
            ("bench/Cargo.toml", "[dependencies]\nheaptide-e2e = \"0\"\n", 1),
        ];
        for (path, text, expect) in cases {
            let got = manifest(&file(path, &format!("{lints}{text}")));
            assert_eq!(got.len(), expect, "{path}: {text}: {got:?}");
        }
        assert_eq!(manifest(&file("hub/Cargo.toml", "[package]\n")).len(), 1);
        assert!(manifest(&file("ebpf/programs/Cargo.toml", "[package]\n")).is_empty());
    }

    #[test]
    fn links_are_followed_from_the_files_own_folder() {
        let files = [
            file("docs/protocol.md", ""),
            file("README.md", ""),
            file("e2e/targets/README.md", ""),
        ];
        let cases = [
            ("README.md", "[a](docs/protocol.md#frames)", 0),
            ("README.md", "[a](docs) [b](https://example.org/x) [c](#here)", 0),
            ("README.md", "[a](docs/other.md) and [b](nowhere)", 2),
            (
                "docs/protocol.md",
                "[up](../README.md) ![shot](screenshots/live.png)",
                0,
            ),
            ("docs/protocol.md", "[up](README.md)", 1),
            ("README.md", "```\n[a](nowhere)\n```\n", 0),
        ];
        for (path, text, expect) in cases {
            let got = links(&file(path, text), &files);
            assert_eq!(got.len(), expect, "{path}: {text}: {got:?}");
        }
    }

    #[test]
    fn an_invariant_names_tests_that_exist() {
        let code = file(
            "a/src/b.rs",
            "    fn one_thing_holds() {\n    async fn another_thing_holds() {\n// fn a_third_thing(",
        );
        let cases = [
            ("**Invariant:** x. Test: `one_thing_holds`.", 0),
            (
                "1. **Invariant.** x `Place` `shared/`\n   `b::another_thing_holds()`",
                0,
            ),
            ("- **Invariant:** x `one_thing_holds`\n- **Invariant:** y", 1),
            ("**Invariant:** x `a_third_thing`", 1),
            ("**Invariant:** x\n\n`one_thing_holds`", 1),
            ("no statement", 1),
        ];
        for (text, expect) in cases {
            let got = invariants(&file("ARCHITECTURE.md", text), std::slice::from_ref(&code));
            assert_eq!(got.len(), expect, "{text}: {got:?}");
        }
    }
}
