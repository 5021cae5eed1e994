//! `heaptide policy`: the fleet's policy from a terminal or a script.
//!
//! The hub decides everything; here its answers become lines and exit codes.

mod args;
mod words;

pub(crate) use args::{HubPlace, PolicyCommand};

use crate::api::{Answer, Api, pause};
use crate::sentences;
use anyhow::Context as _;
use args::{ApplyOptions, DiffOptions, GetOptions, HistoryOptions, RevertOptions, RolloutOptions};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What was asked for did not come about, though nothing is broken: it differs, somebody was faster, it came back.
pub(crate) const OTHERWISE: u8 = 2;
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Get(options) => get(options),
        PolicyCommand::Diff(options) => diff(options),
        PolicyCommand::Apply(options) => apply(options),
        PolicyCommand::History(options) => history(options),
        PolicyCommand::Revert(options) => revert(options),
        PolicyCommand::Rollout(options) => rollout(options),
    }
}

fn get(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let path = match options.revision {
        Some(revision) => format!("/api/v1/policy/history/{revision}"),
        None => "/api/v1/policy".to_owned(),
    };
    let told = api.call(Method::GET, &path, None)?;
    if options.hub.json {
        return print(&told);
    }
    print(&told["document"])?;
    sentences::note(&words::revision(&told));
    Ok(ExitCode::SUCCESS)
}

fn diff(options: &DiffOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let body = json!({ "document": read(&options.file)?, "from_revision": options.from });
    let told = api.call(Method::POST, "/api/v1/policy/check", Some(&body))?;
    if options.hub.json {
        print(&told)?;
    } else {
        sentences::text(&words::changes(&told["changes"]))?;
        sentences::note(&words::checked(&told));
    }
    let problems = told["problems"].as_array().map_or(&[][..], Vec::as_slice);
    if !problems.is_empty() {
        anyhow::bail!("{}", words::problems(problems));
    }
    let differs = told["changes"]
        .as_array()
        .is_some_and(|changes| !changes.is_empty());
    Ok(if differs {
        ExitCode::from(OTHERWISE)
    } else {
        ExitCode::SUCCESS
    })
}

fn apply(options: &ApplyOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let body = json!({
        "document": read(&options.file)?,
        "from_revision": options.from,
        "why": options.why,
    });
    let answer = api.ask(Method::POST, "/api/v1/policy", Some(&body))?;
    submitted(&options.hub, &api, &answer)
}

fn revert(options: &RevertOptions) -> anyhow::Result<ExitCode> {
    let api = api(&options.hub)?;
    let from = match options.from {
        Some(from) => from,
        None => api.call(Method::GET, "/api/v1/policy", None)?["revision"]
            .as_u64()
            .context("the hub told no revision: is it older than this heaptide?")?,
    };
    let body = json!({ "to_revision": options.revision, "from_revision": from, "why": options.why });
    let answer = api.ask(Method::POST, "/api/v1/policy/revert", Some(&body))?;
    submitted(&options.hub, &api, &answer)
}

fn history(options: &HistoryOptions) -> anyhow::Result<ExitCode> {
    let told = api(&options.hub)?.call(
        Method::GET,
        &format!("/api/v1/policy/history?limit={}", options.limit),
        None,
    )?;
    if options.hub.json {
        return print(&told);
    }
    sentences::text(&words::history(&told))?;
    Ok(ExitCode::SUCCESS)
}

fn rollout(options: &RolloutOptions) -> anyhow::Result<ExitCode> {
    const PATH: &str = "/api/v1/policy/rollout";
    let api = api(&options.hub)?;
    let mut told = api.call(Method::GET, PATH, None)?;
    let revision = told["rollout"]["revision"].clone();
    if options.promote || options.take_back {
        let action = if options.promote { "promote" } else { "take_back" };
        let body = json!({ "revision": revision, "action": action, "why": options.why });
        told = api.call(Method::POST, PATH, Some(&body))?;
    }
    let is_waiting = |told: &Value| {
        let under_way = matches!(
            told["rollout"]["stage"]["name"].as_str(),
            Some("first" | "everywhere")
        );
        told["rollout"]["revision"] == revision && under_way
    };
    while options.wait && is_waiting(&told) {
        sentences::progress(&words::stage(&told));
        pause(LOOK_EVERY)?;
        told = api.call(Method::GET, PATH, None)?;
    }
    if options.hub.json {
        print(&told)?;
    } else {
        sentences::text(&words::rollout(&told))?;
        sentences::note(&words::stage(&told));
    }
    let is_gone = options.wait && told["rollout"]["revision"] != revision;
    if is_gone {
        let was = api.call(Method::GET, &format!("/api/v1/policy/history/{revision}"), None)?;
        sentences::warning(&words::fate(&was));
        return Ok(ExitCode::from(OTHERWISE));
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of a draft.
fn submitted(hub: &HubPlace, api: &Api, answer: &Answer) -> anyhow::Result<ExitCode> {
    let body = answer.body();
    if answer.status == StatusCode::CONFLICT {
        if hub.json {
            print(&body)?;
        } else {
            sentences::text(&words::changes(&body["changes"]))?;
        }
        sentences::warning(body["error"].as_str().unwrap_or("somebody else was faster"));
        return Ok(ExitCode::from(OTHERWISE));
    }
    if let Some(problems) = body["problems"].as_array() {
        anyhow::bail!("{}", words::problems(problems));
    }
    let told = answer.success(&api.address)?;
    if hub.json {
        return print(&told);
    }
    sentences::note(&if told["changed"] == false {
        format!("nothing to change: {}", words::revision(&told))
    } else {
        format!(
            "{}; `heaptide policy rollout --wait` follows it on its way",
            words::revision(&told)
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn api(hub: &HubPlace) -> anyhow::Result<Api> {
    Api::new(&hub.hub, &hub.access)
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    }
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

pub(crate) fn print(told: &Value) -> anyhow::Result<ExitCode> {
    sentences::text(&format!("{}\n", serde_json::to_string_pretty(told)?))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::OwnHub;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: PolicyCommand,
    }

    #[test]
    fn each_command_against_a_real_hub_with_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let hub = OwnHub::start(
            ([127, 0, 0, 1], 0).into(),
            folder.path().join("hub"),
            Default::default(),
        )
        .unwrap();
        let address = format!("http://{}", hub.address);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let rule = |percent: u32| {
            format!(r#"{{"rules":[{{"name":"a","set":{{"tiers":{{"hashed_percent":{percent}}}}}}}]}}"#)
        };
        let (first, second) = (file("1.json", &rule(1)), file("2.json", &rule(2)));
        let (wrong, none) = (file("101.json", &rule(101)), file("none.json", "{"));
        for (line, expected) in [
            ("get".to_owned(), Ok(0)),
            (format!("diff {first}"), Ok(2)),
            (
                format!("diff {wrong}"),
                Err("hashed_percent: expected 0 to 100, got 101"),
            ),
            (format!("diff {none}"), Err("is not JSON")),
            (
                format!("apply {wrong} --from 0"),
                Err("hashed_percent: expected 0 to 100, got 101"),
            ),
            (format!("apply {first} --from 0 --why first"), Ok(0)),
            (format!("apply {first} --from 1"), Ok(0)),
            (format!("diff {first}"), Ok(0)),
            (format!("apply {second} --from 0"), Ok(2)),
            (format!("apply {second} --from 1 --json"), Ok(0)),
            ("get --revision 9".to_owned(), Err("there is no revision 9")),
            ("revert 1 --from 1".to_owned(), Ok(2)),
            ("revert 1 --why back".to_owned(), Ok(0)),
            ("rollout --promote".to_owned(), Ok(0)),
            ("rollout --take-back --why no".to_owned(), Ok(0)),
            ("rollout --wait".to_owned(), Ok(0)),
            ("rollout --promote".to_owned(), Err("has settled")),
            ("history".to_owned(), Ok(0)),
            (
                "history --limit 0".to_owned(),
                Err("limit: expected 1 to 1000, got 0"),
            ),
        ] {
            let words = ["policy"]
                .into_iter()
                .chain(line.split(' '))
                .chain(["--hub", &address]);
            let result = run(&Line::try_parse_from(words).unwrap().command);
            match (result, expected) {
                (Ok(code), Ok(expected)) => {
                    assert_eq!(
                        format!("{code:?}"),
                        format!("{:?}", ExitCode::from(expected)),
                        "{line}"
                    );
                }
                (Err(error), Err(expected)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(expected), "{line}: {error:?} lacks {expected:?}");
                }
                (got, expected) => panic!("{line}: {got:?}, expected {expected:?}"),
            }
        }
        let history = Api::new(&address, &access())
            .unwrap()
            .call(Method::GET, "/api/v1/policy/history", None)
            .unwrap();
        let told: Vec<_> = list_of(&history);
        // None of the first three had gone to all and stayed, so what all were on is none.
        assert_eq!(told, [(4, Some(0)), (3, Some(1)), (2, None), (1, None)]);
    }

    fn access() -> crate::args::AccessOptions {
        crate::args::AccessOptions {
            token: None,
            tls_ca: None,
            tls_client_cert: None,
            tls_client_key: None,
        }
    }

    fn list_of(history: &Value) -> Vec<(u64, Option<u64>)> {
        let lines = history.as_array().unwrap().iter();
        lines
            .map(|line| (line["revision"].as_u64().unwrap(), line["reverts_to"].as_u64()))
            .collect()
    }
}
