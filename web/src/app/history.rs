//! The browser's address bar and history.
//!
//! A router of our own: one `Place` in, one out. The router crate brings nested routes and data loading that
//! a console with three pages has no use for, at a tenth of the download.

use crate::store::{Step, Store, moved};
use crate::url::{Opened, Place, SharedAs, secret_of};
use leptos::prelude::*;
use std::cell::RefCell;
use std::time::Duration;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::*;

/// Browsers limit how often an address may be replaced.
const REPLACE_AFTER: Duration = Duration::from_millis(200);

thread_local! {
    static REPLACING: RefCell<Option<TimeoutHandle>> = const { RefCell::new(None) };
    /// This page was opened by a share link, and the hub has said which session that is.
    static SHARED: RefCell<Option<SharedAs>> = const { RefCell::new(None) };
}

/// The share link's secret, if this page was opened by one.
pub(crate) fn secret() -> Option<String> {
    secret_of(&window().location().pathname().unwrap_or_default()).map(str::to_owned)
}

pub(crate) fn is_shared() -> bool {
    SHARED.with_borrow(Option::is_some)
}

/// The link shows this session; `view` is how its author looked at it. Returns what to show.
pub(crate) fn shared_as(secret: String, session: String, view: &str) -> Place {
    SHARED.set(Some(SharedAs { secret, session }));
    let location = window().location();
    let own = location.search().unwrap_or_default();
    let path = inward(&location.pathname().unwrap_or_default());
    Place::open(&path, if own.is_empty() { view } else { &own }).place
}

fn inward(path: &str) -> String {
    SHARED.with_borrow(|shared| {
        shared
            .as_ref()
            .map_or_else(|| path.to_owned(), |shared| shared.inward(path))
    })
}

/// As it stands in the address bar.
pub(crate) fn address(place: &Place) -> String {
    let href = place.href();
    SHARED.with_borrow(|shared| {
        shared
            .as_ref()
            .map_or_else(|| href.clone(), |shared| shared.outward(&href))
    })
}

/// The place that the address bar names.
pub(crate) fn present() -> Opened {
    let location = window().location();
    Place::open(
        &inward(&location.pathname().unwrap_or_default()),
        &location.search().unwrap_or_default(),
    )
}

/// Where the hub's socket for consoles is: on the server that the page came from.
pub(crate) fn socket_url() -> String {
    let location = window().location();
    let scheme = match location.protocol().as_deref() {
        Ok("https:") => "wss",
        _ => "ws",
    };
    let host = location.host().unwrap_or_default();
    match secret() {
        Some(secret) => format!("{scheme}://{host}/ws/link/{secret}"),
        None => format!("{scheme}://{host}/ws/console"),
    }
}

/// Writes the place into the address bar: at once for a new one, after a pause for a changed one.
pub(crate) fn remember(step: Step, place: &Place) {
    if let Some(handle) = REPLACING.take() {
        handle.clear();
    }
    let href = address(place);
    match step {
        Step::Push => write(step, &href),
        Step::Replace => {
            let handle = set_timeout_with_handle(move || write(Step::Replace, &href), REPLACE_AFTER);
            REPLACING.set(handle.ok());
        }
    }
}

fn write(step: Step, href: &str) {
    if let Ok(history) = window().history() {
        let _ = match step {
            Step::Push => history.push_state_with_url(&JsValue::NULL, "", Some(href)),
            Step::Replace => history.replace_state_with_url(&JsValue::NULL, "", Some(href)),
        };
    }
}

/// Follows the back and forward buttons, turns clicks on our own links into places, and copies what a button is for.
pub(crate) fn listen(store: Store) {
    let _ = window_event_listener(leptos::ev::popstate, move |_| moved(store));
    let _ = window_event_listener(leptos::ev::click, move |event| {
        let plain = event.button() == 0
            && !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key())
            && !event.default_prevented();
        let target = event
            .target()
            .and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        let near = |what: &str| target.as_ref()?.closest(what).ok()?;
        if let Some(button) = near(".copy") {
            let words = button
                .previous_element_sibling()
                .and_then(|words| words.text_content());
            let _ = window()
                .navigator()
                .clipboard()
                .write_text(&words.unwrap_or_default());
            button.set_text_content(Some("Copied"));
        }
        // What the hub serves by itself is no page of the console.
        let link = near("a[href^='/']:not([href^='/api/'])");
        let Some(link) = link.filter(|link| plain && !link.has_attribute("target")) else {
            return;
        };
        let href = link.get_attribute("href").unwrap_or_default();
        let (path, query) = href.split_once('?').unwrap_or((&href, ""));
        event.prevent_default();
        store.go(Place::open(&inward(path), query).place);
        window().scroll_to_with_x_and_y(0.0, 0.0);
    });
}
