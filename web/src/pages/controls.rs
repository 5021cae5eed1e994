//! Small controls that more than one page has.

use super::naming::metric_name;
use crate::app::icon;
use crate::format::TimeBase;
use crate::store::Store;
use crate::url::{METRICS, Range, metric_key};
use heaptide_analysis::views::Window;
use leptos::prelude::*;
use std::time::Duration;

/// The filter of the place, in a search field; `/` brings the focus to it.
#[component]
pub(super) fn FilterBox(store: Store, placeholder: &'static str) -> impl IntoView {
    view! {
        <label class="search">
            {icon("search")}
            <span class="visually-hidden">{placeholder}</span>
            <input
                class="input"
                type="search"
                data-filter=""
                data-testid="filter"
                placeholder=format!("{placeholder}  /")
                autocomplete="off"
                spellcheck="false"
                prop:value=move || store.place.with(|place| place.view.filter.clone())
                on:input=move |event| {
                    let text = event_target_value(&event);
                    store.look(|view| view.filter = text.chars().take(200).collect());
                }
            />
        </label>
    }
}

/// Follow the newest, or hold still.
#[component]
pub(super) fn PauseButton(store: Store) -> impl IntoView {
    let paused = Memo::new(move |_| store.place.with(|place| place.view.at_ns.is_some()));
    view! {
        <button
            class="btn"
            type="button"
            data-testid="pause"
            aria-pressed=move || paused.get().to_string()
            title="Space"
            on:click=move |_| store.toggle_pause()
        >
            {move || icon(if paused.get() { "play" } else { "pause" })}
            {move || if paused.get() { "Follow live" } else { "Pause" }}
        </button>
    }
}

#[component]
pub(super) fn RangePicker(store: Store) -> impl IntoView {
    let button = move |range: Range| {
        let chosen = move || store.place.with(|place| place.view.range == range);
        view! {
            <button
                type="button"
                aria-pressed=move || chosen().to_string()
                on:click=move |_| store.look(|view| view.range = range)
            >
                {range.label()}
            </button>
        }
    };
    view! {
        <div class="segmented" role="group" aria-label="How much of the time to show" data-testid="range">
            {Range::ALL.map(button).collect_view()}
        </div>
    }
}

#[component]
pub(super) fn MetricPicker(store: Store) -> impl IntoView {
    let button = move |metric| {
        let chosen = move || store.place.with(|place| place.view.metric.0 == metric);
        view! {
            <button
                type="button"
                data-metric=metric_key(metric)
                title=super::naming::metric_words(metric)
                aria-pressed=move || chosen().to_string()
                on:click=move |_| store.look(|view| view.metric.0 = metric)
            >
                {metric_name(metric)}
            </button>
        }
    };
    view! {
        <div class="segmented" role="group" aria-label="What to count" data-testid="metric">
            {METRICS.map(button).collect_view()}
        </div>
    }
}

/// The window that tables and flame graph are about, with a way to let go of it.
#[component]
pub(super) fn WindowChip(store: Store) -> impl IntoView {
    let base = time_base(store);
    let chip = move || {
        store.place.with(|place| place.view.selection).map(|window| {
            let text = window_words(base.get(), window);
            view! {
                <button
                    class="chip"
                    type="button"
                    aria-pressed="true"
                    data-testid="window"
                    title="Let go of this time window (Esc)"
                    on:click=move |_| store.look(|view| view.selection = None)
                >
                    {text}
                    {icon("close")}
                </button>
            }
        })
    };
    view! { {chip} }
}

pub(super) fn window_words(base: TimeBase, window: Window) -> String {
    use crate::format::{duration, elapsed};
    format!(
        "{} to {} ({})",
        elapsed(base, window.from_ns),
        elapsed(base, window.to_ns),
        duration(window.to_ns - window.from_ns)
    )
}

/// Session time for people: from the session's beginning, and by the wall clock.
pub(super) fn time_base(store: Store) -> Memo<TimeBase> {
    Memo::new(move |_| {
        let zero_ns = store
            .headline
            .with(|headline| headline.as_ref().map_or(0, |h| h.span.from_ns));
        let unix_zero_ns = store.clock().map(|clock| {
            let offset = i128::from(zero_ns) - i128::from(clock.session_ns);
            (i128::from(clock.unix_ns) + offset).max(0) as u64
        });
        TimeBase {
            zero_ns,
            unix_zero_ns,
            utc_offset_minutes: -js_sys::Date::new_0().get_timezone_offset() as i32,
        }
    })
}

/// A command or a report, with a button that copies it.
#[component]
pub(crate) fn Copyable(text: String) -> impl IntoView {
    let copied = RwSignal::new(false);
    let shown = text.clone();
    let copy = move |_| {
        let _ = window().navigator().clipboard().write_text(&text);
        copied.set(true);
        set_timeout(move || copied.set(false), Duration::from_secs(2));
    };
    view! {
        <div class="code">
            <pre>{shown}</pre>
            <button class="copy" type="button" on:click=copy>
                {move || if copied.get() { "Copied" } else { "Copy" }}
            </button>
        </div>
    }
}

/// Where collectors find the hub that served this page.
pub(super) fn hub_address() -> String {
    let location = window().location();
    let scheme = if location.protocol().is_ok_and(|protocol| protocol == "https:") {
        "wss"
    } else {
        "ws"
    };
    format!("{scheme}://{}", location.host().unwrap_or_default())
}
