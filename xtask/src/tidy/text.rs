//! Rules that look at one file.

use super::File;

/// The ceiling of a Rust file; most are a quarter to a half of it.
const LONGEST_LINES: usize = 600;

/// Words that must not stand in a file. Put together here so that this file doesn't hold them.
const NOWHERE: [(&str, &str); 3] = [
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/tm", "p/s/"), "a path of one machine"),
];
const NOT_IN_RUST: [(&str, &str); 2] = [
    (concat!("TO", "DO"), "work left undone belongs in an issue"),
    (concat!("FIX", "ME"), "work left undone belongs in an issue"),
];
/// The one reason to leave a test function out of a plain run: it is a process that another test starts.
const IGNORED: &str = concat!("#[ig", "nore");
const IGNORED_PARTS: [&str; 2] = ["a part that ", "started by "];

/// What one file has against it, as `path:line: what`.
pub(super) fn check(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = file.path.ends_with(".rs");
    // Lock files and recorded data say what others wrote.
    if file.path.ends_with(".lock") {
        return findings;
    }
    for (number, line) in file.text.lines().enumerate() {
        let mut look = |words: &[(&str, &str)]| {
            for (word, why) in words {
                if line.contains(word) {
                    findings.push(format!("{}:{}: '{word}': {why}", file.path, number + 1));
                }
            }
        };
        look(&NOWHERE);
        if rust {
            look(&NOT_IN_RUST);
            if line.contains(IGNORED) && !IGNORED_PARTS.iter().any(|part| line.contains(part)) {
                findings.push(format!(
                    "{}:{}: a test that never runs proves nothing",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    if rust {
        findings.extend(shape(file));
    }
    findings
}

/// Length, head and the place of `unsafe`.
fn shape(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > LONGEST_LINES {
        findings.push(format!(
            "{}: {lines} lines, over {LONGEST_LINES}: split it where a second idea begins",
            file.path
        ));
    }
    let name = file.path.rsplit('/').next().unwrap_or("");
    // A `tests.rs` beside a file is that file's, and the file's head is its head.
    if name != "tests.rs" && !file.text.trim_start().starts_with("//!") {
        findings.push(format!(
            "{}:1: no `//!` head that says what the file is for",
            file.path
        ));
    }
    // The eBPF programs are another world: there every access is unsafe.
    if name != "sys.rs" && !file.path.starts_with("ebpf/") {
        for (number, line) in file.text.lines().enumerate() {
            if line.contains(concat!("allow(uns", "afe_code"))
                || line.contains(concat!("expect(uns", "afe_code"))
            {
                findings.push(format!(
                    "{}:{}: unsafe code belongs in a file called sys.rs",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&File {
            path: path.into(),
            text: text.into(),
        })
    }

    #[test]
    fn each_rule_finds_its_case_and_only_that() {
        let long = format!("//! x\n{}", "\n".repeat(LONGEST_LINES));
        let fits = format!("//! x\n{}", "\n".repeat(LONGEST_LINES - 1));
        let machine = format!("see {}x", NOWHERE[0].0);
        let later = format!("//! x\n// {}: later", NOT_IN_RUST[0].0);
        let never = format!("//! x\n{IGNORED}]");
        let part = format!("//! x\n{IGNORED} = \"a part that another test starts\"]");
        let unsafe_code = format!("//! x\n#![{}, reason = \"\")]", concat!("expect(uns", "afe_code"));
        let cases: [(&str, &str, &[&str]); 14] = [
            ("a.rs", &long, &["a.rs: 601 lines"]),
            ("a.rs", &fits, &[]),
            ("a.rs", "use x;\n", &["a.rs:1: no `//!` head"]),
            ("a/tests.rs", "use x;\n", &[]),
            ("a.md", &machine, &["a.md:1:"]),
            ("Cargo.lock", &machine, &[]),
            ("a.rs", &later, &["a.rs:2:"]),
            ("a.md", &later, &[]),
            ("a.rs", &never, &["a.rs:2:"]),
            ("a.rs", &part, &[]),
            ("b/a.rs", &unsafe_code, &["b/a.rs:2: unsafe"]),
            ("b/sys.rs", &unsafe_code, &[]),
            ("ebpf/abi/src/a.rs", &unsafe_code, &[]),
            ("a.rs", "//! x\nfn main() {}\n", &[]),
        ];
        for (path, text, expect) in cases {
            let got = findings(path, text);
            assert_eq!(got.len(), expect.len(), "{path}: {got:?}");
            for (got, start) in got.iter().zip(expect) {
                assert!(got.starts_with(start), "{got} does not start with {start}");
            }
        }
    }
}
