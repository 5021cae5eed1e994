//! Mounts the app: rail, top bar, the page for the place, and what hangs over it.

use super::keys::{KeySheet, listen_to_keys};
use super::status::{ConnectionPill, LossBadge, Notices};
use super::theme::ThemeSwitch;
use super::{history, keys::Sheet};
use crate::pages::{FlamePage, FleetPage, LivePage, UnknownPage};
use crate::sampling::SamplingPanel;
use crate::store::Store;
use crate::url::{Page, Place, Tab};
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
        let store = crate::store::start(worker);
        history::listen(store);
        watch_visibility(store);
        let sheet = Sheet::new();
        listen_to_keys(store, sheet);
        view! { <Shell store sheet/> }
    })
    .forget();
}

/// One of the symbols in `index.html`.
pub(crate) fn icon(name: &str) -> impl IntoView + use<> {
    let href = format!("#i-{name}");
    view! {
        <svg class="icon" width="16" height="16" aria-hidden="true">
            <use_ href=href></use_>
        </svg>
    }
}

#[component]
fn Shell(store: Store, sheet: Sheet) -> impl IntoView {
    // Pages are rebuilt when the path changes, not when the view of them does.
    let page = Memo::new(move |_| store.place.with(|place| place.page.clone()));
    Effect::new(move || document().set_title(&title(&page.get(), store)));
    view! {
        <a class="skip-link" href="#main">"Skip to the content"</a>
        <div class="app">
            <Rail store page/>
            <header class="topbar">
                <div class="topbar-title">{move || heading(&page.get(), store)}</div>
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
                        on:click=move |_| sheet.toggle()
                    >
                        {icon("keys")}
                    </button>
                    <ThemeSwitch/>
                </div>
            </header>
            <main class="main" id="main" tabindex="-1">
                <Notices store/>
                {move || match page.get() {
                    Page::Fleet => view! { <FleetPage store/> }.into_any(),
                    Page::Session { tab: Tab::Live, .. } => view! { <LivePage store/> }.into_any(),
                    Page::Session { tab: Tab::Flame, .. } => view! { <FlamePage store/> }.into_any(),
                    Page::Unknown { path } => view! { <UnknownPage path/> }.into_any(),
                }}
            </main>
        </div>
        <SamplingPanel store/>
        <KeySheet sheet/>
    }
}

#[component]
fn Rail(store: Store, page: Memo<Page>) -> impl IntoView {
    let link = move |name: &'static str,
                     text: &'static str,
                     key: &'static str,
                     to: Signal<Option<Place>>,
                     here: Signal<bool>| {
        view! {
            <a
                class="rail-link"
                href=move || to.get().map(|place| place.href())
                aria-current=move || here.get().then_some("page")
                aria-disabled=move || to.get().is_none().then_some("true")
                title=format!("{text} ({key})")
            >
                <span class="rail-icon">{icon(name)}</span>
                <span class="rail-text">{text}</span>
            </a>
        }
    };
    let fleet = Signal::derive(|| Some(Place::fleet()));
    let live = Signal::derive(move || store.sibling(Tab::Live));
    let flame = Signal::derive(move || store.sibling(Tab::Flame));
    let is = move |tab: Option<Tab>| {
        Signal::derive(move || match page.get() {
            Page::Fleet => tab.is_none(),
            Page::Session { tab: shown, .. } => tab == Some(shown),
            Page::Unknown { .. } => false,
        })
    };
    view! {
        <nav class="rail" aria-label="Pages">
            <a class="rail-brand" href="/" aria-label="Heaptide: all sessions">
                <svg width="24" height="24" aria-hidden="true"><use_ href="#i-logo"></use_></svg>
            </a>
            {link("fleet", "Fleet", "1", fleet, is(None))}
            {link("live", "Live", "2", live, is(Some(Tab::Live)))}
            {link("flame", "Flame", "3", flame, is(Some(Tab::Flame)))}
        </nav>
    }
}

/// The session's name, or the product's.
fn heading(page: &Page, store: Store) -> AnyView {
    match page {
        Page::Session { .. } => match store.row() {
            Some(row) => {
                let signature = &row.summary.signature;
                let name = crate::pages::service_name(signature);
                let whereabouts = format!("pid {} on {}", signature.pid, signature.host_name);
                view! {
                    <strong data-testid="session-name">{name}</strong>
                    " "
                    <span class="muted">{whereabouts}</span>
                }
                .into_any()
            }
            None => view! { <strong>"Session"</strong> }.into_any(),
        },
        _ => view! { <strong>"Heaptide"</strong> }.into_any(),
    }
}

fn title(page: &Page, store: Store) -> String {
    let name = match page {
        Page::Session { tab, .. } => {
            let service = store.row().map_or_else(
                || "Session".to_owned(),
                |row| crate::pages::service_name(&row.summary.signature),
            );
            match tab {
                Tab::Live => service,
                Tab::Flame => format!("{service}: flame graph"),
            }
        }
        Page::Fleet => "Fleet".to_owned(),
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
