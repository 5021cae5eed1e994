//! What the page knows: the worker's answers and the place that is shown, as a few coarse signals.
//!
//! Answers arrive at up to 20 Hz and are put in once per animation frame; the data itself stays in the worker.

mod freshness;
mod inbox;
mod latency;
mod live;
mod outbox;

pub(crate) use freshness::seconds_since;
pub(crate) use inbox::{moved, start};
pub(crate) use live::Live;

use crate::net::LinkState;
use crate::sampling::Draft;
use crate::url::{Page, Place, Tab, ViewState};
use crate::worker::{Damage, FleetRow, Progress, ToWorker};
use heaptide_analysis::report::Table;
use heaptide_analysis::views::{Flame, Headline, SiteTable, Timeline};
use heaptide_protocol::session::Clock;
use leptos::prelude::*;
use std::sync::Arc;

/// Messages to a person, at most this many at once.
pub(crate) const MAX_NOTICES: usize = 4;

#[derive(Clone, Copy)]
pub(crate) struct Store {
    pub(crate) place: Live<Place>,
    /// What was wrong with the link that was opened.
    pub(crate) problems: Live<Vec<String>>,
    /// With the browser's time at which it was told.
    pub(crate) link: Live<(LinkState, f64)>,
    pub(crate) fleet: Live<Option<Vec<FleetRow>>>,
    pub(crate) headline: Live<Option<Headline>>,
    pub(crate) timeline: Live<Option<Arc<Timeline>>>,
    pub(crate) sites: Live<Option<SiteTable>>,
    pub(crate) flame: Live<Option<Arc<Flame>>>,
    /// Of the page that they were made for.
    pub(crate) tables: Live<(Tab, Vec<Table>)>,
    pub(crate) progress: Live<Progress>,
    pub(crate) damage: Live<Damage>,
    pub(crate) notices: Live<Vec<String>>,
    /// A change of the policy that is being edited: it outlives its panel.
    pub(crate) draft: Live<Option<Draft>>,
    /// The revision that this page's last proposal started from.
    pub(crate) proposed: Live<Option<u64>>,
    /// Css pixels of the timeline's plot.
    pub(crate) points: Live<u32>,
    /// The drawer with links and notes is open.
    pub(crate) sharing: Live<bool>,
    /// The hub wants a token.
    pub(crate) signing_in: Live<bool>,
    /// One may sign in with an identity provider.
    pub(crate) has_provider: Live<bool>,
    pub(crate) latency: Live<latency::Summary>,
    pub(crate) worker: StoredValue<outbox::Outbox, LocalStorage>,
}

/// How a new place gets into the browser's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Somewhere else: the back button returns.
    Push,
    /// The same place, looked at differently.
    Replace,
}

impl Store {
    pub(crate) fn send(&self, message: &ToWorker) {
        self.worker.with_value(|worker| worker.send(message));
    }

    /// Changes how the present place is looked at.
    pub(crate) fn look(&self, change: impl FnOnce(&mut ViewState)) {
        self.place.update(|place| change(&mut place.view));
        crate::app::history::remember(Step::Replace, &self.place.peek(Place::clone));
    }

    pub(crate) fn go(&self, place: Place) {
        crate::app::history::remember(Step::Push, &place);
        self.problems.set(Vec::new());
        self.place.set(place);
    }

    /// The other page of the same session keeps window, pause and filter.
    pub(crate) fn sibling(&self, tab: Tab) -> Option<Place> {
        let mut place = self.place.get();
        match &mut place.page {
            Page::Session { tab: old, .. } => *old = tab,
            _ => return None,
        }
        Some(place)
    }

    /// The fleet's row for the session on screen.
    pub(crate) fn with_row<R>(&self, read: impl FnOnce(&FleetRow) -> R) -> Option<R> {
        let id = self.place.with(Place::session_id)?;
        self.fleet.with(|fleet| {
            fleet
                .as_ref()?
                .iter()
                .find(|row| row.summary.session == id)
                .map(read)
        })
    }

    pub(crate) fn clock(&self) -> Option<Clock> {
        self.with_row(|row| row.summary.signature.clock.clone())
    }

    /// Something of the headline, once there is one.
    pub(crate) fn figure<R>(&self, read: impl FnOnce(&Headline) -> R) -> Option<R> {
        self.headline.with(|headline| headline.as_ref().map(read))
    }

    pub(crate) fn notice(&self, text: String) {
        self.notices.update(|notices| {
            if notices.last() != Some(&text) {
                notices.push(text);
            }
            if notices.len() > MAX_NOTICES {
                notices.remove(0);
            }
        });
    }

    /// Pauses at the newest moment, or follows again.
    pub(crate) fn toggle_pause(&self) {
        let newest = self
            .headline
            .peek(|headline| headline.as_ref().map(|h| h.span.to_ns));
        self.look(|view| {
            view.at_ns = match view.at_ns {
                Some(_) => None,
                None => newest,
            };
        });
    }
}
