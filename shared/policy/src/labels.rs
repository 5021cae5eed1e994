//! Labels: what a session is known by in a fleet, and selectors that choose sessions by them.
//!
//! A handful of words per session, bounded, so that everything that lists sessions stays small.

use crate::pairs::Pairs;
use serde::{Deserialize, Serialize};

/// A session's labels, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Pairs);

/// Labels that a session must have, with these values; none is every session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Selector(
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, String>")
    )]
    Pairs,
);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    #[error("label '{got}': expected KEY=VALUE")]
    Form { got: String },
    #[error(
        "label key '{got}': expected 1 to {max} lower-case letters, digits, '.', '_', '-' or '/', beginning with a \
         letter"
    )]
    Key { got: String, max: usize },
    #[error("value of label '{key}' has {got} bytes: expected 1 to {max}, without control characters")]
    Value { key: String, got: usize, max: usize },
    #[error("{got} labels: expected at most {max}")]
    TooMany { got: usize, max: usize },
}

pub const MAX_LABELS: usize = 32;
const MAX_KEY_BYTES: usize = 63;
const MAX_VALUE_BYTES: usize = 255;

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Adds one, or replaces the value that it had.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), LabelError> {
        check(key, value)?;
        let got = self.0.len() + usize::from(self.0.get(key).is_none());
        if got > MAX_LABELS {
            return Err(LabelError::TooMany { got, max: MAX_LABELS });
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Adds one that a person has not given, if it can be one; text from a host may be anything.
    pub fn suggest(&mut self, key: &str, value: &str) {
        if self.get(key).is_some() {
            return;
        }
        let mut text: String = value.chars().filter(|letter| !letter.is_control()).collect();
        while text.len() > MAX_VALUE_BYTES {
            text.pop();
        }
        // What is not known gives no label, and a full set keeps what the person said.
        let _ = self.insert(key, &text);
    }

    /// `KEY=VALUE`, as on a command line.
    pub fn parse(pair: &str) -> Result<(String, String), LabelError> {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| LabelError::Form { got: shown(pair) })?;
        check(key, value)?;
        Ok((key.to_owned(), value.to_owned()))
    }

    /// For labels that came over a wire.
    pub fn validate(&self) -> Result<(), LabelError> {
        validate(&self.0)
    }
}

impl Selector {
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    pub fn validate(&self) -> Result<(), LabelError> {
        validate(&self.0)
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl FromIterator<(String, String)> for Selector {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

fn validate(pairs: &Pairs) -> Result<(), LabelError> {
    if pairs.len() > MAX_LABELS {
        return Err(LabelError::TooMany {
            got: pairs.len(),
            max: MAX_LABELS,
        });
    }
    pairs.iter().try_for_each(|(key, value)| check(key, value))
}

fn check(key: &str, value: &str) -> Result<(), LabelError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    let well_formed = key.len() <= MAX_KEY_BYTES
        && key.bytes().all(allowed)
        && key.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if !well_formed {
        return Err(LabelError::Key {
            got: shown(key),
            max: MAX_KEY_BYTES,
        });
    }
    if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(LabelError::Value {
            key: key.to_owned(),
            got: value.len(),
            max: MAX_VALUE_BYTES,
        });
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_no_label_is_told_with_what_was_expected() {
        let long = format!("a={}", "x".repeat(MAX_VALUE_BYTES + 1));
        for (pair, expected) in [
            ("service", "label 'service': expected KEY=VALUE"),
            ("=shop", "label key ''"),
            ("Service=shop", "label key 'Service'"),
            ("1a=shop", "label key '1a'"),
            ("a b=shop", "label key 'a b'"),
            ("a=", "has 0 bytes"),
            ("a=\u{7}", "without control characters"),
            (long.as_str(), "has 256 bytes: expected 1 to 255"),
        ] {
            let got = Labels::parse(pair).unwrap_err().to_string();
            assert!(got.contains(expected), "{pair:?}: {got:?} lacks {expected:?}");
        }
        let parsed = Labels::parse("k8s.io/app=shop=1").unwrap();
        assert_eq!(parsed, ("k8s.io/app".to_owned(), "shop=1".to_owned()));
    }

    #[test]
    fn a_full_set_takes_no_more_and_what_a_person_said_stays() {
        let mut full = Labels::default();
        for number in 0..MAX_LABELS {
            full.insert(&format!("k{number}"), "v").unwrap();
        }
        assert_eq!(full.insert("k0", "w"), Ok(()));
        assert!(matches!(
            full.insert("more", "v"),
            Err(LabelError::TooMany { .. })
        ));
        full.suggest("host", "a");
        assert_eq!(full.get("host"), None);
        let mut few = labels(&[("service", "mine")]);
        few.suggest("service", "theirs");
        few.suggest("host", "");
        few.suggest("version", &"ä\n".repeat(MAX_VALUE_BYTES));
        assert_eq!(few.get("service"), Some("mine"));
        assert_eq!(few.get("host"), None);
        assert_eq!(few.get("version").map(str::len), Some(254));
        assert_eq!(few.validate(), Ok(()));
    }

    #[test]
    fn a_selector_asks_for_all_of_its_labels() {
        let shop = labels(&[("service", "shop"), ("host", "a")]);
        for (wanted, expected) in [
            (&[][..], true),
            (&[("service", "shop")], true),
            (&[("service", "shop"), ("host", "a")], true),
            (&[("service", "shop"), ("host", "b")], false),
            (&[("zone", "x")], false),
        ] {
            let selector = Selector(labels(wanted).0);
            assert_eq!(selector.matches(&shop), expected, "{wanted:?}");
        }
    }
}
