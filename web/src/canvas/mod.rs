//! What the flame graph and the timeline draw with: a small set of strokes behind one trait.
//!
//! [`Renderer`] is implemented for Canvas2D; a WebGL2 one needs no change above it. Coordinates are CSS
//! pixels; [`snap`] puts edges on device pixels, so that boxes are crisp at any zoom. Colours are names
//! ([`Ink`]) that the stylesheet gives a value for each theme. Hover, selection and focus are not drawn
//! here: they are DOM elements above the canvas, so that moving the pointer redraws nothing.

#[cfg(target_arch = "wasm32")]
mod canvas2d;
#[cfg(target_arch = "wasm32")]
pub mod dom;
#[cfg(target_arch = "wasm32")]
mod frame;
mod html;
mod ink;
#[cfg(target_arch = "wasm32")]
mod surface;

#[cfg(target_arch = "wasm32")]
pub use canvas2d::Canvas2d;
#[cfg(target_arch = "wasm32")]
pub use frame::{Frame, WeakFrame};
pub use html::{copyable, escape};
pub use ink::Ink;
#[cfg(target_arch = "wasm32")]
pub use surface::{Size, Surface};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    pub width: f64,
    /// On and off lengths; `(0, 0)` is solid.
    pub dash: (f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Start,
    Middle,
    End,
}

/// The two faces that canvases write in; their fonts come from the stylesheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Names in flame boxes.
    Label,
    /// Axis figures and flags.
    Figure,
}

pub trait Renderer {
    fn clear(&mut self);
    fn fill_rect(&mut self, ink: Ink, rect: Rect);
    fn line(&mut self, ink: Ink, points: &[Point], stroke: Stroke);
    /// Fills a closed outline.
    fn area(&mut self, ink: Ink, outline: &[Point]);
    /// Fills a closed outline with slanted lines, for what is known only as a remainder or not at all.
    fn hatch(&mut self, ink: Ink, outline: &[Point]);
    /// Writes one line, its middle at `at.y`.
    fn text(&mut self, ink: Ink, face: Face, align: Align, at: Point, text: &str);
    /// The mean width of a character, for cutting names without measuring each.
    fn char_width(&mut self, face: Face) -> f64;
    fn text_width(&mut self, face: Face, text: &str) -> f64;
}

impl Stroke {
    pub const HAIR: Self = Self::solid(1.0);

    pub const fn solid(width: f64) -> Self {
        Self {
            width,
            dash: (0.0, 0.0),
        }
    }

    pub const fn dashed(width: f64, on: f64, off: f64) -> Self {
        Self {
            width,
            dash: (on, off),
        }
    }
}

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn outline(&self) -> [Point; 4] {
        [
            Point { x: self.x, y: self.y },
            Point {
                x: self.right(),
                y: self.y,
            },
            Point {
                x: self.right(),
                y: self.bottom(),
            },
            Point {
                x: self.x,
                y: self.bottom(),
            },
        ]
    }
}

/// The nearest edge of a device pixel, in CSS pixels.
pub fn snap(at: f64, device_pixel_ratio: f64) -> f64 {
    (at * device_pixel_ratio).round() / device_pixel_ratio
}
