//! A corner that tells how the picture itself is doing: its age, its tick, what it has read.

use crate::format;
use crate::store::Store;
use crate::ui::text;
use leptos::prelude::*;

#[component]
pub(super) fn AboutView(store: Store) -> impl IntoView {
    let words = move || {
        let latency = store.latency.get();
        let tick = store.figure(|h| h.tick_ns).unwrap_or_default();
        let mut words = String::new();
        if latency.paints > 0 {
            words = format!(
                "From allocation to screen: median {} ms, 95 % within {} ms · ",
                format::fixed(latency.median_ms, 0),
                format::fixed(latency.p95_ms, 0)
            );
        }
        if tick > 0 {
            words.push_str(&format!("tick {} · ", format::duration(tick)));
        }
        let read = store.progress.with(|progress| progress.last_seq);
        words.push_str(&format!("{} frames read", format::count(read)));
        words
    };
    view! {
        <footer
            class="about faint"
            data-testid="about"
            data-latency-median=text(move || format::fixed(store.latency.get().median_ms, 1))
            data-paints=text(move || store.latency.get().paints.to_string())
            data-last-seq=text(move || store.progress.get().last_seq.to_string())
            data-caught-up=text(move || store.progress.get().caught_up.to_string())
            title="The age includes the difference between this computer's clock and the watched host's"
        >
            {text(words)}
        </footer>
    }
}
