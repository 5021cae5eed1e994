//! Where the memory comes from: call sites, the heaviest first.

use super::controls::{empty, metric_picker, window_chip};
use super::naming::{metric_name, metric_words};
use crate::canvas::escape;
use crate::format;
use crate::store::Store;
use crate::ui::{click, nothing, part, text};
use crate::url::ViewState;
use heaptide_analysis::views::{SiteRow, SiteTable, StackFrame};
use leptos::prelude::*;

const SHOWN: usize = 12;
const SHOWN_ALL: usize = 100;
/// No answer yet.
const UNKNOWN: usize = usize::MAX;

#[component]
pub(super) fn SitesPanel(store: Store) -> impl IntoView {
    let all = RwSignal::new(false);
    let metric = move || store.place.with(|place| place.view.metric.0);
    // Rows stay and change their text, so that focus and open stacks hold; only their number builds anew.
    let count = Memo::new(move |_| {
        let limit = if all.get() { SHOWN_ALL } else { SHOWN };
        store.sites.with(|sites| {
            sites
                .as_ref()
                .map_or(UNKNOWN, |table| table.rows.len().min(limit))
        })
    });
    let body = move || match count.get() {
        UNKNOWN => view! { <div class="skeleton skeleton-block"></div> }.into_any(),
        0 => none(store),
        count => rows(store, count),
    };
    let rest = move || {
        let shown = count.get();
        store
            .sites
            .with(|sites| sites.as_ref().map(|table| rest_words(table, shown)))
            .unwrap_or_default()
    };
    let more = move || {
        if !(SHOWN..UNKNOWN).contains(&count.get()) {
            return nothing();
        }
        view! {
            <button class="btn btn-ghost btn-sm" type="button" on:click=click(move |_| all.update(|all| *all = !*all))>
                {text(move || if all.get() { "Show fewer" } else { "Show more" }.to_owned())}
            </button>
        }
        .into_any()
    };
    view! {
        <section class="panel" aria-labelledby="sites-title" data-testid="sites">
            <div class="panel-head">
                <h2 class="panel-title" id="sites-title">"Top call sites"</h2>
                <span class="muted">{text(move || metric_name(metric()).to_owned())}</span>
                {window_chip(store)}
                <span class="spacer"></span>
                {metric_picker(store)}
            </div>
            <div class="panel-body panel-body-flush">{part(body)}</div>
            <p class="panel-note muted">
                <span data-testid="sites-total">{text(rest)}</span>
                " "
                {text(move || metric_words(metric()).to_owned())}
                " "
                {part(more)}
            </p>
        </section>
    }
}

fn rows(store: Store, count: usize) -> AnyView {
    let lines: Vec<AnyView> = (0..count).map(|index| line(store, index)).collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"Call site"</th>
                        <th scope="col" class="num">"Bytes"</th>
                        <th scope="col" class="num">"Share"</th>
                        <th scope="col" class="num">"Objects"</th>
                        <th scope="col" class="num">"Samples"</th>
                    </tr>
                </thead>
                <tbody>{lines}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn line(store: Store, index: usize) -> AnyView {
    let of = move |read: fn(&SiteRow) -> String| {
        text(move || {
            store
                .sites
                .with(|sites| sites.as_ref().and_then(|table| table.rows.get(index)).map(read))
                .unwrap_or_default()
        })
    };
    let stack = move || {
        store.sites.with(|sites| {
            let row = sites.as_ref().and_then(|table| table.rows.get(index));
            row.iter()
                .flat_map(|row| &row.heaviest_stack)
                .map(frame_line)
                .collect::<String>()
        })
    };
    // A stack that nobody looks at isn't built.
    let open = RwSignal::new(false);
    view! {
        <tr
            data-testid="site-row"
            data-function=of(|row| row.function.clone())
            data-value=of(|row| format::fixed(row.bytes.value, 0))
            data-low=of(|row| format::fixed(row.bytes.low, 0))
            data-high=of(|row| format::fixed(row.bytes.high, 0))
        >
            <td>
                <details class="site" on:toggle=move |_| open.update(|open| *open = !*open)>
                    <summary>
                        <span class="cell-main mono">{of(|row| row.function.clone())}</span>
                        <span class="cell-sub">{of(place_words)}</span>
                    </summary>
                    <ol
                        class="stack-list mono"
                        inner_html=text(move || if open.get() { stack() } else { String::new() })
                    ></ol>
                </details>
            </td>
            <td class="num">
                <div class="cell-main">{of(|row| format::bytes(row.bytes.value))}</div>
                <div class="cell-sub">{of(|row| format::error_of(&row.bytes))}</div>
            </td>
            <td class="num">
                <div>{of(|row| format::percent(row.share))}</div>
                <div class="bar" style:--share=of(|row| format::fixed(row.share, 4))></div>
            </td>
            <td class="num">{of(|row| format::count_short(row.objects.value))}</td>
            <td class="num">{of(|row| format::count(row.samples))}</td>
        </tr>
    }
    .into_any()
}

pub(super) fn frame_line(frame: &StackFrame) -> String {
    let inlined = if frame.inlined { " inlined" } else { "" };
    let place = match frame.file.as_str() {
        "" => String::new(),
        file => format!("{}:{}{inlined}", short_file(file), frame.line),
    };
    format!(
        "<li title=\"{}:{}\">{} <span class=\"faint\">{}</span></li>",
        escape(&frame.file),
        frame.line,
        escape(&frame.function),
        escape(&place)
    )
}

fn place_words(row: &SiteRow) -> String {
    let mut words = match row.file.as_str() {
        "" => String::new(),
        file => format!("{}:{}", short_file(file), row.line),
    };
    if row.stacks > 1 {
        words.push_str(&format!(" · {} stacks", row.stacks));
    }
    words
}

/// The last two parts of a path.
fn short_file(file: &str) -> &str {
    match file.rmatch_indices('/').nth(1) {
        Some((at, _)) => &file[at + 1..],
        None => file,
    }
}

fn rest_words(table: &SiteTable, shown: usize) -> String {
    let below: f64 = table.rows.iter().skip(shown).map(|row| row.bytes.value).sum();
    let sites = table.other_sites + table.rows.len().saturating_sub(shown) as u64;
    let total = format!(
        "Total {} {}",
        format::bytes(table.total.value),
        format::error_of(&table.total)
    );
    if sites == 0 {
        return format!("{total}.");
    }
    format!(
        "{total}; {} more sites hold {}.",
        format::count(sites),
        format::bytes(below + table.other_bytes)
    )
}

fn none(store: Store) -> AnyView {
    let has = move |read: fn(&ViewState) -> bool| store.place.with(|place| read(&place.view));
    let filtered = move || has(|view| !view.filter.is_empty());
    let selected = move || has(|view| view.selection.is_some());
    let reason = move || {
        if filtered() {
            "No call site in this window matches the filter."
        } else if selected() {
            "Nothing was sampled in this time window."
        } else {
            "No heap sample has arrived yet. A program that allocates little is sampled seldom: a finer rate helps."
        }
        .to_owned()
    };
    let clear = move |_| {
        store.look(|view| {
            if view.filter.is_empty() {
                view.selection = None;
            }
            view.filter.clear();
        });
    };
    let action = move || {
        let label = match (filtered(), selected()) {
            (true, _) => "Clear the filter",
            (_, true) => "Show all of the time",
            _ => return nothing(),
        };
        view! { <button class="btn" type="button" on:click=click(clear)>{label}</button> }.into_any()
    };
    empty(
        "sites-empty",
        "Nothing to show",
        text(reason),
        part(action).into_any(),
    )
}
