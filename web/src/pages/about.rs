//! A corner that tells how the picture itself is doing: its age, its tick, what it costs.

use crate::format;
use crate::store::Store;
use leptos::prelude::*;

#[component]
pub(super) fn AboutView(store: Store) -> impl IntoView {
    let words = move || {
        let latency = store.latency.get();
        let tick = store
            .headline
            .with(|headline| headline.as_ref().map_or(0, |h| h.tick_ns));
        let progress = store.progress.get();
        let mut parts = Vec::new();
        if latency.paints > 0 {
            parts.push(format!(
                "From allocation to screen: median {} ms, 95 % within {} ms",
                latency.median_ms.round(),
                latency.p95_ms.round()
            ));
        }
        if tick > 0 {
            parts.push(format!("tick {}", format::duration(tick)));
        }
        parts.push(format!("{} frames read", format::count(progress.last_seq)));
        format!("{}.", parts.join(" · "))
    };
    view! {
        <footer
            class="about faint"
            data-testid="about"
            data-latency-median=move || store.latency.get().median_ms.to_string()
            data-caught-up=move || store.progress.get().caught_up.to_string()
            title="The age includes the difference between this computer's clock and the watched host's"
        >
            {words}
        </footer>
    }
}
