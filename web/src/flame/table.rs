//! The flame graph's twin: a tree that a keyboard walks and a screen reader reads, or the functions in a
//! flat list. [`TableState`] decides; here events reach it and its rows reach the page, once per frame.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent};

use super::state::{Ask, GraphInput};
use super::table_state::{ROW_PX, TableState};
use super::{Order, metric_word};
use crate::canvas::Frame;
use crate::canvas::dom::{Listener, part, set_attribute, set_style, set_text};
use crate::format::{count, px};

const MARKUP: &str = r#"<div class="flame-tools" data-part="tools">
<div class="segmented" role="group" aria-label="Arrangement">
<button type="button" data-part="tree">Call tree</button><button type="button" data-part="functions">Functions</button></div>
<span class="muted" data-part="count"></span></div>
<div class="table-wrap fill" data-part="wrap"><table class="table flame-grid" data-part="grid" tabindex="0">
<colgroup><col class="flame-col-name"><col class="flame-col-bytes"><col class="flame-col-error"><col class="flame-col-share"><col class="flame-col-bytes flame-col-own"><col class="flame-col-samples"></colgroup>
<thead data-part="head"><tr aria-rowindex="1">
<th scope="col"><button type="button" class="sort" data-part="name">Function</button></th>
<th scope="col" class="num"><button type="button" class="sort" data-part="total">Total</button></th>
<th scope="col" class="num flame-col-error">Error</th><th scope="col" class="num">Share</th>
<th scope="col" class="num flame-col-own"><button type="button" class="sort" data-part="own">Self</button></th>
<th scope="col" class="num flame-col-samples">Samples</th></tr></thead>
<tbody role="presentation"><tr class="flame-gap" role="presentation"><td colspan="3" data-part="before"></td></tr></tbody>
<tbody data-part="rows"></tbody>
<tbody role="presentation"><tr class="flame-gap" role="presentation"><td colspan="3" data-part="after"></td></tr></tbody>
</table></div>"#;

/// Fills its parent, like the graph, and takes the same.
pub fn flame_table(
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
            let table = Table::new(&root, Rc::downgrade(&slot), tell.clone());
            *slot.borrow_mut() = table;
        }
        if let Some(table) = slot.borrow_mut().as_mut() {
            table.must_reveal |= table.state.accept(input);
            table.frame.request();
        }
    });
    view! {
        <div class="flame-twin" node_ref=root inner_html=MARKUP></div>
        {empty}
    }
    .into_any()
}

type Slot = Rc<RefCell<Option<Table>>>;

struct Table {
    state: TableState,
    frame: Frame,
    parts: Parts,
    /// The cursor has moved: its row is to be scrolled to.
    must_reveal: bool,
    /// What the page has, so that the same rows aren't set again.
    markup: String,
    _listeners: [Listener; 3],
}

struct Parts {
    wrap: HtmlElement,
    grid: HtmlElement,
    rows: HtmlElement,
    before: HtmlElement,
    after: HtmlElement,
    count: HtmlElement,
    tree: HtmlElement,
    functions: HtmlElement,
    name: HtmlElement,
    total: HtmlElement,
    own: HtmlElement,
}

impl Table {
    fn new(root: &Element, slot: Weak<RefCell<Option<Self>>>, tell: Rc<dyn Fn(Ask)>) -> Option<Self> {
        let parts = Parts {
            wrap: part(root, "wrap")?,
            grid: part(root, "grid")?,
            rows: part(root, "rows")?,
            before: part(root, "before")?,
            after: part(root, "after")?,
            count: part(root, "count")?,
            tree: part(root, "tree")?,
            functions: part(root, "functions")?,
            name: part(root, "name")?,
            total: part(root, "total")?,
            own: part(root, "own")?,
        };
        let shown = slot.clone();
        let frame = Frame::new(Box::new(move || {
            if let Some(slot) = shown.upgrade()
                && let Some(table) = slot.borrow_mut().as_mut()
            {
                table.show();
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
            Listener::new(root, &["click", "dblclick"], hear()),
            Listener::new(&parts.wrap, &["scroll"], hear()),
            Listener::new(&parts.grid, &["keydown", "focus"], hear()),
        ];
        let state = TableState::default();
        Some(Self {
            state,
            frame,
            parts,
            must_reveal: false,
            markup: String::new(),
            _listeners: listeners,
        })
    }

    fn hear(&mut self, event: &Event) -> Vec<Ask> {
        let asks = self.answer(event);
        self.frame.request();
        asks.unwrap_or_default()
    }

    fn answer(&mut self, event: &Event) -> Option<Vec<Ask>> {
        let target: Element = event.target()?.dyn_into().ok()?;
        match event.type_().as_str() {
            "keydown" => {
                let event: &KeyboardEvent = event.dyn_ref()?;
                let is_own = target.is_same_node(Some(&self.parts.grid));
                if !is_own || event.ctrl_key() || event.meta_key() || event.alt_key() {
                    return None;
                }
                let asks = self.state.press(&event.key())?;
                event.prevent_default();
                event.stop_propagation();
                self.must_reveal = true;
                return Some(asks);
            }
            "focus" => self.state.focus(),
            "click" => {
                if let Some(node) = row_of(&target) {
                    if target.matches(".flame-twist").unwrap_or(false) {
                        self.state.toggle(node);
                        return None;
                    }
                    return Some(self.state.click(node));
                }
                match target.get_attribute("data-part")?.as_str() {
                    "tree" => self.state.arrange(true),
                    "functions" => self.state.arrange(false),
                    "name" => self.state.sort(Order::Name),
                    "total" => self.state.sort(Order::Total),
                    "own" => self.state.sort(Order::Own),
                    _ => return None,
                }
                // Another order is another list: it is read from its top.
                self.parts.wrap.set_scroll_top(0);
            }
            "dblclick" => {
                let key = self.state.scene.key(row_of(&target)?);
                return Some(vec![Ask::Zoom(key)]);
            }
            _ => {}
        }
        None
    }

    fn show(&mut self) {
        let (state, parts) = (&mut self.state, &self.parts);
        state.look(
            f64::from(parts.wrap.scroll_top()),
            f64::from(parts.wrap.client_height()),
        );
        if std::mem::take(&mut self.must_reveal)
            && let Some(scroll_px) = state.scroll_to_cursor()
        {
            // Rows may be fewer in the page than the place needs: it is made before it is scrolled to.
            set_style(&parts.after, "height", &px(state.row_count() as f64 * ROW_PX));
            parts.wrap.set_scroll_top(scroll_px as i32);
            state.look(scroll_px, f64::from(parts.wrap.client_height()));
        }
        let range = state.range();
        set_style(&parts.before, "height", &px(range.start as f64 * ROW_PX));
        set_style(
            &parts.after,
            "height",
            &px((state.row_count() - range.end) as f64 * ROW_PX),
        );
        let markup = state.markup(range, "frame");
        if markup != self.markup {
            parts.rows.set_inner_html(&markup);
            self.markup = markup;
        }
        let active = state.cursor_index().and_then(|index| state.node(index));
        let active = active.map(|node| format!("frame-{node}"));
        set_attribute(&parts.grid, "aria-activedescendant", active.as_deref());
        set_attribute(
            &parts.grid,
            "role",
            Some(if state.is_tree() { "treegrid" } else { "grid" }),
        );
        set_attribute(
            &parts.grid,
            "aria-rowcount",
            Some(&(state.row_count() + 1).to_string()),
        );
        let label = format!("Frames, bytes {}", metric_word(state.metric));
        set_attribute(&parts.grid, "aria-label", Some(&label));
        set_text(&parts.count, &format!("{} rows", count(state.row_count() as u64)));
        for (button, is_tree) in [(&parts.tree, true), (&parts.functions, false)] {
            set_attribute(
                button,
                "aria-pressed",
                Some(&(state.is_tree() == is_tree).to_string()),
            );
        }
        for (button, order) in [
            (&parts.name, Order::Name),
            (&parts.total, Order::Total),
            (&parts.own, Order::Own),
        ] {
            let sort = match (state.order() == order, order) {
                (false, _) => "none",
                (true, Order::Name) => "ascending",
                (true, _) => "descending",
            };
            if let Some(head) = button.parent_element() {
                let _ = head.set_attribute("aria-sort", sort);
            }
        }
    }
}

/// The node of the row that an element is in.
fn row_of(element: &Element) -> Option<u32> {
    element
        .closest("tr[data-node]")
        .ok()??
        .get_attribute("data-node")?
        .parse()
        .ok()
}
