//! The flame graph's twin: a tree that a keyboard walks and a screen reader reads, or the functions in a
//! flat list. Only the rows in view are in the page.

use std::collections::HashSet;
use std::sync::Arc;

use heaptide_analysis::views::{Flame, Metric};
use leptos::attr::custom::custom_attribute;
use leptos::html;
use leptos::prelude::*;
use web_sys::KeyboardEvent;

use super::graph::{scene_of, unique_id};
use super::{
    FunctionRow, Hue, NodeKey, Order, Scene, TreeRow, function_rows, metric_word, opened_to, search,
    short_name, tree_rows,
};
use crate::format::{bytes, count, percent, px, relative_error};

const ROW_PX: f64 = 26.0;
/// Rows before and after those in view.
const SPARE_ROWS: usize = 8;
const MOST_ROWS: usize = 300;

#[derive(Debug, Clone, PartialEq)]
enum Rows {
    Tree(Vec<TreeRow>),
    Functions(Vec<FunctionRow>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Tree(rows) => rows.len(),
            Self::Functions(rows) => rows.len(),
        }
    }

    fn node(&self, index: usize) -> Option<u32> {
        match self {
            Self::Tree(rows) => rows.get(index).map(|row| row.node),
            Self::Functions(rows) => rows.get(index).map(|row| row.node),
        }
    }

    fn find(&self, node: u32) -> Option<usize> {
        (0..self.len()).find(|&index| self.node(index) == Some(node))
    }
}

/// Fills its parent. The same properties as [`FlameGraph`](super::FlameGraph)'s.
#[component]
pub fn FlameTable(
    flame: Signal<Option<Arc<Flame>>>,
    selected: Signal<Option<NodeKey>>,
    on_select: Callback<Option<NodeKey>>,
    zoom: Signal<Option<NodeKey>>,
    on_zoom: Callback<Option<NodeKey>>,
    filter: Signal<String>,
    metric: Signal<Metric>,
    /// Says why there is nothing.
    #[prop(into)]
    empty: ViewFn,
) -> impl IntoView {
    let scene = scene_of(flame);
    let is_tree = RwSignal::new(true);
    let order = RwSignal::new(Order::Total);
    let toggled = RwSignal::new(HashSet::<NodeKey>::new());
    let rows = Memo::new_with_compare(
        move |_| {
            scene.with(|scene| match is_tree.get() {
                true => Rows::Tree(toggled.with(|toggled| tree_rows(scene, toggled, order.get()))),
                false => Rows::Functions(function_rows(scene, order.get())),
            })
        },
        |_, _| true,
    );
    let matches = Memo::new_with_compare(
        move |_| scene.with(|scene| search(&scene.flame, &scene.layout, &filter.read())),
        |_, _| true,
    );
    let wrap = NodeRef::<html::Div>::new();
    let view_px = RwSignal::new((0.0, 600.0));
    let look = move || {
        if let Some(wrap) = wrap.get_untracked() {
            let now = (f64::from(wrap.scroll_top()), f64::from(wrap.client_height()));
            if view_px.get_untracked() != now {
                view_px.set(now);
            }
        }
    };
    Effect::new(move |_| {
        rows.track();
        wrap.track();
        request_animation_frame(look);
    });

    let cursor = RwSignal::new(None::<NodeKey>);
    let cursor_index = Memo::new(move |_| {
        let node = scene.with(|scene| scene.find(cursor.get()?))?;
        rows.with(|rows| rows.find(node))
    });
    let bring_into_view = move |index: usize| {
        if let Some(wrap) = wrap.get_untracked() {
            let (top, height) = (index as f64 * ROW_PX, f64::from(wrap.client_height()));
            // The head covers a row's height and a bit.
            let lowest = (top - height + 2.5 * ROW_PX).max(0.0);
            wrap.set_scroll_top(f64::from(wrap.scroll_top()).clamp(lowest, top.max(lowest)) as i32);
        }
    };
    let go = move |index: usize| {
        let key = rows.with_untracked(|rows| rows.node(index));
        if let Some(key) = key.and_then(|node| scene.with_untracked(|scene| scene.key(node))) {
            cursor.set(Some(key));
            bring_into_view(index);
        }
    };
    let toggle = move |key: NodeKey| {
        toggled.update(|toggled| {
            if !toggled.remove(&key) {
                toggled.insert(key);
            }
        });
    };
    // What is selected elsewhere, in the graph or by a link, is shown here.
    Effect::new(move |_| {
        let node = selected
            .get()
            .and_then(|key| scene.with_untracked(|scene| scene.find(key)));
        let Some(node) = node else { return };
        if is_tree.get_untracked() {
            let opened = scene.with_untracked(|scene| opened_to(scene, &toggled.read_untracked(), node));
            if opened != *toggled.read_untracked() {
                toggled.set(opened);
            }
        }
        if let Some(index) = rows.with_untracked(|rows| rows.find(node)) {
            cursor.set(selected.get_untracked());
            bring_into_view(index);
        }
    });

    let on_key = move |event: KeyboardEvent| {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let index = cursor_index.get_untracked().unwrap_or(0);
        let last = rows.with_untracked(Rows::len).saturating_sub(1);
        let page = (view_px.get_untracked().1 / ROW_PX) as usize;
        let row = rows.with_untracked(|rows| match rows {
            Rows::Tree(rows) => rows.get(index).copied(),
            Rows::Functions(_) => None,
        });
        let key = || row.and_then(|row| scene.with_untracked(|scene| scene.key(row.node)));
        match event.key().as_str() {
            "ArrowDown" => go((index + 1).min(last)),
            "ArrowUp" => go(index.saturating_sub(1)),
            "PageDown" => go((index + page).min(last)),
            "PageUp" => go(index.saturating_sub(page)),
            "Home" => go(0),
            "End" => go(last),
            "ArrowRight" => match row {
                Some(row) if row.has_children && !row.is_open => key().into_iter().for_each(toggle),
                Some(row) if row.is_open => go(index + 1),
                _ => {}
            },
            "ArrowLeft" => match row {
                Some(row) if row.is_open => key().into_iter().for_each(toggle),
                Some(row) => {
                    let parent = scene.with_untracked(|scene| scene.layout.parent(row.node));
                    rows.with_untracked(|rows| rows.find(parent))
                        .into_iter()
                        .for_each(go);
                }
                None => {}
            },
            " " => on_select.run(cursor.get_untracked()),
            "Enter" => {
                on_select.run(cursor.get_untracked());
                on_zoom.run(cursor.get_untracked());
            }
            "Escape" if zoom.get_untracked().is_some() => on_zoom.run(None),
            "Escape" => on_select.run(None),
            _ => return,
        }
        event.prevent_default();
        event.stop_propagation();
    };

    let id = unique_id("frames");
    let row_id = {
        let id = id.clone();
        move |node: u32| format!("{id}-{node}")
    };
    let active = {
        let row_id = row_id.clone();
        move || {
            cursor_index
                .get()
                .and_then(|index| rows.with(|rows| rows.node(index)))
                .map(&row_id)
        }
    };
    let range = Memo::new(move |_| {
        let (top, height) = view_px.get();
        let count = rows.with(Rows::len);
        let first = ((top / ROW_PX) as usize).saturating_sub(SPARE_ROWS).min(count);
        let shown = ((height / ROW_PX) as usize + 2 * SPARE_ROWS).min(MOST_ROWS);
        first..(first + shown).min(count)
    });
    let body = move || {
        scene.with(|scene| {
            rows.with(|rows| {
                let cells = range.get().map(|index| {
                    let row = Row::new(scene, rows, index)?;
                    let key = scene.key(row.node)?;
                    let node = row.node as usize;
                    let is_dim = matches.with(|found| found.as_ref().is_some_and(|found| !found.nodes[node]));
                    let selected = move || selected.get() == Some(key);
                    Some(view! {
                        <tr
                            id=row_id(row.node)
                            aria-rowindex=index + 2
                            aria-posinset=row.tree.map(|tree| tree.position)
                            aria-setsize=row.tree.map(|tree| tree.siblings)
                            aria-expanded=row.tree.filter(|tree| tree.has_children).map(|tree| tree.is_open.to_string())
                            aria-selected=move || selected().to_string()
                            data-cursor=move || (cursor.get() == Some(key)).then_some("true")
                            data-dim=is_dim.then_some("true")
                            on:click=move |_| {
                                cursor.set(Some(key));
                                on_select.run(Some(key));
                            }
                            on:dblclick=move |_| on_zoom.run(Some(key))
                            {..custom_attribute("aria-level", row.tree.map(|tree| tree.level))}
                        >
                            {row.cells(scene, move || toggle(key))}
                        </tr>
                    })
                });
                cells.collect_view()
            })
        })
    };
    let before = move || px(range.get().start as f64 * ROW_PX);
    let after = move || px((rows.with(Rows::len).saturating_sub(range.get().end)) as f64 * ROW_PX);
    // Another order is another list: it is read from its top.
    Effect::new(move |before: Option<()>| {
        (order.track(), is_tree.track());
        if before.is_some()
            && let Some(wrap) = wrap.get_untracked()
        {
            wrap.set_scroll_top(0);
        }
    });
    let sort = move |by: Order| move || if order.get() == by { "descending" } else { "none" };
    let arrangement = move |tree: bool, text: &'static str| {
        view! {
            <button aria-pressed=move || (is_tree.get() == tree).to_string() on:click=move |_| is_tree.set(tree)>
                {text}
            </button>
        }
    };
    let is_empty = Memo::new(move |_| scene.with(|scene| scene.layout.is_empty()));
    view! {
        <div class="flame-twin" hidden=is_empty>
            <div class="flame-tools">
                <div class="segmented" role="group" aria-label="Arrangement">
                    {arrangement(true, "Call tree")}
                    {arrangement(false, "Functions")}
                </div>
                <span class="muted">{move || format!("{} rows", count(rows.with(Rows::len) as u64))}</span>
            </div>
            <div class="table-wrap fill" node_ref=wrap on:scroll=move |_| look()>
                <table
                    class="table flame-grid"
                    tabindex="0"
                    role=move || if is_tree.get() { "treegrid" } else { "grid" }
                    aria-label=move || format!("Frames, bytes {}", metric_word(metric.get()))
                    aria-rowcount=move || rows.with(Rows::len) + 1
                    aria-activedescendant=active
                    on:keydown=on_key
                    on:focus=move |_| {
                        if cursor_index.get_untracked().is_none() {
                            go(0);
                        }
                    }
                >
                    <colgroup>
                        <col class="flame-col-name" />
                        <col class="flame-col-bytes" />
                        <col class="flame-col-error" />
                        <col class="flame-col-share" />
                        <col class="flame-col-bytes" />
                        <col class="flame-col-samples" />
                    </colgroup>
                    <thead>
                        <tr aria-rowindex="1">
                            <th scope="col" aria-sort=move || if order.get() == Order::Name { "ascending" } else { "none" }>
                                <button class="sort" on:click=move |_| order.set(Order::Name)>"Function"</button>
                            </th>
                            <th scope="col" class="num" aria-sort=sort(Order::Total)>
                                <button class="sort" on:click=move |_| order.set(Order::Total)>"Total"</button>
                            </th>
                            <th scope="col" class="num flame-col-error">"Error"</th>
                            <th scope="col" class="num">"Share"</th>
                            <th scope="col" class="num" aria-sort=sort(Order::Own)>
                                <button class="sort" on:click=move |_| order.set(Order::Own)>"Self"</button>
                            </th>
                            <th scope="col" class="num flame-col-samples">"Samples"</th>
                        </tr>
                    </thead>
                    <tbody>
                        <tr class="flame-gap" role="presentation"><td colspan="6" style:height=before></td></tr>
                        {body}
                        <tr class="flame-gap" role="presentation"><td colspan="6" style:height=after></td></tr>
                    </tbody>
                </table>
            </div>
        </div>
        {move || is_empty.get().then(|| empty.run())}
    }
}

/// What one row shows, of either arrangement.
struct Row {
    node: u32,
    tree: Option<TreeRow>,
    total_bytes: f64,
    self_bytes: f64,
    samples: u64,
    /// Of a function's frames together it isn't known: their errors depend on one another.
    relative_error: Option<f32>,
}

impl Row {
    fn new(scene: &Scene, rows: &Rows, index: usize) -> Option<Self> {
        Some(match rows {
            Rows::Tree(rows) => {
                let tree = *rows.get(index)?;
                let node = scene.flame.nodes.get(tree.node as usize)?;
                Self {
                    node: tree.node,
                    tree: Some(tree),
                    total_bytes: node.total_bytes,
                    self_bytes: node.self_bytes,
                    samples: node.samples,
                    relative_error: Some(node.relative_error),
                }
            }
            Rows::Functions(rows) => {
                let row = rows.get(index)?;
                let only = scene
                    .flame
                    .nodes
                    .get(row.node as usize)
                    .filter(|_| row.frames == 1);
                Self {
                    node: row.node,
                    tree: None,
                    total_bytes: row.total_bytes,
                    self_bytes: row.self_bytes,
                    samples: row.samples,
                    relative_error: only.map(|node| node.relative_error),
                }
            }
        })
    }

    fn cells<F: Fn() + 'static>(&self, scene: &Scene, toggle: F) -> impl IntoView + use<F> {
        let function = scene.function(self.node).to_owned();
        let title = match scene.place(self.node) {
            place if place.is_empty() => function.clone(),
            place => format!("{function}\n{place}"),
        };
        let hue = match scene.hue(self.node) {
            Hue::Package(bucket) => format!("var(--flame-{bucket})"),
            Hue::Runtime => "var(--flame-runtime)".to_owned(),
        };
        let twist = self.tree.map(|tree| {
            let is_leaf = !tree.has_children;
            view! {
                <button
                    class="flame-twist"
                    tabindex="-1"
                    aria-hidden="true"
                    data-open=tree.is_open.then_some("true")
                    style:visibility=if is_leaf { "hidden" } else { "visible" }
                    on:click=move |event| {
                        event.stop_propagation();
                        toggle();
                    }
                ></button>
            }
        });
        let level = self.tree.map_or(0, |tree| tree.level - 1).to_string();
        let whole = scene.flame.total.value.max(f64::MIN_POSITIVE);
        view! {
            <td>
                <span class="flame-func" title=title style:--level=level>
                    {twist}
                    <span class="flame-swatch" style:--hue=hue></span>
                    <span class="truncate">{short_name(&function).to_owned()}</span>
                </span>
            </td>
            <td class="num">{bytes(self.total_bytes)}</td>
            <td class="num muted flame-col-error">
                {self.relative_error.map(|error| relative_error(f64::from(error)))}
            </td>
            <td class="num">{percent(self.total_bytes / whole)}</td>
            <td class="num">{bytes(self.self_bytes)}</td>
            <td class="num flame-col-samples">{count(self.samples)}</td>
        }
    }
}
