//! Which sessions somebody means: by label, by a word, by state. And what labels there are.

use heaptide_protocol::control::{SessionState, SessionSummary};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Keys, and values of a key, that are listed; what more there are is counted.
const LISTED: usize = 200;

/// All parts must hold; of several values for one label, one must.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    labels: BTreeMap<String, Vec<String>>,
    text: String,
    states: Vec<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    Away,
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LabelCount {
    key: String,
    /// Sessions that have this label.
    sessions: usize,
    /// The most common first.
    values: Vec<ValueCount>,
    /// Values that are not listed because there are too many.
    values_left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ValueCount {
    value: String,
    sessions: usize,
    live: usize,
}

impl Filter {
    /// Takes what belongs to a filter out of the parameters of a request and leaves the rest.
    pub(crate) fn take(parameters: &mut Vec<(String, String)>) -> Result<Self, String> {
        let mut filter = Self::default();
        let mut rest = Vec::new();
        for (name, value) in parameters.drain(..) {
            match name.as_str() {
                "label" => {
                    let (key, wanted) = value
                        .split_once('=')
                        .ok_or_else(|| format!("label '{value}': expected label=KEY=VALUE"))?;
                    let values = filter.labels.entry(key.to_owned()).or_default();
                    values.push(wanted.to_owned());
                }
                "text" => filter.text = value.to_lowercase(),
                "state" => filter.states.push(match value.as_str() {
                    "live" => State::Live,
                    "away" => State::Away,
                    "ended" => State::Ended,
                    _ => return Err(format!("state '{value}': expected live, away or ended")),
                }),
                _ => rest.push((name, value)),
            }
        }
        *parameters = rest;
        Ok(filter)
    }

    pub(crate) fn matches(&self, summary: &SessionSummary) -> bool {
        let state = match summary.state {
            SessionState::Live => State::Live,
            SessionState::Away { .. } => State::Away,
            SessionState::Ended => State::Ended,
        };
        (self.states.is_empty() || self.states.contains(&state))
            && self.labels.iter().all(|(key, wanted)| {
                let got = summary.labels.get(key);
                wanted.iter().any(|wanted| got == Some(wanted))
            })
            && self.has_text(summary)
    }

    fn has_text(&self, summary: &SessionSummary) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let has = |text: &str| text.to_lowercase().contains(&self.text);
        let signature = &summary.signature;
        has(&signature.executable)
            || has(&signature.host_name)
            || has(&signature.runtime_version)
            || has(&signature.pid.to_string())
            || has(&summary.session.to_string())
            || signature.command_line.iter().any(|word| has(word))
            || summary
                .labels
                .iter()
                .any(|(key, value)| has(&format!("{key}={value}")))
    }
}

/// What nobody knows is an error, so that a typing mistake does not answer with everything.
pub(crate) fn refuse_rest(rest: &[(String, String)], known: &str) -> Result<(), String> {
    match rest.first() {
        None => Ok(()),
        Some((name, _)) => Err(format!("parameter '{name}' is not known here: expected {known}")),
    }
}

/// Every label of these sessions, with how many have it.
pub(crate) fn count_labels(sessions: &[SessionSummary]) -> Vec<LabelCount> {
    let mut keys: BTreeMap<&str, BTreeMap<&str, (usize, usize)>> = BTreeMap::new();
    for session in sessions {
        let live = usize::from(session.state == SessionState::Live);
        for (key, value) in session.labels.iter() {
            let count = keys.entry(key).or_default().entry(value).or_default();
            *count = (count.0 + 1, count.1 + live);
        }
    }
    let mut counts: Vec<LabelCount> = keys
        .into_iter()
        .map(|(key, values)| {
            let all = values.len();
            let mut values: Vec<ValueCount> = values
                .into_iter()
                .map(|(value, (sessions, live))| ValueCount {
                    value: value.to_owned(),
                    sessions,
                    live,
                })
                .collect();
            let sessions = values.iter().map(|value| value.sessions).sum();
            values.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.value.cmp(&b.value)));
            values.truncate(LISTED);
            LabelCount {
                key: key.to_owned(),
                sessions,
                values_left_out: all - values.len(),
                values,
            }
        })
        .collect();
    counts.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.key.cmp(&b.key)));
    counts.truncate(LISTED);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::store::index::LogView;
    use crate::store::meta::Meta;
    use heaptide_protocol::SessionId;

    fn summary(number: u8, labels: &[(&str, &str)], ended: bool) -> SessionSummary {
        let id = SessionId([number; 16]);
        let mut meta = Meta::unknown(id);
        meta.signature.executable = "/srv/Shop".to_owned();
        meta.signature.pid = 4242;
        if ended {
            meta.state = SessionState::Ended;
        }
        for (key, value) in labels {
            meta.labels.insert(key, value).unwrap();
        }
        Session::new(id, meta, LogView::new()).summary()
    }

    fn filter(query: &[(&str, &str)]) -> Result<Filter, String> {
        let mut parameters = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let filter = Filter::take(&mut parameters)?;
        refuse_rest(&parameters, "label, text or state")?;
        Ok(filter)
    }

    #[test]
    fn sessions_are_found_by_label_text_and_state() {
        let sessions = [
            summary(1, &[("service", "shop"), ("zone", "a")], false),
            summary(2, &[("service", "shop"), ("zone", "b")], true),
            summary(3, &[("service", "cart")], false),
        ];
        for (query, expected) in [
            (&[][..], &[1, 2, 3][..]),
            (&[("label", "service=shop")], &[1, 2]),
            (&[("label", "service=shop"), ("label", "zone=b")], &[2]),
            (
                &[("label", "service=shop"), ("label", "service=cart")],
                &[1, 2, 3],
            ),
            (&[("label", "zone=c")], &[]),
            (&[("state", "away")], &[1, 3]),
            (&[("state", "ended"), ("state", "live")], &[2]),
            (&[("text", "SHOP")], &[1, 2, 3]),
            (&[("text", "service=CA")], &[3]),
            (&[("text", "4242")], &[1, 2, 3]),
            (&[("text", "nowhere")], &[]),
        ] {
            let filter = filter(query).unwrap();
            let got: Vec<u8> = sessions
                .iter()
                .filter(|summary| filter.matches(summary))
                .map(|summary| summary.session.0[0])
                .collect();
            assert_eq!(got, expected, "{query:?}");
        }
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for (query, expected) in [
            (("label", "service"), "label 'service': expected label=KEY=VALUE"),
            (("state", "dead"), "state 'dead': expected live, away or ended"),
            (("stat", "live"), "parameter 'stat' is not known here"),
        ] {
            let got = filter(&[query]).unwrap_err();
            assert!(got.contains(expected), "{got:?} lacks {expected:?}");
        }
    }

    #[test]
    fn labels_are_counted_and_the_common_come_first() {
        let mut sessions = vec![
            summary(1, &[("service", "shop"), ("zone", "a")], false),
            summary(2, &[("service", "shop")], true),
            summary(3, &[("service", "cart")], false),
        ];
        sessions[0].state = SessionState::Live;
        let counts = count_labels(&sessions);
        let keys: Vec<_> = counts
            .iter()
            .map(|count| (count.key.as_str(), count.sessions))
            .collect();
        assert_eq!(keys, [("service", 3), ("zone", 1)]);
        let values: Vec<_> = counts[0]
            .values
            .iter()
            .map(|value| (value.value.as_str(), value.sessions, value.live))
            .collect();
        assert_eq!(values, [("shop", 2, 1), ("cart", 1, 0)]);
        let many: Vec<_> = (0..=LISTED)
            .map(|number| summary(1, &[("zone", &number.to_string())], false))
            .collect();
        let counts = count_labels(&many);
        assert_eq!((counts[0].values.len(), counts[0].values_left_out), (LISTED, 1));
    }
}
