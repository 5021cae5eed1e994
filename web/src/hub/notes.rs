//! Notes of people on a session: what there is, and a field for another one.

use super::call::{Failure, Json, call, object};
use super::island::{fill, island, say, set_value, value};
use super::{span, span_words};
use crate::app::history;
use crate::canvas::escape;
use crate::store::Store;
use crate::url::Place;
use heaptide_analysis::views::Window;
use leptos::prelude::*;
use web_sys::Element;

const MARKUP: &str = "<section class=\"panel\"><div class=\"panel-head\"><h2 class=\"panel-title\">Notes</h2>\
    <span class=\"muted\">on what is marked in the timeline, or on all of it</span></div>\
    <div class=\"panel-body\"><ul class=\"notes\" data-part=\"notes\" data-testid=\"notes\"></ul>\
    <div class=\"row\"><input class=\"input fill\" maxlength=\"2000\" placeholder=\"What happened here?\" \
    aria-label=\"A note\" data-part=\"text\" data-testid=\"note-text\">\
    <button class=\"btn\" type=\"button\" data-act=\"add\" data-testid=\"note-add\">Add</button></div>\
    <p class=\"muted\" role=\"status\" data-part=\"said\"></p></div></section>";

pub(crate) fn notes_panel(store: Store) -> AnyView {
    let hear = move |root: &Element, act: &str, on: &Element| {
        let attribute = |name: &str| on.get_attribute(name).unwrap_or_default();
        let number = |name: &str| attribute(name).parse::<u64>().unwrap_or(0);
        let (root_again, path) = (root.clone(), path(store));
        let then = move |answer: Result<Json, Failure>| match answer {
            Ok(_) => {
                say(&root_again, "said", "");
                set_value(&root_again, "text", "");
                load(store, &root_again);
            }
            Err(failure) => say(&root_again, "said", &failure.sentence),
        };
        match (act, span(store)) {
            ("add", Some((window, _))) => {
                let body = object(
                    &[("text", value(root, "text").trim())],
                    &[
                        ("from_ns", &window.from_ns.to_string()),
                        ("to_ns", &window.to_ns.to_string()),
                    ],
                );
                call("POST", path, Some(body), Box::new(then));
            }
            ("delete", _) => {
                let path = format!(
                    "{path}/{}?revision={}",
                    attribute("data-id"),
                    attribute("data-revision")
                );
                call("DELETE", path, None, Box::new(then));
            }
            ("show", _) => {
                let window = Window {
                    from_ns: number("data-from"),
                    to_ns: number("data-to"),
                };
                store.look(|view| view.selection = Some(window).filter(|w| w.from_ns < w.to_ns));
            }
            _ => {}
        }
    };
    let markup = if history::is_shared() {
        MARKUP.replace("class=\"row\"", "hidden")
    } else {
        MARKUP.to_owned()
    };
    island(markup, Box::new(move |root| load(store, root)), Box::new(hear))
}

fn path(store: Store) -> String {
    let session = store.place.peek(Place::session_id);
    session.map_or_else(String::new, |session| {
        format!("/api/v1/sessions/{session}/annotations")
    })
}

fn load(store: Store, root: &Element) {
    let root = root.clone();
    let shared = history::is_shared();
    let then = move |answer: Result<Json, Failure>| {
        let zero_ns = span(store).map_or(0, |(_, zero_ns)| zero_ns);
        let list = |json: Json| if shared { json.get("annotations") } else { json }.items();
        let notes = answer.map(list).unwrap_or_default();
        let lines: Vec<String> = notes.iter().map(|note| line(note, zero_ns)).collect();
        fill(&root, "notes", &lines.concat());
    };
    let path = match history::secret() {
        Some(secret) => format!("/api/v1/shared/{secret}"),
        None => path(store),
    };
    call("GET", path, None, Box::new(then));
}

fn line(note: &Json, zero_ns: u64) -> String {
    let at = |key: &str| note.number(key).unwrap_or_default() as u64;
    let (from_ns, to_ns) = (at("from_ns"), at("to_ns"));
    format!(
        "<li><button class=\"btn btn-ghost btn-sm\" type=\"button\" data-act=\"show\" data-from=\"{from_ns}\" \
         data-to=\"{to_ns}\">{}</button> {} <span class=\"muted\">{}</span> <button class=\"btn btn-ghost btn-sm\" \
         type=\"button\" data-act=\"delete\" data-id=\"{}\" data-revision=\"{}\">Delete</button></li>",
        span_words(Window { from_ns, to_ns }, zero_ns),
        escape(&note.text("text")),
        escape(&note.text("author")),
        escape(&note.text("id")),
        escape(&note.text("revision")),
    )
}
