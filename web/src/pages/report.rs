//! One page for every report: tables with their method, units and intervals, and rows that open to stacks.
//!
//! It knows nothing of what a table is about. Rows stay while their number does and change their text, so
//! that focus and open stacks hold; a table of another shape is built anew.

use super::about::AboutView;
use super::capabilities::{capability_list, follow_matrix};
use super::controls::{self, range_picker, time_base, window_chip};
use super::lacks::{class_of, why_lacking};
use super::live::{session_head, session_timeline};
use super::sites::frame_line;
use crate::canvas::escape;
use crate::format::{self, TimeBase};
use crate::sampling::standing;
use crate::store::Store;
use crate::ui::{click, maybe, nothing, part, text};
use crate::url::{Range, Tab};
use heaptide_analysis::report::{Cell, Row, Table, Unit};
use leptos::prelude::*;

/// Rows of a table at first.
const SHOWN: usize = 50;

pub(crate) fn report_page(store: Store, tab: Tab) -> AnyView {
    let in_time = tab != Tab::Doctor;
    if !in_time {
        follow_matrix(store);
    }
    let all = RwSignal::new(false);
    let shape = Memo::new(move |_| {
        let limit = if all.get() { usize::MAX } else { SHOWN };
        with_tables(store, tab, |tables| shape(tables, limit)).unwrap_or_default()
    });
    let body = move || {
        let shape = shape.get();
        if shape.is_empty() {
            return view! { <div class="skeleton skeleton-block"></div> }.into_any();
        }
        if !shape.contains('\n') {
            return empty(store, tab);
        }
        let limit = if all.get_untracked() { usize::MAX } else { SHOWN };
        let count = store.tables.peek(|(_, tables)| tables.len());
        (0..count)
            .map(|table| table_panel(store, table, limit, all))
            .collect::<Vec<AnyView>>()
            .into_any()
    };
    let head = if in_time {
        view! {
            {session_timeline(store, 120.0)}
            <div class="toolbar">{window_chip(store)}<span class="spacer"></span>{range_picker(store, &Range::ALL)}</div>
        }
        .into_any()
    } else {
        nothing()
    };
    view! {
        <div class="page page-wide" data-testid="report" data-tab=tab.key()>
            {session_head(store)}
            {head}
            {part(body)}
            <AboutView store/>
        </div>
    }
    .into_any()
}

/// `None` while the tables in the store are another page's.
fn with_tables<R>(store: Store, tab: Tab, read: impl FnOnce(&[Table]) -> R) -> Option<R> {
    store
        .tables
        .with(|(of, tables)| (*of == tab).then(|| read(tables)))
}

/// Changes when the tables must be built anew. A line per table that has rows; without any, one word.
fn shape(tables: &[Table], limit: usize) -> String {
    let mut words = "tables".to_owned();
    if tables.iter().all(|table| table.rows.is_empty()) {
        return words;
    }
    for table in tables {
        words.push('\n');
        words.push_str(&table.title);
        for column in &table.columns {
            words.push('\t');
            words.push_str(&column.label);
        }
        for row in table.rows.iter().take(limit) {
            words.push(if row.stacks.is_empty() { '.' } else { ':' });
        }
    }
    words
}

/// Something of one table, told again when it changes.
fn of_table(store: Store, at: usize, read: fn(&Table) -> String) -> crate::ui::Text {
    text(move || {
        store
            .tables
            .with(|(_, tables)| tables.get(at).map(read))
            .unwrap_or_default()
    })
}

fn table_panel(store: Store, at: usize, limit: usize, all: RwSignal<bool>) -> AnyView {
    let base = untrack(|| time_base(store));
    let (head, lines, more) = store.tables.peek(|(_, tables)| {
        let Some(table) = tables.get(at) else {
            return (Vec::new(), Vec::new(), false);
        };
        let head: Vec<AnyView> = table
            .columns
            .iter()
            .map(|column| {
                let class = class_of_unit(column.unit);
                view! { <th scope="col" class=class>{column.label.clone()}</th> }.into_any()
            })
            .collect();
        let figures: Vec<bool> = (0..table.columns.len())
            .map(|column| {
                table
                    .rows
                    .iter()
                    .any(|row| matches!(row.cells.get(column), Some(Cell::Figure(_))))
            })
            .collect();
        let lines: Vec<AnyView> = table
            .rows
            .iter()
            .take(limit)
            .enumerate()
            .map(|(row, what)| line(store, base, (at, row), table, what, &figures))
            .collect();
        (head, lines, table.rows.len() > SHOWN)
    });
    let body = if lines.is_empty() {
        view! { <p class="panel-note muted">"No rows in this time window."</p> }.into_any()
    } else {
        view! {
            <div class="table-wrap">
                <table class="table report">
                    <thead><tr>{head}</tr></thead>
                    <tbody>{lines}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    let button = if more {
        view! {
            <button class="btn btn-ghost btn-sm" type="button" on:click=click(move |_| all.update(|all| *all = !*all))>
                {text(move || if all.get() { "Show fewer" } else { "Show more" }.to_owned())}
            </button>
        }
        .into_any()
    } else {
        nothing()
    };
    let rest = |table: &Table| match table.left_out {
        0 => String::new(),
        count => format!(
            "{} more rows are left out here; a filter or a shorter time brings them in. ",
            format::count(count)
        ),
    };
    view! {
        <section class="panel" data-testid="report-table">
            <div class="panel-head">
                <h2 class="panel-title">{of_table(store, at, |table| table.title.clone())}</h2>
                <span class="muted">{of_table(store, at, |table| format::method(&table.method))}</span>
            </div>
            <p class="panel-note">{of_table(store, at, |table| table.note.clone())}</p>
            <div class="panel-body panel-body-flush">{body}</div>
            <p class="panel-note muted">
                <span data-testid="report-left-out">{of_table(store, at, rest)}</span>
                {button}
            </p>
        </section>
    }
    .into_any()
}

fn class_of_unit(unit: Unit) -> &'static str {
    if unit == Unit::Text { "wrap" } else { "num" }
}

/// `place` is the table's and the row's number.
fn line(
    store: Store,
    base: TimeBase,
    place: (usize, usize),
    table: &Table,
    row: &Row,
    figures: &[bool],
) -> AnyView {
    let opens = !row.stacks.is_empty();
    let cells: Vec<AnyView> = table
        .columns
        .iter()
        .enumerate()
        .map(|(column, what)| {
            let of = move |read: fn(TimeBase, Unit, &Cell) -> String| {
                text(move || with_cell(store, base, place, column, read).unwrap_or_default())
            };
            let value = maybe(move || {
                with_cell(store, base, place, column, |_, _, cell| raw(cell)).filter(|raw| !raw.is_empty())
            });
            let sub = if figures.get(column) == Some(&true) {
                view! { <div class="cell-sub">{of(interval)}</div> }.into_any()
            } else {
                nothing()
            };
            let main = view! { <span class="cell-main">{of(words)}</span> };
            let main = if opens && column == 0 {
                opening(store, place, main.into_any())
            } else {
                main.into_any()
            };
            view! { <td class=class_of_unit(what.unit) data-value=value>{main}{sub}</td> }.into_any()
        })
        .collect();
    view! { <tr data-testid="report-row">{cells}</tr> }.into_any()
}

fn with_cell(
    store: Store,
    base: TimeBase,
    (table, row): (usize, usize),
    column: usize,
    read: fn(TimeBase, Unit, &Cell) -> String,
) -> Option<String> {
    store.tables.with(|(_, tables)| {
        let table = tables.get(table)?;
        let cell = table.rows.get(row)?.cells.get(column)?;
        Some(read(base, table.columns.get(column)?.unit, cell))
    })
}

fn words(base: TimeBase, unit: Unit, cell: &Cell) -> String {
    match cell {
        Cell::Unknown => "–".to_owned(),
        Cell::Text(words) => words.clone(),
        Cell::Value(value) => format::in_unit(base, unit, *value),
        Cell::Figure(figure) => format::in_unit(base, unit, figure.value),
    }
}

fn interval(base: TimeBase, unit: Unit, cell: &Cell) -> String {
    match cell {
        Cell::Figure(figure) => format::interval_in(base, unit, figure),
        _ => String::new(),
    }
}

/// For whoever reads the page by program.
fn raw(cell: &Cell) -> String {
    match cell {
        Cell::Value(value) => format::fixed(*value, 6),
        Cell::Figure(figure) => format::fixed(figure.value, 6),
        _ => String::new(),
    }
}

/// A row's first cell, which opens to the stacks behind it. Stacks that nobody looks at aren't built.
fn opening(store: Store, (table, row): (usize, usize), main: AnyView) -> AnyView {
    let open = RwSignal::new(false);
    let stacks = move || {
        store.tables.with(|(_, tables)| {
            let row = tables.get(table).and_then(|table| table.rows.get(row));
            let mut out = String::new();
            for (word, frames) in row.iter().flat_map(|row| &row.stacks) {
                out += &format!(
                    "<p class=\"cell-sub\">{}</p><ol class=\"stack-list mono\">{}</ol>",
                    escape(word),
                    frames.iter().map(frame_line).collect::<String>()
                );
            }
            out
        })
    };
    view! {
        <details class="site" on:toggle=move |_| open.update(|open| *open = !*open)>
            <summary>{main}</summary>
            <div inner_html=text(move || if open.get() { stacks() } else { String::new() })></div>
        </details>
    }
    .into_any()
}

/// What is off or lacking, and what would change it.
fn empty(store: Store, tab: Tab) -> AnyView {
    let kind = tab.report();
    let filtered = move || store.place.with(|place| !place.view.filter.is_empty());
    let reason = move || {
        let lacking = |kind| {
            store
                .with_row(|row| why_lacking(kind, &standing(&row.summary.policy, None).current.sources))
                .unwrap_or("The hub has not told the session's policy yet.")
        };
        match (filtered(), kind) {
            (true, _) => "No row in this time window matches the filter.",
            (false, Some(kind)) => lacking(kind),
            (false, None) => "The collector has not said yet what it can see.",
        }
        .to_owned()
    };
    let act = move |_| {
        store.look(|view| {
            if view.filter.is_empty() {
                view.sampling_open = true;
            } else {
                view.filter.clear();
            }
        });
    };
    let label = move || {
        if filtered() {
            "Clear the filter"
        } else {
            "Open Sampling"
        }
        .to_owned()
    };
    let button = view! { <button class="btn" type="button" on:click=click(act)>{text(label)}</button> };
    view! {
        <section class="panel">
            {controls::empty("report-empty", "Nothing to show", text(reason), button.into_any())}
        </section>
        {kind.map(|kind| capability_list(store, Some(class_of(kind))))}
    }
    .into_any()
}
