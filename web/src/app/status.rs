//! What is wrong or worth knowing beside every page: the connection, losses, messages.

use super::icon;
use crate::format;
use crate::net::LinkState;
use crate::store::{Store, seconds_since};
use crate::worker::ToWorker;
use leptos::prelude::*;
use std::time::Duration;

#[component]
pub(super) fn ConnectionPill(store: Store) -> impl IntoView {
    // Counts down while something is waited for.
    let beat = RwSignal::new(0_u32);
    let _ = set_interval_with_handle(
        move || beat.update(|beat| *beat = beat.wrapping_add(1)),
        Duration::from_secs(1),
    );
    let text = move || {
        let (state, told_ms) = store.link.get();
        let left = |retry_ms: u64| {
            beat.track();
            let left = retry_ms as f64 / 1_000.0 - seconds_since(told_ms);
            left.max(0.0).ceil() as u64
        };
        match state {
            LinkState::Connecting => "Connecting…".to_owned(),
            LinkState::Live { .. } => "Connected".to_owned(),
            LinkState::Waiting { retry_ms, .. } => format!("Reconnecting in {} s", left(retry_ms)),
            LinkState::Refused { .. } => "Refused by the hub".to_owned(),
        }
    };
    let kind = move || match store.link.get().0 {
        LinkState::Connecting => ("connecting", "pill pill-pending"),
        LinkState::Live { .. } => ("live", "pill pill-live"),
        LinkState::Waiting { .. } => ("waiting", "pill pill-away"),
        LinkState::Refused { .. } => ("refused", "pill pill-loss"),
    };
    let title = move || match store.link.get().0 {
        LinkState::Live { hub, .. } => format!("Connected to {hub}"),
        LinkState::Refused { message, .. } => message,
        _ => "The data on screen stays; what comes in the meantime is fetched afterwards. Click to try now."
            .to_owned(),
    };
    view! {
        <button
            class=move || kind().1
            type="button"
            role="status"
            data-testid="connection"
            data-state=move || kind().0
            title=title
            on:click=move |_| store.send(&ToWorker::RetryNow)
        >
            {text}
        </button>
    }
}

/// Records lost, frames damaged or missed. Absent while nothing is.
#[component]
pub(super) fn LossBadge(store: Store) -> impl IntoView {
    let counts = Memo::new(move |_| {
        let dropped = store
            .headline
            .with(|headline| headline.as_ref().map_or(0, |h| h.dropped));
        let unread = store
            .headline
            .with(|headline| headline.as_ref().map_or(0, |h| h.damaged_frames));
        let damaged = store.damage.with(|damage| damage.count);
        (dropped, damaged.max(unread))
    });
    move || {
        let (dropped, damaged) = counts.get();
        let mut parts = Vec::new();
        if dropped > 0 {
            parts.push(format!("{} lost", format::count(dropped)));
        }
        if damaged > 0 {
            parts.push(format!("{} damaged", format::count(damaged)));
        }
        (!parts.is_empty()).then(|| {
            view! {
                <a
                    class="badge badge-warn"
                    href="#losses"
                    data-testid="loss-badge"
                    data-dropped=dropped.to_string()
                    data-damaged=damaged.to_string()
                    title="Records lost or frames that could not be read: see Losses at the end of the page"
                >
                    {icon("warn")}
                    {parts.join(", ")}
                </a>
            }
        })
    }
}

/// Sentences for a person: a refusal, a bad link, a failed proposal.
#[component]
pub(super) fn Notices(store: Store) -> impl IntoView {
    let refused = move || match store.link.get().0 {
        LinkState::Refused {
            ours,
            theirs,
            message,
            ..
        } => Some(view! {
            <div class="notice notice-bad" role="alert" data-testid="refused">
                {icon("warn")}
                <div>
                    <strong>"The hub does not talk to this console. "</strong>
                    {message}
                    " "
                    <span class="muted">{format!("Protocol versions: console {ours}, hub {theirs}.")}</span>
                </div>
                <button class="btn btn-sm" type="button" on:click=|_| { let _ = window().location().reload(); }>
                    "Reload"
                </button>
            </div>
        }),
        _ => None,
    };
    let list = move |texts: Vec<String>, clear: Callback<usize>| {
        texts
            .into_iter()
            .enumerate()
            .map(|(index, text)| {
                view! {
                    <div class="notice notice-warn" data-testid="notice">
                        {icon("warn")}
                        <div>{text}</div>
                        <button
                            class="btn btn-ghost btn-icon"
                            type="button"
                            aria-label="Dismiss"
                            on:click=move |_| clear.run(index)
                        >
                            {icon("close")}
                        </button>
                    </div>
                }
            })
            .collect_view()
    };
    let drop_problem = Callback::new(move |index| {
        store.problems.update(|texts| {
            texts.remove(index);
        });
    });
    let drop_notice = Callback::new(move |index| {
        store.notices.update(|texts| {
            texts.remove(index);
        });
    });
    view! {
        <div class="notices" aria-live="polite">
            {refused}
            {move || list(store.problems.get(), drop_problem)}
            {move || list(store.notices.get(), drop_notice)}
        </div>
    }
}
