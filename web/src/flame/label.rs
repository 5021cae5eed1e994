//! Names that fit: Go's full symbol names are long, and their ends tell more than their beginnings.

use std::borrow::Cow;

use super::colour::last_element;

/// Without the path of the package: `http.(*conn).serve`.
pub fn short_name(function: &str) -> &str {
    &function[last_element(function)..]
}

/// The most of a function's name that fits in this many characters: `http.(*conn).serve`, `(*conn).serve`,
/// `(*con…`. Empty if not even three do.
pub fn elide(function: &str, max_chars: usize) -> Cow<'_, str> {
    let short = short_name(function);
    if fits(short, max_chars) {
        return Cow::Borrowed(short);
    }
    let bare = match short.split_once('.') {
        Some((_, name)) if !name.is_empty() => name,
        _ => short,
    };
    if fits(bare, max_chars) {
        return Cow::Borrowed(bare);
    }
    if max_chars < 3 {
        return Cow::Borrowed("");
    }
    let cut = bare
        .char_indices()
        .nth(max_chars - 1)
        .map_or(bare.len(), |(at, _)| at);
    Cow::Owned(format!("{}…", &bare[..cut]))
}

fn fits(text: &str, max_chars: usize) -> bool {
    text.len() <= max_chars || text.chars().nth(max_chars).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (function, max_chars, expect) in [
            ("net/http.(*conn).serve", 40, "http.(*conn).serve"),
            ("net/http.(*conn).serve", 18, "http.(*conn).serve"),
            ("net/http.(*conn).serve", 17, "(*conn).serve"),
            ("net/http.(*conn).serve", 12, "(*conn).ser…"),
            ("net/http.(*conn).serve", 3, "(*…"),
            ("net/http.(*conn).serve", 2, ""),
            (
                "slices.Grow[github.com/a/b.T]",
                40,
                "slices.Grow[github.com/a/b.T]",
            ),
            ("slices.Grow[github.com/a/b.T]", 9, "Grow[git…"),
            ("main.größe", 10, "main.größe"),
            ("main.größe", 5, "größe"),
            ("main.größe", 4, "grö…"),
            ("0x4a5f10", 5, "0x4a…"),
            ("weird.", 3, "we…"),
            ("", 10, ""),
        ] {
            assert_eq!(elide(function, max_chars), expect, "{function} {max_chars}");
        }
    }
}
