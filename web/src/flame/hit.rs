//! What is under the pointer.

use super::{Camera, Culled, FlameBox};
use crate::canvas::Point;

/// The box at a point in CSS pixels from the top left of the view.
pub fn hit(culled: &Culled, camera: &Camera, at: Point) -> Option<FlameBox> {
    let row = ((at.y + camera.scroll_px) / camera.row_px).floor();
    if !(row >= 0.0 && at.y >= 0.0 && at.y < camera.height_px) {
        return None;
    }
    let row = row as u32;
    let after = culled
        .boxes
        .partition_point(|found| (found.row, found.left_px) <= (row, at.x));
    let found = *culled.boxes.get(after.checked_sub(1)?)?;
    (found.row == row && at.x < found.right_px).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, What, cull, sample};
    use super::*;

    #[test]
    fn points() {
        let mut nodes = vec![("a", 0, 1000.0), ("big", 1, 500.0), ("next", 1, 200.0)];
        nodes.extend([("tiny", 1, 4.0); 10]);
        let layout = Layout::new(&sample::flame(&nodes));
        let camera = Camera {
            height_px: 60.0,
            ..super::super::cull::camera(100.0)
        };
        let culled = cull(&layout, &camera);
        for (x, y, expect) in [
            (0.0, 0.0, Some(What::Node(0))),
            (99.9, 19.9, Some(What::Node(0))),
            (49.9, 20.0, Some(What::Node(1))),
            (50.0, 20.0, Some(What::Node(2))),
            (71.0, 25.0, Some(What::Merged { first: 3, count: 10 })),
            (75.0, 25.0, None),
            (10.0, 45.0, None),
            (-1.0, 5.0, None),
            (100.0, 5.0, None),
            (10.0, -1.0, None),
            (10.0, f64::NAN, None),
        ] {
            assert_eq!(
                hit(&culled, &camera, Point { x, y }).map(|found| found.what),
                expect,
                "{x} {y}"
            );
        }
        let scrolled = Camera {
            scroll_px: 20.0,
            ..camera
        };
        let culled = cull(&layout, &scrolled);
        let found = hit(&culled, &scrolled, Point { x: 10.0, y: 5.0 });
        assert_eq!(found.map(|found| found.what), Some(What::Node(1)));
    }
}
