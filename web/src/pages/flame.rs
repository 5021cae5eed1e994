//! The flame graph of a session with the timeline above it, and its twin, a table for keyboards and readers.

use super::about::AboutView;
use super::controls::{choice, choices, metric_picker, range_picker, window_chip};
use super::live::{session_head, session_timeline};
use super::naming::metric_words;
use crate::flame::{Ask, GraphInput, NodeKey, flame_graph, flame_table};
use crate::format;
use crate::store::Store;
use crate::ui::{maybe, nothing, part, text};
use crate::url::Range;
use heaptide_analysis::views::Flame;
use leptos::prelude::*;
use std::rc::Rc;

#[component]
pub(crate) fn FlamePage(store: Store) -> impl IntoView {
    let as_table = RwSignal::new(false);
    let read = move || {
        let flame = store.flame.get();
        store.place.with(|place| GraphInput {
            flame,
            selected: place.view.selected.map(NodeKey),
            zoom: place.view.zoom.map(NodeKey),
            filter: place.view.filter.clone(),
            metric: place.view.metric.0,
        })
    };
    let ask = move |ask| {
        store.look(|view| match ask {
            Ask::Select(key) => view.selected = key.map(|key| key.0),
            Ask::Zoom(key) => view.zoom = key.map(|key| key.0),
        });
    };
    let body = move || {
        let build = if as_table.get() { flame_table } else { flame_graph };
        build(Box::new(read), Rc::new(ask), part(move || why_empty(store)))
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
                    title=text(move || metric_words(store.place.with(|place| place.view.metric.0)).to_owned())
                >
                    {text(move || with_flame(summary).unwrap_or_default())}
                </span>
                <span class="spacer"></span>
                {range_picker(store, &Range::ALL)}
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

/// Why there is no graph; nothing while there is one.
fn why_empty(store: Store) -> AnyView {
    let has_nodes = store
        .flame
        .with(|flame| flame.as_ref().is_some_and(|flame| !flame.nodes.is_empty()));
    if has_nodes {
        return nothing();
    }
    let (filtered, selected) = store
        .place
        .with(|place| (!place.view.filter.is_empty(), place.view.selection.is_some()));
    let reason = match (filtered, selected) {
        (true, _) => "No stack in this window matches the filter.",
        (_, true) => "Nothing was sampled in this time window.",
        _ => "No heap sample has arrived yet.",
    };
    view! {
        <div class="empty" data-testid="flame-empty">
            <div class="empty-title">"Nothing to show"</div>
            <p class="empty-text">{reason}</p>
        </div>
    }
    .into_any()
}
