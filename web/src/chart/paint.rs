//! Draws the timeline: bands and areas first, then grid, lines, ticks, flags and axes.
//!
//! Lines differ by dash as well as by colour: live heap solid, RSS long dashes, freed short ones; what is
//! only a remainder is hatched.

use heaptide_analysis::views::{Timeline, TimelinePoint, Window};

use super::readout::mark_text;
use super::{ChartLayout, Segment, TimeScale, ValueScale, byte_ticks, columns, segments, time_ticks};
use crate::canvas::{Align, Face, Ink, Point, Rect, Renderer, Stroke};
use crate::format::{TimeBase, duration, elapsed_to, round_bytes};

/// Which series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub live: bool,
    pub rss: bool,
    pub untracked: bool,
    pub allocated: bool,
    pub freed: bool,
}

/// Where values lie: shared by drawing and pointing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    pub time: TimeScale,
    pub memory: ValueScale,
    pub rates: ValueScale,
    memory_ticks: Vec<f64>,
    rate_ticks: Vec<f64>,
}

/// Pixels between two grid lines, at least.
const LINE_EVERY_PX: f64 = 36.0;
const TIME_EVERY_PX: f64 = 90.0;

impl Shown {
    pub const ALL: Self = Self {
        live: true,
        rss: true,
        untracked: true,
        allocated: true,
        freed: true,
    };
}

impl Scales {
    pub fn new(timeline: &Timeline, layout: &ChartLayout, shown: Shown) -> Self {
        let memory = layout.memory;
        let largest = |value: &dyn Fn(&TimelinePoint) -> f64| {
            timeline
                .points
                .iter()
                .map(value)
                .filter(|value| value.is_finite())
                .fold(0.0, f64::max)
        };
        let memory_max = largest(&|point| {
            let live = if shown.live { point.live_high_bytes } else { 0.0 };
            let rss = if shown.rss || shown.untracked {
                point.rss_bytes.unwrap_or(0) as f64
            } else {
                0.0
            };
            live.max(rss)
        });
        let rate_max = largest(&|point| {
            let allocated = if shown.allocated {
                point.allocated_per_s
            } else {
                0.0
            };
            allocated.max(if shown.freed { point.freed_per_s } else { 0.0 })
        });
        let lines = |room: Rect| (room.height / LINE_EVERY_PX) as u32;
        let memory_ticks = byte_ticks(memory_max, lines(memory));
        let rate_ticks = byte_ticks(rate_max, lines(layout.rates));
        let values = |room: Rect, ticks: &[f64]| ValueScale {
            top: ticks.last().copied().unwrap_or(1.0),
            top_px: room.y,
            height_px: room.height,
        };
        Self {
            time: TimeScale {
                window: timeline.window,
                left_px: memory.x,
                width_px: memory.width,
            },
            memory: values(memory, &memory_ticks),
            rates: values(layout.rates, &rate_ticks),
            memory_ticks,
            rate_ticks,
        }
    }

    /// The part of a window that the chart shows, as left edge and width in pixels.
    pub fn extent(&self, window: Window) -> Option<(f64, f64)> {
        let (low, high) = (self.time.left_px, self.time.left_px + self.time.width_px);
        let left = self.time.x(window.from_ns).max(low).min(high);
        let right = self.time.x(window.to_ns).max(low).min(high);
        (right > left).then_some((left, right - left))
    }
}

pub fn paint(
    to: &mut impl Renderer,
    timeline: &Timeline,
    layout: &ChartLayout,
    scales: &Scales,
    base: TimeBase,
    shown: Shown,
) {
    to.clear();
    collections(to, timeline, layout, scales);
    grid(to, layout.memory, &scales.memory, &scales.memory_ticks, "");
    let has_rates = layout.rates.height > 0.0;
    if has_rates {
        grid(to, layout.rates, &scales.rates, &scales.rate_ticks, "/s");
    }
    let time_axis = time_ticks(timeline.window, base, (layout.axis.width / TIME_EVERY_PX) as u32);
    axis(to, layout, scales, base, &time_axis);
    memory(to, timeline, scales, shown);
    if has_rates {
        rates(to, timeline, scales, shown);
    }
    pauses(to, timeline, layout, scales);
    gaps(to, timeline, layout, scales);
    marks(to, timeline, layout, scales);
}

fn memory(to: &mut impl Renderer, timeline: &Timeline, scales: &Scales, shown: Shown) {
    let of = |value: &dyn Fn(&TimelinePoint) -> Option<f64>| {
        let points = timeline.points.iter().map(|point| (point.at_ns, value(point)));
        segments(points, &scales.time, &timeline.gaps)
    };
    let y = |value: f64| scales.memory.y(value);
    let rss = |point: &TimelinePoint| point.rss_bytes.map(|rss| rss as f64);
    if shown.untracked {
        let upper = of(&rss);
        let lower = of(&|point| rss(point).map(|rss| rss.min(point.live_bytes)));
        for (upper, lower) in upper.iter().zip(&lower) {
            to.hatch(Ink::Untracked, &outline(upper, lower, &y));
        }
    }
    if shown.live {
        let upper = of(&|point| Some(point.live_high_bytes));
        let lower = of(&|point| Some(point.live_low_bytes));
        for (upper, lower) in upper.iter().zip(&lower) {
            to.area(Ink::LiveBand, &outline(upper, lower, &y));
        }
    }
    if shown.rss {
        lines(to, Ink::Rss, &of(&rss), Stroke::dashed(1.5, 6.0, 3.0), &y);
    }
    if shown.live {
        lines(
            to,
            Ink::Live,
            &of(&|point| Some(point.live_bytes)),
            Stroke::solid(1.75),
            &y,
        );
    }
}

fn rates(to: &mut impl Renderer, timeline: &Timeline, scales: &Scales, shown: Shown) {
    let of = |value: fn(&TimelinePoint) -> f64| {
        let points = timeline
            .points
            .iter()
            .map(|point| (point.at_ns, Some(value(point))));
        segments(points, &scales.time, &timeline.gaps)
    };
    let y = |value: f64| scales.rates.y(value);
    if shown.allocated {
        let allocated = of(|point| point.allocated_per_s);
        for segment in &allocated {
            let floor: Segment = segment.iter().map(|&(x, _)| (x, 0.0)).collect();
            to.area(Ink::AllocatedArea, &outline(segment, &floor, &y));
        }
        lines(to, Ink::Allocated, &allocated, Stroke::solid(1.25), &y);
    }
    if shown.freed {
        lines(
            to,
            Ink::Freed,
            &of(|point| point.freed_per_s),
            Stroke::dashed(1.25, 2.0, 2.0),
            &y,
        );
    }
}

fn lines(to: &mut impl Renderer, ink: Ink, segments: &[Segment], stroke: Stroke, y: &impl Fn(f64) -> f64) {
    for segment in segments {
        let mut points: Vec<Point> = segment
            .iter()
            .map(|&(x, value)| Point { x, y: y(value) })
            .collect();
        // A lonely point has no length: it gets a pixel.
        if let [only] = points[..] {
            points.push(Point {
                x: only.x + 1.0,
                ..only
            });
        }
        to.line(ink, &points, stroke);
    }
}

/// Along the upper edge and back along the lower one.
fn outline(upper: &Segment, lower: &Segment, y: &impl Fn(f64) -> f64) -> Vec<Point> {
    let point = |&(x, value): &(f64, f64)| Point { x, y: y(value) };
    upper
        .iter()
        .map(point)
        .chain(lower.iter().rev().map(point))
        .collect()
}

/// Cycles as columns behind everything; those that share pixels are drawn once.
fn collections(to: &mut impl Renderer, timeline: &Timeline, layout: &ChartLayout, scales: &Scales) {
    let plot = layout.memory;
    let mut drawn_until = plot.x;
    for cycle in &timeline.cycles {
        let end_ns = cycle.end_ns.unwrap_or(timeline.window.to_ns);
        let left = scales.time.x(cycle.begin_ns).floor().max(drawn_until);
        let right = scales.time.x(end_ns).ceil().min(plot.right()).max(left + 1.0);
        if left < plot.right() && scales.time.x(end_ns) >= drawn_until {
            let height = layout.pauses.bottom() - plot.y;
            to.fill_rect(
                Ink::GcSpan,
                Rect {
                    x: left,
                    y: plot.y,
                    width: right - left,
                    height,
                },
            );
            drawn_until = right;
        }
    }
}

/// A tick per column, as high as the root of its pauses' sum: short ones stay visible beside long ones.
fn pauses(to: &mut impl Renderer, timeline: &Timeline, layout: &ChartLayout, scales: &Scales) {
    let lane = layout.pauses;
    to.line(
        Ink::Grid,
        &hairline(lane.x, lane.right(), lane.bottom()),
        Stroke::HAIR,
    );
    let spans = timeline
        .pauses
        .iter()
        .map(|pause| (pause.begin_ns, pause.end_ns.saturating_sub(pause.begin_ns)));
    let ticks = columns(spans, &scales.time);
    let longest_ns = ticks.iter().map(|tick| tick.1).max().unwrap_or(0);
    for &(x, duration_ns) in ticks
        .iter()
        .filter(|tick| tick.0 >= lane.x && tick.0 < lane.right())
    {
        let height = (lane.height * (duration_ns as f64 / longest_ns.max(1) as f64).sqrt()).max(2.0);
        to.fill_rect(
            Ink::Pause,
            Rect {
                x,
                y: lane.bottom() - height,
                width: 1.5,
                height,
            },
        );
    }
    // In a short chart its neighbours need the room.
    if layout.rates.height == 0.0 {
        return;
    }
    let label = if longest_ns == 0 {
        "pauses".to_owned()
    } else {
        duration(longest_ns)
    };
    let at = Point {
        x: lane.x - 8.0,
        y: lane.bottom() - lane.height / 2.0,
    };
    to.text(Ink::AxisText, Face::Figure, Align::End, at, &label);
}

fn gaps(to: &mut impl Renderer, timeline: &Timeline, layout: &ChartLayout, scales: &Scales) {
    for gap in &timeline.gaps {
        for room in [layout.memory, layout.rates] {
            let left = scales.time.x(gap.from_ns).max(room.x);
            let right = scales.time.x(gap.to_ns).min(room.right());
            if right > left {
                let rect = Rect {
                    x: left,
                    width: (right - left).max(1.0),
                    ..room
                };
                to.hatch(Ink::Gap, &rect.outline());
            }
        }
        let (left, right) = (scales.time.x(gap.from_ns), scales.time.x(gap.to_ns));
        if right - left >= 56.0 {
            let at = Point {
                x: (left + right) / 2.0,
                y: layout.memory.y + 10.0,
            };
            to.text(Ink::AxisText, Face::Figure, Align::Middle, at, "no data");
        }
    }
}

/// A flag per mark; a name where it doesn't run into the next flag. The readout names the others.
fn marks(to: &mut impl Renderer, timeline: &Timeline, layout: &ChartLayout, scales: &Scales) {
    let lane = layout.marks;
    let char_px = to.char_width(Face::Figure);
    let xs: Vec<f64> = timeline
        .marks
        .iter()
        .map(|mark| scales.time.x(mark.at_ns).round())
        .collect();
    for (index, (mark, &x)) in timeline.marks.iter().zip(&xs).enumerate() {
        if x < lane.x || x > lane.right() {
            continue;
        }
        let foot = layout.rates.bottom();
        let pole = [
            Point {
                x: x + 0.5,
                y: lane.y + 4.0,
            },
            Point { x: x + 0.5, y: foot },
        ];
        to.line(Ink::Mark, &pole, Stroke::dashed(1.0, 3.0, 3.0));
        let flag = [
            Point { x, y: lane.y + 4.0 },
            Point {
                x: x + 8.0,
                y: lane.y + 8.0,
            },
            Point { x, y: lane.y + 12.0 },
        ];
        to.area(Ink::Mark, &flag);
        let text = mark_text(mark);
        let width = text.chars().count() as f64 * char_px + 12.0;
        let room_right = xs
            .get(index + 1)
            .copied()
            .unwrap_or(lane.right())
            .min(lane.right());
        let room_left = index.checked_sub(1).map_or(lane.x, |before| xs[before] + 12.0);
        let at = |x: f64| Point { x, y: lane.y + 8.5 };
        if x + width <= room_right {
            to.text(Ink::MarkText, Face::Figure, Align::Start, at(x + 12.0), &text);
        } else if index + 1 == xs.len() && x - width >= room_left {
            to.text(Ink::MarkText, Face::Figure, Align::End, at(x - 5.0), &text);
        }
    }
}

fn grid(to: &mut impl Renderer, room: Rect, scale: &ValueScale, ticks: &[f64], unit: &str) {
    for &tick in ticks {
        let y = scale.y(tick);
        to.line(Ink::Grid, &hairline(room.x, room.right(), y), Stroke::HAIR);
        // Zero names itself; the unit is with the others.
        let label = if tick == 0.0 {
            "0".to_owned()
        } else {
            format!("{}{unit}", round_bytes(tick))
        };
        to.text(
            Ink::AxisText,
            Face::Figure,
            Align::End,
            Point { x: room.x - 8.0, y },
            &label,
        );
    }
}

fn axis(
    to: &mut impl Renderer,
    layout: &ChartLayout,
    scales: &Scales,
    base: TimeBase,
    (step_ns, ticks): &(u64, Vec<u64>),
) {
    for &at_ns in ticks {
        let x = scales.time.x(at_ns).round() + 0.5;
        for room in [layout.memory, layout.rates] {
            to.line(
                Ink::Grid,
                &[Point { x, y: room.y }, Point { x, y: room.bottom() }],
                Stroke::HAIR,
            );
        }
        let label = elapsed_to(base, at_ns, *step_ns);
        let half = label.len() as f64 * 3.0;
        if layout.axis.width < 2.0 * half {
            continue;
        }
        let x = x.min(layout.axis.right() - half).max(layout.axis.x + half);
        let at = Point {
            x,
            y: layout.axis.y + 12.0,
        };
        to.text(Ink::AxisText, Face::Figure, Align::Middle, at, &label);
    }
}

/// On the middle of a pixel row, so that it is one pixel thin.
fn hairline(left: f64, right: f64, y: f64) -> [Point; 2] {
    let y = y.round() - 0.5;
    [Point { x: left, y }, Point { x: right, y }]
}

#[cfg(test)]
mod tests {
    use super::super::readout::tests::timeline;
    use super::*;

    /// Checks that everything stays inside the canvas, and keeps counts.
    #[derive(Default)]
    struct Record {
        width: f64,
        height: f64,
        rects: Vec<Ink>,
        lines: Vec<(Ink, Stroke)>,
        hatches: Vec<Ink>,
        texts: Vec<String>,
    }

    impl Record {
        fn inside(&self, points: &[Point]) {
            for point in points {
                assert!((-1.0..=self.width + 1.0).contains(&point.x), "{point:?}");
                assert!((-1.0..=self.height + 1.0).contains(&point.y), "{point:?}");
            }
        }
    }

    impl Renderer for Record {
        fn clear(&mut self) {}
        fn fill_rect(&mut self, ink: Ink, rect: Rect) {
            self.inside(&rect.outline());
            self.rects.push(ink);
        }
        fn line(&mut self, ink: Ink, points: &[Point], stroke: Stroke) {
            self.inside(points);
            self.lines.push((ink, stroke));
        }
        fn area(&mut self, _: Ink, outline: &[Point]) {
            self.inside(outline);
        }
        fn hatch(&mut self, ink: Ink, outline: &[Point]) {
            self.inside(outline);
            self.hatches.push(ink);
        }
        fn text(&mut self, _: Ink, _: Face, _: Align, at: Point, text: &str) {
            self.inside(&[at]);
            self.texts.push(text.to_owned());
        }
        fn char_width(&mut self, _: Face) -> f64 {
            6.0
        }
        fn text_width(&mut self, _: Face, text: &str) -> f64 {
            text.len() as f64 * 6.0
        }
    }

    fn draw(timeline: &Timeline, width: f64, height: f64, shown: Shown) -> Record {
        let layout = ChartLayout::new(width, height);
        let scales = Scales::new(timeline, &layout, shown);
        let mut record = Record {
            width,
            height,
            ..Record::default()
        };
        paint(
            &mut record,
            timeline,
            &layout,
            &scales,
            TimeBase::default(),
            shown,
        );
        record
    }

    #[test]
    fn series_differ_by_more_than_colour() {
        let record = draw(&timeline(), 1000.0, 300.0, Shown::ALL);
        let stroke = |wanted| {
            record
                .lines
                .iter()
                .find(|(ink, _)| *ink == wanted)
                .map(|(_, stroke)| *stroke)
                .unwrap()
        };
        assert_ne!(stroke(Ink::Live).dash, stroke(Ink::Rss).dash);
        assert_ne!(stroke(Ink::Allocated).dash, stroke(Ink::Freed).dash);
        assert!(record.hatches.contains(&Ink::Untracked) && record.hatches.contains(&Ink::Gap));
        for text in [
            "32 MiB",
            "0",
            "2 MiB/s",
            "70 ns",
            "no data",
            "sampling 512 KiB → 64 KiB",
        ] {
            assert!(
                record.texts.iter().any(|found| found == text),
                "{text} in {:?}",
                record.texts
            );
        }
        assert_eq!(record.rects.iter().filter(|ink| **ink == Ink::Pause).count(), 2);
        // The gap and the missing reading break the lines.
        let count = |wanted| record.lines.iter().filter(|(ink, _)| *ink == wanted).count();
        assert_eq!((count(Ink::Live), count(Ink::Rss)), (2, 3));
    }

    #[test]
    fn hidden_series_are_not_drawn() {
        let only_live = Shown {
            live: true,
            rss: false,
            untracked: false,
            allocated: false,
            freed: false,
        };
        let record = draw(&timeline(), 1000.0, 300.0, only_live);
        assert!(
            record
                .lines
                .iter()
                .all(|(ink, _)| matches!(ink, Ink::Live | Ink::Grid | Ink::Mark))
        );
        assert!(!record.hatches.contains(&Ink::Untracked));
    }

    #[test]
    fn windows_are_cut_at_the_plot() {
        let layout = ChartLayout::new(1068.0, 300.0);
        let scales = Scales::new(&timeline(), &layout, Shown::ALL);
        for (from_ns, to_ns, expect) in [
            (0, 10_000, Some((60.0, 1000.0))),
            (5_000, 6_000, Some((560.0, 100.0))),
            (9_000, 99_000, Some((960.0, 100.0))),
            (20_000, 99_000, None),
        ] {
            assert_eq!(scales.extent(Window { from_ns, to_ns }), expect);
        }
    }

    #[test]
    fn fits_any_room() {
        let mut odd = timeline();
        odd.points[3].live_bytes = f64::NAN;
        odd.points[4].allocated_per_s = f64::INFINITY;
        odd.cycles.extend(odd.cycles.clone());
        for (width, height) in [
            (390.0, 240.0),
            (200.0, 120.0),
            (90.0, 150.0),
            (390.0, 120.0),
            (5000.0, 900.0),
        ] {
            draw(&odd, width, height, Shown::ALL);
        }
        let empty = Timeline {
            points: vec![],
            marks: vec![],
            gaps: vec![],
            ..timeline()
        };
        draw(&empty, 390.0, 240.0, Shown::ALL);
    }
}
