//! Lists of the API as tables, with one thing to do with each row.

use super::call::{Failure, Json, call};
use super::island::fill;
use crate::canvas::escape;
use web_sys::Element;

/// How a value is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Words,
    /// Words of a program, as `no_data`.
    State,
    /// Its id, shortened, and the way to it.
    Session,
    /// Nanoseconds since 1970.
    Moment,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// The part that it fills.
    pub(super) part: &'static str,
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    pub(super) path: &'static str,
    /// Where in the answer the list is; empty if it is the answer.
    pub(super) list: &'static str,
    /// Label, key, kind.
    pub(super) columns: &'static [(&'static str, &'static str, Kind)],
    /// Label, method, path with the row's key in place of `{}`, and which key that is.
    pub(super) action: Option<(&'static str, &'static str, &'static str, &'static str)>,
}

/// Its place in the page, empty yet.
pub(super) fn frame(what: &Listing) -> String {
    format!(
        "<section class=\"panel\" data-testid=\"{0}\"><div class=\"panel-head\"><h2 class=\"panel-title\">{1}</h2></div>\
         <p class=\"panel-note\">{2}</p><div class=\"panel-body panel-body-flush\" data-part=\"{0}\"></div></section>",
        what.part, what.title, what.note
    )
}

/// Asks, and shows the answer. `query` begins with `?`, or is empty.
pub(super) fn load(root: &Element, what: &'static Listing, query: &str) {
    let root = root.clone();
    let then = move |answer: Result<Json, Failure>| fill(&root, what.part, &table(what, answer));
    call("GET", format!("{}{query}", what.path), None, Box::new(then));
}

/// What a button of a row asks for.
pub(super) fn act(on: &Element, then: Box<dyn FnOnce(Result<Json, Failure>)>) {
    let method = if on.get_attribute("data-act").as_deref() == Some("post") {
        "POST"
    } else {
        "DELETE"
    };
    call(
        method,
        on.get_attribute("data-path").unwrap_or_default(),
        None,
        then,
    );
}

fn table(what: &Listing, answer: Result<Json, Failure>) -> String {
    let json = match answer {
        Ok(json) => json,
        Err(failure) => return note(&failure.sentence),
    };
    let rows = if what.list.is_empty() {
        json
    } else {
        json.get(what.list)
    }
    .items();
    if rows.is_empty() {
        return note("None yet.");
    }
    let mut out = String::from("<div class=\"table-wrap\"><table class=\"table\"><thead><tr>");
    for (label, _, _) in what.columns {
        out += &format!("<th scope=\"col\">{label}</th>");
    }
    out += "<th></th></tr></thead><tbody>";
    for row in rows {
        out += "<tr>";
        for (_, key, kind) in what.columns {
            out += &format!("<td class=\"wrap\">{}</td>", told(&row, key, *kind));
        }
        out += "<td>";
        if let Some((label, method, path, key)) = what.action {
            let path = path.replace("{}", &row.text(key));
            out += &format!(
                "<button class=\"btn btn-sm\" type=\"button\" data-act=\"{}\" data-path=\"{}\">{label}</button>",
                if method == "POST" { "post" } else { "delete" },
                escape(&path)
            );
        }
        out += "</td></tr>";
    }
    out + "</tbody></table></div>"
}

fn note(words: &str) -> String {
    format!(
        "<p class=\"panel-note muted\" role=\"status\">{}</p>",
        escape(words)
    )
}

/// As markup.
fn told(row: &Json, key: &str, kind: Kind) -> String {
    let text = escape(&row.text(key));
    match kind {
        Kind::Words => text,
        Kind::State => text.replace('_', " "),
        Kind::Session => {
            let short: String = text.chars().take(8).collect();
            format!("<a class=\"mono\" href=\"/s/{text}\" title=\"{text}\">{short}</a>")
        }
        Kind::Moment => match row.number(key) {
            Some(ns) if ns > 0.0 => moment(ns / 1e6),
            _ => "–".to_owned(),
        },
    }
}

/// Year, month, day and time where the reader is.
fn moment(unix_ms: f64) -> String {
    let date = js_sys::Date::new(&unix_ms.into());
    String::from(date.to_locale_string("sv-SE", &js_sys::Object::new()))
}
