//! What is wrong or worth knowing beside every page: the connection, losses, messages.

use crate::format;
use crate::net::LinkState;
use crate::store::{Live, Store, seconds_since};
use crate::ui::{click, icon, nothing, part, text};
use crate::worker::ToWorker;
use leptos::prelude::*;
use std::time::Duration;

#[component]
pub(super) fn ConnectionPill(store: Store) -> impl IntoView {
    // Counts down while something is waited for.
    let beat = RwSignal::new(());
    let _ = set_interval_with_handle(
        move || {
            if store
                .link
                .peek(|link| matches!(link.0, LinkState::Waiting { .. }))
            {
                beat.notify();
            }
        },
        Duration::from_secs(1),
    );
    let words = move || {
        beat.track();
        store.link.with(|(state, told_ms)| match state {
            LinkState::Connecting => "Connecting…".to_owned(),
            LinkState::Live { .. } => "Connected".to_owned(),
            LinkState::Waiting { retry_ms, .. } => {
                let left = *retry_ms as f64 / 1_000.0 - seconds_since(*told_ms);
                format!("Reconnecting in {} s", left.max(0.0).ceil() as u64)
            }
            LinkState::Refused { .. } => "Refused by the hub".to_owned(),
        })
    };
    let kind = move || {
        store.link.with(|link| match link.0 {
            LinkState::Connecting => ("connecting", "pill pill-pending"),
            LinkState::Live { .. } => ("live", "pill pill-live"),
            LinkState::Waiting { .. } => ("waiting", "pill pill-away"),
            LinkState::Refused { .. } => ("refused", "pill pill-loss"),
        })
    };
    let title = move || {
        store.link.with(|link| match &link.0 {
            LinkState::Live { hub, .. } => format!("Connected to {hub}"),
            LinkState::Refused { message, .. } => message.clone(),
            _ => "The data on screen stays; what comes in the meantime is fetched afterwards. Click to try now."
                .to_owned(),
        })
    };
    view! {
        <button
            class=text(move || kind().1.to_owned())
            type="button"
            data-testid="connection"
            data-state=text(move || kind().0.to_owned())
            title=text(title)
            on:click=click(move |_| store.send(&ToWorker::RetryNow))
        >
            {text(words)}
        </button>
    }
}

/// Records lost, frames damaged or missed. Absent while nothing is.
#[component]
pub(super) fn LossBadge(store: Store) -> impl IntoView {
    let counts = move || {
        let (dropped, unread) = store
            .figure(|h| (h.dropped, h.damaged_frames))
            .unwrap_or_default();
        (dropped, unread.max(store.damage.with(|damage| damage.count)))
    };
    let words = Memo::new(move |_| {
        let (dropped, damaged) = counts();
        match (dropped, damaged) {
            (0, 0) => String::new(),
            (dropped, 0) => format!("{} lost", format::count(dropped)),
            (0, damaged) => format!("{} damaged", format::count(damaged)),
            (dropped, damaged) => format!(
                "{} lost, {} damaged",
                format::count(dropped),
                format::count(damaged)
            ),
        }
    });
    part(move || {
        let words = words.get();
        if words.is_empty() {
            return nothing();
        }
        view! {
            <a
                class="badge badge-warn"
                href="#losses"
                data-testid="loss-badge"
                data-dropped=text(move || counts().0.to_string())
                data-damaged=text(move || counts().1.to_string())
                title="Records lost or frames that could not be read: see Losses at the end of the live page"
            >
                {icon("warn")}
                {words}
            </a>
        }
        .into_any()
    })
}

/// Sentences for a person: a refusal, a bad link, a failed proposal.
#[component]
pub(super) fn Notices(store: Store) -> impl IntoView {
    let refusal = move || {
        let told = store.link.with(|link| match &link.0 {
            LinkState::Refused {
                ours,
                theirs,
                message,
                ..
            } => Some((
                message.clone(),
                format!(" Protocol versions: console {ours}, hub {theirs}."),
            )),
            _ => None,
        });
        let Some((message, versions)) = told else {
            return nothing();
        };
        view! {
            <div class="notice notice-bad" role="alert" data-testid="refused">
                {icon("warn")}
                <div>
                    <strong>"The hub does not talk to this console: "</strong>
                    {message}
                    <span class="muted">{versions}</span>
                </div>
                <button class="btn btn-sm" type="button" on:click=click(|_| { let _ = window().location().reload(); })>
                    "Reload"
                </button>
            </div>
        }
        .into_any()
    };
    view! {
        <div class="notices" aria-live="polite">
            {part(refusal)}
            {part(move || sentences(store.problems))}
            {part(move || sentences(store.notices))}
        </div>
    }
}

fn sentences(list: Live<Vec<String>>) -> AnyView {
    let one = |(index, words): (usize, String)| {
        let dismiss = move |_| {
            list.update(|words| {
                if index < words.len() {
                    words.remove(index);
                }
            });
        };
        view! {
            <div class="notice notice-warn" data-testid="notice">
                {icon("warn")}
                <div>{words}</div>
                <button class="btn btn-ghost btn-icon" type="button" aria-label="Dismiss" on:click=click(dismiss)>
                    {icon("close")}
                </button>
            </div>
        }
        .into_any()
    };
    list.get()
        .into_iter()
        .enumerate()
        .map(one)
        .collect::<Vec<AnyView>>()
        .into_any()
}
