//! Choosing a time window: by dragging, by its edges, by the keyboard. Pure: positions in, windows out.

use heaptide_analysis::views::Window;

use super::TimeScale;

/// A drag under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brush {
    /// A new window from here to the pointer.
    New { from_ns: u64, from_px: i32 },
    /// An edge, with the other one fixed.
    Resize { fixed_ns: u64 },
    /// The whole window.
    Move { grabbed_ns: u64, window: Window },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    From,
    To,
}

/// What an arrow key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// Shifts the whole window.
    Window,
    Edge(Edge),
}

/// So close to an edge a press takes the edge.
const EDGE_PX: f64 = 6.0;
/// A shorter drag is a click.
const SHORTEST_PX: f64 = 4.0;

impl Brush {
    pub fn press(scale: &TimeScale, x: f64, selection: Option<Window>) -> Self {
        let at_ns = scale.at(x);
        if let Some(window) = selection {
            let (from_px, to_px) = (scale.x(window.from_ns), scale.x(window.to_ns));
            let (to_from, to_to) = ((x - from_px).abs(), (x - to_px).abs());
            if to_from.min(to_to) <= EDGE_PX {
                let fixed_ns = if to_from < to_to {
                    window.to_ns
                } else {
                    window.from_ns
                };
                return Self::Resize { fixed_ns };
            }
            // What fills the plot can't be moved; a drag inside it means a part of it.
            let fills = from_px <= scale.left_px && to_px >= scale.left_px + scale.width_px;
            if x > from_px && x < to_px && !fills {
                return Self::Move {
                    grabbed_ns: at_ns,
                    window,
                };
            }
        }
        Self::New {
            from_ns: at_ns,
            from_px: x as i32,
        }
    }

    /// The window now; `None` while the drag is still a click.
    pub fn drag(&self, scale: &TimeScale, x: f64) -> Option<Window> {
        let at_ns = scale.at(x);
        match *self {
            Self::New { from_px, .. } if (x - f64::from(from_px)).abs() < SHORTEST_PX => None,
            Self::New { from_ns, .. } => Some(between(from_ns, at_ns)),
            Self::Resize { fixed_ns } => Some(between(fixed_ns, at_ns)),
            Self::Move { grabbed_ns, window } => Some(shift(
                window,
                i128::from(at_ns) - i128::from(grabbed_ns),
                scale.window,
            )),
        }
    }
}

/// The window after a key moved it, or one of its edges, by so many nanoseconds; kept inside `bounds`.
pub fn nudge(window: Window, what: Nudge, by_ns: i64, bounds: Window) -> Window {
    let by_ns = i128::from(by_ns);
    let clamped = |at_ns: u64| {
        (i128::from(at_ns) + by_ns)
            .min(i128::from(bounds.to_ns))
            .max(i128::from(bounds.from_ns)) as u64
    };
    match what {
        Nudge::Window => shift(window, by_ns, bounds),
        Nudge::Edge(Edge::From) => between(clamped(window.from_ns).min(window.to_ns), window.to_ns),
        Nudge::Edge(Edge::To) => between(window.from_ns, clamped(window.to_ns).max(window.from_ns)),
    }
}

/// Keeps the length: a window at the bound stays there.
fn shift(window: Window, by_ns: i128, bounds: Window) -> Window {
    let length = i128::from(window.to_ns.saturating_sub(window.from_ns));
    let lowest = i128::from(bounds.from_ns);
    let highest = (i128::from(bounds.to_ns) - length).max(lowest);
    let from = (i128::from(window.from_ns) + by_ns).clamp(lowest, highest);
    Window {
        from_ns: from as u64,
        to_ns: (from + length) as u64,
    }
}

/// Never empty: an empty window would show nothing, and say nothing about why.
fn between(a_ns: u64, b_ns: u64) -> Window {
    let (from_ns, to_ns) = (a_ns.min(b_ns), a_ns.max(b_ns));
    Window {
        from_ns,
        to_ns: to_ns.max(from_ns.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: TimeScale = TimeScale {
        window: Window {
            from_ns: 1000,
            to_ns: 2000,
        },
        left_px: 0.0,
        width_px: 1000.0,
    };

    fn window(from_ns: u64, to_ns: u64) -> Window {
        Window { from_ns, to_ns }
    }

    #[test]
    fn drags() {
        let old = Some(window(1200, 1400));
        let all = Some(window(1000, 2000));
        for (selection, press, release, expect) in [
            (None, 100.0, 300.0, Some(window(1100, 1300))),
            (None, 300.0, 100.0, Some(window(1100, 1300))),
            (None, 300.0, 302.0, None),
            (None, 300.0, 5000.0, Some(window(1300, 2000))),
            (old, 500.0, 600.0, Some(window(1500, 1600))),
            (old, 201.0, 100.0, Some(window(1100, 1400))),
            (old, 401.0, 300.0, Some(window(1200, 1300))),
            // An edge drawn past the other turns the window over.
            (old, 401.0, 100.0, Some(window(1100, 1200))),
            (old, 300.0, 350.0, Some(window(1250, 1450))),
            (old, 300.0, 0.0, Some(window(1000, 1200))),
            (old, 300.0, 999.0, Some(window(1800, 2000))),
            (all, 300.0, 400.0, Some(window(1300, 1400))),
        ] {
            let brush = Brush::press(&SCALE, press, selection);
            assert_eq!(
                brush.drag(&SCALE, release),
                expect,
                "{selection:?} {press} {release}"
            );
        }
    }

    #[test]
    fn keys() {
        let old = window(1200, 1400);
        for (what, by_ns, expect) in [
            (Nudge::Window, 100, window(1300, 1500)),
            (Nudge::Window, -500, window(1000, 1200)),
            (Nudge::Window, i64::MAX, window(1800, 2000)),
            (Nudge::Edge(Edge::From), -50, window(1150, 1400)),
            (Nudge::Edge(Edge::From), 500, window(1400, 1401)),
            (Nudge::Edge(Edge::To), 50, window(1200, 1450)),
            (Nudge::Edge(Edge::To), -500, window(1200, 1201)),
            (Nudge::Edge(Edge::To), i64::MAX, window(1200, 2000)),
        ] {
            assert_eq!(nudge(old, what, by_ns, SCALE.window), expect, "{what:?} {by_ns}");
        }
        // A window longer than the bounds begins where they begin.
        assert_eq!(
            nudge(window(0, 5000), Nudge::Window, 7, SCALE.window),
            window(1000, 6000)
        );
    }
}
