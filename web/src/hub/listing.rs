//! Lists of the API as tables, with one thing to do with each row.

use super::call::{Failure, Json, call};
use crate::canvas::dom::{part, set_attribute};
use crate::canvas::escape;
use crate::chart::{spark, steps};
use crate::format::{self, TimeBase};
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
    /// Nanoseconds since the beginning of a session.
    After,
    /// Nanoseconds.
    Length,
    /// The title of a dashboard, and the way to it.
    Dashboard,
    /// The label's value that a group of sessions shares.
    Group,
    /// The newest of a group's sums of bytes, with its error where it is an estimate that knows it.
    Sum,
    /// All of them, as a line.
    Sums,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// The part that it fills.
    pub(super) part: &'static str,
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    /// Markup between the note and the table: what the question is asked with.
    pub(super) tools: &'static str,
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
         <p class=\"panel-note\">{2}</p>{3}<div class=\"panel-body panel-body-flush\" data-part=\"{0}\"></div></section>",
        what.part, what.title, what.note, what.tools
    )
}

/// Asks, and shows the answer. `query` begins with `?`, or is empty.
pub(super) fn load(root: &Element, what: &'static Listing, query: &str) {
    load_and(root, what, query, Box::new(|_| ()));
}

/// The same, and `then` with the answer, if there is one.
pub(super) fn load_and(root: &Element, what: &'static Listing, query: &str, then: Box<dyn FnOnce(&Json)>) {
    const ASKED: &str = "data-asked";
    let Some(to) = part(root, what.part) else {
        return;
    };
    // Answers may overtake each other.
    set_attribute(&to, ASKED, Some(query));
    let asked = query.to_owned();
    let told = move |answer: Result<Json, Failure>| {
        if to.get_attribute(ASKED) == Some(asked) {
            if let Ok(json) = &answer {
                then(json);
            }
            to.set_inner_html(&table(what, answer));
        }
    };
    call("GET", format!("{}{query}", what.path), None, Box::new(told));
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
    let all = match answer {
        Ok(json) => json,
        Err(failure) => return note(&failure.sentence),
    };
    let rows = match what.list {
        "" => all.items(),
        list => all.get(list).items(),
    };
    if rows.is_empty() {
        return note("None.");
    }
    let mut out = String::from("<div class=\"table-wrap\"><table class=\"table\"><thead><tr>");
    for (label, _, kind) in what.columns {
        out += &format!("<th scope=\"col\" class=\"{}\">{label}</th>", class(*kind));
    }
    out += "<th></th></tr></thead><tbody>";
    for row in rows {
        out += "<tr>";
        for (_, key, kind) in what.columns {
            let told = told(&all, &row, key, *kind);
            out += &format!("<td class=\"{}\">{told}</td>", class(*kind));
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
    out += "</tbody></table></div>";
    let left_out = all.number(&format!("{}_left_out", what.list)).unwrap_or_default();
    if left_out > 0.0 {
        out += &note(&format!("{} more are left out.", format::fixed(left_out, 0)));
    }
    out
}

fn note(words: &str) -> String {
    format!(
        "<p class=\"panel-note muted\" role=\"status\">{}</p>",
        escape(words)
    )
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::After | Kind::Length | Kind::Sum => "num",
        _ => "wrap",
    }
}

/// As markup.
fn told(all: &Json, row: &Json, key: &str, kind: Kind) -> String {
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
        Kind::After => format::elapsed_to(TimeBase::default(), ns(row, key), 1_000_000),
        Kind::Length => format::duration(ns(row, key)),
        Kind::Dashboard => format!("<a href=\"/d/{}\">{text}</a>", escape(&row.text("name"))),
        Kind::Group => {
            let by = all.text("by.0");
            match row.text(&format!("labels.{by}")) {
                _ if by.is_empty() => "all".to_owned(),
                value if value.is_empty() => format!("no {}", escape(&by)),
                value => escape(&value),
            }
        }
        Kind::Sum => newest(all, row, key),
        Kind::Sums => {
            let (from, to, step) = bounds(all);
            let points: Vec<(f64, f64)> = row
                .get("points")
                .items()
                .iter()
                .filter_map(|point| Some((point.number("unix_s")?, point.number(key)?)))
                .collect();
            spark(&steps(&points, from, to, step), "The same over time")
        }
    }
}

fn ns(row: &Json, key: &str) -> u64 {
    row.number(key).unwrap_or_default() as u64
}

/// What the points of an answer lie between, the second that runs left out, and how far apart.
fn bounds(all: &Json) -> (f64, f64, f64) {
    let at = |key| all.number(key).unwrap_or_default();
    (at("from_unix_s"), at("to_unix_s") - 1.0, at("step_s"))
}

/// Of the newest step that is over: one that runs may still lack some sessions. Nothing of what ended before.
fn newest(all: &Json, row: &Json, key: &str) -> String {
    let (_, to, step) = bounds(all);
    let points = row.get("points").items();
    let is_newest = |point: &&Json| {
        let until = point.number("unix_s").map(|at| at + step);
        until.is_some_and(|until| until <= to && to < until + 2.0 * step)
    };
    let Some(point) = points.iter().rev().find(is_newest) else {
        return "–".to_owned();
    };
    let value = point.number(key).unwrap_or_default();
    match key {
        "live_bytes" => {
            let std_error = point.number("live_std_error_bytes").unwrap_or_default();
            format!(
                "{} <span class=\"muted\">{}</span>",
                format::bytes(value),
                format::error_words(value, std_error)
            )
        }
        "rss_bytes" => format::bytes(value),
        _ => format::bytes_per_s(value),
    }
}

/// Year, month, day and time where the reader is.
fn moment(unix_ms: f64) -> String {
    let date = js_sys::Date::new(&unix_ms.into());
    String::from(date.to_locale_string("sv-SE", &js_sys::Object::new()))
}
