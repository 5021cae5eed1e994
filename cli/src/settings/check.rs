//! `heaptide hub --check-config`: each setting, where it comes from, and what would keep a hub from starting.

use super::{Source, Told};
use crate::hub::data_dir;
use crate::sentences;
use heaptide_hub::check_config;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(told: &Told, file: Option<&Path>, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut rows = told.rows.clone();
    let data = match &told.values.data {
        None if told.values.open.is_empty() => {
            let folder = data_dir(None)?;
            if let Some(row) = rows.iter_mut().find(|row| row.name == "data") {
                row.value = Some(folder.display().to_string());
            }
            Some(folder)
        }
        data => data.clone(),
    };
    let keeps = data.is_some();
    let problems = check_config(&told.hub_config(data.unwrap_or_default()), keeps);
    let hints = told
        .unknown_variables
        .iter()
        .map(|name| format!("{name} is the name of no setting, and is not used"));
    let hints: Vec<String> = hints.collect();
    if as_json {
        let settings: Vec<_> = rows
            .iter()
            .map(|row| json!({ "name": row.name, "value": row.value, "from": row.source.to_string() }))
            .collect();
        let document = json!({
            "ok": problems.is_empty(),
            "file": file,
            "settings": settings,
            "problems": problems,
            "warnings": hints,
        });
        sentences::data(&document.to_string());
    } else {
        let mut text = String::new();
        let width = |of: fn(&super::layers::Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let names = width(|row| row.name.len());
        let values = width(|row| row.value.as_ref().map_or(1, |value| value.chars().count()));
        for row in &rows {
            let value = row.value.as_deref().unwrap_or("–");
            let from = match (row.source, file) {
                (Source::File, Some(file)) => format!("file {}", file.display()),
                (source, _) => source.to_string(),
            };
            writeln!(text, "{:names$}  {value:values$}  {from}", row.name)?;
        }
        sentences::text(&text)?;
        hints.iter().for_each(|hint| sentences::warning(hint));
        problems
            .iter()
            .for_each(|problem| sentences::error(&anyhow::anyhow!("{problem}")));
        if problems.is_empty() {
            sentences::note("a hub can start with these settings");
        }
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
