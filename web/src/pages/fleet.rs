//! All sessions that the hub has: what runs, how big it is, how fast it grows, how surely that is known.

use super::controls::{empty, filter_box, group_box, hub_address};
use super::grouping::{Group, label, lines, session_name, sum};
use crate::canvas::{copyable, escape};
use crate::chart::spark;
use crate::format::{self, error_words};
use crate::sampling::amount;
use crate::store::Store;
use crate::ui::{click, maybe, part, text};
use crate::url::{FleetSort, Place, Tab};
use crate::worker::FleetRow;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{Pulse, SessionState};
use leptos::prelude::*;

#[component]
pub(crate) fn FleetPage(store: Store) -> impl IntoView {
    let summary = move || {
        store.fleet.with(|fleet| match fleet {
            None => String::new(),
            Some(rows) => {
                let live = rows
                    .iter()
                    .filter(|row| row.summary.state == SessionState::Live)
                    .count();
                format!("{live} live of {}", rows.len())
            }
        })
    };
    // 0: not told yet, 1: no session at all, 2: none matches, 3: a table.
    let kind = Memo::new(move |_| {
        let total = store.fleet.with(|fleet| fleet.as_ref().map(Vec::len));
        match total {
            None => 0_usize,
            Some(0) => 1,
            Some(_) if order(store).is_empty() => 2,
            Some(_) => 3,
        }
    });
    let body = move || match kind.get() {
        0 => view! { <div class="skeleton skeleton-block"></div> }.into_any(),
        1 => first_steps(),
        2 => none_match(store),
        _ => table(store),
    };
    // The same grouping and search, over time.
    let to_dashboards = move || {
        let view = store.place.with(|place| place.view.clone());
        let place = Place::dashboards(String::new());
        Place { view, ..place }.href()
    };
    view! {
        <div class="page page-wide">
            <div class="page-head">
                <h1>"Fleet"</h1>
                <span class="page-sub" data-testid="fleet-summary">{text(summary)}</span>
                <span class="spacer"></span>
                <a class="btn" data-testid="to-dashboards" href=text(to_dashboards)>"Dashboards"</a>
                {group_box(store)}
                {filter_box(store, "Filter sessions")}
            </div>
            {part(body)}
        </div>
    }
}

/// The lines to show, in their order.
fn order(store: Store) -> String {
    store.place.with(|place| {
        store
            .fleet
            .with(|fleet| lines(fleet.as_deref().unwrap_or_default(), &place.view))
    })
}

/// Rows hold still while one of them has the focus: nobody wants to open what slipped under the finger.
fn order_held(store: Store, before: Option<&String>) -> String {
    let now = order(store);
    let focused = document()
        .active_element()
        .is_some_and(|element| element.closest("[data-session]").is_ok_and(|row| row.is_some()));
    match before {
        Some(before)
            if focused && before.len() == now.len() && now.split(' ').all(|id| before.contains(id)) =>
        {
            before.clone()
        }
        _ => now,
    }
}

fn table(store: Store) -> AnyView {
    let ids = Memo::new(move |before| order_held(store, before));
    let rows = move || {
        let lines = ids.get();
        let rows = lines.split_whitespace().filter_map(|line| {
            Some(match line.strip_prefix('#') {
                Some(id) => group_row(store, id.parse().ok()?),
                None => row(store, line.parse().ok()?),
            })
        });
        rows.collect::<Vec<AnyView>>().into_any()
    };
    let head = move |by: FleetSort, label: &'static str, class: &'static str| {
        let sorted = move || {
            let is = store.place.with(|place| place.view.sort == by);
            is.then(|| {
                if by == FleetSort::Name {
                    "ascending"
                } else {
                    "descending"
                }
                .to_owned()
            })
        };
        view! {
            <th scope="col" class=class aria-sort=maybe(sorted)>
                <button class="sort" type="button" on:click=click(move |_| store.look(|view| view.sort = by))>
                    {label}
                </button>
            </th>
        }
        .into_any()
    };
    view! {
        <div class="table-wrap">
            <table class="table" data-testid="fleet">
                <thead>
                    <tr>
                        {head(FleetSort::Name, "Service", "")}
                        {head(FleetSort::Live, "Live heap", "num")}
                        {head(FleetSort::Growth, "Growth", "num")}
                        {head(FleetSort::Rss, "RSS", "num")}
                        {head(FleetSort::Allocation, "Allocation", "num hide-narrow")}
                        <th scope="col" class="num hide-narrow">"Samples"</th>
                        <th scope="col" class="num hide-narrow">"Lost"</th>
                        <th scope="col" class="hide-narrow">"Sampling"</th>
                        <th scope="col" class="hide-narrow">"Runtime"</th>
                    </tr>
                </thead>
                <tbody>{part(rows)}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// The line above a group; `of` is one of its sessions.
fn group_row(store: Store, of: SessionId) -> AnyView {
    let cells = move || {
        store.place.with(|place| {
            store.fleet.with(|fleet| {
                let rows = fleet.as_deref().unwrap_or_default();
                let of = rows.iter().find(|row| row.summary.session == of);
                of.map_or_else(String::new, |of| {
                    let value = label(of, &place.view.by);
                    group_cells(value, &place.view.by, &sum(rows, &place.view, value))
                })
            })
        })
    };
    view! { <tr class="group" data-testid="group-row" inner_html=text(cells)></tr> }.into_any()
}

/// Figures are those of live sessions, and nothing where there is none.
fn group_cells(value: &str, by: &str, group: &Group) -> String {
    let is_live = group.live > 0;
    let figure = |words: String| if is_live { words } else { "–".to_owned() };
    let name = match value {
        "" => format!("no {}", escape(by)),
        value => escape(value),
    };
    format!(
        "<th scope=\"rowgroup\"><div class=\"row\"><span class=\"cell-main\">{name}</span><span class=\"{}\">{} live of \
         {}</span></div></th><td class=\"num\"><div class=\"cell-main\">{}</div><div class=\"cell-sub\">{}</div></td>\
         <td class=\"num\"><div class=\"cell-sub\">{}</div></td><td class=\"num\">{}</td><td class=\"num hide-narrow\">{}</td>\
         <td class=\"hide-narrow\" colspan=\"4\"></td>",
        if is_live {
            "pill pill-live"
        } else {
            "pill pill-ended"
        },
        group.live,
        group.sessions,
        figure(format::bytes(group.live_bytes)),
        error_words(group.live_bytes, group.live_variance.sqrt()),
        growth_words(group.growth_bytes_per_min),
        figure(format::bytes(group.rss_bytes)),
        figure(format::bytes_per_s(group.allocated_bytes_per_s)),
    )
}

fn row(store: Store, id: SessionId) -> AnyView {
    // Nothing is there in the moment between a session's end and its row's.
    let of = move |read: fn(&FleetRow) -> String| text(move || with_row(store, id, read).unwrap_or_default());
    let pulse = move |read: fn(&Pulse) -> String| {
        text(move || {
            let pulse = with_row(store, id, |row| row.summary.pulse.as_ref().map(read));
            pulse.flatten().unwrap_or_else(|| "–".to_owned())
        })
    };
    let history = move || {
        let draw = |row: &FleetRow| spark(&row.history_bytes, "Live heap over the last two minutes");
        with_row(store, id, draw).unwrap_or_default()
    };
    let place = Place::session(id, Tab::Live);
    let href = place.href();
    let open = move |event: web_sys::MouseEvent| {
        // The link itself is followed elsewhere.
        if !event.default_prevented() && nothing_is_marked() {
            store.go(place.clone());
        }
    };
    view! {
        <tr
            class="is-link"
            data-testid="session-row"
            data-session=id.to_string()
            data-live=pulse(|pulse| format::fixed(pulse.live_bytes, 0))
            on:click=click(open)
        >
            <td>
                <div class="row">
                    <a class="cell-main link" href=href>{of(session_name)}</a>
                    <span class=of(|row| state_words(row).0.to_owned())>{of(|row| state_words(row).1.to_owned())}</span>
                </div>
                <div class="cell-sub">
                    {of(|row| format!("pid {} · {}", row.summary.signature.pid, row.summary.signature.host_name))}
                </div>
            </td>
            <td class="num">
                <div class="cell-main">{pulse(|pulse| format::bytes(pulse.live_bytes))}</div>
                <div class="cell-sub">{pulse(live_error)}</div>
            </td>
            <td class="num">
                <div inner_html=text(history)></div>
                <div class="cell-sub">{of(growth)}</div>
            </td>
            <td class="num">{pulse(|pulse| format::bytes(pulse.rss_bytes as f64))}</td>
            <td class="num hide-narrow">{pulse(|pulse| format::bytes_per_s(pulse.allocated_bytes_per_s))}</td>
            <td class="num hide-narrow">{pulse(|pulse| format!("{}/s", format::count_short(pulse.samples_per_s)))}</td>
            <td class="num hide-narrow">{pulse(lost)}</td>
            <td class="hide-narrow">
                <div class="cell-main" data-testid="row-rate">{pulse(rate)}</div>
                <div class="cell-sub">{of(revision)}</div>
            </td>
            <td class="hide-narrow">
                <div class="cell-main">{of(|row| row.summary.signature.runtime_version.clone())}</div>
                <div class="cell-sub">
                    {of(|row| format!("{}, {}", row.summary.signature.os, row.summary.signature.architecture))}
                </div>
            </td>
        </tr>
    }
    .into_any()
}

fn with_row<R>(store: Store, id: SessionId, read: impl FnOnce(&FleetRow) -> R) -> Option<R> {
    store.fleet.with(|fleet| {
        fleet
            .as_ref()?
            .iter()
            .find(|row| row.summary.session == id)
            .map(read)
    })
}

fn state_words(row: &FleetRow) -> (&'static str, &'static str) {
    match row.summary.state {
        SessionState::Live => ("pill pill-live", "Live"),
        SessionState::Away { .. } => ("pill pill-away", "Away"),
        SessionState::Ended => ("pill pill-ended", "Ended"),
    }
}

/// A person who marks text in a row doesn't want to leave.
fn nothing_is_marked() -> bool {
    let get = |from: &wasm_bindgen::JsValue, name: &str| js_sys::Reflect::get(from, &name.into()).ok();
    let page: wasm_bindgen::JsValue = window().into();
    let selection = get(&page, "getSelection")
        .and_then(|read| wasm_bindgen::JsCast::dyn_into::<js_sys::Function>(read).ok())
        .and_then(|read| read.call0(&page).ok());
    selection
        .is_none_or(|selection| get(&selection, "isCollapsed").and_then(|flag| flag.as_bool()) != Some(false))
}

fn live_error(pulse: &Pulse) -> String {
    error_words(pulse.live_bytes, pulse.live_std_error_bytes)
}

fn growth(row: &FleetRow) -> String {
    growth_words(row.growth_bytes_per_min)
}

fn growth_words(bytes_per_min: Option<f64>) -> String {
    bytes_per_min.map_or_else(String::new, |growth| {
        format!("{}/min", format::signed_bytes(growth))
    })
}

fn lost(pulse: &Pulse) -> String {
    if pulse.dropped == 0 {
        "0".to_owned()
    } else {
        format::percent(pulse.dropped as f64 / pulse.seen.max(1) as f64)
    }
}

fn rate(pulse: &Pulse) -> String {
    match pulse.sampling_rate_bytes {
        0 => "off".to_owned(),
        rate => format!("1 per {}", amount(rate)),
    }
}

fn revision(row: &FleetRow) -> String {
    let policy = &row.summary.policy;
    match (&policy.applied, &policy.pending) {
        (_, Some(pending)) => format!("revision {} pending", pending.revision),
        (Some(applied), None) if applied.revision > 0 => format!("revision {}", applied.revision),
        _ => String::new(),
    }
}

fn none_match(store: Store) -> AnyView {
    let button = view! {
        <button class="btn" type="button" on:click=click(move |_| store.look(|view| view.filter.clear()))>
            "Clear the filter"
        </button>
    };
    let words =
        "The filter looks at the program, its flags, host, pid, id, runtime and labels, as in zone=eu.";
    empty(
        "none",
        "No session matches the filter",
        text(|| words.to_owned()),
        button.into_any(),
    )
}

/// Nothing has ever been watched: how to begin, as commands to copy.
fn first_steps() -> AnyView {
    let hub = hub_address();
    let step = |done: bool, title: &str, command: &str, words: &str| {
        let command = copyable(command);
        format!(
            "<li data-done=\"{done}\"><strong>{title}</strong>{command}<p class=\"muted\">{words}</p></li>"
        )
    };
    let markup = [
        "<svg class=\"icon\" aria-hidden=\"true\"><use href=\"#i-logo\"/></svg>\
         <div class=\"empty-title\">No program is being watched yet</div><ol class=\"steps\">",
        &step(
            true,
            "The hub runs",
            "heaptide hub",
            "This page comes from it, so that is done.",
        ),
        &step(
            false,
            "Watch a program that runs",
            &format!("sudo heaptide attach --hub {hub} PID"),
            "On the machine where it runs. The program is not changed and not restarted.",
        ),
        &step(
            false,
            "Or start one",
            &format!("sudo heaptide run --hub {hub} -- ./server"),
            "It appears here by itself. Go 1.19 to 1.27, stripped or not.",
        ),
        "</ol>",
    ]
    .concat();
    view! { <div class="empty" data-testid="empty" inner_html=markup></div> }.into_any()
}
