//! What the hub keeps beside the sessions, over its HTTP API: share links, notes, dashboards, the policy of the fleet, who
//! did what, and who may; and what it makes of two sessions' clocks.
//!
//! Answers are read where they are shown, as the browser's own JSON: no second set of types, no decoder to
//! download.

mod call;
mod dashboards;
mod island;
mod listing;
mod notes;
mod overlaps;
mod page;
mod share;
mod sign_in;

pub(crate) use dashboards::dashboards_page;
pub(crate) use notes::notes_panel;
pub(crate) use page::hub_page;
pub(crate) use share::share_drawer;
pub(crate) use sign_in::sign_in;

use crate::format;
use crate::store::Store;
use heaptide_analysis::views::Window;

/// The marked span, or all of the session so far; and where that begins.
fn span(store: Store) -> Option<(Window, u64)> {
    let all = store
        .headline
        .peek(|headline| headline.as_ref().map(|h| h.span))?;
    let marked = store.place.peek(|place| place.view.selection);
    Some((marked.unwrap_or(all), all.from_ns))
}

fn span_words(window: Window, zero_ns: u64) -> String {
    let seconds = |at: u64| format::fixed(at.saturating_sub(zero_ns) as f64 / 1e9, 1);
    format!("{} s to {} s", seconds(window.from_ns), seconds(window.to_ns))
}
