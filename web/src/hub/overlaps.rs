//! Whether two sessions did something at the same time: the hub's verdicts, which it gives as far as clocks allow.

use super::call::{Failure, Json, call};
use super::island::{fill, say, set_value, value};
use super::listing::{Kind, Listing, load_and};
use crate::canvas::escape;
use web_sys::Element;

pub(super) static OVERLAPS: Listing = Listing {
    part: "overlaps",
    title: "Overlaps",
    note: "Whether two sessions did something at the same time. Definite: wherever within the errors of both clocks the \
           two lie. Possible: somewhere within them. Times are since each session's beginning.",
    tools: "<div class=\"panel-body toolbar\"><select class=\"select\" aria-label=\"The first session\" data-part=\"a\" \
            data-testid=\"overlap-a\"></select><select class=\"select\" aria-label=\"The second session\" data-part=\"b\" \
            data-testid=\"overlap-b\"></select><select class=\"select\" aria-label=\"What they did\" data-part=\"what\" \
            data-testid=\"overlap-what\"><option>pauses<option>collections</select><button class=\"btn btn-primary\" \
            type=\"button\" data-act=\"compare\" data-testid=\"overlap-compare\">Compare</button></div>\
            <p class=\"panel-note\" role=\"status\" data-part=\"verdict\" data-testid=\"overlap-verdict\"></p>",
    path: "/api/v1/overlaps",
    list: "rows",
    columns: &[
        ("Verdict", "verdict", Kind::Words),
        ("First", "a.after_ns", Kind::After),
        ("lasted", "a.lasted_ns", Kind::Length),
        ("its clock ±", "a.error_ns", Kind::Length),
        ("Second", "b.after_ns", Kind::After),
        ("lasted", "b.lasted_ns", Kind::Length),
        ("its clock ±", "b.error_ns", Kind::Length),
        ("Overlap at least", "least_ns", Kind::Length),
        ("at most", "most_ns", Kind::Length),
    ],
    action: None,
};

/// Fills the choice of sessions, once: what somebody has chosen stays.
pub(super) fn offer(root: &Element) {
    let root = root.clone();
    let then = move |answer: Result<Json, Failure>| {
        let sessions = answer.map(|json| json.items()).unwrap_or_default();
        let mut options = String::new();
        for session in &sessions {
            let told = |key| escape(&session.text(key));
            options += &format!(
                "<option value=\"{}\">{} · pid {} on {}</option>",
                told("session"),
                told("labels.service"),
                told("signature.pid"),
                told("signature.host_name"),
            );
        }
        fill(&root, "a", &options);
        fill(&root, "b", &options);
        if let Some(second) = sessions.get(1) {
            set_value(&root, "b", &second.text("session"));
        }
    };
    call("GET", "/api/v1/sessions".to_owned(), None, Box::new(then));
}

pub(super) fn compare(root: &Element) {
    let chosen = |name| value(root, name);
    let query = format!(
        "?limit=25&a={}&b={}&what={}",
        chosen("a"),
        chosen("b"),
        chosen("what")
    );
    let again = root.clone();
    let then = move |json: &Json| {
        let count = |key| json.text(key);
        let words = format!(
            "{} definite, {} possible{}, none for all other pairs of {} in the first and {} in the second.{}{}",
            count("definite"),
            count("possible"),
            if count("is_cut") == "yes" {
                " (at least: there were too many pairs to look at all)"
            } else {
                ""
            },
            count("a_count"),
            count("b_count"),
            if count("is_same_clock") == "yes" {
                " Both are of one boot of one machine: no error comes between them."
            } else {
                ""
            },
            if count("a_known_after_ns") == "0" && count("b_known_after_ns") == "0" {
                ""
            } else {
                " A long session's older ones are left out."
            },
        );
        say(&again, "verdict", &words);
    };
    say(root, "verdict", "");
    load_and(root, &OVERLAPS, &query, Box::new(then));
}
