//! The timeline on the page: legend with readings, canvas, crosshair, and a window chosen by pointer or
//! keyboard. [`ChartState`] decides; here events reach it and its answers reach the page, once per frame.
//!
//! The legend is the readout: it shows the newest point, or the one under the crosshair, so that no value
//! depends on colour or on a tooltip that hides the lines. Crosshair, selection and handles are elements
//! above the canvas; to assistive software the crosshair and both handles are sliders over time.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use heaptide_analysis::views::Window;
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent, PointerEvent};

use super::state::{ChartInput, ChartState, Chosen, Series};
use super::{Edge, Reading, Readout, paint, table};
use crate::canvas::dom::{Listener, part, place, set_attribute, set_style, set_text};
use crate::canvas::{Frame, Rect, Surface, escape};
use crate::format::{TimeBase, clock, duration, elapsed, px};

/// The legend's samples repeat the dashes of the lines.
const SERIES: [(Series, &str, &str, &str); 5] = [
    (Series::Live, "live", "Live heap", "M0 9H22"),
    (Series::Rss, "rss", "RSS", "M0 9H22"),
    (
        Series::Untracked,
        "untracked",
        "Untracked",
        "M1 16L11 2M7 16L17 2M13 16L22 3",
    ),
    (Series::Allocated, "alloc", "Allocated", "M0 9H22"),
    (Series::Freed, "freed", "Freed", "M0 9H22"),
];

const MARKUP: &str = r#"<div class="chart-legend" data-part="legend" role="group" aria-label="Series"></div>
<div class="chart-plot" data-part="plot"><canvas class="chart-canvas" aria-hidden="true"></canvas>
<div class="chart-focus" data-part="focus" tabindex="0" role="slider" aria-label="Moment on the timeline. Shift with an arrow key selects."></div>
<div class="chart-select" data-part="select"></div><div class="chart-cross" data-part="cross"></div>
<div class="chart-dot" data-part="live-dot"></div><div class="chart-dot" data-part="rss-dot"></div>
<div class="chart-handle" data-part="from" tabindex="0" role="slider" aria-label="Beginning of the selection"></div>
<div class="chart-handle" data-part="to" tabindex="0" role="slider" aria-label="End of the selection"></div></div>
<div class="chart-foot"><span class="chart-time" data-part="time"></span><span data-part="clock"></span>
<span data-part="events"></span><span class="spacer"></span><span class="chart-sign chart-sign-gc">collection</span>
<span class="chart-sign chart-sign-pause">pause</span><span class="chart-sign chart-sign-mark">policy change</span>
<span data-part="length"></span><button class="btn btn-sm" type="button" data-part="clear">Clear</button>
<button class="btn btn-sm btn-ghost" type="button" data-part="toggle" aria-pressed="false">Table</button></div>
<div class="chart-table visually-hidden" data-part="table" tabindex="-1" role="region" aria-label="Timeline as a table"></div>"#;

/// What the chart asks of its owner.
pub struct ChartOwner {
    pub read: Box<dyn Fn() -> ChartInput>,
    pub select: Box<dyn Fn(Option<Window>)>,
    /// Told how many pixels the plot is wide: no more points than that are worth asking for.
    pub tell_width: Box<dyn Fn(u32)>,
    /// Of the whole, in CSS pixels. Below 180 there are no rates.
    pub height: f64,
}

/// `empty` says why there is nothing, and is asked for while there is none.
pub fn timeline_chart(owner: ChartOwner, empty: crate::ui::Part) -> AnyView {
    let ChartOwner {
        read,
        select,
        tell_width,
        height,
    } = owner;
    let tell: Rc<dyn Fn(Option<Window>)> = Rc::from(select);
    let width: TellWidth = Rc::from(tell_width);
    let root = NodeRef::<html::Div>::new();
    let slot: Slot = Rc::default();
    Effect::new(move |_| {
        let (Some(root), input) = (root.get(), read()) else {
            return;
        };
        root.set_hidden(
            input
                .timeline
                .as_ref()
                .is_none_or(|timeline| timeline.points.is_empty()),
        );
        let is_new = slot.borrow().is_none();
        if is_new {
            let chart = Chart::new(&root, height, Rc::downgrade(&slot), tell.clone(), width.clone());
            *slot.borrow_mut() = chart;
        }
        if let Some(chart) = slot.borrow_mut().as_mut() {
            chart.has_new_points |= chart.state.accept(input);
            chart.frame.request();
        }
    });
    view! {
        <div class="chart" node_ref=root inner_html=MARKUP></div>
        {empty}
    }
    .into_any()
}

type Slot = Rc<RefCell<Option<Chart>>>;
type TellWidth = Rc<dyn Fn(u32)>;

struct Chart {
    state: ChartState,
    surface: Surface,
    frame: Frame,
    parts: Parts,
    has_new_points: bool,
    tell_width: TellWidth,
    told_width: u32,
    _listeners: [Listener; 3],
}

struct Parts {
    plot: HtmlElement,
    focus: HtmlElement,
    select: HtmlElement,
    cross: HtmlElement,
    dots: [HtmlElement; 2],
    handles: [(Edge, HtmlElement); 2],
    time: HtmlElement,
    clock: HtmlElement,
    events: HtmlElement,
    length: HtmlElement,
    clear: HtmlElement,
    toggle: HtmlElement,
    table: HtmlElement,
    keys: Vec<Key>,
}

/// One entry of the legend.
struct Key {
    series: Series,
    button: HtmlElement,
    value: HtmlElement,
    error: HtmlElement,
    method: HtmlElement,
}

impl Chart {
    fn new(
        root: &Element,
        height: f64,
        slot: Weak<RefCell<Option<Self>>>,
        tell: Rc<dyn Fn(Chosen)>,
        tell_width: TellWidth,
    ) -> Option<Self> {
        // A short chart has no rates, and no room for methods.
        let is_short = height < 180.0;
        let legend = part(root, "legend")?;
        legend.set_inner_html(
            &SERIES[..if is_short { 3 } else { 5 }]
                .iter()
                .map(key_markup)
                .collect::<String>(),
        );
        let _ = root.class_list().toggle_with_force("chart-short", is_short);
        let key = |(series, name, ..): &(Series, &str, &str, &str)| {
            let button = part(root, &format!("key-{name}"))?;
            let inner = |name: &str| part(&button, name);
            let (value, error, method) = (inner("value")?, inner("error")?, inner("method")?);
            Some(Key {
                series: *series,
                button,
                value,
                error,
                method,
            })
        };
        let parts = Parts {
            plot: part(root, "plot")?,
            focus: part(root, "focus")?,
            select: part(root, "select")?,
            cross: part(root, "cross")?,
            dots: [part(root, "live-dot")?, part(root, "rss-dot")?],
            handles: [(Edge::From, part(root, "from")?), (Edge::To, part(root, "to")?)],
            time: part(root, "time")?,
            clock: part(root, "clock")?,
            events: part(root, "events")?,
            length: part(root, "length")?,
            clear: part(root, "clear")?,
            toggle: part(root, "toggle")?,
            table: part(root, "table")?,
            keys: SERIES.iter().filter_map(key).collect(),
        };
        set_style(&parts.plot, "height", &px(height));
        let canvas = parts.plot.query_selector("canvas").ok()??.dyn_into().ok()?;
        let shown = slot.clone();
        let frame = Frame::new(Box::new(move || {
            if let Some(slot) = shown.upgrade() {
                let width = slot.borrow_mut().as_mut().and_then(Self::show);
                // Outside the borrow: what the owner does may come back here.
                if let Some((tell, width)) = width {
                    tell(width);
                }
            }
        }));
        let hear = move || -> Box<dyn FnMut(Event)> {
            let (slot, tell) = (slot.clone(), tell.clone());
            Box::new(move |event| {
                let chosen = slot
                    .upgrade()
                    .and_then(|slot| slot.borrow_mut().as_mut()?.hear(&event));
                chosen.into_iter().for_each(|window| tell(window));
            })
        };
        const POINTER: &[&str] = &[
            "pointerdown",
            "pointermove",
            "pointerup",
            "pointercancel",
            "pointerleave",
            "dblclick",
            "keydown",
        ];
        let listeners = [
            Listener::new(&parts.plot, POINTER, hear()),
            Listener::new(&parts.focus, &["blur"], hear()),
            Listener::new(root, &["click"], hear()),
        ];
        Some(Self {
            state: ChartState::default(),
            surface: Surface::new(canvas, frame.downgrade())?,
            frame,
            parts,
            has_new_points: true,
            tell_width,
            told_width: 0,
            _listeners: listeners,
        })
    }

    fn hear(&mut self, event: &Event) -> Option<Chosen> {
        self.frame.request();
        match event.type_().as_str() {
            "keydown" => return self.press(event.dyn_ref()?),
            "pointerdown" => {
                let event: &PointerEvent = event.dyn_ref()?;
                if event.button() == 0 {
                    self.state.down(self.x(event));
                    let _ = self.parts.plot.set_pointer_capture(event.pointer_id());
                }
            }
            "pointermove" => self.state.point(self.x(event.dyn_ref()?)),
            "pointerup" => return self.state.up(),
            "pointercancel" => self.state.cancel(),
            "pointerleave" | "blur" => self.state.leave(),
            "dblclick" => return Some(None),
            "click" => {
                let target: Element = event.target()?.dyn_into().ok()?;
                let button = target.closest("button").ok()??;
                if button.is_same_node(Some(&self.parts.clear)) {
                    return Some(None);
                }
                if button.is_same_node(Some(&self.parts.toggle)) {
                    self.toggle_table();
                }
                let key = self
                    .parts
                    .keys
                    .iter()
                    .find(|key| button.is_same_node(Some(&key.button)));
                if let Some(series) = key.map(|key| key.series) {
                    self.state.toggle(series);
                }
            }
            _ => {}
        }
        None
    }

    fn press(&mut self, event: &KeyboardEvent) -> Option<Chosen> {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return None;
        }
        let target: Element = event.target()?.dyn_into().ok()?;
        let handle = self
            .parts
            .handles
            .iter()
            .find(|(_, handle)| target.is_same_node(Some(handle)));
        let chosen = match handle {
            Some((edge, _)) => Some(self.state.press_handle(*edge, &event.key(), event.shift_key())?),
            None => self.state.press(&event.key(), event.shift_key())?,
        };
        event.prevent_default();
        event.stop_propagation();
        chosen
    }

    fn x(&self, event: &PointerEvent) -> f64 {
        f64::from(event.client_x()) - self.parts.plot.get_bounding_client_rect().left()
    }

    fn toggle_table(&self) {
        let is_hidden = self
            .parts
            .table
            .class_list()
            .toggle("visually-hidden")
            .unwrap_or(false);
        set_attribute(
            &self.parts.toggle,
            "aria-pressed",
            Some(&(!is_hidden).to_string()),
        );
        set_attribute(
            &self.parts.table,
            "tabindex",
            Some(if is_hidden { "-1" } else { "0" }),
        );
    }

    /// Returns the plot's width if it is new, and whom to tell.
    fn show(&mut self) -> Option<(TellWidth, u32)> {
        if self.surface.follow() {
            let size = self.surface.size();
            self.state.resize(size.width_px, size.height_px);
        }
        let (state, parts) = (&mut self.state, &self.parts);
        if state.refresh()
            && let (Some(timeline), Some(scales)) = (&state.timeline, &state.scales)
        {
            paint(
                self.surface.canvas(),
                timeline,
                &state.layout,
                scales,
                state.base,
                state.shown,
            );
        }
        if std::mem::take(&mut self.has_new_points)
            && let Some(timeline) = &state.timeline
        {
            parts.table.set_inner_html(&table(timeline, state.base));
        }
        let readout = state.readout().unwrap_or_default();
        self.show_readout(&readout);
        self.show_overlays(&readout);
        let width = self.state.layout.memory.width as u32;
        (std::mem::replace(&mut self.told_width, width) != width && width > 0)
            .then(|| (Rc::clone(&self.tell_width), width))
    }

    fn show_readout(&self, readout: &Readout) {
        let (state, parts) = (&self.state, &self.parts);
        for key in &parts.keys {
            let (reading, is_shown) = of(readout, state, key.series);
            let value = if reading.value.is_empty() {
                "no reading"
            } else {
                &reading.value
            };
            set_text(&key.value, value);
            set_text(&key.error, &reading.error);
            set_text(&key.method, &reading.method);
            set_attribute(&key.method, "title", Some(&reading.method));
            set_attribute(&key.button, "aria-pressed", Some(&is_shown.to_string()));
        }
        set_text(&parts.time, &elapsed(state.base, readout.at_ns));
        set_text(
            &parts.clock,
            &clock(state.base, readout.at_ns).unwrap_or_default(),
        );
        // Of the newest point they would come and go with each tick.
        let events = if state.crosshair().is_some() {
            readout.events.as_slice()
        } else {
            &[]
        };
        let events: String = events
            .iter()
            .map(|event| format!("<span>{}</span>", escape(event)))
            .collect();
        parts.events.set_inner_html(&events);
        let chosen = state.chosen();
        parts.clear.set_hidden(chosen.is_none());
        let told_ns = state.timeline.as_ref().map_or(0, |timeline| timeline.told_ns);
        let words = match chosen {
            Some(window) => {
                let length_ns = window.to_ns.saturating_sub(window.from_ns);
                format!("{} selected", duration(length_ns))
            }
            None if told_ns > 0 => format!("in steps of {}; select a part to see more", duration(told_ns)),
            None => String::new(),
        };
        set_text(&parts.length, &words);
    }

    fn show_overlays(&self, readout: &Readout) {
        let (state, parts) = (&self.state, &self.parts);
        let height = state.layout.plot().height;
        let column = |x: f64, width: f64| Rect {
            x,
            y: 0.0,
            width,
            height,
        };
        let extent = state.extent();
        place(&parts.select, extent.map(|(left, width)| column(left, width)));
        let cross = state.crosshair();
        place(&parts.cross, cross.map(|(x, ..)| column(x, 1.0)));
        let heights = cross.map_or([None, None], |(_, live, rss)| [live, rss]);
        for (dot, y) in parts.dots.iter().zip(heights) {
            let at = |y| {
                Some(Rect {
                    x: cross?.0,
                    y,
                    width: 9.0,
                    height: 9.0,
                })
            };
            place(dot, y.and_then(at));
        }
        let bounds = state.bounds().unwrap_or(Window { from_ns: 0, to_ns: 0 });
        let slide = |element: &HtmlElement, at_ns: u64, words: &str| {
            let millis = |at_ns: u64| (at_ns as i64).saturating_sub(state.base.zero_ns as i64) / 1_000_000;
            for (name, at_ns) in [
                ("aria-valuemin", bounds.from_ns),
                ("aria-valuemax", bounds.to_ns),
                ("aria-valuenow", at_ns),
            ] {
                set_attribute(element, name, Some(&millis(at_ns).to_string()));
            }
            set_attribute(element, "aria-valuetext", Some(words));
        };
        slide(&parts.focus, state.now_ns(), &spoken(state.base, readout));
        for (edge, handle) in &parts.handles {
            let at = extent.map(|(left, width)| match edge {
                Edge::From => left,
                Edge::To => left + width,
            });
            place(handle, at.map(|x| column(x, 12.0)));
            if let Some(window) = state.chosen() {
                let at_ns = if *edge == Edge::From {
                    window.from_ns
                } else {
                    window.to_ns
                };
                slide(handle, at_ns, &elapsed(state.base, at_ns));
            }
        }
    }
}

fn key_markup((_, name, label, path): &(Series, &str, &str, &str)) -> String {
    format!(
        r#"<button class="chart-key" type="button" data-part="key-{name}"><svg class="chart-swatch chart-swatch-{name}" viewBox="0 0 22 18" aria-hidden="true"><path d="{path}"/></svg><span class="chart-name">{label}</span><span class="chart-value"><span data-part="value"></span> <span class="chart-error" data-part="error"></span></span><span class="chart-method" data-part="method"></span></button>"#
    )
}

fn of<'a>(readout: &'a Readout, state: &ChartState, series: Series) -> (&'a Reading, bool) {
    let shown = state.shown;
    match series {
        Series::Live => (&readout.live, shown.live),
        Series::Rss => (&readout.rss, shown.rss),
        Series::Untracked => (&readout.untracked, shown.untracked),
        Series::Allocated => (&readout.allocated, shown.allocated),
        Series::Freed => (&readout.freed, shown.freed),
    }
}

fn spoken(base: TimeBase, readout: &Readout) -> String {
    let mut text = elapsed(base, readout.at_ns);
    let readings = [
        ("live", &readout.live),
        ("RSS", &readout.rss),
        ("untracked", &readout.untracked),
        ("allocated", &readout.allocated),
        ("freed", &readout.freed),
    ];
    for (name, reading) in readings
        .into_iter()
        .filter(|(_, reading)| !reading.value.is_empty())
    {
        for part in [", ", name, " ", &reading.value, " ", &reading.error] {
            text.push_str(part);
        }
    }
    for event in &readout.events {
        text.push_str(", ");
        text.push_str(event);
    }
    text
}
