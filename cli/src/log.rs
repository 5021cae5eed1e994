//! The hub's log on standard error, for a person or for a program that collects logs.

use crate::args::{LogFormat, LogLevel};
use crate::sentences;
use heaptide_hub::{Level, Log, Record};
use heaptide_recording::rfc3339;
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn of(format: LogFormat, least: LogLevel) -> Log {
    let least = match least {
        LogLevel::Info => Level::Info,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
    };
    Log::new(move |record| {
        if record.level < least {
            return;
        }
        match (format, record.level) {
            (LogFormat::Json, _) => sentences::log(&json(record, now_unix_ns())),
            (LogFormat::Text, Level::Info) => sentences::note(&record.to_string()),
            (LogFormat::Text, _) => sentences::warning(&record.to_string()),
        }
    })
}

fn json(record: &Record<'_>, unix_ns: u64) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, text: &str| object.insert(name.to_owned(), Value::from(text));
    put("time", &rfc3339(unix_ns));
    put(
        "level",
        match record.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        },
    );
    if let Some((what, which)) = record.about {
        put(what, which);
    }
    put("message", record.message);
    Value::from(object).to_string()
}

fn now_unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json_whatever_its_text() {
        let record = Record {
            level: Level::Warning,
            message: "a \"b\"\nc",
            about: Some(("session", "07")),
        };
        let line = json(&record, 1_795_744_984_005_999_999);
        assert_eq!(
            line,
            r#"{"level":"warning","message":"a \"b\"\nc","session":"07","time":"2026-11-27T02:03:04.005Z"}"#
        );
        assert_eq!(record.to_string(), "session 07: a \"b\"\nc");
    }
}
