//! The headline figures as cards. Each keeps its place in the page; only its text changes.

use super::explain::{Explained, FIGURES, explain};
use crate::format;
use crate::store::Store;
use crate::ui::{maybe, text};
use leptos::prelude::*;

#[component]
pub(super) fn Figures(store: Store) -> impl IntoView {
    view! {
        <section class="figures" aria-label="Headline figures">
            {FIGURES.map(|id| card(store, id)).into_iter().collect::<Vec<AnyView>>()}
        </section>
    }
}

fn card(store: Store, id: &'static str) -> AnyView {
    let figure = move || store.figure(|headline| explain(id, headline)).flatten();
    let raw = move |pick: fn((f64, f64, f64)) -> f64| {
        maybe(move || figure()?.raw.map(|raw| format::fixed(pick(raw), 3)))
    };
    let words = move |read: fn(Explained) -> String| text(move || figure().map(read).unwrap_or_default());
    view! {
        <div
            class="figure"
            data-testid=format!("figure-{id}")
            data-value=raw(|raw| raw.0)
            data-low=raw(|raw| raw.1)
            data-high=raw(|raw| raw.2)
        >
            <div class="figure-label">{words(|figure| figure.label.to_owned())}</div>
            <div class="figure-value">
                {words(|figure| format::split(&figure.value.unwrap_or_else(|| "–".to_owned())).0.to_owned())}
                <span class="figure-unit">
                    {words(|figure| format!(" {}", format::split(&figure.value.unwrap_or_default()).1))}
                </span>
            </div>
            <div class="figure-note">{words(|figure| figure.note)}</div>
            <details class="what">
                <summary>"What this counts"</summary>
                <p>{words(|figure| figure.what.to_owned())}</p>
            </details>
        </div>
    }
    .into_any()
}
