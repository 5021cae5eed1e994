//! `heaptide hub check` and `heaptide hub backup`.

use crate::api::Api;
use crate::args::{HubBackupOptions, HubCheckOptions};
use crate::hub::data_dir;
use crate::sentences;
use anyhow::Context as _;
use heaptide_hub::{BackupReport, CheckReport, HubError};
use hyper::Method;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn check(options: &HubCheckOptions) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(options.data.clone())?;
    let report = heaptide_hub::check(&data_dir, options.repair)?;
    if options.json {
        sentences::data(&serde_json::to_string_pretty(&report)?);
    } else {
        sentences::text(&told(&report))?;
    }
    Ok(ExitCode::from(u8::from(!report.findings.is_empty())))
}

fn told(report: &CheckReport) -> String {
    let mut text = format!(
        "{} sessions, {} segments, {} records, {} bytes read: {}\n",
        report.sessions,
        report.segments,
        report.records,
        report.bytes,
        match report.findings.len() {
            0 => "all as they were written".to_owned(),
            1 => "1 finding".to_owned(),
            many => format!("{many} findings"),
        }
    );
    for finding in &report.findings {
        text += &format!("{}: ", finding.file);
        if finding.from_byte < finding.to_byte {
            text += &format!("bytes {} to {}: ", finding.from_byte, finding.to_byte);
        }
        text += &finding.what;
        match (&finding.remedy, report.repaired) {
            (Some(remedy), true) => text += &format!("; repaired: {remedy}"),
            (Some(remedy), false) => text += &format!("; with --repair: {remedy}"),
            (None, _) => {}
        }
        text.push('\n');
    }
    text
}

pub(crate) fn backup(options: &HubBackupOptions) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(options.data.clone())?;
    let target = std::path::absolute(&options.target)?;
    let report = match heaptide_hub::backup(&data_dir, &target) {
        Ok(report) => report,
        Err(HubError::DataDirInUse { .. }) => of_running(&data_dir, &target, options)?,
        Err(error) => return Err(error.into()),
    };
    let BackupReport {
        sessions,
        segments,
        bytes,
    } = report;
    sentences::note(&format!(
        "{sessions} sessions in {segments} segments, {bytes} bytes, are in {}",
        target.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Asks the hub that holds the folder, which has left its address there.
fn of_running(data_dir: &Path, target: &Path, options: &HubBackupOptions) -> anyhow::Result<BackupReport> {
    let url = match &options.hub {
        Some(url) => url.clone(),
        None => std::fs::read_to_string(data_dir.join("address")).with_context(|| {
            format!(
                "a hub uses {}, but its address can't be read: name it with --hub",
                data_dir.display()
            )
        })?,
    };
    let api = Api::new(url.trim(), &options.access)?.patient();
    let answer = api.call(Method::POST, "/api/v1/backup", Some(&json!({ "folder": target })))?;
    serde_json::from_value(answer).context("the hub's answer is not what this version expects")
}
