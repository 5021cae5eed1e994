//! The drawer that makes links to a session, and lists those that there are.

use super::call::{Failure, Json, call, object};
use super::island::{fill, is_checked, island, say, value};
use super::listing::{Kind, Listing, act, frame, load};
use super::{span, span_words};
use crate::canvas::copyable;
use crate::store::Store;
use crate::ui::{nothing, part};
use crate::url::Place;
use leptos::prelude::*;
use web_sys::Element;

const DAY_MS: f64 = 86_400_000.0;

static LINKS: Listing = Listing {
    part: "links",
    title: "Links to this session",
    note: "A link shows one session to whoever has it, until it ends or is taken back.",
    tools: "",
    path: "/api/v1/links",
    list: "",
    columns: &[
        ("Made by", "author", Kind::Words),
        ("Kind", "kind", Kind::Words),
        ("Ends", "expires_unix_ns", Kind::Moment),
        ("Opened", "opened", Kind::Words),
    ],
    action: Some(("Take back", "DELETE", "/api/v1/links/{}", "id")),
};

pub(crate) fn share_drawer(store: Store) -> AnyView {
    let open = Memo::new(move |_| {
        let id = store
            .place
            .with(Place::session_id)
            .filter(|_| store.sharing.get());
        id.map_or_else(String::new, |id| id.to_string())
    });
    part(move || {
        let session = open.get();
        if session.is_empty() {
            nothing()
        } else {
            drawer(store, session)
        }
    })
    .into_any()
}

fn markup(store: Store, session: &str) -> String {
    let what =
        untrack(|| span(store)).map_or_else(String::new, |(window, zero_ns)| span_words(window, zero_ns));
    format!(
        "<aside class=\"drawer\" aria-labelledby=\"share-title\" data-testid=\"share\"><div class=\"drawer-head\">\
         <h2 id=\"share-title\">Share</h2><span class=\"spacer\"></span><button class=\"btn btn-ghost\" type=\"button\" \
         data-act=\"close\">Close</button></div><div class=\"drawer-body\"><fieldset class=\"field\">\
         <legend class=\"field-label\">What</legend><label class=\"row\"><input type=\"radio\" name=\"what\" checked>\
         <span class=\"fill\">A copy of {what}, which stays when the session itself is gone</span></label>\
         <label class=\"row\"><input type=\"radio\" name=\"what\" data-part=\"live\" data-testid=\"share-live\">\
         <span class=\"fill\">The session as it goes on</span></label></fieldset><label class=\"row\">\
         <input type=\"checkbox\" checked data-part=\"redact\" data-testid=\"share-redact\"><span class=\"fill\">Leave out \
         host names, paths, command lines and private labels</span></label><label class=\"row\"><span class=\"fill\">Ends \
         after</span><select class=\"select\" data-part=\"days\"><option value=\"1\">1 day</option><option value=\"7\">7 \
         days</option><option value=\"30\" selected>30 days</option><option value=\"365\">365 days</option></select></label>\
         <button class=\"btn btn-primary\" type=\"button\" data-act=\"create\" data-testid=\"share-create\">Make a link\
         </button><div data-part=\"made\" data-testid=\"link-made\"></div><p class=\"muted\" role=\"status\" \
         data-part=\"said\"></p>{}<p class=\"field-hint\"><a href=\"/api/v1/sessions/{session}/export\" \
         download=\"{session}.htl\">Download the session as a file</a>, which heaptide report reads and heaptide hub \
         --open shows.</p></div></aside>",
        frame(&LINKS)
    )
}

fn drawer(store: Store, session: String) -> AnyView {
    let query = format!("?session={session}");
    let begin = query.clone();
    let html = markup(store, &session);
    let hear = move |root: &Element, what: &str, on: &Element| {
        let (again, query) = (root.clone(), query.clone());
        let then = move |answer: Result<Json, Failure>| {
            match answer {
                Ok(link) => {
                    let path = link.text("path");
                    if !path.is_empty() {
                        let url = leptos::prelude::window().location().origin().unwrap_or_default() + &path;
                        fill(&again, "made", &made(&url));
                    }
                    say(&again, "said", "");
                }
                Err(failure) => say(&again, "said", &failure.sentence),
            }
            load(&again, &LINKS, &query);
        };
        match what {
            "close" => store.sharing.set(false),
            "create" => {
                if let Some(body) = wanted(store, root, &session) {
                    call("POST", LINKS.path.to_owned(), Some(body), Box::new(then));
                }
            }
            _ => act(on, Box::new(then)),
        }
    };
    island(
        html,
        Box::new(move |root| load(root, &LINKS, &begin)),
        Box::new(hear),
    )
}

fn wanted(store: Store, root: &Element, session: &str) -> Option<String> {
    let (window, _) = untrack(|| span(store))?;
    let view = store.place.peek(Place::href);
    let view = view.split_once('?').map_or("", |(_, view)| view);
    let days: u32 = value(root, "days").parse().unwrap_or(30);
    let expires_ms = js_sys::Date::now() + f64::from(days) * DAY_MS;
    let is = |name: &str| if is_checked(root, name) { "true" } else { "false" };
    Some(object(
        &[
            ("session", session),
            (
                "kind",
                if is_checked(root, "live") {
                    "live"
                } else {
                    "frozen"
                },
            ),
            ("view", view),
        ],
        &[
            ("from_ns", &window.from_ns.to_string()),
            ("to_ns", &window.to_ns.to_string()),
            ("redact", is("redact")),
            ("expires_unix_ns", &format!("{}000000", expires_ms as u64)),
        ],
    ))
}

fn made(url: &str) -> String {
    format!(
        "{}<p class=\"field-hint\">This is shown once: the hub keeps no copy of it.</p>",
        copyable(url)
    )
}
