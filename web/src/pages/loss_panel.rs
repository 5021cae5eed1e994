//! What was lost on the way, by hop and reason, and the bounds of this page that were hit.

use super::controls::copyable;
use super::losses::{LossLine, flaw_lines, loss_lines};
use crate::format;
use crate::store::Store;
use crate::ui::{nothing, part};
use leptos::prelude::*;

#[component]
pub(super) fn LossPanel(store: Store) -> impl IntoView {
    let lines = move || {
        let lines = store.figure(|h| loss_lines(&h.hops)).unwrap_or_default();
        if lines.is_empty() {
            return view! { <tr><td class="muted" colspan="4">"No report from the collector yet."</td></tr> }
                .into_any();
        }
        lines.iter().map(row).collect::<Vec<AnyView>>().into_any()
    };
    let flaws = move || {
        let list = store.figure(|h| {
            let trims = h
                .trimmed
                .iter()
                .map(|trim| format!("{} {}", format::count(trim.count), trim.what));
            flaw_lines(&h.flaws).into_iter().chain(trims).collect::<Vec<_>>()
        });
        match list.filter(|list| !list.is_empty()) {
            Some(list) => {
                view! { <p class="panel-note muted">{format!("Also: {}.", list.join("; "))}</p> }.into_any()
            }
            None => nothing(),
        }
    };
    let damage = move || {
        let damage = store.damage.get();
        if damage.count == 0 {
            return nothing();
        }
        let words = format!(
            "{} frames could not be read and were skipped. The last one: {}. It begins with",
            format::count(damage.count),
            damage.what
        );
        view! {
            <div class="panel-note" data-testid="damage">
                <p>{words}</p>
                {copyable(damage.hex)}
            </div>
        }
        .into_any()
    };
    view! {
        <section class="panel" id="losses" aria-labelledby="losses-title" data-testid="losses">
            <div class="panel-head"><h2 class="panel-title" id="losses-title">"Losses"</h2></div>
            <div class="panel-body panel-body-flush">
                <div class="table-wrap">
                    <table class="table">
                        <thead>
                            <tr>
                                <th scope="col">"Hop"</th>
                                <th scope="col" class="num">"Seen"</th>
                                <th scope="col" class="num">"Passed on"</th>
                                <th scope="col">"Dropped"</th>
                            </tr>
                        </thead>
                        <tbody>{part(lines)}</tbody>
                    </table>
                </div>
                {part(flaws)}
                {part(damage)}
            </div>
        </section>
    }
}

fn row(line: &LossLine) -> AnyView {
    let mut reasons: Vec<String> = line
        .dropped
        .iter()
        .map(|(count, words)| format!("{} {words}", format::count(*count)))
        .collect();
    if line.imbalance != 0 {
        reasons.push(format!("{} unexplained", line.imbalance));
    }
    let words = if reasons.is_empty() {
        "none".to_owned()
    } else {
        reasons.join(", ")
    };
    let badge = if line.is_loss {
        "badge badge-warn"
    } else {
        "visually-hidden"
    };
    view! {
        <tr>
            <td>
                <div class="cell-main">{line.hop}</div>
                <div class="cell-sub">{line.class}</div>
            </td>
            <td class="num">{format::count(line.seen)}</td>
            <td class="num">{format::count(line.sent)}</td>
            <td>
                <span class=badge>{if line.is_loss { "lost" } else { "" }}</span>
                " "
                {words}
            </td>
        </tr>
    }
    .into_any()
}
