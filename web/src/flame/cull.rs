//! What can be seen: by row, then by left and right, then by size.
//!
//! A node narrower than half a CSS pixel, or that rounds to no device pixel, is hidden and counted; a run
//! of hidden neighbours as wide as a device pixel becomes one merged box that knows how many it stands for.

use super::Layout;
use crate::canvas::{Rect, snap};

/// Below this a node is not drawn by itself, in CSS pixels.
const NARROWEST_PX: f64 = 0.5;

/// The part of the graph in view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// The zoomed node's left edge and width, as shares of the whole.
    pub left: f64,
    pub width: f64,
    pub width_px: f64,
    pub height_px: f64,
    /// How far down the rows are scrolled.
    pub scroll_px: f64,
    pub row_px: f64,
    pub device_pixel_ratio: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlameBox {
    pub row: u32,
    /// Edges in CSS pixels, on device pixels, cut at the camera's.
    pub left_px: f64,
    pub right_px: f64,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Node(u32),
    /// This many neighbours, of which the first is named.
    Merged {
        first: u32,
        count: u32,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Culled {
    /// By row, then from left to right; none overlap.
    pub boxes: Vec<FlameBox>,
    /// Nodes in view that are not drawn by themselves.
    pub hidden: u64,
}

/// A run of hidden neighbours.
struct Run {
    first: u32,
    count: u32,
    left_px: f64,
    right_px: f64,
}

impl Camera {
    /// The left edge and the right one, unrounded.
    fn edges(&self, left: f64, width: f64) -> (f64, f64) {
        let scale = self.width_px / self.width;
        ((left - self.left) * scale, (left + width - self.left) * scale)
    }

    /// Where a node's box is, even if it is too narrow to be drawn; `None` if it is out of view.
    pub fn place(&self, layout: &Layout, node: u32) -> Option<Rect> {
        let (left, right) = self.edges(layout.left(node), layout.width(node));
        if !(right > 0.0 && left < self.width_px) {
            return None;
        }
        let (left, right) = (left.max(0.0), right.min(self.width_px));
        let y = f64::from(layout.depth(node)) * self.row_px - self.scroll_px;
        Some(Rect {
            x: left,
            y,
            width: right - left,
            height: self.row_px,
        })
    }
}

pub fn cull(layout: &Layout, camera: &Camera) -> Culled {
    let mut out = Culled::default();
    // Written so that NaN sees nothing.
    if !(camera.width > 0.0 && camera.width_px > 0.0 && camera.row_px > 0.0) {
        return out;
    }
    let first_row = (camera.scroll_px / camera.row_px).floor().max(0.0) as usize;
    let last_row = ((camera.scroll_px + camera.height_px) / camera.row_px)
        .ceil()
        .max(0.0) as usize;
    for row in first_row..last_row.min(layout.rows()) {
        cull_row(layout, camera, row, &mut out);
    }
    out
}

fn cull_row(layout: &Layout, camera: &Camera, row: usize, out: &mut Culled) {
    let nodes = layout.row(row);
    let from = nodes.partition_point(|&node| layout.left(node) + layout.width(node) <= camera.left);
    let right_edge = camera.left + camera.width;
    let ratio = camera.device_pixel_ratio;
    let mut run: Option<Run> = None;
    for &node in &nodes[from..] {
        if layout.left(node) >= right_edge {
            break;
        }
        let (raw_left, raw_right) = camera.edges(layout.left(node), layout.width(node));
        let left_px = snap(raw_left.max(0.0), ratio);
        let right_px = snap(raw_right.min(camera.width_px), ratio);
        if raw_right - raw_left >= NARROWEST_PX && right_px > left_px {
            flush(&mut run, row, ratio, out);
            out.boxes.push(FlameBox {
                row: row as u32,
                left_px,
                right_px,
                what: What::Node(node),
            });
            continue;
        }
        out.hidden += 1;
        match &mut run {
            // Cousins with nothing between them to see belong to one run.
            Some(run) if raw_left - run.right_px < 1.0 / ratio => {
                run.count += 1;
                run.right_px = raw_right;
            }
            _ => {
                flush(&mut run, row, ratio, out);
                run = Some(Run {
                    first: node,
                    count: 1,
                    left_px: raw_left,
                    right_px: raw_right,
                });
            }
        }
    }
    flush(&mut run, row, ratio, out);
}

fn flush(run: &mut Option<Run>, row: usize, ratio: f64, out: &mut Culled) {
    let Some(run) = run.take() else { return };
    let (left_px, right_px) = (snap(run.left_px.max(0.0), ratio), snap(run.right_px, ratio));
    if right_px > left_px {
        let what = What::Merged {
            first: run.first,
            count: run.count,
        };
        out.boxes.push(FlameBox {
            row: row as u32,
            left_px,
            right_px,
            what,
        });
    }
}

#[cfg(test)]
pub(super) fn camera(width_px: f64) -> Camera {
    Camera {
        left: 0.0,
        width: 1.0,
        width_px,
        height_px: 200.0,
        scroll_px: 0.0,
        row_px: 20.0,
        device_pixel_ratio: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn brief(culled: &Culled) -> Vec<(u32, f64, f64, What)> {
        culled
            .boxes
            .iter()
            .map(|found| (found.row, found.left_px, found.right_px, found.what))
            .collect()
    }

    #[test]
    fn narrow_neighbours_merge_and_are_counted() {
        // 100 px wide: the small ones take 0.4 px each.
        let mut nodes = vec![("a", 0, 1000.0), ("big", 1, 900.0)];
        nodes.extend([("tiny", 1, 4.0); 10]);
        let layout = Layout::new(&sample::flame(&nodes));
        let culled = cull(&layout, &camera(100.0));
        assert_eq!(
            brief(&culled),
            [
                (0, 0.0, 100.0, What::Node(0)),
                (1, 0.0, 90.0, What::Node(1)),
                (1, 90.0, 94.0, What::Merged { first: 2, count: 10 }),
            ]
        );
        assert_eq!(culled.hidden, 10);
        // Twice the pixels: 0.8 px each is enough, but what rounds to nothing still merges.
        let twice = cull(&layout, &camera(200.0));
        let nodes = twice
            .boxes
            .iter()
            .filter(|found| matches!(found.what, What::Node(_)))
            .count() as u64;
        assert_eq!(nodes + twice.hidden, 12);
        assert!(nodes >= 9, "{:?}", twice.boxes);
    }

    #[test]
    fn zoom_cuts_ancestors_to_the_view_and_leaves_the_others_out() {
        let layout = Layout::new(&sample::flame(&[
            ("main", 0, 100.0),
            ("left", 1, 60.0),
            ("right", 1, 40.0),
            ("deep", 2, 40.0),
        ]));
        let zoomed = Camera {
            left: 0.6,
            width: 0.4,
            ..camera(100.0)
        };
        assert_eq!(
            brief(&cull(&layout, &zoomed)),
            [
                (0, 0.0, 100.0, What::Node(0)),
                (1, 0.0, 100.0, What::Node(2)),
                (2, 0.0, 100.0, What::Node(3)),
            ]
        );
        assert_eq!(zoomed.place(&layout, 1), None);
        let scrolled = Camera {
            scroll_px: 20.0,
            height_px: 20.0,
            ..zoomed
        };
        assert_eq!(brief(&cull(&layout, &scrolled)), [(1, 0.0, 100.0, What::Node(2))]);
    }

    #[test]
    fn edges_are_on_device_pixels_and_never_overlap() {
        let layout = Layout::new(&sample::large(20_000));
        for ratio in [1.0, 1.25, 1.5, 2.0, 3.0] {
            for (left, width) in [(0.0, 1.0), (0.123, 0.01), (0.5, 1e-6)] {
                let view = Camera {
                    left,
                    width,
                    device_pixel_ratio: ratio,
                    ..camera(1111.0)
                };
                let culled = cull(&layout, &view);
                for found in &culled.boxes {
                    for edge in [found.left_px, found.right_px] {
                        let device = edge * ratio;
                        assert!((device - device.round()).abs() < 1e-6, "{edge} {ratio}");
                    }
                    assert!(found.right_px > found.left_px);
                }
                for pair in culled.boxes.windows(2) {
                    assert!(pair[0].row != pair[1].row || pair[0].right_px <= pair[1].left_px + 1e-9);
                }
            }
        }
    }

    #[test]
    fn every_node_of_an_unzoomed_graph_is_drawn_or_hidden() {
        let flame = sample::large(20_000);
        let layout = Layout::new(&flame);
        let culled = cull(
            &layout,
            &Camera {
                height_px: 1e6,
                ..camera(1000.0)
            },
        );
        let drawn = culled
            .boxes
            .iter()
            .filter(|found| matches!(found.what, What::Node(_)))
            .count() as u64;
        assert_eq!(drawn + culled.hidden, flame.nodes.len() as u64);
        assert!(culled.boxes.len() < 4000, "{}", culled.boxes.len());
    }

    #[test]
    fn a_camera_without_extent_sees_nothing() {
        let layout = Layout::new(&sample::flame(&[("a", 0, 1.0)]));
        for broken in [
            Camera {
                width: 0.0,
                ..camera(100.0)
            },
            Camera {
                width: f64::NAN,
                ..camera(100.0)
            },
            camera(0.0),
            Camera {
                row_px: 0.0,
                ..camera(100.0)
            },
        ] {
            assert_eq!(cull(&layout, &broken), Culled::default());
        }
    }
}
