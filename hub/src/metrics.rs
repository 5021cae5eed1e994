//! `/metrics` in the text format of Prometheus (version 0.0.4): the hub's counters, its store, and the newest
//! figures of live sessions.

use crate::access::{Caller, Role};
use crate::alerts::State;
use crate::api::Problem;
use crate::hub::Hub;
use axum::Extension;
use axum::extract::State as Shared;
use axum::http::{HeaderName, header};
use heaptide_protocol::control::{SessionState, SessionSummary};
use std::fmt::Write as _;
use std::sync::Arc;

const CONTENT_TYPE: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

pub(crate) async fn metrics(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let mut text = String::new();
    counters(&mut text, &hub);
    store(&mut text, &hub);
    alerts(&mut text, &hub);
    sessions(&mut text, &hub.fleet.summaries());
    Ok((CONTENT_TYPE, text))
}

fn counters(text: &mut String, hub: &Hub) {
    for (name, help, value) in hub.stats.snapshot().named() {
        // What can become fewer again is no counter.
        let (kind, suffix) = if name == "connections" {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        head(text, &format!("heaptide_hub_{name}{suffix}"), kind, help);
        let _ = writeln!(text, "heaptide_hub_{name}{suffix} {value}");
    }
}

fn store(text: &mut String, hub: &Hub) {
    let stalled = u8::from(hub.store.health.why().is_some());
    let name = "heaptide_hub_store_stalled";
    head(text, name, "gauge", "1 while frames can't be made durable.");
    let _ = writeln!(text, "{name} {stalled}");
    let name = "heaptide_hub_queue_bytes";
    head(
        text,
        name,
        "gauge",
        "Frames that were received and are not durable yet.",
    );
    let _ = writeln!(text, "{name} {}", hub.store.waiting_bytes());
    let name = "heaptide_hub_queue_limit_bytes";
    head(text, name, "gauge", "Above it, collectors wait.");
    let _ = writeln!(text, "{name} {}", hub.config.limits.queue_bytes);
}

fn alerts(text: &mut String, hub: &Hub) {
    let name = "heaptide_hub_alerts";
    head(text, name, "gauge", "Rules at sessions, by what they stand at.");
    let counts = hub.alerts.counts();
    for (state, word) in [
        (State::Firing, "firing"),
        (State::NoData, "no_data"),
        (State::Pending, "pending"),
        (State::Resolved, "resolved"),
        (State::Ok, "ok"),
    ] {
        let count = counts.get(&state).copied().unwrap_or(0);
        let _ = writeln!(text, "{name}{{state=\"{word}\"}} {count}");
    }
    for (name, help, value) in [
        (
            "heaptide_hub_alerts_left_out",
            "Rules at sessions that are not looked at because there are too many.",
            hub.alerts.left_out(),
        ),
        (
            "heaptide_hub_alert_notices_waiting",
            "Notices that the webhook has not taken yet.",
            hub.alerts.delivery().state().waiting,
        ),
    ] {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {value}");
    }
}

fn sessions(text: &mut String, all: &[SessionSummary]) {
    let name = "heaptide_hub_sessions";
    head(text, name, "gauge", "Sessions that the hub has.");
    let count = |wanted: fn(&SessionState) -> bool| all.iter().filter(|one| wanted(&one.state)).count();
    for (state, count) in [
        ("live", count(|state| *state == SessionState::Live)),
        ("away", count(|state| matches!(state, SessionState::Away { .. }))),
        ("ended", count(|state| *state == SessionState::Ended)),
    ] {
        let _ = writeln!(text, "{name}{{state=\"{state}\"}} {count}");
    }
    let name = "heaptide_hub_stored_bytes";
    head(text, name, "gauge", "Frames of all sessions on disk.");
    let stored: u64 = all.iter().map(|one| one.stored_bytes).sum();
    let _ = writeln!(text, "{name} {stored}");
    type Read = fn(&heaptide_protocol::control::Pulse) -> f64;
    let figures: [(&str, &str, &str, Read); 7] = [
        ("rss_bytes", "gauge", "Resident memory of the program.", |pulse| {
            pulse.rss_bytes as f64
        }),
        (
            "live_bytes",
            "gauge",
            "Heap allocated since attach and not freed: an estimate from samples.",
            |pulse| pulse.live_bytes,
        ),
        (
            "live_std_error_bytes",
            "gauge",
            "Standard error of heaptide_session_live_bytes.",
            |pulse| pulse.live_std_error_bytes,
        ),
        (
            "allocated_bytes_per_second",
            "gauge",
            "Heap allocation: an estimate from samples.",
            |pulse| pulse.allocated_bytes_per_s,
        ),
        (
            "records_seen_total",
            "counter",
            "Records that the probes made.",
            |pulse| pulse.seen as f64,
        ),
        (
            "records_dropped_total",
            "counter",
            "Records lost on the way, at any hop.",
            |pulse| pulse.dropped as f64,
        ),
        (
            "collector_cpu_ratio",
            "gauge",
            "What the collector takes of one processor.",
            |pulse| f64::from(pulse.collector_cpu_permille) / 1e3,
        ),
    ];
    for (figure, kind, help, read) in figures {
        let name = format!("heaptide_session_{figure}");
        head(text, &name, kind, help);
        for one in all {
            if let (Some(pulse), SessionState::Live) = (&one.pulse, &one.state) {
                let _ = writeln!(text, "{name}{{{}}} {}", labels(one), read(pulse));
            }
        }
    }
}

fn labels(one: &SessionSummary) -> String {
    let file = one.signature.executable.rsplit('/').next().unwrap_or_default();
    let service = one.labels.get("service").unwrap_or(file);
    format!(
        "session=\"{}\",service=\"{}\",host=\"{}\"",
        one.session,
        escaped(service),
        escaped(&one.signature.host_name)
    )
}

/// A label's value: backslash, quote and line feed are written as two characters.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        text,
        "# HELP {name} {}\n# TYPE {name} {kind}",
        help.trim().replace('\n', " ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_can_hold_anything() {
        for (raw, expected) in [
            ("shop", "shop"),
            ("a\"b", "a\\\"b"),
            ("c:\\x", "c:\\\\x"),
            ("two\nlines", "two\\nlines"),
        ] {
            assert_eq!(escaped(raw), expected);
        }
    }
}
