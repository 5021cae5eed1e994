//! Small controls that more than one page has.

use super::grouping::label_keys;
use super::naming::{metric_name, metric_words};
use crate::canvas::escape;
use crate::format::{TimeBase, duration, elapsed};
use crate::store::Store;
use crate::ui::{Text, click, icon, input, nothing, part, text};
use crate::url::{METRICS, Range, metric_key};
use crate::worker::FleetRow;
use heaptide_analysis::views::Window;
use leptos::prelude::*;

/// The filter of the place, in a search field; `/` brings the focus to it.
pub(crate) fn filter_box(store: Store, placeholder: &'static str) -> AnyView {
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
                prop:value=text(move || store.place.with(|place| place.view.filter.clone()))
                on:input=input(move |event| {
                    let words = event_target_value(&event);
                    store.look(|view| view.filter = words.chars().take(200).collect());
                })
            />
        </label>
    }
    .into_any()
}

/// The label to group by, of those that sessions have.
pub(crate) fn group_box(store: Store) -> AnyView {
    // Written into the page only when it has changed.
    let options = move || {
        let by = store.place.with(|place| place.view.by.clone());
        store
            .fleet
            .with(|fleet| group_options(fleet.as_deref().unwrap_or_default(), &by))
    };
    let choose = move |event| {
        let by = event_target_value(&event);
        store.look(|view| view.by = by);
    };
    view! {
        <label class="row">
            <span class="muted">"Group by"</span>
            <select
                class="select"
                data-testid="group-by"
                inner_html=text(options)
                on:change=input(choose)
            ></select>
        </label>
    }
    .into_any()
}

fn group_options(rows: &[FleetRow], by: &str) -> String {
    let mut keys = vec![""];
    keys.extend(label_keys(rows));
    // By a link that names a label which nobody has.
    if !keys.contains(&by) {
        keys.push(by);
    }
    let mut out = String::new();
    for key in keys {
        let chosen = if key == by { " selected" } else { "" };
        let words = if key.is_empty() { "nothing" } else { key };
        out += &format!(
            "<option value=\"{0}\"{chosen}>{1}</option>",
            escape(key),
            escape(words)
        );
    }
    out
}

/// Follow the newest, or hold still.
pub(super) fn pause_button(store: Store) -> AnyView {
    let paused = move || store.place.with(|place| place.view.at_ns.is_some());
    view! {
        <button
            class="btn"
            type="button"
            data-testid="pause"
            aria-pressed=text(move || paused().to_string())
            title="Space"
            on:click=click(move |_| store.toggle_pause())
        >
            {part(move || icon(if paused() { "play" } else { "pause" }))}
            {text(move || if paused() { "Follow live" } else { "Pause" }.to_owned())}
        </button>
    }
    .into_any()
}

/// One of a group of buttons of which one is pressed.
pub(super) fn choice(
    label: &'static str,
    key: &'static str,
    title: &'static str,
    chosen: impl Fn() -> bool + Send + 'static,
    choose: impl Fn() + 'static,
) -> AnyView {
    view! {
        <button
            type="button"
            data-key=key
            title=title
            aria-pressed=text(move || chosen().to_string())
            on:click=click(move |_| choose())
        >
            {label}
        </button>
    }
    .into_any()
}

pub(super) fn choices(label: &'static str, id: &'static str, buttons: Vec<AnyView>) -> AnyView {
    view! { <div class="segmented" role="group" aria-label=label data-testid=id>{buttons}</div> }.into_any()
}

pub(crate) fn range_picker(store: Store, ranges: &'static [Range]) -> AnyView {
    let button = move |range: Range| {
        choice(
            range.label(),
            range.label(),
            "How far back the timeline reaches",
            move || store.place.with(|place| place.view.range == range),
            move || store.look(|view| view.range = range),
        )
    };
    choices(
        "How much of the time to show",
        "range",
        ranges.iter().copied().map(button).collect(),
    )
}

pub(super) fn metric_picker(store: Store) -> AnyView {
    let button = move |metric| {
        choice(
            metric_name(metric),
            metric_key(metric),
            metric_words(metric),
            move || store.place.with(|place| place.view.metric.0 == metric),
            move || store.look(|view| view.metric.0 = metric),
        )
    };
    choices(
        "What to count",
        "metric",
        METRICS.into_iter().map(button).collect(),
    )
}

/// The window that tables and flame graph are about, with a way to let go of it.
pub(super) fn window_chip(store: Store) -> AnyView {
    let words = Memo::new(move |_| {
        let window = store.place.with(|place| place.view.selection);
        window.map_or_else(String::new, |window| window_words(time_base(store), window))
    });
    part(move || {
        let words = words.get();
        if words.is_empty() {
            return nothing();
        }
        view! {
            <button
                class="chip"
                type="button"
                aria-pressed="true"
                data-testid="window"
                title="Let go of this time window (Esc)"
                on:click=click(move |_| store.look(|view| view.selection = None))
            >
                {words}
                {icon("close")}
            </button>
        }
        .into_any()
    })
    .into_any()
}

fn window_words(base: TimeBase, window: Window) -> String {
    format!(
        "{} to {} ({})",
        elapsed(base, window.from_ns),
        elapsed(base, window.to_ns),
        duration(window.to_ns - window.from_ns)
    )
}

/// Session time for people: from the session's beginning, and by the wall clock.
pub(super) fn time_base(store: Store) -> TimeBase {
    let zero_ns = store.figure(|h| h.span.from_ns).unwrap_or_default();
    let unix_zero_ns = store.clock().map(|clock| {
        let offset = zero_ns as i64 - clock.session_ns as i64;
        clock.unix_ns.saturating_add_signed(offset)
    });
    TimeBase {
        zero_ns,
        unix_zero_ns,
        utc_offset_minutes: -js_sys::Date::new_0().get_timezone_offset() as i32,
    }
}

/// Why there is nothing to show, and what to do about it.
pub(super) fn empty(id: &'static str, title: &'static str, reason: Text, action: AnyView) -> AnyView {
    view! {
        <div class="empty" data-testid=id>
            <div class="empty-title">{title}</div>
            <p class="empty-text">{reason}</p>
            <div class="empty-actions">{action}</div>
        </div>
    }
    .into_any()
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
