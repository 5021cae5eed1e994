//! The stylesheet's colours can be told apart in both themes: WCAG 2.2, 1.4.3 (text, 4.5) and 1.4.11
//! (graphics and controls, 3). Reads `style.css` itself, so that a changed colour is checked.

use std::collections::HashMap;

const STYLE: &str = include_str!("../static/style.css");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Theme {
    Light,
    Dark,
}

/// Ink on paper, and the least ratio.
const PAIRS: &[(&[&str], &[&str], f64)] = &[
    (
        &["--text", "--text-muted", "--text-faint"],
        &["--bg", "--surface", "--surface-2", "--surface-3"],
        4.5,
    ),
    (&["--text", "--accent"], &["--accent-soft"], 4.5),
    (
        &["--accent", "--bad", "--good", "--warn"],
        &["--bg", "--surface", "--surface-2"],
        4.5,
    ),
    (&["--accent-text"], &["--accent-strong"], 4.5),
    (&["--good", "--text"], &["--good-soft"], 4.5),
    (&["--warn", "--text"], &["--warn-soft"], 4.5),
    (&["--bad", "--text"], &["--bad-soft"], 4.5),
    (
        &["--text-muted"],
        &["--accent-soft", "--good-soft", "--warn-soft", "--bad-soft"],
        4.5,
    ),
    (&["--flame-text"], FLAMES, 4.5),
    (&["--flame-text-dim"], &["--flame-dim"], 4.5),
    (&["--chart-mark-text"], &["--surface"], 4.5),
    (
        &["--focus", "--control-line", "--accent-strong"],
        &["--bg", "--surface"],
        3.0,
    ),
    (
        &[
            "--chart-live",
            "--chart-rss",
            "--chart-alloc",
            "--chart-freed",
            "--chart-pause",
            "--chart-mark",
        ],
        &["--bg", "--surface"],
        3.0,
    ),
];

const FLAMES: &[&str] = &[
    "--flame-0",
    "--flame-1",
    "--flame-2",
    "--flame-3",
    "--flame-4",
    "--flame-5",
    "--flame-6",
    "--flame-7",
    "--flame-runtime",
];

#[test]
fn every_pair_has_enough_contrast() {
    let tokens = tokens();
    let mut poor = Vec::new();
    for (inks, papers, least) in PAIRS {
        for theme in [Theme::Light, Theme::Dark] {
            for (ink, paper) in inks
                .iter()
                .flat_map(|ink| papers.iter().map(move |paper| (ink, paper)))
            {
                let ratio = contrast(colour(&tokens, ink, theme), colour(&tokens, paper, theme));
                if ratio < *least {
                    poor.push(format!(
                        "{theme:?}: {ink} on {paper} is {ratio:.2}, needs {least}"
                    ));
                }
            }
        }
    }
    assert!(poor.is_empty(), "{}", poor.join("\n"));
}

#[test]
fn the_measure_itself() {
    for (one, other, expect) in [
        ([0; 3], [255; 3], 21.0),
        ([255; 3], [255; 3], 1.0),
        ([0x76; 3], [255; 3], 4.54),
    ] {
        assert!((contrast(one, other) - expect).abs() < 0.01);
    }
}

/// The first definition of each token: later ones are for readers who asked for more contrast.
fn tokens() -> HashMap<&'static str, &'static str> {
    let mut tokens = HashMap::new();
    for line in STYLE.lines() {
        if let Some((name, value)) = line.trim().split_once(": ")
            && name.starts_with("--")
            && let Some(value) = value.strip_suffix(';')
        {
            tokens.entry(name).or_insert(value);
        }
    }
    tokens
}

fn colour(tokens: &HashMap<&str, &str>, name: &str, theme: Theme) -> [u8; 3] {
    let value = tokens
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not in style.css"));
    resolve(tokens, value, theme)
}

fn resolve(tokens: &HashMap<&str, &str>, value: &str, theme: Theme) -> [u8; 3] {
    let inside = |prefix: &str| value.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(both) = inside("light-dark(") {
        let (light, dark) = both
            .split_once(", ")
            .unwrap_or_else(|| panic!("{value} has no two colours"));
        return resolve(tokens, if theme == Theme::Light { light } else { dark }, theme);
    }
    if let Some(name) = inside("var(") {
        return colour(tokens, name, theme);
    }
    let hex = value
        .strip_prefix('#')
        .unwrap_or_else(|| panic!("{value} is not an opaque colour"));
    let bits = u32::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{value} is no colour"));
    [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// WCAG 2.2, "relative luminance".
fn luminance(colour: [u8; 3]) -> f64 {
    let [red, green, blue] = colour.map(|byte| {
        let value = f64::from(byte) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}
