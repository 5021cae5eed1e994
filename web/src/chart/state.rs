//! What the timeline is doing, without a page: the crosshair, the selection, a drag under way.

use std::sync::Arc;

use heaptide_analysis::views::{Timeline, Window};
use heaptide_protocol::session::Method;

use super::{Brush, ChartLayout, Edge, Nudge, Readout, Scales, Shown, at_moment, nudge, readout};
use crate::format::TimeBase;

/// Events so close to the crosshair belong to the readout.
const NEAR_PX: f64 = 4.0;
/// How far an arrow key goes, at least.
const STEP_PX: f64 = 4.0;
/// How much farther a page key goes.
const PAGE_STEPS: u64 = 10;

#[derive(Debug)]
pub struct ChartState {
    pub timeline: Option<Arc<Timeline>>,
    pub base: TimeBase,
    pub layout: ChartLayout,
    /// None until there is something to show and room for it.
    pub scales: Option<Scales>,
    pub shown: Shown,
    live_method: Method,
    selection: Option<Window>,
    /// The crosshair; without one the newest point is read out.
    moment: Option<u64>,
    brush: Option<Brush>,
    draft: Option<Window>,
    /// Where a selection by keyboard began.
    anchor: Option<u64>,
    is_stale: bool,
}

/// What the owner says.
#[derive(Debug, Clone)]
pub struct ChartInput {
    pub timeline: Option<Arc<Timeline>>,
    pub base: TimeBase,
    pub selection: Option<Window>,
    pub live_method: Method,
}

/// A new selection, for the owner to keep.
pub type Chosen = Option<Window>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    Live,
    Rss,
    Untracked,
    Allocated,
    Freed,
}

impl Default for ChartState {
    fn default() -> Self {
        Self {
            timeline: None,
            base: TimeBase::default(),
            layout: ChartLayout::new(0.0, 0.0),
            scales: None,
            shown: Shown::ALL,
            live_method: Method::Estimate,
            selection: None,
            moment: None,
            brush: None,
            draft: None,
            anchor: None,
            is_stale: true,
        }
    }
}

impl ChartState {
    /// True if the timeline itself is another.
    pub fn accept(&mut self, input: ChartInput) -> bool {
        let same = match (&self.timeline, &input.timeline) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        self.is_stale |= !same || self.base != input.base;
        (self.timeline, self.base) = (input.timeline, input.base);
        (self.selection, self.live_method) = (input.selection, input.live_method);
        !same
    }

    pub fn resize(&mut self, width_px: f64, height_px: f64) {
        self.layout = ChartLayout::new(width_px, height_px);
        self.is_stale = true;
    }

    /// Scales anew if anything changed since the last time; true if the canvas must be drawn again.
    pub fn refresh(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_stale, false) {
            return false;
        }
        let timeline = self.timeline.as_ref().filter(|_| self.layout.memory.width >= 1.0);
        self.scales = timeline.map(|timeline| Scales::new(timeline, &self.layout, self.shown));
        true
    }

    pub fn toggle(&mut self, series: Series) {
        let on = match series {
            Series::Live => &mut self.shown.live,
            Series::Rss => &mut self.shown.rss,
            Series::Untracked => &mut self.shown.untracked,
            Series::Allocated => &mut self.shown.allocated,
            Series::Freed => &mut self.shown.freed,
        };
        *on = !*on;
        self.is_stale = true;
    }

    /// The window as it is now, a drag under way included.
    pub fn chosen(&self) -> Option<Window> {
        self.draft.or(self.selection)
    }

    /// Left edge and width of the selection, in pixels.
    pub fn extent(&self) -> Option<(f64, f64)> {
        self.scales.as_ref()?.extent(self.chosen()?)
    }

    pub fn bounds(&self) -> Option<Window> {
        self.timeline.as_ref().map(|timeline| timeline.window)
    }

    /// The crosshair's moment, or the newest.
    pub fn now_ns(&self) -> u64 {
        self.moment
            .or(self.bounds().map(|bounds| bounds.to_ns))
            .unwrap_or(0)
    }

    /// The point that is read out.
    pub fn index(&self) -> Option<usize> {
        let timeline = self.timeline.as_ref()?;
        match self.moment {
            Some(at_ns) => at_moment(timeline, at_ns),
            None => timeline.points.len().checked_sub(1),
        }
    }

    pub fn readout(&self) -> Option<Readout> {
        let near_ns = self
            .scales
            .as_ref()
            .map_or(0.0, |scales| scales.time.ns_per_px() * NEAR_PX);
        readout(
            self.timeline.as_ref()?,
            self.index()?,
            &self.live_method,
            near_ns as u64,
        )
    }

    /// Where the crosshair is: x, and the heights of live heap and RSS. `None` while there is none in view.
    pub fn crosshair(&self) -> Option<(f64, Option<f64>, Option<f64>)> {
        self.moment?;
        let point = self.timeline.as_ref()?.points.get(self.index()?)?;
        let scales = self.scales.as_ref()?;
        let (x, plot) = (scales.time.x(point.at_ns), self.layout.memory);
        if x < plot.x - 1.0 || x > plot.right() + 1.0 {
            return None;
        }
        let live = self.shown.live.then(|| scales.memory.y(point.live_bytes));
        let rss = point
            .rss_bytes
            .filter(|_| self.shown.rss)
            .map(|rss| scales.memory.y(rss as f64));
        Some((x.round(), live, rss))
    }

    pub fn down(&mut self, x: f64) {
        self.brush = self
            .scales
            .as_ref()
            .map(|scales| Brush::press(&scales.time, x, self.selection));
    }

    pub fn point(&mut self, x: f64) {
        let Some(scales) = &self.scales else { return };
        if let Some(window) = self.brush.map(|brush| brush.drag(&scales.time, x)) {
            // Once it is a drag it stays one, even back where it began.
            self.draft = window.or(self.draft);
        }
        self.moment = Some(scales.time.at(x));
    }

    pub fn up(&mut self) -> Option<Chosen> {
        self.brush = None;
        self.draft.take().map(Some)
    }

    pub fn cancel(&mut self) {
        (self.brush, self.draft) = (None, None);
    }

    /// The pointer or the keyboard has gone; a drag goes on outside.
    pub fn leave(&mut self) {
        if self.brush.is_none() {
            (self.moment, self.anchor) = (None, None);
        }
    }

    /// On the plot: arrows move the crosshair, with Shift they select. `None` if the key means nothing here.
    pub fn press(&mut self, key: &str, is_shift: bool) -> Option<Option<Chosen>> {
        let bounds = self.bounds()?;
        let now = self.now_ns();
        let (near, far) = (self.step_ns(), self.step_ns().saturating_mul(PAGE_STEPS));
        let to = match key {
            "ArrowLeft" | "ArrowDown" => now.saturating_sub(near),
            "ArrowRight" | "ArrowUp" => now.saturating_add(near),
            "PageDown" => now.saturating_sub(far),
            "PageUp" => now.saturating_add(far),
            "Home" => bounds.from_ns,
            "End" => bounds.to_ns,
            "Escape" if self.selection.is_some() || self.moment.is_some() => {
                (self.moment, self.anchor) = (None, None);
                return Some(self.selection.map(|_| None));
            }
            _ => return None,
        };
        let to = to.min(bounds.to_ns).max(bounds.from_ns);
        self.moment = Some(to);
        if !is_shift {
            self.anchor = None;
            return Some(None);
        }
        let from = *self.anchor.get_or_insert(now);
        let window = Window {
            from_ns: from.min(to),
            to_ns: from.max(to),
        };
        Some(Some((window.to_ns > window.from_ns).then_some(window)))
    }

    /// On a handle: arrows move the edge, with Shift the whole window. `None` if the key means nothing here.
    pub fn press_handle(&self, edge: Edge, key: &str, is_shift: bool) -> Option<Chosen> {
        let near = i64::try_from(self.step_ns()).unwrap_or(i64::MAX);
        let far = near.saturating_mul(PAGE_STEPS as i64);
        let by_ns = match key {
            "ArrowLeft" | "ArrowDown" => -near,
            "ArrowRight" | "ArrowUp" => near,
            "PageDown" => -far,
            "PageUp" => far,
            "Escape" => return Some(None),
            _ => return None,
        };
        let what = if is_shift {
            Nudge::Window
        } else {
            Nudge::Edge(edge)
        };
        Some(Some(nudge(self.selection?, what, by_ns, self.bounds()?)))
    }

    fn step_ns(&self) -> u64 {
        let step_ns = self.timeline.as_ref().map_or(1, |timeline| timeline.step_ns);
        let px_ns = self
            .scales
            .as_ref()
            .map_or(0.0, |scales| scales.time.ns_per_px() * STEP_PX);
        step_ns.max(px_ns as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::readout::tests::timeline;
    use super::*;

    /// 10,000 ns on 1000 px from x = 60.
    fn chart(selection: Option<Window>) -> ChartState {
        let mut chart = ChartState::default();
        assert!(chart.accept(input(selection)));
        chart.resize(1068.0, 300.0);
        assert!(chart.refresh() && !chart.refresh());
        chart
    }

    fn input(selection: Option<Window>) -> ChartInput {
        ChartInput {
            timeline: Some(Arc::new(timeline())),
            base: TimeBase::default(),
            selection,
            live_method: Method::Exact,
        }
    }

    fn window(from_ns: u64, to_ns: u64) -> Window {
        Window { from_ns, to_ns }
    }

    #[test]
    fn a_drag_selects_and_a_click_does_not() {
        let mut chart = chart(None);
        chart.down(160.0);
        chart.point(162.0);
        assert_eq!((chart.chosen(), chart.up()), (None, None));
        chart.down(160.0);
        chart.point(360.0);
        assert_eq!(
            (chart.chosen(), chart.extent()),
            (Some(window(1000, 3000)), Some((160.0, 200.0)))
        );
        chart.leave();
        assert!(chart.crosshair().is_some());
        assert_eq!(chart.up(), Some(Some(window(1000, 3000))));
        chart.leave();
        assert_eq!(chart.crosshair(), None);
        chart.down(160.0);
        chart.point(360.0);
        chart.cancel();
        assert_eq!(chart.chosen(), None);
    }

    #[test]
    fn the_keyboard_moves_and_selects() {
        let mut chart = chart(None);
        assert_eq!(chart.press("ArrowLeft", false), Some(None));
        assert_eq!(chart.now_ns(), 9000);
        assert_eq!(
            chart.press("ArrowLeft", true),
            Some(Some(Some(window(8000, 9000))))
        );
        assert_eq!(
            chart.press("ArrowLeft", true),
            Some(Some(Some(window(7000, 9000))))
        );
        assert_eq!(
            chart.press("PageUp", true),
            Some(Some(Some(window(9000, 10_000))))
        );
        assert_eq!(chart.press("Home", false), Some(None));
        assert_eq!(chart.press("Tab", false), None);
        chart.accept(input(Some(window(7000, 9000))));
        assert_eq!(
            chart.press_handle(Edge::From, "ArrowRight", false),
            Some(Some(window(8000, 9000)))
        );
        assert_eq!(
            chart.press_handle(Edge::From, "ArrowRight", true),
            Some(Some(window(8000, 10_000)))
        );
        assert_eq!(chart.press("Escape", false), Some(Some(None)));
        chart.accept(input(None));
        assert_eq!(chart.press("Escape", false), None);
    }

    #[test]
    fn the_newest_point_is_read_unless_there_is_a_crosshair() {
        let mut chart = chart(None);
        assert_eq!(chart.readout().unwrap().at_ns, 10_000);
        chart.point(255.0);
        let got = chart.readout().unwrap();
        assert_eq!((got.at_ns, got.live.error.as_str()), (2000, "±8.3 %"));
        let (x, live, rss) = chart.crosshair().unwrap();
        assert!(x == 260.0 && live > rss);
        chart.toggle(Series::Rss);
        assert!(chart.refresh());
        assert_eq!(chart.crosshair().unwrap().2, None);
    }

    #[test]
    fn nothing_to_show() {
        let mut chart = ChartState::default();
        chart.resize(500.0, 200.0);
        chart.refresh();
        chart.down(100.0);
        chart.point(200.0);
        assert_eq!(
            (chart.up(), chart.press("Home", false), chart.readout()),
            (None, None, None)
        );
    }
}
