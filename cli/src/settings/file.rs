//! A file of settings: TOML, one flat table, the flags' names as keys.

use anyhow::{Context as _, bail};
use std::path::Path;
use toml::Value;

/// One setting as text, a list as several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) texts: Vec<String>,
    /// From 1; 0 if it is not known.
    pub(super) line: usize,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the settings in {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let table: toml::Table = text.parse()?;
    table
        .into_iter()
        .map(|(name, value)| {
            let line = line_of(text, &name);
            let texts = match value {
                Value::Array(items) => items.into_iter().map(|item| scalar(&name, line, item)).collect(),
                other => scalar(&name, line, other).map(|text| vec![text]),
            };
            texts.map(|texts| Entry { name, texts, line })
        })
        .collect()
}

fn scalar(name: &str, line: usize, value: Value) -> anyhow::Result<String> {
    Ok(match value {
        Value::String(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        other => bail!(
            "line {line}: {name} is a {}: expected text, a whole number, true, false, or a list of these",
            other.type_str()
        ),
    })
}

fn line_of(text: &str, name: &str) -> usize {
    let is_it = |line: &str| {
        let rest = line.trim_start().trim_start_matches('[');
        let rest = rest.trim_start_matches(['"', '\'']).strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-'))
    };
    text.lines().position(is_it).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_every_form_are_read_with_their_lines() {
        let text = "# a hub\nlisten = \"0.0.0.0:7070\"\n\nkeep-bytes = 1024\nrequire-token = true\nallow-host = [\"a\", \"b\"]\n";
        let entry = |name: &str, texts: &[&str], line| Entry {
            name: name.to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            line,
        };
        let mut got = parse(text).unwrap();
        got.sort_by_key(|entry| entry.line);
        assert_eq!(
            got,
            [
                entry("listen", &["0.0.0.0:7070"], 2),
                entry("keep-bytes", &["1024"], 4),
                entry("require-token", &["true"], 5),
                entry("allow-host", &["a", "b"], 6),
            ]
        );
    }

    #[test]
    fn what_can_not_be_a_setting_is_told_with_its_line() {
        for (text, expected) in [
            ("listen = ", "line 1"),
            ("listen = \"a\"\nlisten = \"b\"", "line 2"),
            ("a = 1\nkeep-for = 1.5", "line 2: keep-for is a float"),
            ("[tls]\ncert = \"a\"", "line 1: tls is a table"),
            ("allow-host = [[\"a\"]]", "line 1: allow-host is a array"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{text:?}: {error:?} lacks {expected:?}");
        }
    }
}
