//! `heaptide alerts`: a hub's alerts and their rules from a terminal or a script.

mod args;
mod webhook;

pub(crate) use args::AlertsCommand;

use crate::api::Api;
use crate::policy::{OTHERWISE, api, print, read};
use crate::sentences;
use args::{ApplyOptions, GetOptions, ListOptions};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

const RULES: &str = "/api/v1/alerts/rules";

pub(crate) fn run(command: &AlertsCommand) -> anyhow::Result<ExitCode> {
    match command {
        AlertsCommand::Get(options) => get(options),
        AlertsCommand::Apply(options) => apply(options),
        AlertsCommand::List(options) => list(options),
        AlertsCommand::Webhook(command) => webhook::run(command),
    }
}

fn get(options: &GetOptions) -> anyhow::Result<ExitCode> {
    let told = api(&options.hub)?.call(Method::GET, RULES, None)?;
    if options.hub.json {
        return print(&told);
    }
    print(&told["document"])?;
    sentences::note(&format!("revision {}", told["revision"]));
    Ok(ExitCode::SUCCESS)
}

fn apply(options: &ApplyOptions) -> anyhow::Result<ExitCode> {
    let api: Api = api(&options.hub)?;
    let body = json!({
        "document": read(&options.file)?,
        "from_revision": options.from,
        "why": options.why,
    });
    let answer = api.ask(Method::POST, RULES, Some(&body))?;
    if answer.status == StatusCode::CONFLICT {
        return overtaken(&answer.body(), options.hub.json);
    }
    let told = answer.success(&api.address)?;
    if options.hub.json {
        return print(&told);
    }
    sentences::note(&format!(
        "revision {} holds; `heaptide alerts list` tells what it comes to",
        told["revision"]
    ));
    Ok(ExitCode::SUCCESS)
}

/// Somebody else was faster.
fn overtaken(body: &Value, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        print(body)?;
    }
    sentences::warning(body["error"].as_str().unwrap_or("somebody else was faster"));
    Ok(ExitCode::from(OTHERWISE))
}

fn list(options: &ListOptions) -> anyhow::Result<ExitCode> {
    let query = options
        .state
        .map_or_else(String::new, |state| format!("?state={}", state.word()));
    let told = api(&options.hub)?.call(Method::GET, &format!("/api/v1/alerts{query}"), None)?;
    if options.hub.json {
        print(&told)?;
    } else {
        sentences::text(&lines(&told))?;
        for sentence in trouble(&told) {
            sentences::warning(&sentence);
        }
    }
    let fires = told["counts"]["firing"].as_u64().unwrap_or(0) > 0;
    Ok(if fires {
        ExitCode::from(OTHERWISE)
    } else {
        ExitCode::SUCCESS
    })
}

fn lines(told: &Value) -> String {
    let mut lines = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for alert in told["alerts"].as_array().into_iter().flatten() {
        let value = match alert["value_words"].as_str() {
            None | Some("") => "-".to_owned(),
            Some(value) => value.to_owned(),
        };
        // Writing to a string can't fail.
        let _ = write!(
            lines,
            "{:<9} {}  {} {} {}  {value} ({})",
            word(&alert["state"]),
            word(&alert["rule"]),
            word(&alert["session"]),
            word(&alert["service"]),
            word(&alert["host_name"]),
            word(&alert["threshold_words"]),
        );
        let _ = match alert["no_data"].as_str() {
            Some(why) => writeln!(lines, "  no data: {why}"),
            None => writeln!(lines),
        };
    }
    lines
}

/// What keeps alerts from being complete, or from being told.
fn trouble(told: &Value) -> Vec<String> {
    let mut trouble = Vec::new();
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    if count(&told["not_listed"]) > 0 {
        trouble.push(format!(
            "{} more are not listed: choose a --state",
            told["not_listed"]
        ));
    }
    if count(&told["left_out"]) > 0 {
        trouble.push(format!(
            "{} more are not looked at because there are too many: select fewer sessions by label",
            told["left_out"]
        ));
    }
    let webhook = &told["webhook"];
    if webhook["is_set"] == false {
        trouble.push("no webhook is set, so nobody is told".to_owned());
    } else if count(&webhook["failures_in_a_row"]) > 0 {
        trouble.push(format!(
            "the webhook was not told, {} times in a row, and {} notices wait: {}",
            webhook["failures_in_a_row"],
            webhook["waiting"],
            webhook["last_failure"].as_str().unwrap_or_default()
        ));
    }
    trouble
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::OwnHub;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: AlertsCommand,
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
        let rule = |seconds: u32| {
            format!(
                r#"{{"rules":[{{"name":"a","figure":{{"name":"live_slope","window_seconds":{seconds}}},"when":"above","threshold":1}}]}}"#
            )
        };
        let (secret, empty) = (file("secret", "sesame\n"), file("empty", "\n"));
        let (good, wrong) = (file("good.json", &rule(60)), file("wrong.json", &rule(1)));
        for (line, expected) in [
            ("get".to_owned(), Ok(0)),
            (
                format!("apply {wrong} --from 0"),
                Err("window_seconds: expected 10 to 240, got 1"),
            ),
            (format!("apply {good} --from 0 --why first"), Ok(0)),
            (format!("apply {good} --from 0"), Ok(2)),
            ("get --json".to_owned(), Ok(0)),
            ("list".to_owned(), Ok(0)),
            ("list --state no_data --json".to_owned(), Ok(0)),
            ("webhook get".to_owned(), Ok(0)),
            (
                "webhook set ftp://hooks.example/ --from 0".to_owned(),
                Err("neither http nor https"),
            ),
            (
                format!("webhook set https://hooks.example/a --from 0 --secret-file {empty}"),
                Err("there is nothing in it"),
            ),
            (
                format!(
                    "webhook set https://hooks.example/a --from 0 --secret-file {secret} --bearer-file {secret}"
                ),
                Ok(0),
            ),
            ("webhook set https://hooks.example/b --from 0".to_owned(), Ok(2)),
            ("webhook get --json".to_owned(), Ok(0)),
            ("webhook remove --from 7".to_owned(), Ok(2)),
            ("webhook remove --from 1".to_owned(), Ok(0)),
            ("webhook remove --from 1".to_owned(), Err("no webhook is set")),
        ] {
            let words = ["alerts"]
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
    }

    #[test]
    fn what_is_told_of_an_alert() {
        let told = json!({
            "alerts": [
                { "rule": "big", "session": "ab", "service": "shop", "host_name": "h", "state": "firing",
                  "value_words": "2 KiB", "threshold_words": "above 1 KiB", "no_data": "away" },
                { "rule": "big", "session": "cd", "service": "", "host_name": "h", "state": "ok", "value_words": "",
                  "threshold_words": "above 1 KiB", "no_data": null },
            ],
            "not_listed": 1, "left_out": 2,
            "webhook": { "is_set": true, "failures_in_a_row": 3, "waiting": 4, "last_failure": "no answer" },
        });
        assert_eq!(
            lines(&told),
            "firing    big  ab shop h  2 KiB (above 1 KiB)  no data: away\nok        big  cd  h  - (above 1 KiB)\n"
        );
        let trouble = trouble(&told).join("\n");
        for expected in [
            "1 more are not listed",
            "2 more are not looked at",
            "3 times in a row",
            "no answer",
        ] {
            assert!(trouble.contains(expected), "{trouble:?} lacks {expected:?}");
        }
    }
}
