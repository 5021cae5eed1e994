//! All sessions that the hub has: what runs, how big it is, how fast it grows, how surely that is known.

use super::naming::service_name;
use crate::app::icon;
use crate::chart::Sparkline;
use crate::format;
use crate::sampling::amount;
use crate::store::Store;
use crate::url::{FleetSort, Place, Tab};
use crate::worker::FleetRow;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{Pulse, SessionState};
use leptos::prelude::*;
use std::cmp::Ordering;
use std::sync::Arc;

#[component]
pub(crate) fn FleetPage(store: Store) -> impl IntoView {
    let filter = Memo::new(move |_| store.place.with(|place| place.view.filter.to_lowercase()));
    let sort = Memo::new(move |_| store.place.with(|place| place.view.sort));
    let order = Memo::new(move |_| {
        let filter = filter.get();
        store.fleet.with(|fleet| {
            let mut rows: Vec<&FleetRow> = fleet
                .iter()
                .flat_map(|rows| rows.iter())
                .filter(|row| matches(row, &filter))
                .collect();
            rows.sort_by(|a, b| compare(a, b, sort.get()));
            rows.iter()
                .map(|row| row.summary.session)
                .collect::<Vec<SessionId>>()
        })
    });
    let total = Memo::new(move |_| store.fleet.with(|fleet| fleet.as_ref().map(|rows| rows.len())));
    let summary = move || {
        let live = store.fleet.with(|fleet| {
            let rows = fleet.iter().flat_map(|rows| rows.iter());
            rows.filter(|row| row.summary.state == SessionState::Live).count()
        });
        match total.get() {
            None => String::new(),
            Some(total) => format!("{live} live of {total}"),
        }
    };
    let body = move || match (total.get(), order.with(Vec::is_empty)) {
        (None, _) => view! { <div class="skeleton skeleton-block"></div> }.into_any(),
        (Some(0), _) => view! { <FirstSteps/> }.into_any(),
        (Some(_), true) => view! { <NoneMatch store/> }.into_any(),
        _ => view! { <Table store order sort/> }.into_any(),
    };
    view! {
        <div class="page page-wide">
            <div class="page-head">
                <h1>"Fleet"</h1>
                <span class="page-sub" data-testid="fleet-summary">{summary}</span>
                <span class="spacer"></span>
                <super::controls::FilterBox store placeholder="Filter sessions"/>
            </div>
            {body}
        </div>
    }
}

#[component]
fn Table(store: Store, order: Memo<Vec<SessionId>>, sort: Memo<FleetSort>) -> impl IntoView {
    let head = move |by: FleetSort, text: &'static str, number: bool| {
        let sorted = move || {
            (sort.get() == by).then_some(if by == FleetSort::Name {
                "ascending"
            } else {
                "descending"
            })
        };
        view! {
            <th scope="col" class:num=number aria-sort=sorted>
                <button class="sort" type="button" on:click=move |_| store.look(|view| view.sort = by)>
                    {text}
                </button>
            </th>
        }
    };
    view! {
        <div class="table-wrap">
            <table class="table" data-testid="fleet">
                <thead>
                    <tr>
                        {head(FleetSort::Name, "Service", false)}
                        <th scope="col">"State"</th>
                        {head(FleetSort::Live, "Live heap", true)}
                        {head(FleetSort::Growth, "Growth", true)}
                        {head(FleetSort::Rss, "RSS", true)}
                        {head(FleetSort::Allocation, "Allocation", true)}
                        <th scope="col" class="num">"Samples"</th>
                        <th scope="col" class="num">"Lost"</th>
                        <th scope="col">"Sampling"</th>
                        <th scope="col">"Runtime"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || order.get() key=|id| *id let:id>
                        <Row store id/>
                    </For>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn Row(store: Store, id: SessionId) -> impl IntoView {
    let row = Memo::new(move |_| {
        store.fleet.with(|fleet| {
            fleet
                .as_ref()
                .and_then(|rows| rows.iter().find(|row| row.summary.session == id).cloned())
        })
    });
    // `None` only in the moment between a session's end and its row's.
    let text = move |read: fn(&FleetRow) -> String| {
        move || row.with(|row| row.as_ref().map(read).unwrap_or_default())
    };
    let pulse = move |read: fn(&Pulse) -> String| {
        move || {
            row.with(|row| {
                let pulse = row.as_ref().and_then(|row| row.summary.pulse.as_ref());
                pulse.map_or_else(|| "–".to_owned(), read)
            })
        }
    };
    let state = move || row.with(|row| row.as_ref().map(|row| row.summary.state.clone()));
    let history = Signal::derive(move || {
        Arc::new(row.with(|row| {
            row.as_ref()
                .map(|row| row.history_bytes.clone())
                .unwrap_or_default()
        }))
    });
    let href = Place::session(id, Tab::Live).href();
    let open = href.clone();
    view! {
        <tr
            class="is-link"
            data-testid="session-row"
            data-session=id.to_string()
            data-live=pulse(|pulse| pulse.live_bytes.to_string())
            on:click=move |event| {
                // The link itself is followed elsewhere.
                if !event.default_prevented() && window().get_selection_is_empty() {
                    let (path, query) = open.split_once('?').unwrap_or((&open, ""));
                    store.go(Place::open(path, query).place);
                }
            }
        >
            <td>
                <a class="cell-main link" href=href>{text(|row| service_name(&row.summary.signature))}</a>
                <div class="cell-sub">
                    {text(|row| format!("pid {} · {}", row.summary.signature.pid, row.summary.signature.host_name))}
                </div>
            </td>
            <td>
                {move || match state() {
                    Some(SessionState::Live) => view! { <span class="pill pill-live">"Live"</span> }.into_any(),
                    Some(SessionState::Away { .. }) => view! { <span class="pill pill-away">"Away"</span> }.into_any(),
                    _ => view! { <span class="pill pill-ended">"Ended"</span> }.into_any(),
                }}
            </td>
            <td class="num">
                <div class="cell-main">{pulse(|pulse| format::bytes(pulse.live_bytes))}</div>
                <div class="cell-sub">{pulse(live_error)}</div>
            </td>
            <td class="num">
                <Sparkline values=history label=Signal::derive(|| "Live heap over the last two minutes".to_owned())/>
                <div class="cell-sub">{text(growth)}</div>
            </td>
            <td class="num">{pulse(|pulse| format::bytes(pulse.rss_bytes as f64))}</td>
            <td class="num">{pulse(|pulse| format::bytes_per_s(pulse.allocated_bytes_per_s))}</td>
            <td class="num">{pulse(|pulse| format!("{}/s", format::count_short(pulse.samples_per_s)))}</td>
            <td class="num">{pulse(lost)}</td>
            <td>
                <div class="cell-main" data-testid="row-rate">{pulse(rate)}</div>
                <div class="cell-sub">{text(revision)}</div>
            </td>
            <td>
                <div class="cell-main">{text(|row| runtime(&row.summary.signature.runtime_version))}</div>
                <div class="cell-sub">
                    {text(|row| format!("{}/{}", row.summary.signature.os, row.summary.signature.architecture))}
                </div>
            </td>
        </tr>
    }
}

/// A person who marks text in a row doesn't want to leave.
trait SelectionIsEmpty {
    fn get_selection_is_empty(&self) -> bool;
}

impl SelectionIsEmpty for web_sys::Window {
    fn get_selection_is_empty(&self) -> bool {
        let selection = js_sys::Reflect::get(self, &"getSelection".into())
            .ok()
            .and_then(|get| wasm_bindgen::JsCast::dyn_into::<js_sys::Function>(get).ok())
            .and_then(|get| get.call0(self).ok());
        selection.is_none_or(|selection| {
            js_sys::Reflect::get(&selection, &"isCollapsed".into())
                .is_ok_and(|flag| flag.as_bool() != Some(false))
        })
    }
}

fn live_error(pulse: &Pulse) -> String {
    // 99 %, as everywhere.
    let half = 2.576 * pulse.live_std_error_bytes;
    if pulse.live_bytes > 0.0 {
        format::relative_error(half / pulse.live_bytes)
    } else {
        String::new()
    }
}

fn growth(row: &FleetRow) -> String {
    match row.growth_bytes_per_min {
        Some(growth) => format!("{}/min", format::signed_bytes(growth)),
        None => String::new(),
    }
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

fn runtime(version: &str) -> String {
    if version.is_empty() {
        "–".to_owned()
    } else {
        version.to_owned()
    }
}

fn matches(row: &FleetRow, filter: &str) -> bool {
    let signature = &row.summary.signature;
    filter.is_empty()
        || [
            &signature.executable,
            &signature.host_name,
            &signature.runtime_version,
        ]
        .iter()
        .any(|text| text.to_lowercase().contains(filter))
        || signature.pid.to_string().contains(filter)
}

/// Live sessions first, then by the chosen column, then by name and id so that rows hold still.
fn compare(a: &FleetRow, b: &FleetRow, sort: FleetSort) -> Ordering {
    let rank = |row: &FleetRow| match row.summary.state {
        SessionState::Live => 0,
        SessionState::Away { .. } => 1,
        SessionState::Ended => 2,
    };
    let value = |row: &FleetRow| {
        let pulse = row.summary.pulse.as_ref();
        match sort {
            FleetSort::Growth => row.growth_bytes_per_min,
            FleetSort::Live => pulse.map(|pulse| pulse.live_bytes),
            FleetSort::Rss => pulse.map(|pulse| pulse.rss_bytes as f64),
            FleetSort::Allocation => pulse.map(|pulse| pulse.allocated_bytes_per_s),
            FleetSort::Name => None,
        }
        .unwrap_or(f64::NEG_INFINITY)
    };
    let newest_first = || {
        b.summary
            .signature
            .clock
            .unix_ns
            .cmp(&a.summary.signature.clock.unix_ns)
    };
    let name = |row: &FleetRow| service_name(&row.summary.signature);
    rank(a)
        .cmp(&rank(b))
        .then_with(|| value(b).total_cmp(&value(a)))
        .then_with(|| name(a).cmp(&name(b)))
        .then_with(newest_first)
        .then_with(|| a.summary.session.cmp(&b.summary.session))
}

#[component]
fn NoneMatch(store: Store) -> impl IntoView {
    view! {
        <div class="empty">
            <div class="empty-title">"No session matches the filter"</div>
            <p class="empty-text">"The filter looks at the program, the host, the pid and the runtime's version."</p>
            <div class="empty-actions">
                <button class="btn" type="button" on:click=move |_| store.look(|view| view.filter.clear())>
                    "Clear the filter"
                </button>
            </div>
        </div>
    }
}

/// Nothing has ever been watched: how to begin, as commands to copy.
#[component]
fn FirstSteps() -> impl IntoView {
    let hub = super::controls::hub_address();
    let step = |done: bool, title: &'static str, command: String, words: &'static str| {
        view! {
            <li data-done=done.then_some("true")>
                <strong>{title}</strong>
                <super::controls::Copyable text=command/>
                <p class="muted">{words}</p>
            </li>
        }
    };
    view! {
        <div class="empty" data-testid="empty">
            {icon("logo")}
            <div class="empty-title">"No program is being watched yet"</div>
            <ol class="steps">
                {step(true, "The hub runs", "heaptide hub".to_owned(), "This page comes from it, so that is done.")}
                {step(
                    false,
                    "Watch a program that runs",
                    format!("sudo heaptide attach PID --hub {hub}"),
                    "On the machine where it runs. The program is not changed and not restarted.",
                )}
                {step(
                    false,
                    "Or start one",
                    format!("sudo heaptide run --hub {hub} -- ./server"),
                    "It appears here by itself. Go 1.21 to 1.27, stripped or not.",
                )}
            </ol>
        </div>
    }
}
