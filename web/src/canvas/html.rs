//! Text inside markup.

/// Markup that reads as this text, in an element or between double quotes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A command or a report, with a button that copies it.
pub fn copyable(words: &str) -> String {
    format!(
        "<div class=\"code\"><pre>{}</pre><button class=\"copy\" type=\"button\">Copy</button></div>",
        escape(words)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_becomes_markup() {
        for (text, expect) in [
            ("main.F", "main.F"),
            (
                "a<img src=x onerror=alert(1)>",
                "a&lt;img src=x onerror=alert(1)&gt;",
            ),
            ("\"&'größe", "&quot;&amp;&#39;größe"),
        ] {
            assert_eq!(escape(text), expect);
        }
    }
}
