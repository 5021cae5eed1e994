//! The flame graph on the page: canvas, pointer, keyboard, tooltip.
//!
//! The canvas is drawn again only when what it shows has changed. Hover, selection and the keyboard's
//! cursor are elements above it. To assistive software the graph is a tree of which one item at a time is
//! there, the one under the cursor; the whole tree is in [`FlameTable`](super::FlameTable).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use heaptide_analysis::views::{Flame, Metric};
use leptos::attr::custom::custom_attribute;
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{KeyboardEvent, MouseEvent, PointerEvent};

use super::{
    Camera, Culled, Layout, NodeKey, Scene, Step, What, cull, describe, hit, metric_word, paint, search,
    status,
};
use crate::canvas::{Point, Rect, use_surface};
use crate::format::{bytes, count, percent, px, relative_error};

const ROW_PX: f64 = 19.0;

/// What the pointer is over, and where it is in the window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hover {
    what: What,
    at: Point,
}

/// Fills its parent. Highlights what matches `filter`; leaving stacks out is the query's business.
#[component]
pub fn FlameGraph(
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
    let matches = Memo::new_with_compare(
        move |_| scene.with(|scene| search(&scene.flame, &scene.layout, &filter.read()).map(Arc::new)),
        |_, _| true,
    );
    let zoomed = Memo::new(move |_| zoom.get().and_then(|key| scene.with(|scene| scene.find(key))));
    let scroll_px = RwSignal::new(0.0);
    let canvas = NodeRef::<html::Canvas>::new();
    let scroller = NodeRef::<html::Div>::new();

    let culled = RwSignal::new(Arc::new((unseen(), Culled::default())));
    let surface = use_surface(canvas, move |to| {
        let seen = culled.get_untracked();
        scene.with_untracked(|scene| {
            matches.with_untracked(|matches| paint(to, scene, &seen.1, &seen.0, matches.as_deref()));
        });
    });
    Effect::new(move |_| {
        let size = surface.size.get();
        let (left, width) = scene.with(|scene| match zoomed.get() {
            Some(node) => (scene.layout.left(node), scene.layout.width(node)),
            None => (0.0, 1.0),
        });
        let camera = Camera {
            left,
            width,
            width_px: size.width_px,
            height_px: size.height_px,
            scroll_px: scroll_px.get(),
            row_px: ROW_PX,
            device_pixel_ratio: size.device_pixel_ratio,
        };
        matches.track();
        culled.set(scene.with(|scene| Arc::new((camera, cull(&scene.layout, &camera)))));
        surface.request();
    });

    let hover = RwSignal::new(None::<Hover>);
    let cursor = RwSignal::new(None::<NodeKey>);
    let has_focus = RwSignal::new(false);
    let cursor_node = Memo::new(move |_| cursor.get().and_then(|key| scene.with(|scene| scene.find(key))));
    let selected_node =
        Memo::new(move |_| selected.get().and_then(|key| scene.with(|scene| scene.find(key))));
    let place = move |node: Option<u32>| {
        let seen = culled.get();
        node.and_then(|node| scene.with(|scene| outline(&seen.0, &scene.layout, node)))
    };
    let under = move |event: &MouseEvent| {
        let room = canvas.get_untracked()?.get_bounding_client_rect();
        let at = Point {
            x: f64::from(event.client_x()) - room.left(),
            y: f64::from(event.client_y()) - room.top(),
        };
        let seen = culled.get_untracked();
        hit(&seen.1, &seen.0, at).map(|found| found.what)
    };
    let on_move = move |event: PointerEvent| {
        let at = Point {
            x: f64::from(event.client_x()),
            y: f64::from(event.client_y()),
        };
        hover.set(under(&event).map(|what| Hover { what, at }));
    };
    let on_click = move |event: MouseEvent| {
        let key_of = |node: u32| scene.with_untracked(|scene| scene.key(node));
        match under(&event) {
            None => on_select.run(None),
            Some(What::Merged { first, .. }) => {
                let parent = scene.with_untracked(|scene| scene.layout.parent(first));
                on_zoom.run(key_of(parent));
            }
            Some(What::Node(node)) => {
                let key = key_of(node);
                // A finger has no hover: its first touch tells, its second zooms.
                let is_touch = event
                    .dyn_ref::<PointerEvent>()
                    .is_some_and(|event| event.pointer_type() == "touch");
                if !is_touch || selected.get_untracked() == key {
                    on_zoom.run(key.filter(|_| node != 0 || zoom.get_untracked().is_none()));
                }
                cursor.set(key);
                on_select.run(key);
            }
        }
    };
    let show = move |node: u32| {
        let depth = scene.with_untracked(|scene| scene.layout.depth(node));
        let (top, seen) = (f64::from(depth) * ROW_PX, culled.get_untracked());
        let lowest = top - seen.0.height_px + 2.0 * ROW_PX;
        if let Some(scroller) = scroller.get_untracked() {
            let now = f64::from(scroller.scroll_top());
            scroller.set_scroll_top(now.clamp(lowest.max(0.0), (top - ROW_PX).max(lowest).max(0.0)) as i32);
        }
    };
    let on_key = move |event: KeyboardEvent| {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let now = cursor_node.get_untracked();
        let step = match event.key().as_str() {
            "ArrowUp" => Some(Step::Parent),
            "ArrowDown" => Some(Step::Child),
            "ArrowLeft" => Some(Step::Previous),
            "ArrowRight" => Some(Step::Next),
            "Home" => Some(Step::First),
            "Enter" => {
                on_select.run(cursor.get_untracked());
                on_zoom.run(cursor.get_untracked());
                None
            }
            " " => {
                on_select.run(cursor.get_untracked());
                None
            }
            "Escape" if zoom.get_untracked().is_some() => {
                on_zoom.run(None);
                None
            }
            "Escape" => {
                hover.set(None);
                on_select.run(None);
                None
            }
            _ => return,
        };
        event.prevent_default();
        event.stop_propagation();
        let Some(step) = step else { return };
        let seen = culled.get_untracked();
        let next = scene.with_untracked(|scene| match now {
            // Steps stay inside the zoomed part and its callers.
            Some(node) => scene
                .layout
                .step(node, step)
                .filter(|&next| seen.0.place(&scene.layout, next).is_some()),
            None => (!scene.layout.is_empty()).then_some(0),
        });
        if let Some(next) = next {
            hover.set(None);
            cursor.set(scene.with_untracked(|scene| scene.key(next)));
            show(next);
        }
    };
    let on_focus = move |_| {
        has_focus.set(true);
        if cursor_node.get_untracked().is_none() {
            let start = selected_node
                .get_untracked()
                .or(zoomed.get_untracked())
                .unwrap_or(0);
            cursor.set(scene.with_untracked(|scene| scene.key(start)));
        }
    };

    let is_empty = Memo::new(move |_| scene.with(|scene| scene.layout.is_empty()));
    let below_px = move || {
        let rows = scene.with(|scene| scene.layout.rows()) as f64 + 1.0;
        px((rows * ROW_PX - surface.size.get().height_px).max(0.0))
    };
    let id = unique_id("flame");
    let item_id = {
        let id = id.clone();
        move || cursor_node.get().map(|node| format!("{id}-{node}"))
    };
    let active = item_id.clone();
    let facts = move || {
        let (node, at) = match hover.get() {
            Some(Hover {
                what: What::Node(node),
                at,
            }) => (node, at),
            Some(Hover {
                what: What::Merged { count: merged, .. },
                at,
            }) => {
                let text = format!(
                    "{} frames too narrow to draw. Click to zoom in.",
                    count(u64::from(merged))
                );
                return Some(tip(at, text.into_any()));
            }
            None => {
                let node = cursor_node.get().filter(|_| has_focus.get())?;
                let (rect, room) = (place(Some(node))?, canvas.get()?.get_bounding_client_rect());
                (
                    node,
                    Point {
                        x: room.left() + rect.x,
                        y: room.top() + rect.bottom(),
                    },
                )
            }
        };
        let view = scene.with(|scene| facts(scene, node, zoomed.get(), metric.get()));
        Some(tip(at, view))
    };
    view! {
        <div class="flame" hidden=is_empty>
            <div
                class="flame-scroll"
                node_ref=scroller
                tabindex="0"
                role="tree"
                aria-label=move || format!("Flame graph, bytes {}", metric_word(metric.get()))
                aria-activedescendant=active
                on:scroll=move |_| {
                    if let Some(scroller) = scroller.get_untracked() {
                        scroll_px.set(f64::from(scroller.scroll_top()));
                    }
                }
                on:keydown=on_key
                on:focus=on_focus
                on:blur=move |_| has_focus.set(false)
            >
                <div
                    class="flame-view"
                    role="presentation"
                    on:pointermove=on_move
                    on:pointerleave=move |_| hover.set(None)
                    on:click=on_click
                >
                    <canvas class="flame-canvas" node_ref=canvas aria-hidden="true"></canvas>
                    {overlay("flame-hover", move || match hover.get()?.what {
                        What::Node(node) => place(Some(node)),
                        What::Merged { .. } => None,
                    })}
                    {overlay("flame-selected", move || place(selected_node.get()))}
                    {overlay("flame-cursor", move || place(cursor_node.get()))}
                </div>
                <div style:height=below_px></div>
                {move || {
                    let node = cursor_node.get()?;
                    let id = item_id()?;
                    Some(scene.with(|scene| tree_item(scene, node, id, metric.get())))
                }}
            </div>
            <div class="flame-status">
                {move || {
                    let seen = culled.get();
                    let parts = scene
                        .with(|scene| matches.with(|found| status(scene, &seen.1, found.as_deref())));
                    parts.into_iter().map(|part| view! { <span>{part}</span> }).collect_view()
                }}
                <span class="spacer"></span>
                {move || {
                    zoom.get().map(|_| {
                        view! {
                            <button class="btn btn-sm" on:click=move |_| on_zoom.run(None)>
                                "Reset zoom"
                            </button>
                        }
                    })
                }}
            </div>
            {facts}
        </div>
        {move || is_empty.get().then(|| empty.run())}
    }
}

/// What depends on the data alone, once per refresh.
pub(super) fn scene_of(flame: Signal<Option<Arc<Flame>>>) -> Memo<Arc<Scene>> {
    Memo::new_with_compare(
        move |_| Arc::new(Scene::new(flame.get().unwrap_or_else(|| Arc::new(no_flame())))),
        |_, _| true,
    )
}

pub(super) fn unique_id(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn no_flame() -> Flame {
    use heaptide_analysis::views::Figure;
    use heaptide_protocol::session::Method;
    Flame {
        total: Figure {
            value: 0.0,
            low: 0.0,
            high: 0.0,
            method: Method::Exact,
        },
        samples: 0,
        strings: Vec::new(),
        nodes: Vec::new(),
        merged_nodes: 0,
        hidden_bytes: 0.0,
    }
}

fn unseen() -> Camera {
    Camera {
        left: 0.0,
        width: 1.0,
        width_px: 0.0,
        height_px: 0.0,
        scroll_px: 0.0,
        row_px: ROW_PX,
        device_pixel_ratio: 1.0,
    }
}

/// A box's frame, wide enough to be seen.
fn outline(camera: &Camera, layout: &Layout, node: u32) -> Option<Rect> {
    let rect = camera.place(layout, node)?;
    let x = rect.x.min(camera.width_px - 3.0);
    (rect.bottom() > 0.0 && rect.y < camera.height_px).then_some(Rect {
        x,
        width: rect.width.max(3.0),
        ..rect
    })
}

fn overlay(
    class: &'static str,
    rect: impl Fn() -> Option<Rect> + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let moved = move || rect().map(|rect| format!("translate({}, {})", px(rect.x), px(rect.y)));
    view! {
        <div
            class=class
            hidden=move || rect().is_none()
            style:transform=move || moved().unwrap_or_default()
            style:width=move || px(rect().map_or(0.0, |rect| rect.width))
            style:height=move || px(rect().map_or(0.0, |rect| rect.height))
        ></div>
    }
}

/// Beside a point, on the side of it that has more room.
fn tip(at: Point, content: AnyView) -> impl IntoView {
    let side = |value: f64, room: Result<wasm_bindgen::JsValue, wasm_bindgen::JsValue>| {
        let room = room.ok().and_then(|room| room.as_f64()).unwrap_or(0.0);
        if value < room / 2.0 {
            (px(value + 14.0), String::new())
        } else {
            (String::new(), px(room - value + 10.0))
        }
    };
    let (left, right) = side(at.x, window().inner_width());
    let (top, bottom) = side(at.y, window().inner_height());
    view! {
        <div
            class="tooltip"
            aria-hidden="true"
            style:left=left
            style:right=right
            style:top=top
            style:bottom=bottom
        >
            {content}
        </div>
    }
}

fn facts(scene: &Scene, node: u32, zoomed: Option<u32>, metric: Metric) -> AnyView {
    let Some(found) = scene.flame.nodes.get(node as usize).copied() else {
        return ().into_any();
    };
    let whole = scene.flame.total.value.max(f64::MIN_POSITIVE);
    let of_zoomed = zoomed
        .and_then(|zoomed| scene.flame.nodes.get(zoomed as usize))
        .filter(|zoomed| zoomed.depth < found.depth && zoomed.total_bytes > 0.0)
        .map(|zoomed| {
            let share = percent(found.total_bytes / zoomed.total_bytes);
            view! {
                <dt>"of zoomed"</dt>
                <dd>{share}</dd>
                <dd></dd>
            }
        });
    let place = scene.place(node);
    view! {
        <div class="flame-name">{scene.function(node).to_owned()}</div>
        {(!place.is_empty() || found.inlined)
            .then(|| {
                let inlined = if found.inlined { " (inlined)" } else { "" };
                view! { <div class="flame-place">{place}{inlined}</div> }
            })}
        <dl class="flame-facts">
            <dt>{metric_word(metric)}</dt>
            <dd>{bytes(found.total_bytes)}</dd>
            <dd>{relative_error(f64::from(found.relative_error))}</dd>
            <dt>"of total"</dt>
            <dd>{percent(found.total_bytes / whole)}</dd>
            <dd></dd>
            {of_zoomed}
            <dt>"self"</dt>
            <dd>{bytes(found.self_bytes)}</dd>
            <dd>{percent(found.self_bytes / whole)} " of total"</dd>
            <dt>"samples"</dt>
            <dd>{count(found.samples)}</dd>
            <dd></dd>
        </dl>
    }
    .into_any()
}

fn tree_item(scene: &Scene, node: u32, id: String, metric: Metric) -> impl IntoView + use<> {
    let layout = &scene.layout;
    let parent = layout.parent(node);
    let siblings = layout.children((parent != node).then_some(parent));
    let (mut position, mut count) = (0_u32, 0_u32);
    for sibling in siblings {
        count += 1;
        position += u32::from(sibling <= node);
    }
    view! {
        <div
            id=id
            class="visually-hidden"
            role="treeitem"
            aria-posinset=position
            aria-setsize=count
            aria-selected="true"
            {..custom_attribute("aria-level", layout.depth(node) + 1)}
        >
            {describe(scene, node, metric)}
        </div>
    }
}
