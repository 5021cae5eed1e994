//! The timeline on the page: legend with readings, canvas, crosshair, and a window chosen by pointer or
//! keyboard.
//!
//! The legend is the readout: it shows the newest point, or the one under the crosshair, so that no value
//! depends on colour or on a tooltip that hides the lines. Crosshair, selection and handles are elements
//! above the canvas; to assistive software the crosshair and both handles are sliders over time.

use std::sync::Arc;

use heaptide_analysis::views::{Timeline, Window};
use heaptide_protocol::session::Method;
use leptos::html;
use leptos::prelude::*;
use web_sys::{KeyboardEvent, PointerEvent};

use super::twin::PointTable;
use super::{
    Brush, ChartLayout, Edge, Nudge, Reading, Readout, Scales, Shown, at_moment, nudge, paint, readout,
};
use crate::canvas::use_surface;
use crate::format::{TimeBase, clock, duration, elapsed, px};

/// Events so close to the crosshair belong to the readout.
const NEAR_PX: f64 = 4.0;

#[component]
pub fn TimelineChart(
    timeline: Signal<Option<Arc<Timeline>>>,
    base: Signal<TimeBase>,
    selection: Signal<Option<Window>>,
    on_selection: Callback<Option<Window>>,
    /// Of the live heap, for the readout.
    live_method: Signal<Method>,
    /// Of the plot, in CSS pixels.
    #[prop(default = 300.0)]
    height: f64,
    /// Told how many pixels the plot is wide: no more points than that are worth asking for.
    #[prop(optional)]
    on_width: Option<Callback<u32>>,
    /// Says why there is nothing.
    #[prop(into)]
    empty: ViewFn,
) -> impl IntoView {
    let shown = RwSignal::new(Shown::ALL);
    let canvas = NodeRef::<html::Canvas>::new();
    let frame = RwSignal::new(None::<(ChartLayout, Scales)>);
    let surface = use_surface(canvas, move |to| {
        timeline.with_untracked(|timeline| {
            frame.with_untracked(|frame| {
                if let (Some(timeline), Some((layout, scales))) = (timeline, frame) {
                    paint(
                        to,
                        timeline,
                        layout,
                        scales,
                        base.get_untracked(),
                        shown.get_untracked(),
                    );
                }
            });
        });
    });
    let layout = Memo::new(move |_| {
        let size = surface.size.get();
        ChartLayout::new(size.width_px, size.height_px)
    });
    Effect::new(move |_| {
        base.track();
        let layout = layout.get();
        frame.set(timeline.with(|timeline| {
            timeline
                .as_ref()
                .filter(|_| layout.memory.width >= 1.0)
                .map(|timeline| (layout, Scales::new(timeline, &layout, shown.get())))
        }));
        surface.request();
    });
    if let Some(on_width) = on_width {
        let width = Memo::new(move |_| layout.get().memory.width as u32);
        Effect::new(move |_| {
            if width.get() > 0 {
                on_width.run(width.get());
            }
        });
    }
    let with_scale = move |then: &dyn Fn(&Scales) -> Option<Window>| {
        frame.with_untracked(|frame| frame.as_ref().and_then(|(_, scales)| then(scales)))
    };

    // The crosshair's moment; without one the newest point is read out.
    let moment = RwSignal::new(None::<u64>);
    let reading = Memo::new(move |_| {
        let near_ns = frame.with(|frame| {
            frame
                .as_ref()
                .map_or(0.0, |(_, scales)| scales.time.ns_per_px() * NEAR_PX)
        });
        timeline.with(|timeline| {
            let timeline = timeline.as_ref()?;
            let index = match moment.get() {
                Some(at_ns) => at_moment(timeline, at_ns)?,
                None => timeline.points.len().checked_sub(1)?,
            };
            live_method.with(|method| readout(timeline, index, method, near_ns as u64))
        })
    });
    let bounds = move || timeline.with(|timeline| timeline.as_ref().map(|timeline| timeline.window));

    let brush = RwSignal::new(None::<Brush>);
    let draft = RwSignal::new(None::<Window>);
    let chosen = Memo::new(move |_| draft.get().or(selection.get()));
    let plot = NodeRef::<html::Div>::new();
    let x_of = move |event: &PointerEvent| {
        let left = plot
            .get_untracked()
            .map_or(0.0, |plot| plot.get_bounding_client_rect().left());
        f64::from(event.client_x()) - left
    };
    let on_down = move |event: PointerEvent| {
        if event.button() != 0 {
            return;
        }
        let x = x_of(&event);
        frame.with_untracked(|frame| {
            if let Some((_, scales)) = frame {
                brush.set(Some(Brush::press(&scales.time, x, selection.get_untracked())));
            }
        });
        if let Some(plot) = plot.get_untracked() {
            let _ = plot.set_pointer_capture(event.pointer_id());
        }
    };
    let on_move = move |event: PointerEvent| {
        let x = x_of(&event);
        let drag = brush.get_untracked();
        if let Some(drag) = drag {
            let window = with_scale(&|scales| drag.drag(&scales.time, x));
            if window.is_some() || draft.get_untracked().is_some() {
                draft.set(window);
            }
        }
        let at_ns = frame.with_untracked(|frame| frame.as_ref().map(|(_, scales)| scales.time.at(x)));
        moment.set(at_ns);
    };
    let on_up = move |_| {
        brush.set(None);
        if let Some(window) = draft.get_untracked() {
            on_selection.run(Some(window));
            draft.set(None);
        }
    };
    let on_cancel = move |_| {
        brush.set(None);
        draft.set(None);
    };

    let step_ns = move |is_far: bool| {
        let step =
            timeline.with_untracked(|timeline| timeline.as_ref().map_or(1, |timeline| timeline.step_ns));
        let px_ns =
            frame.with_untracked(|frame| frame.as_ref().map_or(0.0, |(_, scales)| scales.time.ns_per_px()));
        let near = step.max((px_ns * 4.0) as u64).max(1);
        (if is_far { near * 10 } else { near }) as i64
    };
    let anchor = RwSignal::new(None::<u64>);
    let on_key = move |event: KeyboardEvent| {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let Some(bounds) = bounds() else { return };
        let now = moment.get_untracked().unwrap_or(bounds.to_ns);
        let to = match event.key().as_str() {
            "ArrowLeft" => now.saturating_sub(step_ns(false) as u64),
            "ArrowRight" => now.saturating_add(step_ns(false) as u64),
            "PageUp" => now.saturating_sub(step_ns(true) as u64),
            "PageDown" => now.saturating_add(step_ns(true) as u64),
            "Home" => bounds.from_ns,
            "End" => bounds.to_ns,
            "Escape" => {
                moment.set(None);
                anchor.set(None);
                on_selection.run(None);
                event.prevent_default();
                event.stop_propagation();
                return;
            }
            _ => return,
        };
        event.prevent_default();
        event.stop_propagation();
        let to = to.min(bounds.to_ns).max(bounds.from_ns);
        moment.set(Some(to));
        if event.shift_key() {
            let from = anchor.get_untracked().unwrap_or(now);
            anchor.set(Some(from));
            let window = Window {
                from_ns: from.min(to),
                to_ns: from.max(to),
            };
            on_selection.run((window.to_ns > window.from_ns).then_some(window));
        } else {
            anchor.set(None);
        }
    };

    let plot_height = move || px(layout.get().plot().height);
    let cross_x = Memo::new(move |_| {
        moment.get()?;
        let at_ns = reading.with(|reading| reading.as_ref().map(|reading| reading.at_ns))?;
        frame.with(|frame| {
            let (layout, scales) = frame.as_ref()?;
            let x = scales.time.x(at_ns);
            (x >= layout.memory.x - 1.0 && x <= layout.memory.right() + 1.0).then_some(x.round())
        })
    });
    let dot = move |value: fn(&heaptide_analysis::views::TimelinePoint) -> Option<f64>,
                    is_shown: fn(&Shown) -> bool| {
        let at = move || {
            let x = cross_x.get().filter(|_| shown.with(is_shown))?;
            let at_ns = reading.with(|reading| reading.as_ref().map(|reading| reading.at_ns))?;
            let value = timeline.with(|timeline| {
                let timeline = timeline.as_ref()?;
                value(timeline.points.get(at_moment(timeline, at_ns)?)?)
            })?;
            let y = frame.with(|frame| frame.as_ref().map(|(_, scales)| scales.memory.y(value)))?;
            Some(format!("translate({}, {})", px(x), px(y)))
        };
        view! {
            <div class="chart-dot" hidden=move || at().is_none() style:transform=move || at().unwrap_or_default()></div>
        }
    };
    let extent = move || {
        let window = chosen.get()?;
        frame.with(|frame| frame.as_ref().and_then(|(_, scales)| scales.extent(window)))
    };
    let handle = move |edge: Edge| {
        let at_ns = move || {
            chosen.get().map(|window| match edge {
                Edge::From => window.from_ns,
                Edge::To => window.to_ns,
            })
        };
        let left = move || {
            extent().map(|(left, width)| match edge {
                Edge::From => left,
                Edge::To => left + width,
            })
        };
        let on_key = move |event: KeyboardEvent| {
            let (Some(window), Some(bounds)) = (selection.get_untracked(), bounds()) else {
                return;
            };
            // With Shift an arrow moves the whole window.
            let what = if event.shift_key() {
                Nudge::Window
            } else {
                Nudge::Edge(edge)
            };
            let by_ns = match event.key().as_str() {
                "ArrowLeft" | "ArrowDown" => -step_ns(false),
                "ArrowRight" | "ArrowUp" => step_ns(false),
                "PageDown" => -step_ns(true),
                "PageUp" => step_ns(true),
                _ => return,
            };
            event.prevent_default();
            event.stop_propagation();
            on_selection.run(Some(nudge(window, what, by_ns, bounds)));
        };
        view! {
            <div
                class="chart-handle"
                role="slider"
                tabindex="0"
                hidden=move || left().is_none()
                aria-label=match edge {
                    Edge::From => "Beginning of the selection",
                    Edge::To => "End of the selection",
                }
                aria-valuemin=move || bounds().map_or(0, |bounds| millis(base.get(), bounds.from_ns))
                aria-valuemax=move || bounds().map_or(0, |bounds| millis(base.get(), bounds.to_ns))
                aria-valuenow=move || at_ns().map(|at_ns| millis(base.get(), at_ns))
                aria-valuetext=move || at_ns().map(|at_ns| elapsed(base.get(), at_ns))
                style:transform=move || format!("translateX({})", px(left().unwrap_or(0.0)))
                style:height=plot_height
                on:keydown=on_key
            ></div>
        }
    };
    let now_ns = move || moment.get().or(bounds().map(|bounds| bounds.to_ns)).unwrap_or(0);
    let has_table = RwSignal::new(false);
    let is_empty = Memo::new(move |_| {
        timeline.with(|timeline| {
            timeline
                .as_ref()
                .is_none_or(|timeline| timeline.points.is_empty())
        })
    });
    view! {
        <div class="chart" hidden=is_empty>
            <div class="chart-legend" role="group" aria-label="Series">
                {key("Live heap", Swatch::Live, reading, |now| &now.live, shown, |shown| &mut shown.live)}
                {key("RSS", Swatch::Rss, reading, |now| &now.rss, shown, |shown| &mut shown.rss)}
                {key("Untracked", Swatch::Untracked, reading, |now| &now.untracked, shown, |shown| &mut shown.untracked)}
                {key("Allocated", Swatch::Allocated, reading, |now| &now.allocated, shown, |shown| &mut shown.allocated)}
                {key("Freed", Swatch::Freed, reading, |now| &now.freed, shown, |shown| &mut shown.freed)}
            </div>
            <div
                class="chart-plot"
                node_ref=plot
                style:height=px(height)
                on:pointerdown=on_down
                on:pointermove=on_move
                on:pointerup=on_up
                on:pointercancel=on_cancel
                on:pointerleave=move |_| {
                    if brush.get_untracked().is_none() {
                        moment.set(None);
                    }
                }
                on:dblclick=move |_| on_selection.run(None)
            >
                <canvas class="chart-canvas" node_ref=canvas aria-hidden="true"></canvas>
                <div
                    class="chart-focus"
                    tabindex="0"
                    role="slider"
                    aria-label="Moment on the timeline. Shift with an arrow key selects."
                    aria-valuemin=move || bounds().map_or(0, |bounds| millis(base.get(), bounds.from_ns))
                    aria-valuemax=move || bounds().map_or(0, |bounds| millis(base.get(), bounds.to_ns))
                    aria-valuenow=move || millis(base.get(), now_ns())
                    aria-valuetext=move || reading.with(|now| now.as_ref().map(|now| spoken(base.get(), now)))
                    on:keydown=on_key
                    on:blur=move |_| moment.set(None)
                ></div>
                <div
                    class="chart-select"
                    hidden=move || extent().is_none()
                    style:transform=move || format!("translateX({})", px(extent().map_or(0.0, |extent| extent.0)))
                    style:width=move || px(extent().map_or(0.0, |extent| extent.1))
                    style:height=plot_height
                ></div>
                <div
                    class="chart-cross"
                    hidden=move || cross_x.get().is_none()
                    style:transform=move || format!("translateX({})", px(cross_x.get().unwrap_or(0.0)))
                    style:height=plot_height
                ></div>
                {dot(|point| Some(point.live_bytes), |shown| shown.live)}
                {dot(|point| point.rss_bytes.map(|rss| rss as f64), |shown| shown.rss)}
                {handle(Edge::From)}
                {handle(Edge::To)}
            </div>
            <div class="chart-foot">
                {move || reading.with(|now| now.as_ref().map(|now| caption(base.get(), now)))}
                <span class="spacer"></span>
                <span class="chart-sign chart-sign-gc">"collection"</span>
                <span class="chart-sign chart-sign-pause">"pause"</span>
                <span class="chart-sign chart-sign-mark">"policy change"</span>
                {move || {
                    chosen
                        .get()
                        .map(|window| {
                            let length = duration(window.to_ns.saturating_sub(window.from_ns));
                            view! {
                                <span>{length} " selected"</span>
                                <button class="btn btn-sm" on:click=move |_| on_selection.run(None)>
                                    "Clear"
                                </button>
                            }
                        })
                }}
                <button
                    class="btn btn-sm btn-ghost"
                    aria-pressed=move || has_table.get().to_string()
                    on:click=move |_| has_table.update(|on| *on = !*on)
                >
                    "Table"
                </button>
            </div>
            <PointTable timeline base is_shown=has_table.into() />
        </div>
        {move || is_empty.get().then(|| empty.run())}
    }
}

/// The samples of the legend repeat the dashes of the lines.
#[derive(Clone, Copy)]
enum Swatch {
    Live,
    Rss,
    Untracked,
    Allocated,
    Freed,
}

impl Swatch {
    fn view(self) -> impl IntoView {
        let (path, colour, dash) = match self {
            Self::Live => ("M0 9H22", "var(--chart-live)", ""),
            Self::Rss => ("M0 9H22", "var(--chart-rss)", "6 3"),
            Self::Untracked => ("M1 16L11 2M7 16L17 2M13 16L22 3", "var(--text-muted)", ""),
            Self::Allocated => ("M0 9H22", "var(--chart-alloc)", ""),
            Self::Freed => ("M0 9H22", "var(--chart-freed)", "2 2"),
        };
        view! {
            <svg class="chart-swatch" aria-hidden="true" viewBox="0 0 22 18">
                <path d=path style:stroke=colour stroke-dasharray=dash />
            </svg>
        }
    }
}

fn key(
    name: &'static str,
    swatch: Swatch,
    reading: Memo<Option<Readout>>,
    value: fn(&Readout) -> &Reading,
    shown: RwSignal<Shown>,
    field: fn(&mut Shown) -> &mut bool,
) -> impl IntoView {
    let part = move |part: fn(&Reading) -> &String| {
        reading.with(|now| {
            now.as_ref()
                .map(|now| part(value(now)).clone())
                .unwrap_or_default()
        })
    };
    let text = move || match part(|reading| &reading.value) {
        text if text.is_empty() => "no reading".to_owned(),
        text => text,
    };
    view! {
        <button
            class="chart-key"
            aria-pressed=move || (*field(&mut shown.get())).to_string()
            on:click=move |_| {
                shown
                    .update(|shown| {
                        let on = field(shown);
                        *on = !*on;
                    });
            }
        >
            {swatch.view()}
            <span class="chart-name">{name}</span>
            <span class="chart-value">
                {text} " " <span class="chart-error">{move || part(|reading| &reading.error)}</span>
            </span>
            <span class="chart-method" title=move || part(|reading| &reading.method)>
                {move || part(|reading| &reading.method)}
            </span>
        </button>
    }
}

fn caption(base: TimeBase, now: &Readout) -> impl IntoView + use<> {
    let events = now
        .events
        .iter()
        .map(|event| view! { <span>{event.clone()}</span> })
        .collect_view();
    view! {
        <span class="chart-time">{elapsed(base, now.at_ns)}</span>
        {clock(base, now.at_ns).map(|time| view! { <span>{time}</span> })}
        {events}
    }
}

fn spoken(base: TimeBase, now: &Readout) -> String {
    let mut text = elapsed(base, now.at_ns);
    for (name, reading) in [
        ("live", &now.live),
        ("RSS", &now.rss),
        ("untracked", &now.untracked),
        ("allocated", &now.allocated),
        ("freed", &now.freed),
    ] {
        if !reading.value.is_empty() {
            text.push_str(&format!(", {name} {} {}", reading.value, reading.error));
        }
    }
    for event in &now.events {
        text.push_str(", ");
        text.push_str(event);
    }
    text
}

fn millis(base: TimeBase, at_ns: u64) -> i64 {
    (at_ns as i64).saturating_sub(base.zero_ns as i64) / 1_000_000
}
