//! The timeline as a table: for screen readers always, for others on request.

use std::sync::Arc;

use heaptide_analysis::views::Timeline;
use leptos::prelude::*;

use super::readout::mark_text;
use super::sample_rows;
use crate::format::{TimeBase, bytes, bytes_per_s, elapsed, relative_error};

const ROWS: usize = 40;

#[component]
pub fn PointTable(
    timeline: Signal<Option<Arc<Timeline>>>,
    base: Signal<TimeBase>,
    is_shown: Signal<bool>,
) -> impl IntoView {
    let row = move |timeline: &Timeline, index: usize| {
        let point = timeline.points[index];
        let error = (point.live_high_bytes - point.live_low_bytes) / 2.0 / point.live_bytes;
        let rss = point.rss_bytes.map(|rss| rss as f64);
        view! {
            <tr>
                <th scope="row">{elapsed(base.get(), point.at_ns)}</th>
                <td class="num">{bytes(point.live_bytes)}</td>
                <td class="num">{relative_error(error)}</td>
                <td class="num">{rss.map(bytes)}</td>
                <td class="num">{rss.map(|rss| bytes(rss - point.live_bytes))}</td>
                <td class="num">{bytes_per_s(point.allocated_per_s)}</td>
                <td class="num">{bytes_per_s(point.freed_per_s)}</td>
            </tr>
        }
    };
    let rows = move || {
        timeline.with(|timeline| {
            let timeline = timeline.as_ref()?;
            Some(
                sample_rows(timeline, ROWS)
                    .map(|index| row(timeline, index))
                    .collect_view(),
            )
        })
    };
    let marks = move || {
        timeline.with(|timeline| {
            let marks = &timeline.as_ref()?.marks;
            let texts: Vec<String> = marks
                .iter()
                .map(|mark| format!("{} {}", elapsed(base.get(), mark.at_ns), mark_text(mark)))
                .collect();
            (!texts.is_empty()).then(|| format!(" Marks: {}.", texts.join("; ")))
        })
    };
    view! {
        <div
            class="chart-table"
            class:visually-hidden=move || !is_shown.get()
            tabindex=move || if is_shown.get() { "0" } else { "-1" }
            role="region"
            aria-label="Timeline as a table"
        >
            <table class="table">
                <caption class="visually-hidden">"Points of the timeline, the newest last."{marks}</caption>
                <thead>
                    <tr>
                        <th scope="col">"Time"</th>
                        <th scope="col" class="num">"Live heap"</th>
                        <th scope="col" class="num">"Error"</th>
                        <th scope="col" class="num">"RSS"</th>
                        <th scope="col" class="num">"Untracked"</th>
                        <th scope="col" class="num">"Allocated"</th>
                        <th scope="col" class="num">"Freed"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}
