//! What can be observed here, by what means, and what can't and why.

use super::naming::class_name;
use crate::canvas::escape;
use crate::format;
use crate::store::Store;
use crate::ui::text;
use crate::url::Tab;
use heaptide_analysis::report::{Cell, Column, Row, Table, Unit};
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};
use leptos::prelude::*;

/// Of one class, or of all.
pub(super) fn capability_list(store: Store, class: Option<EventClass>) -> AnyView {
    let list = move || {
        let list = store.with_row(|row| {
            row.summary
                .capabilities
                .iter()
                .filter(|capability| class.is_none_or(|class| class == capability.class))
                .map(line)
                .collect::<String>()
        });
        match list {
            Some(list) if !list.is_empty() => format!("<ul class=\"caps\">{list}</ul>"),
            _ => "<p class=\"muted\">The collector has not said yet.</p>".to_owned(),
        }
    };
    view! {
        <section class="panel" aria-labelledby="caps-title" data-testid="capabilities">
            <div class="panel-head"><h2 class="panel-title" id="caps-title">"What is observed here"</h2></div>
            <div class="panel-body" inner_html=text(list)></div>
        </section>
    }
    .into_any()
}

/// The list comes with every beat of the fleet and hardly ever changes.
fn known(store: Store) -> Memo<String> {
    Memo::new(move |_| {
        let words = store.with_row(|row| {
            row.summary
                .capabilities
                .iter()
                .map(fingerprint)
                .collect::<String>()
        });
        words.unwrap_or_default()
    })
}

/// Keeps the matrix as the table of the page that shows it.
pub(super) fn follow_matrix(store: Store) {
    let known = known(store);
    Effect::new(move || {
        let _ = known.get();
        let needle = store.place.with(|place| place.view.filter.to_ascii_lowercase());
        let says_so = |row: &Row| {
            row.cells
                .iter()
                .any(|cell| matches!(cell, Cell::Text(words) if words.to_ascii_lowercase().contains(&needle)))
        };
        let rows = untrack(|| {
            store.with_row(|row| {
                let all = row.summary.capabilities.iter().map(matrix_row);
                all.filter(says_so).collect()
            })
        });
        let column = |label: &str| Column {
            label: label.to_owned(),
            unit: Unit::Text,
        };
        let table = Table {
            title: "What can be observed here".to_owned(),
            note: "What this host and this process allow, per event class and source, as the collector found it. \
                   `heaptide doctor` says the same in a terminal."
                .to_owned(),
            method: Method::Census,
            columns: ["Class", "State", "Source", "Method", "Why", "What would change it"]
                .into_iter()
                .map(column)
                .collect(),
            rows: rows.unwrap_or_default(),
            left_out: 0,
        };
        store.tables.set((Tab::Doctor, vec![table]));
    });
}

fn matrix_row(capability: &Capability) -> Row {
    let (word, why, remedy) = match &capability.state {
        CapabilityState::Active => ("on", "", ""),
        CapabilityState::Limited { why } => ("limited", why.as_str(), ""),
        CapabilityState::Off { why } => ("off", why.as_str(), "Switch it on under Sampling (Q)."),
        CapabilityState::Unavailable { why, remedy } => ("not here", why.as_str(), remedy.as_str()),
    };
    let cells = [
        class_name(capability.class),
        word,
        &capability.source,
        &format::method(&capability.method),
        why,
        remedy,
    ];
    Row {
        cells: cells
            .into_iter()
            .map(|words| Cell::Text(words.to_owned()))
            .collect(),
        stacks: Vec::new(),
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

fn line(capability: &Capability) -> String {
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
    format!(
        "<li data-state=\"{state}\"><span class=\"{badge}\">{word}</span><div><div>{}</div><div class=\"cell-sub\">{} · {}</div>\
         <div class=\"cell-sub\">{}</div></div></li>",
        class_name(capability.class),
        escape(&capability.source),
        format::method(&capability.method),
        escape(&why)
    )
}
