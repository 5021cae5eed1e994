//! Sums over the fleet by label, and the dashboards that a team keeps of them.
//!
//! What is shown is in the address, as on the fleet's page. A dashboard is such an address under a title; the hub
//! refuses a change that was not made from the newest revision, so nobody's is lost.

use super::call::{Failure, Json, call, object};
use super::island::{fill, island, revision, say, set_value, value};
use super::listing::{Kind, Listing, frame, load};
use crate::canvas::escape;
use crate::pages::{filter_box, group_box, range_picker};
use crate::store::Store;
use crate::url::{Page, Place, Range, ViewState, fleet_range, name_of};
use heaptide_protocol::control::SessionState;
use leptos::prelude::*;
use std::cell::RefCell;
use web_sys::Element;

/// How old sums may get, in milliseconds: those of the last minutes, and those that the hub reads files for.
const FRESH_MS: [f64; 2] = [5_000.0, 20_000.0];

static SUMS: Listing = Listing {
    part: "sums",
    title: "Sums by label",
    note: "Up to 5 min of live sessions, longer of all that is stored. Live heap and allocation are estimates from \
           samples, ± is the error of the sum at 99 %; RSS is read from the system.",
    tools: "",
    path: "/api/v1/fleet/range",
    list: "groups",
    columns: &[
        ("Group", "", Kind::Group),
        ("Sessions", "sessions", Kind::Words),
        ("Live heap", "live_bytes", Kind::Sum),
        ("over time", "live_bytes", Kind::Sums),
        ("RSS", "rss_bytes", Kind::Sum),
        ("over time", "rss_bytes", Kind::Sums),
        ("Allocation", "allocated_bytes_per_s", Kind::Sum),
        ("over time", "allocated_bytes_per_s", Kind::Sums),
    ],
    action: None,
};

static SAVED: Listing = Listing {
    part: "saved",
    title: "Saved dashboards",
    note: "Grouping, search and range under a title, for all who use this hub.",
    tools: "",
    path: "/api/v1/dashboards",
    list: "",
    columns: &[
        ("Title", "title", Kind::Dashboard),
        ("Revision", "revision", Kind::Words),
        ("Changed", "unix_ns", Kind::Moment),
        ("By", "who", Kind::Words),
    ],
    action: None,
};

const FORM: &str = "<section class=\"panel\"><div class=\"panel-head\"><h2 class=\"panel-title\">Save this view</h2>\
    <span class=\"muted revision\" data-part=\"revision\" data-testid=\"dashboard-revision\"></span></div>\
    <div class=\"panel-body\"><div class=\"toolbar\"><input class=\"input fill\" maxlength=\"200\" placeholder=\"Title\" \
    aria-label=\"Title\" data-part=\"title\" data-testid=\"dashboard-title\"><button class=\"btn btn-primary\" type=\"button\" \
    data-act=\"save\" data-testid=\"dashboard-save\">Save</button><button class=\"btn\" type=\"button\" data-act=\"new\" \
    data-open>Save as a new one</button><button class=\"btn btn-danger\" type=\"button\" data-act=\"delete\" \
    data-open data-testid=\"dashboard-delete\">Delete</button></div><p class=\"field-hint\" role=\"status\" \
    data-part=\"said\" data-testid=\"dashboard-said\"></p></div></section>";

pub(crate) fn dashboards_page(store: Store) -> AnyView {
    let markup = [
        "<div class=\"stack\">",
        &frame(&SUMS),
        FORM,
        &frame(&SAVED),
        "</div>",
    ]
    .concat();
    // What can be done with one that is open.
    let markup = match name(store).as_str() {
        "" => markup.replace("data-open", "hidden"),
        _ => markup,
    };
    let mounted = move |root: &Element| {
        load(root, &SAVED, "");
        if !name(store).is_empty() {
            // A link with a view of its own shows that one.
            let is_plain = store.place.peek(|place| place.view == ViewState::default());
            open(store, root, is_plain);
        }
        follow(store, root.clone());
    };
    let hear = move |root: &Element, what: &str, on: &Element| match what {
        "show" => {
            store.go(Place::dashboards(
                on.get_attribute("data-name").unwrap_or_default(),
            ));
            open(store, root, true);
        }
        "delete" if on.text_content().as_deref() == Some("Delete") => {
            on.set_text_content(Some("Delete it for all"));
        }
        "delete" => delete(store, root),
        what => save(store, root, what == "new"),
    };
    view! {
        <div class="page page-wide" data-testid="dashboards">
            <div class="page-head">
                <h1>"Dashboards"</h1>
                <span class="spacer"></span>
                {group_box(store)}
                {range_picker(store, &Range::ALL)}
                {filter_box(store, "Filter sessions")}
            </div>
            {island(markup, Box::new(mounted), Box::new(hear))}
        </div>
    }
    .into_any()
}

/// Of the dashboard that is open.
fn name(store: Store) -> String {
    store.place.peek(|place| match &place.page {
        Page::Dashboards { name } => name.clone(),
        _ => String::new(),
    })
}

fn path(name: &str) -> String {
    format!("{}/{name}", SAVED.path)
}

/// Asks for the sums whenever something else is to be shown, a session comes or goes, or the last ones are old.
fn follow(store: Store, root: Element) {
    let asked = RefCell::new(String::new());
    Effect::new(move || {
        let live = store.fleet.with(|fleet| {
            let rows = fleet.iter().flatten();
            rows.filter(|row| row.summary.state == SessionState::Live).count()
        });
        let (query, is_long) = store.place.with(|place| {
            let range = place.view.range;
            (
                fleet_range(&place.view),
                !matches!(range, Range::Minute | Range::FiveMinutes),
            )
        });
        let turn = (js_sys::Date::now() / FRESH_MS[usize::from(is_long)]) as u64;
        let question = format!("{query} {live} {turn}");
        if asked.replace(question.clone()) != question {
            load(&root, &SUMS, &query);
        }
    });
}

/// Fetches the dashboard that is open; with `looks`, to look as it does.
fn open(store: Store, root: &Element, looks: bool) {
    let (root, asked) = (root.clone(), name(store));
    let path = path(&asked);
    let then = move |answer: Result<Json, Failure>| match answer {
        Ok(json) => {
            show(&root, &json);
            say(&root, "said", "");
            // Unless its reader has gone on.
            if looks && name(store) == asked {
                let opened = Place::open("/d", &json.text("view.query"));
                store.problems.set(opened.problems);
                store.place.update(|place| place.view = opened.place.view);
            }
        }
        Err(failure) => say(&root, "said", &failure.sentence),
    };
    call("GET", path, None, Box::new(then));
}

fn show(root: &Element, dashboard: &Json) {
    say(root, "revision", &dashboard.text("revision"));
    set_value(root, "title", &dashboard.text("title"));
}

fn save(store: Store, root: &Element, is_new: bool) {
    let title = value(root, "title");
    let (mut to, mut from) = (name(store), revision(root, "revision"));
    if is_new || to.is_empty() {
        (to, from) = (name_of(&title), "0".to_owned());
    }
    let href = store.place.peek(Place::href);
    let query = href.split_once('?').map_or("", |(_, query)| query);
    let body = object(
        &[("title", title.trim())],
        &[
            ("from_revision", &from),
            ("view", &object(&[("query", query)], &[])),
        ],
    );
    let (root, path) = (root.clone(), path(&to));
    let then = move |answer: Result<Json, Failure>| match answer {
        Ok(json) => {
            show(&root, &json);
            say(&root, "said", "Saved.");
            load(&root, &SAVED, "");
            if to != name(store) {
                store.go(Place::dashboards(to));
            }
        }
        Err(failure) if failure.status == 409 => fill(
            &root,
            "said",
            &format!(
                "{} <button class=\"btn btn-sm\" type=\"button\" data-act=\"show\" data-name=\"{to}\">Show the newest</button>",
                escape(&failure.sentence)
            ),
        ),
        Err(failure) => say(&root, "said", &failure.sentence),
    };
    call("PUT", path, Some(body), Box::new(then));
}

fn delete(store: Store, root: &Element) {
    let path = format!(
        "{}?from_revision={}",
        path(&name(store)),
        revision(root, "revision")
    );
    let root = root.clone();
    let then = move |answer: Result<Json, Failure>| match answer {
        Ok(_) => {
            let view = store.place.peek(|place| place.view.clone());
            let place = Place::dashboards(String::new());
            store.go(Place { view, ..place });
        }
        Err(failure) => say(&root, "said", &failure.sentence),
    };
    call("DELETE", path, None, Box::new(then));
}
