//! The flame graph of a session with the timeline above it, and its twin, a table for keyboards and readers.

use super::about::AboutView;
use super::controls::{choice, choices, metric_picker, range_picker, window_chip};
use super::live::{session_head, session_timeline};
use super::naming::metric_words;
use crate::flame::{FlameGraph, FlameTable, NodeKey};
use crate::format;
use crate::store::Store;
use crate::ui::{maybe, part, text};
use crate::url::ViewState;
use heaptide_analysis::views::Flame;
use leptos::prelude::*;

#[component]
pub(crate) fn FlamePage(store: Store) -> impl IntoView {
    let as_table = RwSignal::new(false);
    let key = move |read: fn(&ViewState) -> Option<u64>| {
        Signal::derive(move || store.place.with(|place| read(&place.view).map(NodeKey)))
    };
    let flame = Signal::derive(move || store.flame.get());
    let selected = key(|view| view.selected);
    let zoom = key(|view| view.zoom);
    let on_select =
        Callback::new(move |key: Option<NodeKey>| store.look(|view| view.selected = key.map(|key| key.0)));
    let on_zoom =
        Callback::new(move |key: Option<NodeKey>| store.look(|view| view.zoom = key.map(|key| key.0)));
    let filter = Signal::derive(move || store.place.with(|place| place.view.filter.clone()));
    let metric = Signal::derive(move || store.place.with(|place| place.view.metric.0));
    let empty = move || {
        let reason = move || {
            let (filtered, selected) = store
                .place
                .with(|place| (!place.view.filter.is_empty(), place.view.selection.is_some()));
            match (filtered, selected) {
                (true, _) => "No stack in this window matches the filter.",
                (_, true) => "Nothing was sampled in this time window.",
                _ => "No heap sample has arrived yet.",
            }
            .to_owned()
        };
        view! {
            <div class="empty" data-testid="flame-empty">
                <div class="empty-title">"Nothing to show"</div>
                <p class="empty-text">{text(reason)}</p>
            </div>
        }
        .into_any()
    };
    let body = move || {
        let empty = ViewFn::from(empty);
        if as_table.get() {
            view! { <FlameTable flame selected on_select zoom on_zoom filter metric empty/> }.into_any()
        } else {
            view! { <FlameGraph flame selected on_select zoom on_zoom filter metric empty/> }.into_any()
        }
    };
    let with_flame =
        move |read: fn(&Flame) -> String| store.flame.with(|flame| flame.as_ref().map(|flame| read(flame)));
    let tab = move |table: bool, label: &'static str, key: &'static str, title: &'static str| {
        choice(
            label,
            key,
            title,
            move || as_table.get() == table,
            move || as_table.set(table),
        )
    };
    let tabs = vec![
        tab(false, "Graph", "graph", "The flame graph"),
        tab(true, "Table", "table", "The same as a table, for the keyboard"),
    ];
    view! {
        <div class="page page-wide page-fill">
            {session_head(store)}
            {session_timeline(store, 120.0)}
            <div class="toolbar">
                {metric_picker(store)}
                {window_chip(store)}
                <span
                    class="muted"
                    data-testid="flame-total"
                    data-value=maybe(move || with_flame(|flame| format::fixed(flame.total.value, 0)))
                    title=text(move || metric_words(metric.get()).to_owned())
                >
                    {text(move || with_flame(summary).unwrap_or_default())}
                </span>
                <span class="spacer"></span>
                {range_picker(store)}
                {choices("Graph or table", "flame-view", tabs)}
            </div>
            <div class="fill flame-area" data-testid="flame">{part(body)}</div>
            <AboutView store/>
        </div>
    }
}

fn summary(flame: &Flame) -> String {
    let mut words = format!(
        "{} {} from {} samples",
        format::bytes(flame.total.value),
        format::error_of(&flame.total),
        format::count(flame.samples)
    );
    if flame.hidden_bytes > 0.0 {
        words.push_str(&format!(
            " · {} hidden by the filter",
            format::bytes(flame.hidden_bytes)
        ));
    }
    if flame.merged_nodes > 0 {
        words.push_str(&format!(
            " · {} small nodes merged",
            format::count(flame.merged_nodes)
        ));
    }
    words
}
