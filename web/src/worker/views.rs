//! When to compute which answer: at most 20 times a second, less often the more it costs, never for nothing.

use super::messages::{Extra, Show, ViewUpdate};
use heaptide_analysis::Session;
use heaptide_analysis::views::{Headline, Metric, ProfileQuery, TimelineQuery, Window};
use heaptide_protocol::SessionId;
use heaptide_protocol::report::{ReportAsk, ReportQuery};

/// A view takes at most one part in this many of the worker's time.
const SHARE: f64 = 5.0;
const HEADLINE_MS: f64 = 50.0;
const SITES_MS: f64 = 200.0;
const FLAME_MS: f64 = 500.0;
const REPORT_MS: f64 = 1_000.0;
/// After the hub could not compute one.
const REPORT_AGAIN_MS: f64 = 10_000.0;
/// While the stored past is being read, the picture is a courtesy.
const REPLAY_MS: f64 = 250.0;
const MAX_SITES: u32 = 100;
const MAX_ROWS: u32 = 200;
const MAX_NODES: u32 = 4_000;
const MAX_POINTS: u32 = 2_000;

/// One answer's schedule.
#[derive(Debug, Clone, Copy)]
struct Due {
    stale: bool,
    not_before_ms: f64,
    least_ms: f64,
}

impl Due {
    fn new(least_ms: f64) -> Self {
        Self {
            stale: false,
            not_before_ms: 0.0,
            least_ms,
        }
    }

    fn is_due(&self, now_ms: f64) -> bool {
        self.stale && now_ms >= self.not_before_ms
    }

    fn done(&mut self, began_ms: f64, ended_ms: f64, replaying: bool) {
        let cost_ms = (ended_ms - began_ms).max(0.0);
        let least_ms = if replaying {
            self.least_ms.max(REPLAY_MS)
        } else {
            self.least_ms
        };
        self.stale = false;
        self.not_before_ms = (began_ms + least_ms).max(ended_ms + cost_ms * (SHARE - 1.0));
    }
}

#[derive(Debug)]
pub(super) struct Views {
    pub(super) show: Show,
    headline: Due,
    sites: Due,
    flame: Due,
    report: Due,
    /// A question is out.
    asked: bool,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            show: Show::default(),
            headline: Due::new(HEADLINE_MS),
            sites: Due::new(SITES_MS),
            flame: Due::new(FLAME_MS),
            report: Due::new(REPORT_MS),
            asked: false,
        }
    }
}

impl Views {
    /// A new question is answered at once.
    pub(super) fn ask(&mut self, show: Show) {
        *self = Self {
            show,
            // The hub answers one after the other.
            asked: self.asked,
            ..Self::default()
        };
        self.all_stale();
    }

    /// A view that is held shows the moment that it was held at: once all is read, news don't change it.
    pub(super) fn data_changed(&mut self, caught_up: bool) {
        if !(caught_up && self.show.at_ns.is_some()) {
            self.all_stale();
        }
    }

    fn all_stale(&mut self) {
        for due in [
            &mut self.headline,
            &mut self.sites,
            &mut self.flame,
            &mut self.report,
        ] {
            due.stale = true;
        }
    }

    /// When something will be due.
    pub(super) fn next_ms(&self) -> Option<f64> {
        self.show.session?;
        [Some(&self.headline), self.extra(), self.question_due()]
            .into_iter()
            .flatten()
            .filter(|due| due.stale)
            .map(|due| due.not_before_ms)
            .reduce(f64::min)
    }

    /// Computes what is due. `now_ms` is read around each answer to learn what it costs.
    pub(super) fn answer(
        &mut self,
        session: SessionId,
        data: &Session,
        update: &mut ViewUpdate,
        now_ms: &dyn Fn() -> f64,
    ) -> bool {
        let began_ms = now_ms();
        let replaying = !update.progress.caught_up;
        let extra_due = self.extra().is_some_and(|due| due.is_due(began_ms));
        if self.show.session != Some(session) || !(self.headline.is_due(began_ms) || extra_due) {
            return false;
        }
        let span = data.span();
        let range = self.show.range.window(span, self.show.at_ns);
        if self.headline.is_due(began_ms) {
            let headline: Headline = self
                .show
                .at_ns
                .map_or_else(|| data.headline(), |at_ns| data.headline_at(at_ns));
            update.headline = Some(headline);
            update.timeline = Some(data.timeline(&TimelineQuery {
                window: range,
                points: self.show.timeline_points.clamp(2, MAX_POINTS),
            }));
            self.headline.done(began_ms, now_ms(), replaying);
        }
        if extra_due {
            let began_ms = now_ms();
            let query = |limit| ProfileQuery {
                window: profile_window(&self.show, span, range),
                metric: self.show.metric.unwrap_or(Metric::Live),
                filter: self.show.filter.clone(),
                limit,
            };
            match self.show.extra {
                Extra::None => {}
                Extra::Sites => {
                    update.sites = Some(data.sites(&query(MAX_SITES)));
                    self.sites.done(began_ms, now_ms(), replaying);
                }
                Extra::Flame => {
                    update.flame = Some(data.flame(&query(MAX_NODES)));
                    self.flame.done(began_ms, now_ms(), replaying);
                }
                Extra::Report(_) => {}
            }
        }
        true
    }

    /// The span of time that something is asked of: what is selected, or all that is on screen.
    pub(super) fn looked_at(&self, data: &Session) -> Window {
        let on_screen = || self.show.range.window(data.span(), self.show.at_ns);
        self.show.selection.unwrap_or_else(on_screen)
    }

    /// The next question to the hub, if one is due. What is about a span of time is asked of what is on screen.
    pub(super) fn question(&mut self, data: &Session, now_ms: f64) -> Option<ReportAsk> {
        let due = self.question_due().is_some_and(|due| due.is_due(now_ms));
        let Extra::Report(kind) = self.show.extra else {
            return None;
        };
        if !due || data.last_seq() == 0 {
            return None;
        }
        let window = self.looked_at(data);
        self.asked = true;
        self.report.done(now_ms, now_ms, false);
        Some(ReportAsk {
            number: self.show.number,
            query: ReportQuery {
                kind,
                window,
                filter: self.show.filter.clone(),
                limit: MAX_ROWS,
            },
        })
    }

    /// The hub has answered, or the question is lost with the connection.
    pub(super) fn answered(&mut self, now_ms: f64, failed: bool) {
        self.asked = false;
        if failed {
            self.report.stale = true;
            self.report.not_before_ms = now_ms + REPORT_AGAIN_MS;
        }
    }

    /// The connection is there anew.
    pub(super) fn ask_again(&mut self) {
        self.asked = false;
        self.report.stale = true;
        self.report.not_before_ms = 0.0;
    }

    fn question_due(&self) -> Option<&Due> {
        (matches!(self.show.extra, Extra::Report(_)) && !self.asked).then_some(&self.report)
    }

    fn extra(&self) -> Option<&Due> {
        match self.show.extra {
            Extra::None => None,
            Extra::Sites => Some(&self.sites),
            Extra::Flame => Some(&self.flame),
            Extra::Report(_) => None,
        }
    }
}

/// A selection counts as it is. Without one, everything up to the end of what is shown counts: a person who
/// looks at the last minute still asks where all of the live heap comes from.
fn profile_window(show: &Show, span: Window, range: Window) -> Window {
    show.selection.unwrap_or(Window {
        from_ns: span.from_ns,
        to_ns: range.to_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dear_view_waits_longer() {
        let mut due = Due::new(50.0);
        for (cost_ms, replaying, expected) in [
            (1.0, false, 50.0),
            (10.0, false, 50.0),
            (100.0, false, 500.0),
            (1.0, true, 250.0),
        ] {
            due.stale = true;
            assert!(due.is_due(due.not_before_ms));
            let began = 1_000.0;
            due.done(began, began + cost_ms, replaying);
            assert_eq!(due.not_before_ms - began, expected, "{cost_ms} ms");
            due.stale = true;
            assert!(!due.is_due(began + expected - 1.0));
        }
    }
}
