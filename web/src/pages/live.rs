//! One session, now: headline figures, timeline, where the memory comes from, what is seen and what is lost.

use super::about::AboutView;
use super::capabilities::CapabilitiesPanel;
use super::controls::{FilterBox, PauseButton, RangePicker, WindowChip, time_base};
use super::figures::Figures;
use super::loss_panel::LossPanel;
use super::sites::SitesPanel;
use crate::app::icon;
use crate::chart::TimelineChart;
use crate::format;
use crate::store::Store;
use heaptide_analysis::views::Window;
use heaptide_protocol::control::SessionState;
use heaptide_protocol::session::Method;
use leptos::prelude::*;

#[component]
pub(crate) fn LivePage(store: Store) -> impl IntoView {
    view! {
        <div class="page page-wide">
            <SessionHead store/>
            <Figures store/>
            <section class="panel" aria-labelledby="timeline-title">
                <div class="panel-head">
                    <h2 class="panel-title" id="timeline-title">"Timeline"</h2>
                    <WindowChip store/>
                    <span class="spacer"></span>
                    <RangePicker store/>
                </div>
                <div class="panel-body">
                    <SessionTimeline store height=300.0/>
                </div>
            </section>
            <SitesPanel store/>
            <div class="columns">
                <LossPanel store/>
                <CapabilitiesPanel store/>
            </div>
            <AboutView store/>
        </div>
    }
}

/// Name, state and the controls that every page of a session has.
#[component]
pub(super) fn SessionHead(store: Store) -> impl IntoView {
    let paused = Memo::new(move |_| store.place.with(|place| place.view.at_ns));
    let base = time_base(store);
    let known = Memo::new(move |_| {
        let fleet_known = store.fleet.with(Option::is_some);
        (fleet_known, store.row().map(|row| row.summary.state))
    });
    let state = move || match known.get() {
        (_, Some(SessionState::Live)) => None,
        (_, Some(SessionState::Away { .. })) => Some((
            "pill pill-away",
            "The collector is away: nothing new comes until it is back".to_owned(),
        )),
        (_, Some(SessionState::Ended)) => {
            let how = store
                .headline
                .with(|headline| headline.as_ref().and_then(|h| h.ended.clone()));
            Some((
                "pill pill-ended",
                how.map_or_else(|| "Ended".to_owned(), |how| format!("Ended: {how}")),
            ))
        }
        (true, None) => Some(("pill pill-loss", "The hub has no such session".to_owned())),
        (false, None) => None,
    };
    let rate = move || {
        store
            .headline
            .with(|headline| headline.as_ref().map(|h| h.sampling_rate_bytes))
    };
    let revision = move || {
        let row = store.row()?;
        row.summary
            .policy
            .pending
            .is_some()
            .then_some(" · change pending")
    };
    let replay = move || {
        let progress = store.progress.get();
        (!progress.caught_up && progress.last_seq > 0 && progress.stored_frames > progress.last_seq + 20)
            .then(|| {
                format!(
                    "Reading what is stored: {} of {} frames",
                    format::count(progress.last_seq),
                    format::count(progress.stored_frames)
                )
            })
    };
    view! {
        <div class="page-head toolbar" data-testid="session-head">
            {move || state().map(|(class, words)| view! {
                <span class=class data-testid="session-state">{words}</span>
            })}
            {move || paused.get().map(|at| view! {
                <span class="pill pill-pending" data-testid="paused">
                    {move || format!("Paused at {}", format::elapsed(base.get(), at))}
                </span>
            })}
            {move || replay().map(|words| view! { <span class="muted" data-testid="replay">{words}</span> })}
            <span class="spacer"></span>
            <FilterBox store placeholder="Filter by function or file"/>
            <PauseButton store/>
            <button
                class="btn"
                type="button"
                data-testid="sampling-open"
                title="Q"
                aria-expanded=move || store.place.with(|place| place.view.sampling_open).to_string()
                on:click=move |_| store.look(|view| view.sampling_open = !view.sampling_open)
            >
                {icon("tune")}
                "Sampling"
                <span class="muted" data-testid="rate-in-force" data-value=move || rate().map(|rate| rate.to_string())>
                    {move || match rate() {
                        None => String::new(),
                        Some(0) => "off".to_owned(),
                        Some(rate) => format!("1 per {}", crate::sampling::amount(rate)),
                    }}
                    {revision}
                </span>
            </button>
        </div>
    }
}

#[component]
pub(super) fn SessionTimeline(store: Store, height: f64) -> impl IntoView {
    let base = time_base(store);
    let selection = Signal::derive(move || store.place.with(|place| place.view.selection));
    let on_selection = Callback::new(move |window: Option<Window>| {
        store.look(|view| view.selection = window.filter(|window| window.from_ns < window.to_ns));
    });
    let live_method = Signal::derive(move || {
        store
            .headline
            .with(|headline| headline.as_ref().map_or(Method::Estimate, |h| h.live.method))
    });
    let on_width = Callback::new(move |width: u32| {
        if store.points.get_untracked() != width {
            store.points.set(width);
        }
    });
    view! {
        <div data-testid="timeline">
            <TimelineChart
                timeline=store.timeline.into()
                base=base.into()
                selection=selection
                on_selection=on_selection
                live_method=live_method
                height=height
                on_width=on_width
                empty=ViewFn::from(|| view! { <p class="muted">"Waiting for the first tick of this session…"</p> })
            />
        </div>
    }
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
