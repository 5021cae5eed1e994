//! What was lost on the way, by hop and reason, and the bounds of this page that were hit.

use super::losses::{LossLine, flaw_lines, loss_lines};
use crate::format;
use crate::store::Store;
use leptos::prelude::*;

#[component]
pub(super) fn LossPanel(store: Store) -> impl IntoView {
    let lines = Memo::new(move |_| {
        store
            .headline
            .with(|headline| headline.as_ref().map(|h| loss_lines(&h.hops)).unwrap_or_default())
    });
    let flaws = Memo::new(move |_| {
        store.headline.with(|headline| {
            headline.as_ref().map_or_else(Vec::new, |h| {
                let trims = h
                    .trimmed
                    .iter()
                    .map(|trim| format!("{} {}", format::count(trim.count), trim.what));
                flaw_lines(&h.flaws).into_iter().chain(trims).collect::<Vec<_>>()
            })
        })
    });
    let damage = Memo::new(move |_| store.damage.get());
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
                        <tbody>{move || lines.get().into_iter().map(row).collect_view()}</tbody>
                    </table>
                </div>
                {move || lines.with(Vec::is_empty).then(|| view! {
                    <p class="panel-note muted">"No report from the collector yet."</p>
                })}
                {move || (!flaws.with(Vec::is_empty)).then(|| view! {
                    <p class="panel-note muted">{move || format!("Also: {}.", flaws.get().join("; "))}</p>
                })}
                {move || {
                    let damage = damage.get();
                    (damage.count > 0).then(|| view! {
                        <div class="panel-note" data-testid="damage">
                            <p>
                                {format!(
                                    "{} frames could not be read and were skipped. The last one: {}. It begins with",
                                    format::count(damage.count),
                                    damage.what,
                                )}
                            </p>
                            <super::controls::Copyable text=damage.hex/>
                        </div>
                    })
                }}
            </div>
        </section>
    }
}

fn row(line: LossLine) -> impl IntoView {
    let mut reasons: Vec<String> = line
        .dropped
        .iter()
        .map(|(count, words)| format!("{} {words}", format::count(*count)))
        .collect();
    if line.imbalance != 0 {
        reasons.push(format!("{} unexplained", line.imbalance));
    }
    let none = reasons.is_empty();
    view! {
        <tr>
            <td>
                <div class="cell-main">{line.hop}</div>
                <div class="cell-sub">{line.class}</div>
            </td>
            <td class="num">{format::count(line.seen)}</td>
            <td class="num">{format::count(line.sent)}</td>
            <td>
                {line.is_loss.then(|| view! { <span class="badge badge-warn">"lost"</span>" " })}
                {if none { "none".to_owned() } else { reasons.join(", ") }}
            </td>
        </tr>
    }
}
