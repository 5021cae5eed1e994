//! One session, now: headline figures, timeline, where the memory comes from, what is seen and what is lost.

use super::about::AboutView;
use super::capabilities::capability_list;
use super::controls::{filter_box, pause_button, range_picker, time_base, window_chip};
use super::figures::Figures;
use super::loss_panel::LossPanel;
use super::sites::SitesPanel;
use crate::chart::{ChartInput, ChartOwner, timeline_chart};
use crate::format;
use crate::sampling::amount;
use crate::store::Store;
use crate::ui::{click, icon, maybe, nothing, part, text};
use crate::url::Range;
use heaptide_analysis::views::Window;
use heaptide_protocol::control::SessionState;
use heaptide_protocol::session::Method;
use leptos::prelude::*;

#[component]
pub(crate) fn LivePage(store: Store) -> impl IntoView {
    view! {
        <div class="page page-wide">
            {session_head(store)}
            <Figures store/>
            <section class="panel" aria-labelledby="timeline-title">
                <div class="panel-head">
                    <h2 class="panel-title" id="timeline-title">"Timeline"</h2>
                    {window_chip(store)}
                    <span class="spacer"></span>
                    {range_picker(store, &Range::ALL)}
                </div>
                <div class="panel-body">{session_timeline(store, 300.0)}</div>
            </section>
            <SitesPanel store/>
            {crate::hub::notes_panel(store)}
            <div class="columns">
                <LossPanel store/>
                {capability_list(store, None)}
            </div>
            <AboutView store/>
        </div>
    }
}

/// What is special about the session's state, and the controls that every page of a session has.
pub(super) fn session_head(store: Store) -> AnyView {
    let state = Memo::new(move |_| state_words(store));
    let state_pill = move || match state.get() {
        words if words.is_empty() => nothing(),
        words => view! { <span class="pill pill-away" data-testid="session-state">{words}</span> }.into_any(),
    };
    let paused = move || match store.place.with(|place| place.view.at_ns) {
        None => nothing(),
        Some(at) => {
            let words = format!("Paused at {}", format::elapsed(untrack(|| time_base(store)), at));
            view! { <span class="pill pill-pending" data-testid="paused">{words}</span> }.into_any()
        }
    };
    let replay = move || {
        let progress = store.progress.get();
        if progress.caught_up || progress.last_seq == 0 || progress.stored_frames < progress.last_seq + 20 {
            return String::new();
        }
        format!(
            "Reading what is stored: {} of {} frames",
            format::count(progress.last_seq),
            format::count(progress.stored_frames)
        )
    };
    let rate = move || store.figure(|h| h.sampling_rate_bytes);
    let rate_words = move || {
        let mut words = match rate() {
            None => String::new(),
            Some(0) => "off".to_owned(),
            Some(rate) => format!("1 per {}", amount(rate)),
        };
        if store.with_row(|row| row.summary.policy.pending.is_some()) == Some(true) {
            words.push_str(" · change pending");
        }
        words
    };
    let open = move || store.place.with(|place| place.view.sampling_open);
    view! {
        <div class="page-head toolbar" data-testid="session-head">
            {part(state_pill)}
            {part(paused)}
            <span class="muted" data-testid="replay">{text(replay)}</span>
            <span class="spacer"></span>
            {filter_box(store, "Filter by function or file")}
            {pause_button(store)}
            <button
                class="btn"
                type="button"
                hidden=crate::app::history::is_shared()
                data-testid="share-open"
                on:click=click(move |_| store.sharing.update(|open| *open = !*open))
            >
                {icon("share")}
                "Share"
            </button>
            <button
                class="btn"
                type="button"
                data-testid="sampling-open"
                title="Q"
                aria-expanded=text(move || open().to_string())
                on:click=click(move |_| store.look(|view| view.sampling_open = !view.sampling_open))
            >
                {icon("tune")}
                "Sampling"
                <span
                    class="muted"
                    data-testid="rate-in-force"
                    data-value=maybe(move || rate().map(|rate| rate.to_string()))
                >
                    {text(rate_words)}
                </span>
            </button>
        </div>
    }
    .into_any()
}

/// Empty while the session is live: that is what the reader expects.
fn state_words(store: Store) -> String {
    if !store.fleet.with(Option::is_some) {
        return String::new();
    }
    let how = || store.figure(|h| h.ended.clone()).flatten();
    match store.with_row(|row| row.summary.state.clone()) {
        Some(SessionState::Live) => String::new(),
        Some(SessionState::Away { .. }) => {
            "The collector is away: nothing new comes until it is back".to_owned()
        }
        Some(SessionState::Ended) => how().map_or_else(|| "Ended".to_owned(), |how| format!("Ended: {how}")),
        None => "The hub has no such session".to_owned(),
    }
}

pub(super) fn session_timeline(store: Store, height: f64) -> AnyView {
    let read = move || ChartInput {
        timeline: store.timeline.get(),
        base: time_base(store),
        selection: store.place.with(|place| place.view.selection),
        live_method: store.figure(|h| h.live.method).unwrap_or(Method::Estimate),
    };
    let select = move |window: Option<Window>| {
        store.look(|view| view.selection = window.filter(|window| window.from_ns < window.to_ns));
    };
    let tell_width = move |width: u32| {
        if store.points.peek(|points| *points != width) {
            store.points.set(width);
        }
    };
    let empty = move || {
        let has_points = store.timeline.with(|timeline| {
            timeline
                .as_ref()
                .is_some_and(|timeline| !timeline.points.is_empty())
        });
        if has_points {
            nothing()
        } else {
            view! { <p class="muted">"Waiting for the first tick of this session…"</p> }.into_any()
        }
    };
    let owner = ChartOwner {
        read: Box::new(read),
        select: Box::new(select),
        tell_width: Box::new(tell_width),
        height,
    };
    view! { <div data-testid="timeline">{timeline_chart(owner, part(empty))}</div> }.into_any()
}

#[component]
pub(crate) fn UnknownPage(path: String) -> impl IntoView {
    view! {
        <div class="page">
            <div class="empty">
                <div class="empty-title">"There is nothing at this address"</div>
                <p class="empty-text mono">{path}</p>
                <div class="empty-actions"><a class="btn" href="/">"To the fleet"</a></div>
            </div>
        </div>
    }
}
