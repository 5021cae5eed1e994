//! From time and bytes to pixels, and the round values worth a line.

use heaptide_analysis::views::Window;

use crate::format::TimeBase;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeScale {
    pub window: Window,
    pub left_px: f64,
    pub width_px: f64,
}

/// Grows upwards from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueScale {
    /// The value at the top.
    pub top: f64,
    pub top_px: f64,
    pub height_px: f64,
}

impl TimeScale {
    pub fn x(&self, at_ns: u64) -> f64 {
        let span_ns = self.window.to_ns.saturating_sub(self.window.from_ns).max(1) as f64;
        let since_ns = at_ns as f64 - self.window.from_ns as f64;
        self.left_px + since_ns / span_ns * self.width_px
    }

    /// Inside the window, whatever the pixel.
    pub fn at(&self, x: f64) -> u64 {
        let span_ns = self.window.to_ns.saturating_sub(self.window.from_ns);
        let share = ((x - self.left_px) / self.width_px.max(1.0)).clamp(0.0, 1.0);
        self.window.from_ns + (share * span_ns as f64) as u64
    }

    pub fn ns_per_px(&self) -> f64 {
        self.window.to_ns.saturating_sub(self.window.from_ns) as f64 / self.width_px.max(1.0)
    }
}

impl ValueScale {
    pub fn y(&self, value: f64) -> f64 {
        let share = if self.top > 0.0 {
            (value / self.top).clamp(0.0, 1.0)
        } else {
            0.0
        };
        self.top_px + self.height_px * (1.0 - share)
    }
}

/// From zero to a value not below `max`, a power of two apart, with at most `lines` steps.
pub fn byte_ticks(max: f64, lines: u32) -> Vec<f64> {
    let max = if max.is_finite() { max.max(1.0) } else { 1.0 };
    let mut step = 1.0;
    while max / step > f64::from(lines.max(1)) {
        step *= 2.0;
    }
    let count = (max / step).ceil() as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// Steps that a person counts in, from a microsecond to a day.
const STEPS_NS: [u64; 32] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    const S: u64 = 1_000_000_000;
    const MIN: u64 = 60 * S;
    const H: u64 = 60 * MIN;
    [
        US,
        10 * US,
        100 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        15 * S,
        30 * S,
        MIN,
        2 * MIN,
        5 * MIN,
        10 * MIN,
        15 * MIN,
        30 * MIN,
        H,
        2 * H,
        3 * H,
        6 * H,
        12 * H,
        24 * H,
        48 * H,
        168 * H,
    ]
};

/// The step and the moments, round as seen from the base's zero; at most `count` of them.
pub fn time_ticks(window: Window, base: TimeBase, count: u32) -> (u64, Vec<u64>) {
    let span_ns = window.to_ns.saturating_sub(window.from_ns);
    let count = u64::from(count.max(1));
    let week_ns = STEPS_NS[STEPS_NS.len() - 1];
    let step_ns = STEPS_NS
        .into_iter()
        .find(|&step_ns| span_ns / step_ns < count)
        .unwrap_or_else(|| week_ns * (span_ns / week_ns / count + 1));
    // Before the base's zero, ticks are as far apart as after it.
    let zero_ns = base.zero_ns % step_ns;
    let first_ns = window
        .from_ns
        .saturating_sub(zero_ns)
        .div_ceil(step_ns)
        .saturating_mul(step_ns);
    let ticks = (0..count)
        .map(|index| {
            first_ns
                .saturating_add(index.saturating_mul(step_ns))
                .saturating_add(zero_ns)
        })
        .take_while(|&at_ns| at_ns < window.to_ns)
        .collect();
    (step_ns, ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::round_bytes;

    const S: u64 = 1_000_000_000;
    const MIB: f64 = 1024.0 * 1024.0;

    #[test]
    fn byte_lines_are_round_and_reach_the_top() {
        for (max, lines, expect) in [
            (100.0 * MIB, 4, "0,32 MiB,64 MiB,96 MiB,128 MiB"),
            (1000.0 * MIB, 4, "0,256 MiB,512 MiB,768 MiB,1 GiB"),
            (1.3 * 1024.0 * MIB, 3, "0,512 MiB,1 GiB,1.5 GiB"),
            (3.0, 4, "0,1 B,2 B,3 B"),
            (0.0, 4, "0,1 B"),
            (f64::NAN, 4, "0,1 B"),
            (64.0 * MIB, 1, "0,64 MiB"),
        ] {
            let got: Vec<_> = byte_ticks(max, lines).into_iter().map(round_bytes).collect();
            assert_eq!(got.join(","), expect, "{max}");
        }
    }

    #[test]
    fn time_lines_are_round_from_zero() {
        let base = TimeBase {
            zero_ns: S / 2,
            ..TimeBase::default()
        };
        for (from_ns, to_ns, count, step_ns, expect) in [
            (
                0,
                10 * S,
                6,
                2 * S,
                vec![S / 2, 5 * S / 2, 9 * S / 2, 13 * S / 2, 17 * S / 2],
            ),
            (3 * S, 4 * S, 3, S / 2, vec![3 * S, 7 * S / 2]),
            (100 * S, 100 * S, 3, 1_000, vec![]),
            (S, 2 * S + 1, 1, 2 * S, vec![]),
        ] {
            let got = time_ticks(Window { from_ns, to_ns }, base, count);
            assert_eq!(got, (step_ns, expect));
        }
        let decades = Window {
            from_ns: 0,
            to_ns: 20 * 365 * 86_400 * S,
        };
        assert!((3..=5).contains(&time_ticks(decades, base, 5).1.len()));
    }

    #[test]
    fn never_more_time_lines_than_asked() {
        for span_ns in (0..60).map(|power| 1_u64 << power) {
            for count in 1..12 {
                let window = Window {
                    from_ns: 12_345,
                    to_ns: 12_345 + span_ns,
                };
                let (step_ns, ticks) = time_ticks(window, TimeBase::default(), count);
                assert!(ticks.len() as u32 <= count && ticks.iter().all(|at| at % step_ns == 0));
            }
        }
    }

    #[test]
    fn there_and_back() {
        let scale = TimeScale {
            window: Window {
                from_ns: 10 * S,
                to_ns: 20 * S,
            },
            left_px: 60.0,
            width_px: 500.0,
        };
        for (x, at_ns) in [(60.0, 10 * S), (310.0, 15 * S), (560.0, 20 * S)] {
            assert_eq!(scale.x(at_ns), x);
            assert_eq!(scale.at(x), at_ns);
        }
        assert_eq!(
            (scale.at(0.0), scale.at(1e9), scale.at(f64::NAN)),
            (10 * S, 20 * S, 10 * S)
        );
        let values = ValueScale {
            top: 200.0,
            top_px: 10.0,
            height_px: 100.0,
        };
        for (value, y) in [
            (0.0, 110.0),
            (50.0, 85.0),
            (200.0, 10.0),
            (1e9, 10.0),
            (-5.0, 110.0),
        ] {
            assert_eq!(values.y(value), y);
        }
    }
}
