//! Whether what is said of Go's memory is so: the experiments in `bench/claims`, built with the newest Go and
//! run one after the other. Each prints its findings; here they become one table. What was found is in
//! `docs/claims.md`.

use crate::report::Report;
use crate::tools;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line of an experiment, as `bench/claims/report` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(crate) struct Finding {
    id: String,
    /// Of the article.
    section: String,
    claim: String,
    verdict: String,
    measured: String,
    go: String,
    kernel: String,
}

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut findings = Vec::new();
    for experiment in experiments()? {
        let name = experiment
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        eprintln!("  {name} …");
        // Without symbols, as services are shipped: one of them is about just that.
        let program = tools::go_program(&experiment, &folder.path().join(&name))?;
        findings.extend(run(&program).with_context(|| name.clone())?);
    }
    report.note(table(&findings));
    report.add_findings(findings);
    Ok(())
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("claims")
}

/// The folders with a program in them, in order.
fn experiments() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(source()).context("can't list bench/claims")? {
        let path = entry?.path();
        if path.join("main.go").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn run(program: &Path) -> Result<Vec<Finding>> {
    let output = Command::new(program)
        // Settings of whoever runs this must not be the experiment's.
        .env_remove("GODEBUG")
        .env_remove("GOGC")
        .env_remove("GOMEMLIMIT")
        .output()
        .context("can't run it")?;
    if !output.status.success() {
        bail!(
            "ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(output: &str) -> Result<Vec<Finding>> {
    let findings = output.lines().map(|line| {
        serde_json::from_str(line).with_context(|| format!("expected a finding as JSON, got {line:?}"))
    });
    let findings: Vec<Finding> = findings.collect::<Result<_>>()?;
    if findings.is_empty() {
        bail!("it found nothing");
    }
    Ok(findings)
}

/// As a person reads it.
fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    if let Some(first) = findings.first() {
        let _ = writeln!(
            text,
            "Claims, tested with {} on Linux {}:",
            first.go, first.kernel
        );
    }
    for finding in findings {
        let _ = writeln!(
            text,
            "\n{} ({}): {}\n  {}: {}",
            finding.id, finding.section, finding.claim, finding.verdict, finding.measured
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_and_nothing_else_is() {
        let line = r#"{"id":"a","section":"2.1","claim":"c","verdict":"false","measured":"m","go":"go1.27.3","kernel":"6.18"}"#;
        let findings = parse(&format!("{line}\n{line}\n")).unwrap();
        assert_eq!((findings.len(), findings[0].verdict.as_str()), (2, "false"));
        for wrong in ["", "panic: x", &line.replace("claim", "clam")] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let text = table(&findings[..1]);
        assert!(
            text.contains("go1.27.3 on Linux 6.18") && text.contains("false: m"),
            "{text}"
        );
    }

    #[test]
    fn every_experiment_has_a_program() {
        assert!(experiments().unwrap().len() >= 10);
    }
}
