//! What can be observed here, by what means, and what can't and why.

use super::naming::class_name;
use crate::format;
use crate::store::Store;
use crate::ui::part;
use heaptide_protocol::session::{Capability, CapabilityState};
use leptos::prelude::*;

#[component]
pub(super) fn CapabilitiesPanel(store: Store) -> impl IntoView {
    // The list comes with every beat of the fleet and hardly ever changes.
    let known = Memo::new(move |_| {
        let words = store.with_row(|row| {
            row.summary
                .capabilities
                .iter()
                .map(fingerprint)
                .collect::<String>()
        });
        words.unwrap_or_default()
    });
    let list = move || {
        let list = store.with_row(|row| {
            row.summary
                .capabilities
                .iter()
                .map(line)
                .collect::<Vec<AnyView>>()
        });
        match list {
            Some(list) if !list.is_empty() => view! { <ul class="caps">{list}</ul> }.into_any(),
            _ => view! { <p class="muted">"The collector has not said yet."</p> }.into_any(),
        }
    };
    view! {
        <section class="panel" aria-labelledby="caps-title" data-testid="capabilities">
            <div class="panel-head"><h2 class="panel-title" id="caps-title">"What is observed here"</h2></div>
            <div class="panel-body">{part(move || { let _ = known.get(); untrack(list) })}</div>
        </section>
    }
}

/// Changes when the line would.
fn fingerprint(capability: &Capability) -> String {
    let state = match &capability.state {
        CapabilityState::Active => "active",
        CapabilityState::Limited { why }
        | CapabilityState::Off { why }
        | CapabilityState::Unavailable { why, .. } => why,
    };
    format!("{}\n{state}\n", capability.source)
}

fn line(capability: &Capability) -> AnyView {
    let (state, badge, word, why) = match &capability.state {
        CapabilityState::Active => ("active", "badge badge-good", "on", String::new()),
        CapabilityState::Limited { why } => ("limited", "badge badge-warn", "limited", why.clone()),
        CapabilityState::Off { why } => ("off", "badge", "off", why.clone()),
        CapabilityState::Unavailable { why, remedy } => (
            "unavailable",
            "badge badge-bad",
            "not here",
            format!("{why}. {remedy}"),
        ),
    };
    let how = format!("{} · {}", capability.source, format::method(&capability.method));
    view! {
        <li data-state=state>
            <span class=badge>{word}</span>
            <div>
                <div>{class_name(capability.class)}</div>
                <div class="cell-sub">{how}</div>
                <div class="cell-sub">{why}</div>
            </div>
        </li>
    }
    .into_any()
}
