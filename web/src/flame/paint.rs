//! Draws what [`cull`](super::cull) left: one rectangle per box, a name where one fits.

use std::borrow::Cow;

use super::{Camera, Culled, FlameBox, Hue, Matches, Scene, What, elide};
use crate::canvas::{Align, Face, Ink, Point, Rect, Renderer};

/// From this width a box has a name, in CSS pixels.
const LABEL_FROM_PX: f64 = 20.0;
/// Up to this width boxes touch: a gap would eat them.
const GAP_FROM_PX: f64 = 3.0;
const PADDING_PX: f64 = 4.0;

/// Draws at most one rectangle and one text per box.
pub fn paint(
    to: &mut impl Renderer,
    scene: &Scene,
    culled: &Culled,
    camera: &Camera,
    matches: Option<&Matches>,
) {
    to.clear();
    let ink_of = |found: &FlameBox| match found.what {
        What::Merged { .. } => Ink::FlameMerged,
        What::Node(node) if dimmed(matches, node) => Ink::FlameDim,
        What::Node(node) => Ink::Flame(scene.hue(node)),
    };
    // One colour after the other: changing the fill costs more than a rectangle.
    for ink in fills() {
        for found in culled.boxes.iter().filter(|found| ink_of(found) == ink) {
            to.fill_rect(ink, body(found, camera));
        }
    }
    let char_px = to.char_width(Face::Label).max(1.0);
    for is_dim in [false, true] {
        let ink = if is_dim { Ink::FlameTextDim } else { Ink::FlameText };
        for found in &culled.boxes {
            let What::Node(node) = found.what else { continue };
            if found.right_px - found.left_px < LABEL_FROM_PX || dimmed(matches, node) != is_dim {
                continue;
            }
            let room_px = found.right_px - found.left_px - 2.0 * PADDING_PX;
            let label = label(to, scene.function(node), room_px, char_px);
            if !label.is_empty() {
                let rect = body(found, camera);
                let at = Point {
                    x: rect.x + PADDING_PX,
                    y: rect.y + rect.height / 2.0,
                };
                to.text(ink, Face::Label, Align::Start, at, &label);
            }
        }
    }
}

/// Names are cut by the mean width of a character; what may run over its box is measured.
fn label<'a>(to: &mut impl Renderer, function: &'a str, room_px: f64, char_px: f64) -> Cow<'a, str> {
    let most = (room_px / char_px) as usize;
    let label = elide(function, most);
    let is_tight = label.len() as f64 * char_px > room_px * 0.75;
    if !is_tight {
        return label;
    }
    let width_px = to.text_width(Face::Label, &label);
    if width_px <= room_px {
        return label;
    }
    elide(function, (most as f64 * room_px / width_px) as usize)
}

fn fills() -> impl Iterator<Item = Ink> {
    let packages = (0..Hue::BUCKETS).map(|bucket| Ink::Flame(Hue::Package(bucket)));
    packages.chain([Ink::Flame(Hue::Runtime), Ink::FlameDim, Ink::FlameMerged])
}

fn dimmed(matches: Option<&Matches>, node: u32) -> bool {
    matches.is_some_and(|found| found.nodes.get(node as usize) == Some(&false))
}

/// A box less the gaps to its neighbours: a device pixel to the right, one below.
fn body(found: &FlameBox, camera: &Camera) -> Rect {
    let device_px = 1.0 / camera.device_pixel_ratio;
    let width = found.right_px - found.left_px;
    let gap = if width >= GAP_FROM_PX { device_px } else { 0.0 };
    let y = crate::canvas::snap(
        f64::from(found.row) * camera.row_px - camera.scroll_px,
        camera.device_pixel_ratio,
    );
    Rect {
        x: found.left_px,
        y,
        width: width - gap,
        height: camera.row_px - device_px,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{cull, sample, search};
    use super::*;
    use crate::canvas::Stroke;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Record {
        rects: Vec<(Ink, Rect)>,
        texts: Vec<(Ink, String)>,
        ink_changes: usize,
    }

    impl Renderer for Record {
        fn clear(&mut self) {
            *self = Self::default();
        }
        fn fill_rect(&mut self, ink: Ink, rect: Rect) {
            self.ink_changes += usize::from(self.rects.last().is_none_or(|last| last.0 != ink));
            self.rects.push((ink, rect));
        }
        fn line(&mut self, _: Ink, _: &[Point], _: Stroke) {}
        fn area(&mut self, _: Ink, _: &[Point]) {}
        fn hatch(&mut self, _: Ink, _: &[Point]) {}
        fn text(&mut self, ink: Ink, _: Face, _: Align, _: Point, text: &str) {
            self.texts.push((ink, text.to_owned()));
        }
        fn char_width(&mut self, _: Face) -> f64 {
            6.0
        }
        fn text_width(&mut self, _: Face, text: &str) -> f64 {
            // Capitals are wide.
            text.chars()
                .map(|letter| if letter.is_uppercase() { 12.0 } else { 6.0 })
                .sum()
        }
    }

    fn draw(scene: &Scene, camera: &Camera, text: &str) -> (Record, Culled) {
        let culled = cull(&scene.layout, camera);
        let matches = search(&scene.flame, &scene.layout, text);
        let mut record = Record::default();
        paint(&mut record, scene, &culled, camera, matches.as_ref());
        (record, culled)
    }

    #[test]
    fn draws_each_visible_box_once_and_names_the_wide_ones() {
        let scene = Scene::new(Arc::new(sample::large(20_000)));
        let camera = Camera {
            height_px: 1e6,
            ..cull::camera(1000.0)
        };
        let (record, culled) = draw(&scene, &camera, "");
        assert_eq!(record.rects.len(), culled.boxes.len());
        assert!(record.ink_changes <= Hue::COUNT + 2);
        let wide = culled
            .boxes
            .iter()
            .filter(|found| found.right_px - found.left_px >= LABEL_FROM_PX)
            .count();
        assert!(record.texts.len() <= wide && wide > 0);
        assert!(record.rects.iter().all(|(_, rect)| rect.width > 0.0));
    }

    #[test]
    fn wide_letters_stay_in_their_box() {
        let scene = Scene::new(Arc::new(sample::flame(&[("image.NewRGBA", 0, 1.0)])));
        for (width_px, expect) in [(120.0, "image.NewRGBA"), (90.0, "NewRGBA"), (60.0, "NewR…")] {
            let (record, _) = draw(&scene, &cull::camera(width_px), "");
            assert_eq!(record.texts[0].1, expect, "{width_px}");
        }
    }

    #[test]
    fn a_search_dims_the_rest() {
        let flame = sample::flame(&[
            ("main.main", 0, 100.0),
            ("main.leak", 1, 60.0),
            ("fmt.Print", 1, 40.0),
        ]);
        let scene = Scene::new(Arc::new(flame));
        let (record, _) = draw(&scene, &cull::camera(500.0), "leak");
        let dim = record
            .rects
            .iter()
            .filter(|(ink, _)| *ink == Ink::FlameDim)
            .count();
        assert_eq!(dim, 2);
        assert_eq!(record.texts[0], (Ink::FlameText, "main.leak".to_owned()));
        assert_eq!(record.texts.len(), 3);
    }
}
