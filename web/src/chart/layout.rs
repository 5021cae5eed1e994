//! How the chart's room is divided: flags, memory, pauses, rates, time axis, from top to bottom.

use crate::canvas::Rect;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChartLayout {
    pub width_px: f64,
    pub height_px: f64,
    /// Flags of policy changes.
    pub marks: Rect,
    pub memory: Rect,
    /// Ticks of stop-the-world pauses.
    pub pauses: Rect,
    pub rates: Rect,
    /// Times below.
    pub axis: Rect,
}

const MARKS_PX: f64 = 20.0;
const PAUSES_PX: f64 = 22.0;
const AXIS_PX: f64 = 20.0;
const SPACE_PX: f64 = 10.0;
/// Room for `1.25 GiB` left of the plot.
const GUTTER_PX: f64 = 60.0;
/// A lower chart has no rates and no space between its parts.
const SHORT_PX: f64 = 180.0;
const RIGHT_PX: f64 = 8.0;

impl ChartLayout {
    /// Never negative, however small the room.
    pub fn new(width_px: f64, height_px: f64) -> Self {
        let width = (width_px - GUTTER_PX - RIGHT_PX).max(0.0);
        let is_short = height_px < SHORT_PX;
        let (pauses_px, space_px) = if is_short {
            (PAUSES_PX / 2.0, 2.0)
        } else {
            (PAUSES_PX, SPACE_PX)
        };
        let free_px = (height_px - MARKS_PX - pauses_px - AXIS_PX - 2.0 * space_px).max(0.0);
        let rates_px = if is_short { 0.0 } else { (free_px * 0.28).round() };
        let memory_px = free_px - rates_px;
        let row = |y: f64, height: f64| Rect {
            x: GUTTER_PX,
            y,
            width,
            height,
        };
        let marks = row(0.0, MARKS_PX);
        let memory = row(marks.bottom(), memory_px);
        let pauses = row(memory.bottom() + space_px / 2.0, pauses_px);
        let rates = row(pauses.bottom() + space_px * 1.5, rates_px);
        let axis = row(rates.bottom(), AXIS_PX);
        Self {
            width_px,
            height_px,
            marks,
            memory,
            pauses,
            rates,
            axis,
        }
    }

    /// Everything that shares the time axis.
    pub fn plot(&self) -> Rect {
        let marks = self.marks;
        Rect {
            height: self.rates.bottom() - marks.y,
            ..marks
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_one_another_and_stay_inside() {
        for (width, height) in [
            (1200.0, 320.0),
            (390.0, 180.0),
            (390.0, 120.0),
            (10.0, 10.0),
            (0.0, 0.0),
        ] {
            let layout = ChartLayout::new(width, height);
            let parts = [
                layout.marks,
                layout.memory,
                layout.pauses,
                layout.rates,
                layout.axis,
            ];
            for pair in parts.windows(2) {
                assert!(pair[1].y >= pair[0].bottom(), "{layout:?}");
                assert_eq!((pair[0].x, pair[0].width), (pair[1].x, pair[1].width));
            }
            assert!(parts.iter().all(|part| part.width >= 0.0 && part.height >= 0.0));
            assert_eq!(layout.rates.height > 0.0, height >= 180.0);
            if height >= 100.0 {
                assert!((layout.axis.bottom() - height).abs() < 1e-9, "{layout:?}");
            }
        }
    }
}
