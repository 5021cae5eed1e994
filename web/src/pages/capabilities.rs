//! What can be observed here, by what means, and what can't and why.

use super::naming::class_name;
use crate::format;
use crate::store::Store;
use heaptide_protocol::session::{Capability, CapabilityState};
use leptos::prelude::*;

#[component]
pub(super) fn CapabilitiesPanel(store: Store) -> impl IntoView {
    let list = Memo::new(move |_| {
        store
            .row()
            .map(|row| row.summary.capabilities)
            .unwrap_or_default()
    });
    view! {
        <section class="panel" aria-labelledby="caps-title" data-testid="capabilities">
            <div class="panel-head"><h2 class="panel-title" id="caps-title">"What is observed here"</h2></div>
            <div class="panel-body">
                <ul class="caps">{move || list.get().iter().map(line).collect_view()}</ul>
                {move || list.with(Vec::is_empty).then(|| view! {
                    <p class="muted">"The collector has not said yet."</p>
                })}
            </div>
        </section>
    }
}

fn line(capability: &Capability) -> impl IntoView + use<> {
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
                {(!why.is_empty()).then(|| view! { <div class="cell-sub">{why}</div> })}
            </div>
        </li>
    }
}
