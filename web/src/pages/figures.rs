//! The headline figures as cards. Each keeps its place in the page; only its text changes.

use super::explain::{FIGURES, explain};
use crate::format;
use crate::store::Store;
use leptos::prelude::*;

#[component]
pub(super) fn Figures(store: Store) -> impl IntoView {
    view! {
        <section class="figures" aria-label="Headline figures">
            {FIGURES.map(|id| view! { <FigureCard store id/> }).collect_view()}
        </section>
    }
}

#[component]
fn FigureCard(store: Store, id: &'static str) -> impl IntoView {
    let figure = Memo::new(move |_| {
        store
            .headline
            .with(|headline| headline.as_ref().and_then(|headline| explain(id, headline)))
    });
    let raw = move |pick: fn((f64, f64, f64)) -> f64| {
        move || figure.with(|figure| figure.as_ref()?.raw.map(|raw| pick(raw).to_string()))
    };
    let value = move || figure.with(|figure| figure.as_ref().and_then(|figure| figure.value.clone()));
    view! {
        <div
            class="figure"
            data-testid=format!("figure-{id}")
            data-value=raw(|raw| raw.0)
            data-low=raw(|raw| raw.1)
            data-high=raw(|raw| raw.2)
        >
            <div class="figure-label">{move || figure.with(|figure| figure.as_ref().map(|figure| figure.label))}</div>
            <div class="figure-value">
                {move || {
                    let text = value().unwrap_or_else(|| "–".to_owned());
                    let (number, unit) = format::split(&text);
                    (number.to_owned(), view! { <span class="figure-unit">{format!(" {unit}")}</span> })
                }}
            </div>
            <div class="figure-note">{move || figure.with(|figure| figure.as_ref().map(|figure| figure.note.clone()))}</div>
            <details class="what">
                <summary>"What this counts"</summary>
                <p>{move || figure.with(|figure| figure.as_ref().map(|figure| figure.what))}</p>
            </details>
        </div>
    }
}
