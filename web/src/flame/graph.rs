//! The flame graph on the page: canvas, pointer, keyboard, tooltip.
//!
//! [`GraphState`] decides; here events reach it and its answers reach the page, once per frame. The canvas
//! is drawn again only when what it shows has changed; hover, selection and the keyboard's cursor are
//! elements above it. To assistive software the graph is a tree of which one item at a time is there, the
//! one under the cursor; the whole tree is in its twin, the table.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent, MouseEvent, PointerEvent};

use super::state::{Ask, GraphInput, GraphState};
use super::{What, describe, metric_word, paint, status, tip};
use crate::canvas::dom::{Listener, part, place, set_attribute, set_style, set_text};
use crate::canvas::{Frame, Point, Surface, escape};
use crate::format::px;

const MARKUP: &str = r#"<div class="flame-scroll" data-part="tree" tabindex="0" role="tree">
<div class="flame-view" data-part="view" role="presentation">
<canvas class="flame-canvas" aria-hidden="true"></canvas>
<div class="flame-hover" data-part="hover"></div>
<div class="flame-selected" data-part="selected"></div>
<div class="flame-cursor" data-part="cursor"></div></div>
<div data-part="below"></div>
<div class="visually-hidden" data-part="item" role="treeitem" aria-selected="true"></div></div>
<div class="flame-status"><span data-part="status"></span><span class="spacer"></span>
<button class="btn btn-sm" type="button" data-part="reset">Reset zoom</button></div>
<div class="tooltip" data-part="tip" aria-hidden="true" hidden></div>"#;

/// Fills its parent. Highlights what matches `filter`; leaving stacks out is the query's business.
pub fn flame_graph(
    read: Box<dyn Fn() -> GraphInput>,
    tell: Rc<dyn Fn(Ask)>,
    empty: crate::ui::Part,
) -> AnyView {
    let root = NodeRef::<html::Div>::new();
    let slot: Slot = Rc::default();
    Effect::new(move |_| {
        let (Some(root), input) = (root.get(), read()) else {
            return;
        };
        root.set_hidden(input.flame.as_ref().is_none_or(|flame| flame.nodes.is_empty()));
        let is_new = slot.borrow().is_none();
        if is_new {
            let graph = Graph::new(&root, Rc::downgrade(&slot), tell.clone());
            *slot.borrow_mut() = graph;
        }
        if let Some(graph) = slot.borrow_mut().as_mut() {
            graph.state.accept(input);
            graph.frame.request();
        }
    });
    view! {
        <div class="flame" node_ref=root inner_html=MARKUP></div>
        {empty}
    }
    .into_any()
}

type Slot = Rc<RefCell<Option<Graph>>>;

struct Graph {
    state: GraphState,
    surface: Surface,
    frame: Frame,
    parts: Parts,
    /// Of the pointer, in the window.
    pointer: Point,
    _listeners: [Listener; 4],
}

struct Parts {
    tree: HtmlElement,
    view: HtmlElement,
    hover: HtmlElement,
    selected: HtmlElement,
    cursor: HtmlElement,
    below: HtmlElement,
    item: HtmlElement,
    status: HtmlElement,
    reset: HtmlElement,
    tip: HtmlElement,
}

impl Graph {
    fn new(root: &Element, slot: Weak<RefCell<Option<Self>>>, tell: Rc<dyn Fn(Ask)>) -> Option<Self> {
        let parts = Parts {
            tree: part(root, "tree")?,
            view: part(root, "view")?,
            hover: part(root, "hover")?,
            selected: part(root, "selected")?,
            cursor: part(root, "cursor")?,
            below: part(root, "below")?,
            item: part(root, "item")?,
            status: part(root, "status")?,
            reset: part(root, "reset")?,
            tip: part(root, "tip")?,
        };
        let canvas = parts.view.query_selector("canvas").ok()??.dyn_into().ok()?;
        let shown = slot.clone();
        let frame = Frame::new(Box::new(move || {
            if let Some(slot) = shown.upgrade()
                && let Some(graph) = slot.borrow_mut().as_mut()
            {
                graph.show();
            }
        }));
        let hear = move || -> Box<dyn FnMut(Event)> {
            let (slot, tell) = (slot.clone(), tell.clone());
            Box::new(move |event| {
                let asks = slot
                    .upgrade()
                    .and_then(|slot| Some(slot.borrow_mut().as_mut()?.hear(&event)));
                // Outside the borrow: what the owner does may come back here.
                asks.into_iter().flatten().for_each(|ask| tell(ask));
            })
        };
        let listeners = [
            Listener::new(&parts.tree, &["keydown", "focus", "blur", "scroll"], hear()),
            Listener::new(&parts.view, &["pointermove", "pointerleave"], hear()),
            Listener::new(&parts.view, &["click"], hear()),
            Listener::new(&parts.reset, &["click"], hear()),
        ];
        Some(Self {
            state: GraphState::default(),
            surface: Surface::new(canvas, frame.downgrade())?,
            frame,
            parts,
            pointer: Point { x: 0.0, y: 0.0 },
            _listeners: listeners,
        })
    }

    fn hear(&mut self, event: &Event) -> Vec<Ask> {
        let asks = self.answer(event);
        self.frame.request();
        asks.unwrap_or_default()
    }

    fn answer(&mut self, event: &Event) -> Option<Vec<Ask>> {
        match event.type_().as_str() {
            "keydown" => {
                let event: &KeyboardEvent = event.dyn_ref()?;
                if event.ctrl_key() || event.meta_key() || event.alt_key() {
                    return None;
                }
                let asks = self.state.press(&event.key())?;
                event.prevent_default();
                event.stop_propagation();
                if let Some(scroll_px) = self.state.scroll_to_cursor() {
                    self.parts.tree.set_scroll_top(scroll_px as i32);
                }
                return Some(asks);
            }
            "scroll" => self.state.scroll(f64::from(self.parts.tree.scroll_top())),
            "focus" => self.state.focus(),
            "blur" => self.state.has_focus = false,
            "pointerleave" => {
                self.state.point(None);
            }
            "pointermove" => {
                let at = self.local(event.dyn_ref()?);
                self.state.point(Some(at));
            }
            "click" if event.current_target().as_ref() == Some(self.parts.reset.as_ref()) => {
                return Some(vec![Ask::Zoom(None)]);
            }
            "click" => {
                let at = self.local(event.dyn_ref()?);
                let is_touch = event
                    .dyn_ref::<PointerEvent>()
                    .is_some_and(|event| event.pointer_type() == "touch");
                return Some(self.state.click(at, is_touch));
            }
            _ => {}
        }
        None
    }

    /// Of the pointer, in the view; remembers where in the window it is.
    fn local(&mut self, event: &MouseEvent) -> Point {
        let room = self.parts.view.get_bounding_client_rect();
        self.pointer = Point {
            x: f64::from(event.client_x()),
            y: f64::from(event.client_y()),
        };
        Point {
            x: self.pointer.x - room.left(),
            y: self.pointer.y - room.top(),
        }
    }

    fn show(&mut self) {
        if self.surface.follow() {
            let size = self.surface.size();
            self.state
                .resize(size.width_px, size.height_px, size.device_pixel_ratio);
        }
        let (state, parts) = (&mut self.state, &self.parts);
        if state.refresh() {
            let matches = state.matches.as_ref();
            paint(
                self.surface.canvas(),
                &state.scene,
                &state.culled,
                &state.camera,
                matches,
            );
            let phrases = status(&state.scene, &state.culled, matches);
            let spans: String = phrases
                .iter()
                .map(|text| format!("<span>{}</span>", escape(text)))
                .collect();
            parts.status.set_inner_html(&spans);
            parts.reset.set_hidden(!state.is_zoomed());
            let below_px = (state.height_px() - state.camera.height_px).max(0.0);
            set_style(&parts.below, "height", &px(below_px));
            let label = format!("Flame graph, bytes {}", metric_word(state.metric));
            set_attribute(&parts.tree, "aria-label", Some(&label));
        }
        place(&parts.hover, state.hover_rect());
        place(&parts.selected, state.selected_rect());
        place(&parts.cursor, state.cursor_rect());
        self.show_item();
        self.show_tip();
    }

    /// The tree's one item, under the cursor. Its id changes with it, so that a screen reader notices.
    fn show_item(&self) {
        let (state, parts) = (&self.state, &self.parts);
        let Some(node) = state.cursor_node() else {
            set_attribute(&parts.tree, "aria-activedescendant", None);
            return;
        };
        let id = format!("flame-{node}");
        if parts.item.id() != id {
            let (position, siblings) = state.scene.layout.position(node);
            let number = |value: u32| value.to_string();
            parts.item.set_id(&id);
            set_attribute(
                &parts.item,
                "aria-level",
                Some(&number(state.scene.layout.depth(node) + 1)),
            );
            set_attribute(&parts.item, "aria-posinset", Some(&number(position)));
            set_attribute(&parts.item, "aria-setsize", Some(&number(siblings)));
            set_attribute(&parts.tree, "aria-activedescendant", Some(&id));
        }
        set_text(&parts.item, &describe(&state.scene, node, state.metric));
    }

    /// Beside the pointer or below the cursor, on the side that has more room.
    fn show_tip(&self) {
        let (state, tip_part) = (&self.state, &self.parts.tip);
        let under_cursor = || {
            let (rect, room) = (state.cursor_rect()?, self.parts.view.get_bounding_client_rect());
            let at = Point {
                x: room.left() + rect.x,
                y: room.top() + rect.bottom(),
            };
            Some((What::Node(state.cursor_node()?), at))
        };
        let Some((what, at)) = state.hover.map(|what| (what, self.pointer)).or_else(under_cursor) else {
            tip_part.set_hidden(true);
            return;
        };
        tip_part.set_inner_html(&tip(&state.scene, what, state.zoomed(), state.metric));
        tip_part.set_hidden(false);
        let window = web_sys::window();
        let room = |side: Option<wasm_bindgen::JsValue>| side.and_then(|side| side.as_f64()).unwrap_or(0.0);
        let width = room(window.as_ref().and_then(|window| window.inner_width().ok()));
        let height = room(window.as_ref().and_then(|window| window.inner_height().ok()));
        let put = |near: &str, far: &str, value: f64, room: f64| {
            let (near_px, far_px) = match value < room / 2.0 {
                true => (px(value + 12.0), "auto".to_owned()),
                false => ("auto".to_owned(), px(room - value + 8.0)),
            };
            set_style(tip_part, near, &near_px);
            set_style(tip_part, far, &far_px);
        };
        put("left", "right", at.x, width);
        put("top", "bottom", at.y, height);
    }
}
