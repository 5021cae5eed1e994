//! The hub's answers about the fleet's policy, as lines for a person.

use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Sessions of a roll-out that are listed one by one.
const SESSIONS: usize = 50;

pub(super) fn revision(told: &Value) -> String {
    if told["revision"] == 0 {
        return "revision 0: nobody has written a policy yet".to_owned();
    }
    format!("revision {}, {}", told["revision"], authored(told))
}

pub(super) fn changes(changes: &Value) -> String {
    let mut lines = String::new();
    for change in list(changes) {
        let field = change["field"].as_str().unwrap_or_default();
        // Writing to a string can't fail.
        let _ = match (&change["before"], &change["after"]) {
            (Value::Null, after) => writeln!(lines, "+ {field} = {after}"),
            (before, Value::Null) => writeln!(lines, "- {field} = {before}"),
            (before, after) => writeln!(lines, "~ {field} = {before} -> {after}"),
        };
    }
    lines
}

pub(super) fn checked(told: &Value) -> String {
    let count = list(&told["changes"]).len();
    let rules = told["matching"].as_object().into_iter().flatten();
    let matching: Vec<String> = rules
        .map(|(rule, sessions)| format!("'{rule}' matches {sessions}"))
        .collect();
    let matching = if matching.is_empty() {
        "no rule matches a live session".to_owned()
    } else {
        matching.join(", ")
    };
    format!(
        "{count} changes from revision {}, another policy for {} live sessions; {matching}",
        told["from_revision"], told["changed_sessions"]
    )
}

pub(super) fn problems(problems: &[Value]) -> String {
    let told: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", text(&problem["field"]), text(&problem["message"])))
        .collect();
    told.join("\n       ")
}

pub(super) fn history(told: &Value) -> String {
    let mut lines = String::new();
    for line in list(told) {
        let _ = writeln!(
            lines,
            "{}  {}  {}",
            line["revision"],
            authored(line),
            fate_words(&line["fate"])
        );
        for change in changes(&line["changes"]).lines() {
            let _ = writeln!(lines, "    {change}");
        }
    }
    lines
}

pub(super) fn fate(told: &Value) -> String {
    format!("revision {}: {}", told["revision"], fate_words(&told["fate"]))
}

/// One line: how far it is.
pub(super) fn stage(told: &Value) -> String {
    let rollout = &told["rollout"];
    let counts = &told["counts"];
    let chosen = list(&rollout["chosen"]).len();
    let stage = match rollout["stage"]["name"].as_str() {
        Some("first") if chosen == 0 => "waits for a live session that it changes".to_owned(),
        Some("first") => format!("is tried on {chosen} sessions first"),
        Some("everywhere") => "is everywhere, and watched".to_owned(),
        Some("settled") => "has settled".to_owned(),
        _ => "was rolled back".to_owned(),
    };
    format!(
        "revision {} {stage}; sessions: {} applied, {} pending, {} rejected, {} away, {} changed by hand",
        rollout["revision"],
        counts["applied"],
        counts["pending"],
        counts["rejected"],
        counts["away"],
        counts["overridden"]
    )
}

pub(super) fn rollout(told: &Value) -> String {
    let mut lines = String::new();
    let sessions = list(&told["sessions"]);
    for session in sessions.iter().take(SESSIONS) {
        let mut notes = Vec::new();
        if session["is_first"] == true {
            notes.push("first".to_owned());
        }
        if session["is_short_of_memory"] == true {
            notes.push("its host is short of memory".to_owned());
        }
        let overridden: Vec<&str> = list(&session["overridden"]).iter().map(text).collect();
        if !overridden.is_empty() {
            notes.push(format!("by hand: {}", overridden.join(", ")));
        }
        if let Some(why) = session["why"].as_str() {
            notes.push(why.to_owned());
        }
        let _ = writeln!(
            lines,
            "{}  {:<8}  revision {}  {}@{}  {}",
            text(&session["session"]),
            text(&session["standing"]),
            session["revision"],
            text(&session["labels"]["service"]),
            text(&session["labels"]["host"]),
            notes.join("; ")
        );
    }
    let more = sessions.len().saturating_sub(SESSIONS) as u64 + told["left_out"].as_u64().unwrap_or(0);
    if more > 0 {
        let _ = writeln!(lines, "and {more} more: --json lists up to 1000");
    }
    lines
}

fn fate_words(fate: &Value) -> String {
    match fate["name"].as_str() {
        Some("going_out") => "on its way".to_owned(),
        Some("settled") => "settled".to_owned(),
        Some("replaced") => format!("replaced by revision {}", fate["by_revision"]),
        Some("rolled_back") => format!("rolled back: {}", text(&fate["why"])),
        _ => "unknown".to_owned(),
    }
}

fn authored(told: &Value) -> String {
    let why = text(&told["why"]);
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };
    let at = told["unix_ns"].as_u64().unwrap_or(0);
    format!("by {} {}{why}", text(&told["who"]), ago(at))
}

fn ago(unix_ns: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
    let seconds = then.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_told_as_added_removed_or_other() {
        let told = changes(&json!([
            { "field": "a", "before": null, "after": 1 },
            { "field": "b", "before": 2, "after": null },
            { "field": "c", "before": 3, "after": 4 },
        ]));
        assert_eq!(told, "+ a = 1\n- b = 2\n~ c = 3 -> 4\n");
        assert_eq!(changes(&Value::Null), "");
    }

    #[test]
    fn each_stage_has_words() {
        let told = |name: &str, chosen: &[&str]| {
            stage(&json!({
                "rollout": { "revision": 7, "chosen": chosen, "stage": { "name": name } },
                "counts": { "applied": 1, "pending": 2, "rejected": 3, "away": 4, "overridden": 5 },
            }))
        };
        for (name, chosen, expected) in [
            ("first", &[][..], "revision 7 waits for a live session"),
            ("first", &["a", "b"], "revision 7 is tried on 2 sessions first"),
            ("everywhere", &["a"], "revision 7 is everywhere"),
            (
                "settled",
                &["a"],
                "revision 7 has settled; sessions: 1 applied, 2 pending, 3 rejected, 4 away, 5 changed",
            ),
        ] {
            let got = told(name, chosen);
            assert!(got.contains(expected), "{got:?} lacks {expected:?}");
        }
    }
}
