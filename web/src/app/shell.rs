//! Mounts the app: rail, top bar, the page for the place, and what hangs over it.

use super::commands::{COMMANDS, Command};
use super::keys::{KeySheet, listen_to_keys};
use super::status::{ConnectionPill, LossBadge, Notices};
use super::theme::ThemeSwitch;
use super::{history, keys::Sheet};
use crate::hub::{dashboards_page, hub_page, share_drawer, sign_in};
use crate::pages::{FlamePage, FleetPage, LivePage, UnknownPage, report_page, service_name};
use crate::sampling::SamplingPanel;
use crate::store::Store;
use crate::ui::{click, icon, maybe, part, text};
use crate::url::{Page, Place, Tab, secret_of};
use crate::worker::ToWorker;
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::Worker;

/// Called by `boot.js` with the worker that it made.
#[wasm_bindgen]
pub fn start(worker: Worker) {
    crate::panic::report_to_script();
    let Some(root) = document().get_element_by_id("app") else {
        return;
    };
    // The skeleton has done its duty.
    root.set_inner_html("");
    leptos::mount::mount_to(root.unchecked_into(), move || {
        let store = crate::store::start(&worker);
        history::listen(store);
        watch_visibility(store);
        let sheet = Sheet::new();
        listen_to_keys(store, sheet);
        view! { <Shell store sheet/> }
    })
    .forget();
}

#[component]
fn Shell(store: Store, sheet: Sheet) -> impl IntoView {
    // Pages are rebuilt when the path changes, not when the view of them does.
    let page = Memo::new(move |_| store.place.with(|place| place.page.path()));
    let page_view = move || {
        let _ = page.get();
        match store.place.peek(|place| place.page.clone()) {
            Page::Fleet => view! { <FleetPage store/> }.into_any(),
            Page::Session { tab: Tab::Live, .. } => view! { <LivePage store/> }.into_any(),
            Page::Session { tab: Tab::Flame, .. } => view! { <FlamePage store/> }.into_any(),
            Page::Session { tab, .. } => report_page(store, tab),
            Page::Hub => hub_page(),
            Page::Dashboards { .. } => dashboards_page(store),
            // The hub is being asked what the link shows.
            Page::Unknown { path } if secret_of(&path).is_some() => {
                view! { <div class="skeleton skeleton-block"></div> }.into_any()
            }
            Page::Unknown { path } => view! { <UnknownPage path/> }.into_any(),
        }
    };
    let title = Memo::new(move |_| title(store));
    Effect::new(move || document().set_title(&title.get()));
    view! {
        <a class="skip-link" href="#main">"Skip to the content"</a>
        <div class="app">
            <Rail store/>
            <header class="topbar">
                <div class="topbar-title">
                    <strong data-testid="session-name">{text(move || heading(store).0)}</strong>
                    " "
                    <span class="muted">{text(move || heading(store).1)}</span>
                </div>
                <div class="spacer"></div>
                <div class="topbar-group">
                    <LossBadge store/>
                    <ConnectionPill store/>
                </div>
                <div class="topbar-group">
                    <button
                        class="btn btn-ghost btn-icon hide-narrow"
                        type="button"
                        aria-label="Keyboard shortcuts"
                        title="Keyboard shortcuts (?)"
                        on:click=click(move |_| sheet.toggle())
                    >
                        {icon("keys")}
                    </button>
                    <ThemeSwitch/>
                </div>
            </header>
            <main class="main" id="main" tabindex="-1">
                <Notices store/>
                {part(page_view)}
            </main>
        </div>
        <SamplingPanel store/>
        {share_drawer(store)}
        {sign_in(store)}
        <KeySheet sheet/>
    }
}

#[component]
fn Rail(store: Store) -> impl IntoView {
    let links: Vec<AnyView> = COMMANDS
        .iter()
        .filter_map(|entry| match entry.command {
            Command::Fleet => Some(rail_link(store, RailPage::Fleet, entry.key)),
            Command::Hub => Some(rail_link(store, RailPage::Hub, entry.key)),
            Command::Tab(tab) => Some(rail_link(store, RailPage::Session(tab), entry.key)),
            _ => None,
        })
        .collect();
    view! {
        <nav class="rail" aria-label="Pages">
            <a class="rail-brand" href="/" aria-label="Heaptide: all sessions">{icon("logo")}</a>
            {links}
        </nav>
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RailPage {
    Fleet,
    Session(Tab),
    Hub,
}

fn rail_link(store: Store, to: RailPage, key: &str) -> AnyView {
    let (name, label) = match to {
        RailPage::Fleet => ("fleet", "Fleet"),
        RailPage::Session(tab) => (tab.key(), tab.label()),
        RailPage::Hub => ("hub", "Hub"),
    };
    let href = move || match to {
        // A link shows one session.
        RailPage::Fleet | RailPage::Hub if history::is_shared() => None,
        RailPage::Fleet => Some(Place::fleet().href()),
        RailPage::Session(tab) => store.sibling(tab).map(|place| history::address(&place)),
        RailPage::Hub => Some(Place::hub().href()),
    };
    let here = move || {
        let is = store.place.with(|place| match &place.page {
            Page::Fleet | Page::Dashboards { .. } => to == RailPage::Fleet,
            Page::Session { tab, .. } => to == RailPage::Session(*tab),
            Page::Hub => to == RailPage::Hub,
            Page::Unknown { .. } => false,
        });
        is.then(|| "page".to_owned())
    };
    view! {
        <a
            class="rail-link"
            href=maybe(href)
            aria-current=maybe(here)
            aria-disabled=maybe(move || href().is_none().then(|| "true".to_owned()))
            title=format!("{label} ({key})")
        >
            <span class="rail-icon">{icon(name)}</span>
            <span class="rail-text">{label}</span>
        </a>
    }
    .into_any()
}

/// The session's name and where it runs, or the product's name.
fn heading(store: Store) -> (String, String) {
    if store.place.with(Place::session_id).is_none() {
        return ("Heaptide".to_owned(), String::new());
    }
    let named = store.with_row(|row| {
        let signature = &row.summary.signature;
        (
            service_name(signature),
            format!("pid {} on {}", signature.pid, signature.host_name),
        )
    });
    named.unwrap_or_else(|| ("Session".to_owned(), String::new()))
}

fn title(store: Store) -> String {
    let name = match store.place.with(|place| place.page.clone()) {
        Page::Session { tab: Tab::Live, .. } => heading(store).0,
        Page::Session { tab: Tab::Flame, .. } => format!("{}: flame graph", heading(store).0),
        Page::Session { tab, .. } => format!("{}: {}", heading(store).0, tab.key()),
        Page::Fleet => "Fleet".to_owned(),
        Page::Hub => "Hub".to_owned(),
        Page::Dashboards { .. } => "Dashboards".to_owned(),
        Page::Unknown { .. } => "Not found".to_owned(),
    };
    format!("{name} · Heaptide")
}

fn watch_visibility(store: Store) {
    let visible = || document().visibility_state() != web_sys::VisibilityState::Hidden;
    store.send(&ToWorker::Visible(visible()));
    let on_change = Closure::<dyn FnMut()>::new(move || store.send(&ToWorker::Visible(visible())));
    let _ =
        document().add_event_listener_with_callback("visibilitychange", on_change.as_ref().unchecked_ref());
    on_change.forget();
}
