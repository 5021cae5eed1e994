//! `heaptide alerts webhook`: where a hub's notices go.
//!
//! Secrets are read from files: what stands on a command line is in the list of processes.

use super::args::{GetOptions, RemoveOptions, SetOptions, WebhookCommand};
use super::{overtaken, trouble};
use crate::policy::{api, print};
use crate::sentences;
use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

const WEBHOOK: &str = "/api/v1/alerts/webhook";

pub(super) fn run(command: &WebhookCommand) -> anyhow::Result<ExitCode> {
    match command {
        WebhookCommand::Get(options) => get(options),
        WebhookCommand::Set(options) => set(options),
        WebhookCommand::Remove(options) => remove(options),
    }
}

fn get(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let told = api.call(Method::GET, WEBHOOK, None)?;
    if options.hub.json {
        return print(&told);
    }
    if let Some(url) = told["url"].as_str() {
        let with = |name: &str, word| told[name].as_bool().filter(|is| *is).map(|_| word);
        let words: Vec<&str> = [with("has_secret", "signed"), with("has_bearer", "with a bearer")]
            .into_iter()
            .flatten()
            .collect();
        sentences::text(&format!("{url}  {}\n", words.join(", ")))?;
    }
    sentences::note(&format!("revision {}", told["revision"]));
    // How it goes with it is told with the alerts.
    let alerts = api.call(Method::GET, "/api/v1/alerts?state=firing", None)?;
    for sentence in trouble(&json!({ "webhook": alerts["webhook"] })) {
        sentences::warning(&sentence);
    }
    Ok(ExitCode::SUCCESS)
}

fn set(options: &SetOptions) -> anyhow::Result<ExitCode> {
    let signs = options.secret_file.as_deref().map(secret).transpose()?;
    let bearer = options.bearer_file.as_deref().map(secret).transpose()?;
    let body = json!({
        "from_revision": options.from,
        "url": options.url,
        "secret": signs,
        "bearer": bearer,
        "why": options.why,
    });
    let api = api(&options.hub)?;
    let answer = api.ask(Method::PUT, WEBHOOK, Some(&body))?;
    if answer.status == StatusCode::CONFLICT {
        return overtaken(&answer.body(), options.hub.json);
    }
    finish(
        &answer.success(&api.address)?,
        options.hub.json,
        "notices go there",
    )
}

fn remove(options: &RemoveOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let path = format!("{WEBHOOK}?from_revision={}", options.from);
    let answer = api.ask(Method::DELETE, &path, None)?;
    if answer.status == StatusCode::CONFLICT {
        return overtaken(&answer.body(), options.hub.json);
    }
    finish(&answer.success(&api.address)?, options.hub.json, "nobody is told")
}

fn finish(told: &Value, as_json: bool, words: &str) -> anyhow::Result<ExitCode> {
    if as_json {
        return print(told);
    }
    sentences::note(&format!("{words}; revision {}", told["revision"]));
    Ok(ExitCode::SUCCESS)
}

/// Without the line's end that editors add.
fn secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => bail!("{}: there is nothing in it", file.display()),
        secret => Ok(secret.to_owned()),
    }
}
