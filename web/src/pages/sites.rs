//! Where the memory comes from: call sites, the heaviest first.

use super::naming::{metric_name, metric_words};
use crate::format;
use crate::store::Store;
use heaptide_analysis::views::{SiteRow, SiteTable, StackFrame};
use leptos::prelude::*;

const SHOWN: usize = 12;
const SHOWN_ALL: usize = 100;

#[component]
pub(super) fn SitesPanel(store: Store) -> impl IntoView {
    let all = RwSignal::new(false);
    let metric = Memo::new(move |_| store.place.with(|place| place.view.metric.0));
    let body = move || match store.sites.get() {
        None => view! { <div class="skeleton skeleton-block"></div> }.into_any(),
        Some(table) if table.rows.is_empty() => view! { <Nothing store/> }.into_any(),
        Some(_) => view! { <Rows store all/> }.into_any(),
    };
    // The body is rebuilt only when it becomes another kind of body.
    let kind = Memo::new(move |_| {
        store
            .sites
            .with(|sites| sites.as_ref().map(|table| table.rows.is_empty()))
    });
    view! {
        <section class="panel" aria-labelledby="sites-title" data-testid="sites">
            <div class="panel-head">
                <h2 class="panel-title" id="sites-title">"Top call sites"</h2>
                <span class="muted">{move || metric_name(metric.get())}</span>
                <super::controls::WindowChip store/>
                <span class="spacer"></span>
                <super::controls::MetricPicker store/>
            </div>
            <div class="panel-body panel-body-flush">
                {move || {
                    kind.track();
                    untrack(body)
                }}
            </div>
            <p class="panel-note muted">{move || metric_words(metric.get())}</p>
        </section>
    }
}

#[component]
fn Rows(store: Store, all: RwSignal<bool>) -> impl IntoView {
    let limit = move || if all.get() { SHOWN_ALL } else { SHOWN };
    let count = Memo::new(move |_| {
        let limit = limit();
        store
            .sites
            .with(|sites| sites.as_ref().map_or(0, |table| table.rows.len().min(limit)))
    });
    let rest = move || {
        store
            .sites
            .with(|sites| sites.as_ref().map(|table| rest_words(table, count.get())))
    };
    let more = move || {
        store
            .sites
            .with(|sites| sites.as_ref().is_some_and(|table| table.rows.len() > SHOWN))
    };
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
                <tbody>
                    // A row stays where it is and changes its text, so that focus and open stacks hold.
                    <For each=move || 0..count.get() key=|index| *index let:index>
                        <SiteLine store index/>
                    </For>
                </tbody>
            </table>
        </div>
        <p class="panel-note muted">
            {rest}
            " "
            {move || more().then(|| view! {
                <button class="btn btn-ghost btn-sm" type="button" on:click=move |_| all.update(|all| *all = !*all)>
                    {move || if all.get() { "Show fewer" } else { "Show more" }}
                </button>
            })}
        </p>
    }
}

#[component]
fn SiteLine(store: Store, index: usize) -> impl IntoView {
    let row = Memo::new(move |_| {
        store
            .sites
            .with(|sites| sites.as_ref().and_then(|table| table.rows.get(index).cloned()))
    });
    let text = move |read: fn(&SiteRow) -> String| {
        move || row.with(|row| row.as_ref().map(read).unwrap_or_default())
    };
    let share = move || row.with(|row| row.as_ref().map_or(0.0, |row| row.share).to_string());
    view! {
        <tr
            data-testid="site-row"
            data-function=text(|row| row.function.clone())
            data-value=text(|row| row.bytes.value.to_string())
            data-low=text(|row| row.bytes.low.to_string())
            data-high=text(|row| row.bytes.high.to_string())
        >
            <td>
                <details class="site">
                    <summary>
                        <span class="cell-main mono">{text(|row| row.function.clone())}</span>
                        <span class="cell-sub">{text(place_words)}</span>
                    </summary>
                    <ol class="stack-list mono">
                        {move || {
                            row.with(|row| {
                                row.iter().flat_map(|row| &row.heaviest_stack).map(frame_line).collect_view()
                            })
                        }}
                    </ol>
                </details>
            </td>
            <td class="num">
                <div class="cell-main">{text(|row| format::bytes(row.bytes.value))}</div>
                <div class="cell-sub">{text(|row| format::error_of(&row.bytes))}</div>
            </td>
            <td class="num">
                <div>{text(|row| format::percent(row.share))}</div>
                <div class="bar" style:--share=share></div>
            </td>
            <td class="num">{text(|row| format::count_short(row.objects.value))}</td>
            <td class="num">{text(|row| format::count(row.samples))}</td>
        </tr>
    }
}

fn frame_line(frame: &StackFrame) -> impl IntoView + use<> {
    let place = if frame.file.is_empty() {
        String::new()
    } else {
        format!("{}:{}", short_file(&frame.file), frame.line)
    };
    let title = format!("{}:{}", frame.file, frame.line);
    view! {
        <li title=title>
            {frame.function.clone()}
            " "
            <span class="faint">{place}{frame.inlined.then_some(" inlined")}</span>
        </li>
    }
}

fn place_words(row: &SiteRow) -> String {
    let stacks = if row.stacks > 1 {
        format!(" · {} stacks", row.stacks)
    } else {
        String::new()
    };
    if row.file.is_empty() {
        return stacks;
    }
    format!("{}:{}{stacks}", short_file(&row.file), row.line)
}

/// The last two parts of a path.
fn short_file(file: &str) -> &str {
    let mut slashes = file.rmatch_indices('/');
    match slashes.nth(1) {
        Some((at, _)) => &file[at + 1..],
        None => file,
    }
}

fn rest_words(table: &SiteTable, shown: usize) -> String {
    let below: f64 = table.rows.iter().skip(shown).map(|row| row.bytes.value).sum();
    let sites = table.other_sites + (table.rows.len() - shown.min(table.rows.len())) as u64;
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

#[component]
fn Nothing(store: Store) -> impl IntoView {
    let has = move |read: fn(&crate::url::ViewState) -> bool| store.place.with(|place| read(&place.view));
    let reason = move || {
        if has(|view| !view.filter.is_empty()) {
            "No call site in this window matches the filter."
        } else if has(|view| view.selection.is_some()) {
            "Nothing was sampled in this time window."
        } else {
            "No heap sample has arrived yet. A program that allocates little is sampled seldom: a finer rate helps."
        }
    };
    view! {
        <div class="empty">
            <div class="empty-title">"Nothing to show"</div>
            <p class="empty-text">{reason}</p>
            <div class="empty-actions">
                {move || has(|view| !view.filter.is_empty()).then(|| view! {
                    <button class="btn" type="button" on:click=move |_| store.look(|view| view.filter.clear())>
                        "Clear the filter"
                    </button>
                })}
                {move || has(|view| view.selection.is_some()).then(|| view! {
                    <button class="btn" type="button" on:click=move |_| store.look(|view| view.selection = None)>
                        "Show all of the time"
                    </button>
                })}
            </div>
        </div>
    }
}
