//! What the flame graph is doing, without a page: what is in view, under the pointer, under the keyboard.
//!
//! Events go in; boxes, rectangles and [`Ask`]s for the owner of selection and zoom come out.

use std::sync::Arc;

use heaptide_analysis::views::{Flame, Metric};

use super::{Camera, Culled, Matches, NodeKey, Scene, Step, What, cull, hit, search};
use crate::canvas::{Point, Rect};

pub(super) const ROW_PX: f64 = 19.0;

#[derive(Debug)]
pub struct GraphState {
    pub scene: Scene,
    pub metric: Metric,
    pub camera: Camera,
    pub culled: Culled,
    pub matches: Option<Matches>,
    pub has_focus: bool,
    /// Where the keyboard is.
    pub cursor: Option<NodeKey>,
    pub hover: Option<What>,
    selected: Option<NodeKey>,
    zoom: Option<NodeKey>,
    filter: String,
    source: Option<Arc<Flame>>,
    is_stale: bool,
}

/// What the graph would like: its owner keeps both, in the address of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Select(Option<NodeKey>),
    Zoom(Option<NodeKey>),
}

/// What the owner says.
#[derive(Debug, Clone)]
pub struct GraphInput {
    pub flame: Option<Arc<Flame>>,
    pub selected: Option<NodeKey>,
    pub zoom: Option<NodeKey>,
    pub filter: String,
    pub metric: Metric,
}

impl Default for GraphState {
    fn default() -> Self {
        let camera = Camera {
            left: 0.0,
            width: 1.0,
            width_px: 0.0,
            height_px: 0.0,
            scroll_px: 0.0,
            row_px: ROW_PX,
            device_pixel_ratio: 1.0,
        };
        Self {
            scene: Scene::empty(),
            metric: Metric::Live,
            camera,
            culled: Culled::default(),
            matches: None,
            has_focus: false,
            cursor: None,
            hover: None,
            selected: None,
            zoom: None,
            filter: String::new(),
            source: None,
            is_stale: true,
        }
    }
}

impl GraphState {
    pub fn accept(&mut self, input: GraphInput) {
        let same = match (&self.source, &input.flame) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.scene = input.flame.clone().map_or_else(Scene::empty, Scene::new);
            self.source = input.flame;
            // What was under the pointer may be elsewhere now.
            self.hover = None;
        }
        if !same || self.filter != input.filter {
            self.matches = search(&self.scene.flame, &self.scene.layout, &input.filter);
        }
        (self.filter, self.metric) = (input.filter, input.metric);
        (self.selected, self.zoom) = (input.selected, input.zoom);
        self.is_stale = true;
    }

    pub fn resize(&mut self, width_px: f64, height_px: f64, device_pixel_ratio: f64) {
        self.camera = Camera {
            width_px,
            height_px,
            device_pixel_ratio,
            ..self.camera
        };
        self.is_stale = true;
    }

    pub fn scroll(&mut self, scroll_px: f64) {
        self.camera.scroll_px = scroll_px;
        self.is_stale = true;
    }

    /// Culls if anything changed since the last time; true if the canvas must be drawn again.
    pub fn refresh(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_stale, false) {
            return false;
        }
        let zoomed = self
            .zoomed()
            .map(|node| (self.scene.layout.left(node), self.scene.layout.width(node)));
        (self.camera.left, self.camera.width) = zoomed.unwrap_or((0.0, 1.0));
        self.culled = cull(&self.scene.layout, &self.camera);
        true
    }

    /// The zoomed node, if the graph still has it.
    pub fn zoomed(&self) -> Option<u32> {
        self.zoom.and_then(|key| self.scene.find(key))
    }

    pub fn is_zoomed(&self) -> bool {
        self.zoom.is_some()
    }

    pub fn cursor_node(&self) -> Option<u32> {
        self.cursor.and_then(|key| self.scene.find(key))
    }

    pub fn selected_rect(&self) -> Option<Rect> {
        self.frame_of(self.selected.and_then(|key| self.scene.find(key)))
    }

    pub fn cursor_rect(&self) -> Option<Rect> {
        self.frame_of(self.cursor_node().filter(|_| self.has_focus))
    }

    pub fn hover_rect(&self) -> Option<Rect> {
        match self.hover {
            Some(What::Node(node)) => self.frame_of(Some(node)),
            _ => None,
        }
    }

    /// As high as all rows together, and one to spare.
    pub fn height_px(&self) -> f64 {
        (self.scene.layout.rows() as f64 + 1.0) * ROW_PX
    }

    pub fn focus(&mut self) {
        self.has_focus = true;
        if self.cursor_node().is_none() {
            let selected = self.selected.and_then(|key| self.scene.find(key));
            self.cursor = self.scene.key(selected.or(self.zoomed()).unwrap_or(0));
        }
    }

    /// True if what is under the pointer has changed.
    pub fn point(&mut self, at: Option<Point>) -> bool {
        let what = at
            .and_then(|at| hit(&self.culled, &self.camera, at))
            .map(|found| found.what);
        std::mem::replace(&mut self.hover, what) != what
    }

    /// A finger has no hover: its first touch tells, its second zooms.
    pub fn click(&mut self, at: Point, is_touch: bool) -> Vec<Ask> {
        self.point(Some(at));
        match self.hover {
            None => vec![Ask::Select(None)],
            Some(What::Merged { first, .. }) => {
                vec![Ask::Zoom(self.scene.key(self.scene.layout.parent(first)))]
            }
            Some(What::Node(node)) => {
                let key = self.scene.key(node);
                self.cursor = key;
                let mut asks = vec![Ask::Select(key)];
                if !is_touch || self.selected == key {
                    asks.push(Ask::Zoom(key));
                }
                asks
            }
        }
    }

    /// `None` if the key means nothing here.
    pub fn press(&mut self, key: &str) -> Option<Vec<Ask>> {
        let step = match key {
            "ArrowUp" => Step::Parent,
            "ArrowDown" => Step::Child,
            "ArrowLeft" => Step::Previous,
            "ArrowRight" => Step::Next,
            "Home" => Step::First,
            "Enter" => return Some(vec![Ask::Select(self.cursor), Ask::Zoom(self.cursor)]),
            " " => return Some(vec![Ask::Select(self.cursor)]),
            "Escape" if self.zoom.is_some() => return Some(vec![Ask::Zoom(None)]),
            "Escape" if self.selected.is_some() => return Some(vec![Ask::Select(None)]),
            _ => return None,
        };
        let layout = &self.scene.layout;
        let next = match self.cursor_node() {
            // Steps stay inside the zoomed part and its callers.
            Some(node) => layout
                .step(node, step)
                .filter(|&next| self.camera.place(layout, next).is_some()),
            None => (!layout.is_empty()).then_some(0),
        };
        if let Some(next) = next {
            self.hover = None;
            self.cursor = self.scene.key(next);
        }
        Some(Vec::new())
    }

    /// How far to scroll so that the cursor's row is in view.
    pub fn scroll_to_cursor(&self) -> Option<f64> {
        let top = f64::from(self.scene.layout.depth(self.cursor_node()?)) * ROW_PX;
        let lowest = (top - self.camera.height_px + 2.0 * ROW_PX).max(0.0);
        let highest = (top - ROW_PX).max(lowest);
        let wanted = self.camera.scroll_px.max(lowest).min(highest);
        (wanted != self.camera.scroll_px).then_some(wanted)
    }

    /// A box's frame, wide enough to be seen.
    fn frame_of(&self, node: Option<u32>) -> Option<Rect> {
        let rect = self.camera.place(&self.scene.layout, node?)?;
        let x = rect.x.min(self.camera.width_px - 3.0);
        (rect.bottom() > 0.0 && rect.y < self.camera.height_px).then_some(Rect {
            x,
            width: rect.width.max(3.0),
            ..rect
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn input() -> GraphInput {
        let flame = sample::flame(&[
            ("main", 0, 80.0),
            ("serve", 1, 60.0),
            ("read", 2, 30.0),
            ("write", 2, 20.0),
            ("log", 1, 10.0),
            ("gc", 0, 20.0),
        ]);
        GraphInput {
            flame: Some(Arc::new(flame)),
            selected: None,
            zoom: None,
            filter: String::new(),
            metric: Metric::Live,
        }
    }

    fn graph(input: &GraphInput) -> GraphState {
        let mut graph = GraphState::default();
        graph.accept(input.clone());
        graph.resize(100.0, 60.0, 1.0);
        assert!(graph.refresh());
        graph
    }

    #[test]
    fn the_keyboard_walks_the_tree() {
        let mut graph = graph(&input());
        graph.focus();
        for (key, expect) in [
            ("ArrowDown", 1),
            ("ArrowDown", 2),
            ("ArrowRight", 3),
            ("ArrowRight", 3),
            ("Home", 2),
            ("ArrowUp", 1),
            ("ArrowRight", 4),
            ("ArrowUp", 0),
            ("ArrowUp", 0),
            ("ArrowRight", 5),
        ] {
            assert_eq!(graph.press(key), Some(vec![]), "{key}");
            assert_eq!(graph.cursor_node(), Some(expect), "{key}");
        }
        let key = graph.scene.key(5);
        assert_eq!(graph.press("Enter"), Some(vec![Ask::Select(key), Ask::Zoom(key)]));
        assert_eq!(graph.press(" "), Some(vec![Ask::Select(key)]));
        assert_eq!((graph.press("Escape"), graph.press("x")), (None, None));
    }

    #[test]
    fn steps_stay_inside_the_zoomed_part() {
        let mut owner = input();
        owner.zoom = graph(&owner).scene.key(1);
        let mut graph = graph(&owner);
        assert_eq!((graph.camera.left, graph.camera.width), (0.0, 0.6));
        graph.focus();
        assert_eq!(graph.cursor_node(), Some(1));
        graph.press("ArrowRight");
        assert_eq!(graph.cursor_node(), Some(1));
        graph.press("ArrowUp");
        assert_eq!(graph.cursor_node(), Some(0));
        assert_eq!(graph.press("Escape"), Some(vec![Ask::Zoom(None)]));
    }

    #[test]
    fn clicks_and_touches() {
        let mut owner = input();
        let key = graph(&owner).scene.key(1);
        let at = Point { x: 30.0, y: 25.0 };
        assert_eq!(graph(&owner).click(at, false), [Ask::Select(key), Ask::Zoom(key)]);
        assert_eq!(graph(&owner).click(at, true), [Ask::Select(key)]);
        owner.selected = key;
        assert_eq!(graph(&owner).click(at, true), [Ask::Select(key), Ask::Zoom(key)]);
        assert_eq!(
            graph(&owner).click(Point { x: 95.0, y: 25.0 }, false),
            [Ask::Select(None)]
        );
        assert_eq!(
            graph(&owner).selected_rect(),
            Some(Rect {
                x: 0.0,
                y: 19.0,
                width: 60.0,
                height: 19.0
            })
        );
    }

    #[test]
    fn a_refresh_keeps_what_still_exists() {
        let mut owner = input();
        let mut graph = graph(&owner);
        graph.focus();
        graph.press("ArrowRight");
        (owner.zoom, owner.selected) = (graph.scene.key(4), graph.scene.key(2));
        owner.flame = Some(Arc::new(sample::flame(&[
            ("other", 0, 90.0),
            ("gc", 0, 30.0),
            ("main", 0, 5.0),
        ])));
        graph.accept(owner);
        graph.refresh();
        assert_eq!(
            (graph.cursor_node(), graph.zoomed(), graph.selected_rect()),
            (Some(1), None, None)
        );
        // The wish stays: the node may come back with the next refresh.
        assert!(graph.is_zoomed());
        assert!(!graph.refresh());
    }

    #[test]
    fn the_cursor_is_scrolled_to() {
        let mut graph = graph(&input());
        graph.resize(100.0, 38.0, 1.0);
        graph.focus();
        assert_eq!(graph.scroll_to_cursor(), None);
        graph.press("ArrowDown");
        graph.press("ArrowDown");
        assert_eq!(graph.scroll_to_cursor(), Some(38.0));
        graph.scroll(38.0);
        assert_eq!(graph.scroll_to_cursor(), None);
    }
}
