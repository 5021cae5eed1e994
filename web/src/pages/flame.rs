//! The flame graph of a session with the timeline above it, and its twin, a table for keyboards and readers.

use super::about::AboutView;
use super::controls::{MetricPicker, RangePicker, WindowChip};
use super::live::{SessionHead, SessionTimeline};
use super::naming::metric_words;
use crate::flame::{FlameGraph, FlameTable, NodeKey};
use crate::format;
use crate::store::Store;
use leptos::prelude::*;

#[component]
pub(crate) fn FlamePage(store: Store) -> impl IntoView {
    let as_table = RwSignal::new(false);
    let view_of = move |read: fn(&crate::url::ViewState) -> Option<u64>| {
        Signal::derive(move || store.place.with(|place| read(&place.view).map(NodeKey)))
    };
    let selected = view_of(|view| view.selected);
    let zoom = view_of(|view| view.zoom);
    let on_select =
        Callback::new(move |key: Option<NodeKey>| store.look(|view| view.selected = key.map(|key| key.0)));
    let on_zoom =
        Callback::new(move |key: Option<NodeKey>| store.look(|view| view.zoom = key.map(|key| key.0)));
    let filter = Signal::derive(move || store.place.with(|place| place.view.filter.clone()));
    let metric = Signal::derive(move || store.place.with(|place| place.view.metric.0));
    let empty = move || {
        let reason = if !filter.get().is_empty() {
            "No stack in this window matches the filter."
        } else if store.place.with(|place| place.view.selection.is_some()) {
            "Nothing was sampled in this time window."
        } else {
            "No heap sample has arrived yet."
        };
        view! {
            <div class="empty" data-testid="flame-empty">
                <div class="empty-title">"Nothing to show"</div>
                <p class="empty-text">{reason}</p>
            </div>
        }
    };
    let flame = Signal::derive(move || store.flame.get());
    let summary = move || {
        store.flame.with(|flame| {
            flame.as_ref().map(|flame| {
                let mut text = format!(
                    "{} {} from {} samples",
                    format::bytes(flame.total.value),
                    format::error_of(&flame.total),
                    format::count(flame.samples)
                );
                if flame.hidden_bytes > 0.0 {
                    text.push_str(&format!(
                        " · {} hidden by the filter",
                        format::bytes(flame.hidden_bytes)
                    ));
                }
                if flame.merged_nodes > 0 {
                    text.push_str(&format!(
                        " · {} small nodes merged",
                        format::count(flame.merged_nodes)
                    ));
                }
                text
            })
        })
    };
    let body = move || {
        if as_table.get() {
            view! {
                <FlameTable
                    flame selected on_select zoom on_zoom filter metric
                    empty=ViewFn::from(empty)
                />
            }
            .into_any()
        } else {
            view! {
                <FlameGraph
                    flame selected on_select zoom on_zoom filter metric
                    empty=ViewFn::from(empty)
                />
            }
            .into_any()
        }
    };
    let tab = move |table: bool, text: &'static str| {
        view! {
            <button
                type="button"
                data-view=if table { "table" } else { "graph" }
                aria-pressed=move || (as_table.get() == table).to_string()
                on:click=move |_| as_table.set(table)
            >
                {text}
            </button>
        }
    };
    view! {
        <div class="page page-wide page-fill">
            <SessionHead store/>
            <SessionTimeline store height=120.0/>
            <div class="toolbar">
                <MetricPicker store/>
                <WindowChip store/>
                <span
                    class="muted"
                    data-testid="flame-total"
                    data-value=move || store.flame.with(|flame| flame.as_ref().map(|flame| flame.total.value.to_string()))
                    title=move || metric_words(metric.get())
                >
                    {summary}
                </span>
                <span class="spacer"></span>
                <RangePicker store/>
                <div class="segmented" role="group" aria-label="Graph or table" data-testid="flame-view">
                    {tab(false, "Graph")}
                    {tab(true, "Table")}
                </div>
            </div>
            <div class="fill flame-area" data-testid="flame">{body}</div>
            <AboutView store/>
        </div>
    }
}
