//! What a webhook is sent: `docs/alerts.md` describes it.

use super::machine::{Alert, Ending, Notice};
use super::rule::{Figure, FigureUnit, Rule, When};
use heaptide_policy::Labels;
use heaptide_protocol::control::SessionSummary;
use serde::{Deserialize, Serialize};

/// Grows when a receiver would have to read it in another way.
const VERSION: u32 = 1;

/// What was said when an alert began to fire; its end is told with the same, though the rule may be gone by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(super) firing_since_unix_ns: u64,
    pub(super) rule: ToldRule,
    pub(super) session: ToldSession,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToldRule {
    pub(super) name: String,
    pub(super) note: String,
    pub(super) figure: Figure,
    pub(super) unit: FigureUnit,
    pub(super) when: When,
    pub(super) threshold: f64,
    pub(super) for_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToldSession {
    id: String,
    labels: Labels,
    host_name: String,
    executable: String,
    pid: u32,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    version: u32,
    id: &'a str,
    event: &'static str,
    /// Of an end.
    why: Option<Ending>,
    at_unix_ns: u64,
    /// The last figure that was known, and half its 99 % interval.
    value: Option<f64>,
    error: Option<f64>,
    #[serde(flatten)]
    told: &'a Told,
}

impl Told {
    pub(super) fn new(rule: &Rule, session: SessionSummary, firing_since_unix_ns: u64) -> Self {
        Self {
            firing_since_unix_ns,
            rule: ToldRule {
                name: rule.name.clone(),
                note: rule.note.clone(),
                unit: rule.figure.unit(),
                figure: rule.figure.clone(),
                when: rule.when,
                threshold: rule.threshold,
                for_seconds: rule.for_seconds,
            },
            session: ToldSession {
                id: session.session.to_string(),
                labels: session.labels,
                host_name: session.signature.host_name,
                executable: session.signature.executable,
                pid: session.signature.pid,
            },
        }
    }
}

/// Its id, and the JSON.
pub(super) fn body(
    notice: Notice,
    alert: &Alert,
    told: &Told,
) -> Result<(String, String), serde_json::Error> {
    let (event, why) = match notice {
        Notice::Firing => ("firing", None),
        Notice::Resolved(why) => ("resolved", Some(why)),
    };
    // An alert fires once at a moment in a session; a rule's name may hold what no header can.
    let id = format!("{}-{}-{event}", told.session.id, told.firing_since_unix_ns);
    let id = format!("{id}-{:08x}", short_hash(told.rule.name.as_bytes()));
    let body = Body {
        version: VERSION,
        id: &id,
        event,
        why,
        at_unix_ns: alert.since_unix_ns,
        value: alert.value,
        error: alert.error,
        told,
    };
    let text = serde_json::to_string(&body)?;
    Ok((id, text))
}

fn short_hash(bytes: &[u8]) -> u32 {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
