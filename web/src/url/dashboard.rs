//! Dashboards in addresses: `/d` shows sums as its query says, `/d/NAME` as they were saved.
//!
//! A saved one is such a query, versioned as links are, so that one from last year opens as its link does. Pure.

use super::percent::encode;
use super::{Range, ViewState};

const MAX_NAME_BYTES: usize = 63;

/// As the hub wants names.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

/// The name that a title gives: its letters and digits, and a `-` for whatever stands between them.
pub fn name_of(title: &str) -> String {
    let mut name = String::new();
    for letter in title.chars() {
        if name.len() == MAX_NAME_BYTES {
            break;
        }
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    match name.trim_end_matches('-') {
        // A title may be in any script.
        "" => "dashboard".to_owned(),
        name => name.to_owned(),
    }
}

/// What to ask the hub's `/api/v1/fleet/range` for: up to five minutes of live sessions, from their pulses; more, of all
/// that is stored.
pub fn fleet_range(view: &ViewState) -> String {
    // Pulses come once a second: a shorter step would miss some of a session's.
    let mut query = match view.range {
        Range::Minute => "?seconds=60&step_s=2",
        Range::FiveMinutes => "?step_s=5",
        Range::HalfHour => "?seconds=1800",
        Range::Day => "?seconds=86400",
        Range::All => "?seconds=63072000",
    }
    .to_owned();
    for (key, value) in [("&by=", &view.by), ("&text=", &view.filter)] {
        if !value.is_empty() {
            query.push_str(key);
            encode(value, &mut query);
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_give_names_that_the_hub_takes() {
        for (title, expected) in [
            ("Shop, by version", "shop-by-version"),
            ("  -- A & B --", "a-b"),
            ("Übersicht 2", "bersicht-2"),
            ("概要", "dashboard"),
            ("", "dashboard"),
            ("x".repeat(200).as_str(), "x".repeat(63).as_str()),
            (format!("{} y", "x".repeat(62)).as_str(), "x".repeat(62).as_str()),
        ] {
            let name = name_of(title);
            assert_eq!(name, expected, "{title}");
            assert!(is_name(&name), "{name}");
        }
        for other in ["", "A", "a b", "a/b", "a.b", "ä", "x".repeat(64).as_str()] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn the_hub_is_asked_for_what_the_view_says() {
        let cases = [
            (Range::FiveMinutes, "", "", "?step_s=5"),
            (Range::HalfHour, "", "", "?seconds=1800"),
            (Range::Day, "host", "", "?seconds=86400&by=host"),
            (Range::All, "host", "", "?seconds=63072000&by=host"),
            (
                Range::Minute,
                "service",
                "zone=a b&c",
                "?seconds=60&step_s=2&by=service&text=zone%3Da%20b%26c",
            ),
        ];
        for (range, by, filter, expected) in cases {
            let view = ViewState {
                range,
                by: by.to_owned(),
                filter: filter.to_owned(),
                ..ViewState::default()
            };
            assert_eq!(fleet_range(&view), expected);
        }
    }
}
