//! What was lost on the way, by hop and reason, and the bounds of this page that were hit.

use super::losses::{LossLine, flaw_lines, loss_lines};
use crate::canvas::{copyable, escape};
use crate::format;
use crate::store::Store;
use crate::ui::text;
use leptos::prelude::*;

#[component]
pub(super) fn LossPanel(store: Store) -> impl IntoView {
    let table = move || {
        let lines = store.figure(|h| loss_lines(&h.hops)).unwrap_or_default();
        let mut out = HEAD.to_owned();
        if lines.is_empty() {
            out += "<tr><td class=\"muted\" colspan=\"4\">No report from the collector yet.</td></tr>";
        }
        for line in &lines {
            out += &row(line);
        }
        out += "</tbody></table></div>";
        let list = store.figure(|h| {
            let trims = h
                .trimmed
                .iter()
                .map(|trim| format!("{} {}", format::count(trim.count), trim.what));
            flaw_lines(&h.flaws).into_iter().chain(trims).collect::<Vec<_>>()
        });
        if let Some(list) = list.filter(|list| !list.is_empty()) {
            out += &format!(
                "<p class=\"panel-note muted\">Also: {}.</p>",
                escape(&list.join("; "))
            );
        }
        out
    };
    let damage = move || {
        let damage = store.damage.get();
        if damage.count == 0 {
            return String::new();
        }
        format!(
            "<div class=\"panel-note\" data-testid=\"damage\"><p>{} frames could not be read and were skipped. The last one: \
             {}. It begins with</p>{}</div>",
            format::count(damage.count),
            escape(&damage.what),
            copyable(&damage.hex)
        )
    };
    view! {
        <section class="panel" id="losses" aria-labelledby="losses-title" data-testid="losses">
            <div class="panel-head"><h2 class="panel-title" id="losses-title">"Losses"</h2></div>
            <div class="panel-body panel-body-flush">
                <div inner_html=text(table)></div>
                <div inner_html=text(damage)></div>
            </div>
        </section>
    }
}

const HEAD: &str = "<div class=\"table-wrap\"><table class=\"table\"><thead><tr><th scope=\"col\">Hop</th>\
    <th scope=\"col\" class=\"num\">Seen</th><th scope=\"col\" class=\"num\">Passed on</th><th scope=\"col\">Dropped</th>\
    </tr></thead><tbody>";

fn row(line: &LossLine) -> String {
    let mut reasons: Vec<String> = line
        .dropped
        .iter()
        .map(|(count, words)| format!("{} {words}", format::count(*count)))
        .collect();
    if line.imbalance != 0 {
        reasons.push(format!("{} unexplained", line.imbalance));
    }
    if reasons.is_empty() {
        reasons.push("none".to_owned());
    }
    let badge = if line.is_loss {
        "<span class=\"badge badge-warn\">lost</span> "
    } else {
        ""
    };
    format!(
        "<tr><td><div class=\"cell-main\">{}</div><div class=\"cell-sub\">{}</div></td><td class=\"num\">{}</td>\
         <td class=\"num\">{}</td><td>{badge}{}</td></tr>",
        line.hop,
        line.class,
        format::count(line.seen),
        format::count(line.sent),
        reasons.join(", ")
    )
}
