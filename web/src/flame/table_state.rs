//! What the flame table is doing, without a page: its rows, which of them are in view, where the keyboard
//! is. Rows come out as markup, since only some thirty of them are ever in the page.

use std::ops::Range;
use std::sync::Arc;

use heaptide_analysis::views::{Flame, Metric};

use super::rows::turn;
use super::state::{Ask, GraphInput};
use super::{
    FunctionRow, Matches, NodeKey, Order, Scene, TreeRow, function_rows, opened_to, search, short_name,
    tree_rows,
};
use crate::canvas::escape;
use crate::format::{bytes, count, percent, relative_error};

pub(super) const ROW_PX: f64 = 26.0;
/// Rows before and after those in view.
const SPARE_ROWS: usize = 8;
const MOST_ROWS: usize = 300;
const INDENT_PX: u32 = 14;

#[derive(Debug)]
pub struct TableState {
    pub scene: Scene,
    pub metric: Metric,
    rows: Rows,
    is_tree: bool,
    order: Order,
    toggled: Vec<NodeKey>,
    matches: Option<Matches>,
    cursor: Option<NodeKey>,
    selected: Option<NodeKey>,
    is_zoomed: bool,
    filter: String,
    source: Option<Arc<Flame>>,
    scroll_px: f64,
    height_px: f64,
}

#[derive(Debug)]
enum Rows {
    Tree(Vec<TreeRow>),
    Functions(Vec<FunctionRow>),
}

impl Default for TableState {
    fn default() -> Self {
        Self {
            scene: Scene::empty(),
            metric: Metric::Live,
            rows: Rows::Tree(Vec::new()),
            is_tree: true,
            order: Order::Total,
            toggled: Vec::new(),
            matches: None,
            cursor: None,
            selected: None,
            is_zoomed: false,
            filter: String::new(),
            source: None,
            scroll_px: 0.0,
            height_px: 600.0,
        }
    }
}

impl TableState {
    /// True if something else was selected, by a link or in the graph: its row is to be brought into view.
    pub fn accept(&mut self, input: GraphInput) -> bool {
        let same = match (&self.source, &input.flame) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.scene = input.flame.clone().map_or_else(Scene::empty, Scene::new);
            self.source = input.flame;
        }
        if !same || self.filter != input.filter {
            self.matches = search(&self.scene.flame, &self.scene.layout, &input.filter);
        }
        let is_other = self.selected != input.selected;
        (self.filter, self.metric) = (input.filter, input.metric);
        (self.selected, self.is_zoomed) = (input.selected, input.zoom.is_some());
        let node = self
            .selected
            .filter(|_| is_other)
            .and_then(|key| self.scene.find(key));
        if let Some(node) = node {
            self.toggled = opened_to(&self.scene, &self.toggled, node);
            self.cursor = self.selected;
        }
        if !same || node.is_some() {
            self.build();
        }
        node.is_some()
    }

    pub fn look(&mut self, scroll_px: f64, height_px: f64) {
        (self.scroll_px, self.height_px) = (scroll_px, height_px);
    }

    pub fn arrange(&mut self, is_tree: bool) {
        self.is_tree = is_tree;
        self.build();
    }

    pub fn sort(&mut self, order: Order) {
        self.order = order;
        self.build();
    }

    pub fn is_tree(&self) -> bool {
        self.is_tree
    }

    pub fn order(&self) -> Order {
        self.order
    }

    pub fn row_count(&self) -> usize {
        match &self.rows {
            Rows::Tree(rows) => rows.len(),
            Rows::Functions(rows) => rows.len(),
        }
    }

    pub fn toggle(&mut self, node: u32) {
        if let Some(key) = self.scene.key(node) {
            turn(&mut self.toggled, key);
            self.build();
        }
    }

    pub fn click(&mut self, node: u32) -> Vec<Ask> {
        self.cursor = self.scene.key(node);
        self.selected = self.cursor;
        vec![Ask::Select(self.cursor)]
    }

    pub fn focus(&mut self) {
        if self.cursor_index().is_none() {
            self.go(0);
        }
    }

    /// The row under the keyboard, if it is there.
    pub fn cursor_index(&self) -> Option<usize> {
        self.find(self.scene.find(self.cursor?)?)
    }

    pub fn node(&self, index: usize) -> Option<u32> {
        match &self.rows {
            Rows::Tree(rows) => rows.get(index).map(|row| row.node),
            Rows::Functions(rows) => rows.get(index).map(|row| row.node),
        }
    }

    /// How far to scroll so that the cursor's row is in view; the head covers a row and a bit.
    pub fn scroll_to_cursor(&self) -> Option<f64> {
        let top = self.cursor_index()? as f64 * ROW_PX;
        let lowest = (top - self.height_px + 2.5 * ROW_PX).max(0.0);
        let wanted = self.scroll_px.max(lowest).min(top.max(lowest));
        (wanted != self.scroll_px).then_some(wanted)
    }

    /// `None` if the key means nothing here.
    pub fn press(&mut self, key: &str) -> Option<Vec<Ask>> {
        let index = self.cursor_index().unwrap_or(0);
        let last = self.row_count().saturating_sub(1);
        let page = (self.height_px / ROW_PX) as usize;
        let row = match &self.rows {
            Rows::Tree(rows) => rows.get(index).copied(),
            Rows::Functions(_) => None,
        };
        match (key, row) {
            ("ArrowDown", _) => self.go((index + 1).min(last)),
            ("ArrowUp", _) => self.go(index.saturating_sub(1)),
            ("PageDown", _) => self.go((index + page).min(last)),
            ("PageUp", _) => self.go(index.saturating_sub(page)),
            ("Home", _) => self.go(0),
            ("End", _) => self.go(last),
            ("ArrowRight", Some(row)) if row.is_open => self.go(index + 1),
            ("ArrowRight", Some(row)) if row.has_children => self.toggle(row.node),
            ("ArrowLeft", Some(row)) if row.is_open => self.toggle(row.node),
            ("ArrowLeft", Some(row)) => {
                if let Some(above) = self.find(self.scene.layout.parent(row.node)) {
                    self.go(above);
                }
            }
            ("ArrowRight" | "ArrowLeft", None) | ("ArrowRight", Some(_)) => {}
            (" ", _) => return Some(vec![Ask::Select(self.cursor)]),
            ("Enter", _) => return Some(vec![Ask::Select(self.cursor), Ask::Zoom(self.cursor)]),
            ("Escape", _) if self.is_zoomed => return Some(vec![Ask::Zoom(None)]),
            ("Escape", _) if self.selected.is_some() => return Some(vec![Ask::Select(None)]),
            _ => return None,
        }
        Some(Vec::new())
    }

    /// The rows to have in the page.
    pub fn range(&self) -> Range<usize> {
        let first = ((self.scroll_px / ROW_PX) as usize)
            .saturating_sub(SPARE_ROWS)
            .min(self.row_count());
        let shown = ((self.height_px / ROW_PX) as usize + 2 * SPARE_ROWS).min(MOST_ROWS);
        first..(first + shown).min(self.row_count())
    }

    /// Those rows as markup. Ids end in the node's index.
    pub fn markup(&self, range: Range<usize>, id: &str) -> String {
        range.filter_map(|index| self.row(index, id)).collect()
    }

    fn build(&mut self) {
        self.rows = match self.is_tree {
            true => Rows::Tree(tree_rows(&self.scene, &self.toggled, self.order)),
            false => Rows::Functions(function_rows(&self.scene, self.order)),
        };
    }

    fn find(&self, node: u32) -> Option<usize> {
        (0..self.row_count()).find(|&index| self.node(index) == Some(node))
    }

    fn go(&mut self, index: usize) {
        if let Some(node) = self.node(index) {
            self.cursor = self.scene.key(node);
        }
    }

    fn row(&self, index: usize, id: &str) -> Option<String> {
        let node = self.node(index)?;
        let frame = self.scene.flame.nodes.get(node as usize)?;
        let key = self.scene.key(node);
        // Of a function's frames together the error isn't known: they depend on one another.
        let (total_bytes, self_bytes, samples, has_error) = match &self.rows {
            Rows::Tree(_) => (frame.total_bytes, frame.self_bytes, frame.samples, true),
            Rows::Functions(rows) => {
                let row = rows.get(index)?;
                (row.total_bytes, row.self_bytes, row.samples, row.frames == 1)
            }
        };
        let mut attributes = format!(
            r#"id="{id}-{node}" data-node="{node}" aria-rowindex="{}" aria-selected="{}""#,
            index + 2,
            key == self.selected,
        );
        let mut indent = String::new();
        if let Rows::Tree(rows) = &self.rows {
            let row = rows.get(index)?;
            attributes.push_str(&format!(
                r#" aria-level="{}" aria-posinset="{}" aria-setsize="{}""#,
                row.level, row.position, row.siblings
            ));
            // A width as an attribute: the content security policy allows no style in markup.
            let width = (row.level - 1) * INDENT_PX;
            indent = format!(r#"<svg class="flame-indent" width="{width}" height="1"></svg>"#);
            if row.has_children {
                attributes.push_str(&format!(r#" aria-expanded="{}""#, row.is_open));
                indent.push_str(r#"<span class="flame-twist"></span>"#);
            } else {
                indent.push_str(r#"<span class="flame-leaf"></span>"#);
            }
        }
        if key == self.cursor {
            attributes.push_str(r#" data-cursor="true""#);
        }
        if self
            .matches
            .as_ref()
            .is_some_and(|found| found.nodes.get(node as usize) == Some(&false))
        {
            attributes.push_str(r#" data-dim="true""#);
        }
        let function = self.scene.function(node);
        let title = format!("{function}\n{}", self.scene.place(node));
        let error = if has_error {
            relative_error(f64::from(frame.relative_error))
        } else {
            String::new()
        };
        let whole = self.scene.flame.total.value.max(f64::MIN_POSITIVE);
        Some(format!(
            r#"<tr {attributes}><td><span class="flame-func" title="{}">{indent}<span class="flame-swatch flame-hue-{}"></span><span class="truncate">{}</span></span></td><td class="num">{}</td><td class="num muted flame-col-error">{error}</td><td class="num">{}</td><td class="num flame-col-own">{}</td><td class="num flame-col-samples">{}</td></tr>"#,
            escape(title.trim_end()),
            self.scene.hue(node).index(),
            escape(short_name(function)),
            bytes(total_bytes),
            percent(total_bytes / whole),
            bytes(self_bytes),
            count(samples),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn input(flame: Flame) -> GraphInput {
        GraphInput {
            flame: Some(Arc::new(flame)),
            selected: None,
            zoom: None,
            filter: String::new(),
            metric: Metric::Live,
        }
    }

    fn small() -> GraphInput {
        input(sample::flame(&[
            ("main", 0, 100.0),
            ("pkg.walk", 1, 70.0),
            ("pkg.<walk>", 2, 2.0),
            ("alloc", 1, 20.0),
            ("idle", 0, 3.0),
            ("deep", 1, 1.0),
        ]))
    }

    #[test]
    fn the_keyboard_opens_closes_and_moves() {
        let mut table = TableState::default();
        table.accept(small());
        table.focus();
        for (key, node, rows) in [
            ("ArrowRight", 1, 5),
            ("ArrowLeft", 1, 4),
            ("ArrowRight", 1, 5),
            ("ArrowRight", 2, 5),
            ("ArrowRight", 2, 5),
            ("ArrowLeft", 1, 5),
            ("End", 4, 5),
            ("ArrowRight", 4, 6),
            ("ArrowDown", 5, 6),
            ("PageUp", 0, 6),
            ("ArrowUp", 0, 6),
        ] {
            assert_eq!(table.press(key), Some(vec![]), "{key}");
            let at = table.cursor_index().and_then(|index| table.node(index));
            assert_eq!((at, table.row_count()), (Some(node), rows), "{key}");
        }
        assert_eq!(table.press("Escape"), None);
        let key = table.scene.key(0);
        assert_eq!(table.press("Enter"), Some(vec![Ask::Select(key), Ask::Zoom(key)]));
    }

    #[test]
    fn what_is_selected_elsewhere_is_opened_to() {
        let mut table = TableState::default();
        table.accept(small());
        let selected = table.scene.key(5);
        assert!(table.accept(GraphInput { selected, ..small() }));
        assert_eq!(table.cursor_index(), Some(5));
        // The same selection again, with newer data, leaves the reader where he is.
        assert!(!table.accept(GraphInput { selected, ..small() }));
    }

    #[test]
    fn only_rows_in_view_are_made() {
        let mut table = TableState::default();
        table.accept(input(sample::large(5000)));
        table.arrange(false);
        let all = table.row_count();
        assert!(all > 100);
        table.look(52.0 * ROW_PX, 10.0 * ROW_PX);
        assert_eq!(table.range(), 44..70);
        table.look(0.0, 1e9);
        assert_eq!(table.range().len(), all.min(MOST_ROWS));
        table.look(1e9, 260.0);
        assert_eq!(table.range(), all..all);
        assert_eq!(table.markup(0..26, "t").matches("<tr ").count(), 26);
    }

    #[test]
    fn rows_say_what_they_are() {
        let mut table = TableState::default();
        let filter = "walk".to_owned();
        table.accept(GraphInput { filter, ..small() });
        table.focus();
        let rows = table.markup(0..3, "t");
        for text in [
            r#"<tr id="t-0" data-node="0" aria-rowindex="2" aria-selected="false" aria-level="1" aria-posinset="1" aria-setsize="2" aria-expanded="true" data-cursor="true" data-dim="true">"#,
            r#"title="pkg.walk
file.go:7""#,
            "<td class=\"num\">70 B</td><td class=\"num muted flame-col-error\">±5.0 %</td><td class=\"num\">68 %</td>",
            "pkg.&lt;walk&gt;</span>",
        ] {
            assert!(rows.contains(text), "{text} in {rows}");
        }
        assert_eq!(rows.matches("data-dim").count(), 1);
    }
}
