//! Runs a test command with its output passed on, counting its result lines on the way.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::counts::Counts;
use crate::children::Managed;
use crate::place::Place;
use crate::progress::shown;
use crate::setup::{GO_ALL, chromedriver, chromium, duckdb, validators};

/// A step that takes longer hangs: its processes are ended, so that the steps after it still run.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Runs a command and counts what its `test result:` lines say. A failure that none of them explains (a
/// program that didn't compile, a crash) counts as one.
pub(super) fn tests(command: &mut Command) -> Result<Counts> {
    eprintln!("$ {}", shown(command));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Managed::spawn(command)?;
    child.end_after(LIMIT);
    let stdout = child
        .child
        .stdout
        .take()
        .context("the child has no standard output")?;
    let mut counts = count(BufReader::new(stdout), std::io::stdout())?;
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        eprintln!("{} ended with {status}", shown(command));
        counts.failed = 1;
    }
    Ok(counts)
}

/// Passes a runner's lines on and adds up what its result lines say.
fn count(from: impl BufRead, mut to: impl Write) -> Result<Counts> {
    let mut counts = Counts::default();
    for line in from.split(b'\n') {
        let line = line.context("can't read the tests' output")?;
        to.write_all(&line)
            .and_then(|()| to.write_all(b"\n"))
            .context("can't write")?;
        if let Some(more) = Counts::from_line(&String::from_utf8_lossy(&line)) {
            counts.add(more);
        }
    }
    Ok(counts)
}

/// Runs a command that is one check by itself; its output is shown.
pub(super) fn check(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let mut child = Managed::spawn(command.stdin(Stdio::null()))?;
    child.end_after(LIMIT);
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// What the tests are told about this machine. Whatever isn't there isn't set.
pub(crate) fn environment(place: &Place, require_all: bool) -> Vec<(String, OsString)> {
    let mut variables: Vec<(String, OsString)> = Vec::new();
    for version in GO_ALL {
        let go = place.go(version);
        if go.is_file() {
            variables.push((go_variable(version), go.into()));
        }
    }
    let mut add = |name: &str, value: OsString| variables.push((name.to_owned(), value));
    let dist = place.dist();
    for (name, file) in [
        ("HEAPTIDE_BPF_OBJECT", "heaptide.bpf.o"),
        ("HEAPTIDE_BIN", "heaptide"),
    ] {
        if dist.join(file).is_file() {
            add(name, dist.join(file).into());
        }
    }
    for (name, program) in [
        ("HEAPTIDE_CHROMIUM", chromium()),
        ("HEAPTIDE_CHROMEDRIVER", chromedriver()),
    ] {
        if let Some(program) = program {
            add(name, program.into());
        }
    }
    add("HEAPTIDE_DUCKDB", duckdb(place).into());
    add("HEAPTIDE_VALIDATORS", validators(place).into());
    add("HEAPTIDE_STRANGERS", place.strangers().into());
    add("HEAPTIDE_DIST_DIR", dist.into());
    add("HEAPTIDE_TEST_OUTPUT", place.test_output().into());
    add("HEAPTIDE_SKIP_FILE", skip_file(place).into());
    if require_all {
        add("HEAPTIDE_REQUIRE_ALL", "1".into());
    }
    variables
}

/// `HEAPTIDE_GO_1_27` for 1.27.3.
fn go_variable(version: &str) -> String {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
    format!("HEAPTIDE_GO_{major}_{minor}")
}

fn skip_file(place: &Place) -> std::path::PathBuf {
    place.test_output().join("skipped.txt")
}

/// Forgets what earlier steps skipped.
pub(super) fn clear_skips(place: &Place) -> Result<()> {
    fs::create_dir_all(place.test_output()).context("can't create the folder for the tests' output")?;
    fs::write(skip_file(place), "").context("can't write the list of skipped tests")
}

/// What single tests said that they could not do, one line each, since [`clear_skips`].
pub(super) fn read_skips(place: &Place) -> Vec<String> {
    let text = fs::read_to_string(skip_file(place)).unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_release_is_named_by_its_language_version() {
        for (version, expect) in [("1.27.3", "HEAPTIDE_GO_1_27"), ("1.22.10", "HEAPTIDE_GO_1_22")] {
            assert_eq!(go_variable(version), expect);
        }
    }

    #[test]
    fn all_result_lines_add_up_and_everything_is_passed_on() {
        let text: &[u8] = b"x\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n\xff\ntest result: ok. 4 passed; 0 failed\n";
        let mut out = Vec::new();
        assert_eq!(
            count(text, &mut out).unwrap(),
            Counts {
                passed: 5,
                failed: 2,
                skipped: 0
            }
        );
        assert_eq!(out, text);
    }

    #[test]
    fn a_failure_that_no_line_explains_counts_as_one() {
        for (script, failed) in [("exit 101", 1), ("true", 0)] {
            let counts = tests(Command::new("sh").args(["-c", script])).unwrap();
            assert_eq!(
                counts,
                Counts {
                    failed,
                    ..Counts::default()
                },
                "{script}"
            );
        }
    }
}
