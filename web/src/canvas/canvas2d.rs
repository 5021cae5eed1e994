//! [`Renderer`] on a Canvas2D context.

use wasm_bindgen::JsCast as _;
use wasm_bindgen::JsValue;
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, HtmlElement};

use super::{Align, Face, Ink, Point, Rect, Renderer, Stroke};

/// Between two slanted lines of a hatch.
const HATCH_PX: f64 = 6.0;

#[derive(Debug)]
pub struct Canvas2d {
    context: CanvasRenderingContext2d,
    width_px: f64,
    height_px: f64,
    device_pixel_ratio: f64,
    /// By [`Ink::index`], as the browser writes them: `rgb(…)`.
    inks: Vec<String>,
    /// By face, with the width of a character.
    fonts: [(String, f64); 2],
    // What the context is set to, so that it is not set again.
    fill: Option<Ink>,
    face: Option<Face>,
}

impl Canvas2d {
    /// `None` if the browser has no 2D context to give.
    pub fn new(canvas: &HtmlCanvasElement) -> Option<Self> {
        let context = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        let mut made = Self {
            context,
            width_px: 0.0,
            height_px: 0.0,
            device_pixel_ratio: 1.0,
            inks: Vec::new(),
            fonts: [(String::new(), 0.0), (String::new(), 0.0)],
            fill: None,
            face: None,
        };
        made.read_theme(canvas);
        Some(made)
    }

    /// Sizes the canvas in CSS pixels; it loses what was drawn.
    pub fn resize(&mut self, canvas: &HtmlCanvasElement, width_px: f64, height_px: f64, ratio: f64) {
        (self.width_px, self.height_px, self.device_pixel_ratio) = (width_px, height_px, ratio);
        canvas.set_width((width_px * ratio).round() as u32);
        canvas.set_height((height_px * ratio).round() as u32);
        (self.fill, self.face) = (None, None);
    }

    /// Asks the stylesheet for colours and fonts. A hidden element resolves them: a custom property by
    /// itself would come back as it is written, `light-dark()` and all.
    pub fn read_theme(&mut self, canvas: &HtmlCanvasElement) {
        let probe = canvas
            .owner_document()
            .and_then(|document| document.create_element("span").ok())
            .and_then(|probe| probe.dyn_into::<HtmlElement>().ok());
        let (Some(probe), Some(window), Some(parent)) = (probe, web_sys::window(), canvas.parent_element())
        else {
            return;
        };
        probe.set_hidden(true);
        if parent.append_child(&probe).is_err() {
            return;
        }
        let element: &Element = &probe;
        if let Ok(Some(computed)) = window.get_computed_style(element) {
            let resolve = |property: &str, value: &str| {
                let _ = probe.style().set_property(property, value);
                computed.get_property_value(property).unwrap_or_default()
            };
            self.inks = Ink::TOKENS
                .iter()
                .map(|token| resolve("color", &format!("var({token})")))
                .collect();
            for (font, token) in self.fonts.iter_mut().zip(["--canvas-label", "--canvas-figure"]) {
                resolve("font", &format!("var({token})"));
                // The shorthand of a computed style may be empty; its parts never are.
                let part = |name: &str| computed.get_property_value(name).unwrap_or_default();
                let face = format!(
                    "{} {} {}",
                    part("font-weight"),
                    part("font-size"),
                    part("font-family")
                );
                *font = (face, 0.0);
            }
        }
        probe.remove();
        (self.fill, self.face) = (None, None);
    }

    fn set_fill(&mut self, ink: Ink) {
        if self.fill != Some(ink) {
            self.context
                .set_fill_style_str(self.inks.get(ink.index()).map_or("gray", String::as_str));
            self.fill = Some(ink);
        }
    }

    fn set_stroke(&self, ink: Ink, stroke: Stroke) {
        self.context
            .set_stroke_style_str(self.inks.get(ink.index()).map_or("gray", String::as_str));
        self.context.set_line_width(stroke.width);
        let dash = js_sys::Array::new();
        if stroke.dash.0 > 0.0 {
            dash.push(&JsValue::from_f64(stroke.dash.0));
            dash.push(&JsValue::from_f64(stroke.dash.1));
        }
        let _ = self.context.set_line_dash(&dash);
    }

    fn set_face(&mut self, face: Face) {
        if self.face != Some(face) {
            self.context.set_font(&self.fonts[face as usize].0);
            self.context.set_text_baseline("middle");
            self.face = Some(face);
        }
    }

    fn trace(&self, points: &[Point]) {
        self.context.begin_path();
        for (index, point) in points.iter().enumerate() {
            if index == 0 {
                self.context.move_to(point.x, point.y);
            } else {
                self.context.line_to(point.x, point.y);
            }
        }
    }
}

impl Renderer for Canvas2d {
    fn clear(&mut self) {
        let ratio = self.device_pixel_ratio;
        let _ = self.context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
        self.context.clear_rect(0.0, 0.0, self.width_px, self.height_px);
    }

    fn fill_rect(&mut self, ink: Ink, rect: Rect) {
        self.set_fill(ink);
        self.context.fill_rect(rect.x, rect.y, rect.width, rect.height);
    }

    fn line(&mut self, ink: Ink, points: &[Point], stroke: Stroke) {
        self.set_stroke(ink, stroke);
        self.trace(points);
        self.context.stroke();
    }

    fn area(&mut self, ink: Ink, outline: &[Point]) {
        self.set_fill(ink);
        self.trace(outline);
        self.context.fill();
    }

    fn hatch(&mut self, ink: Ink, outline: &[Point]) {
        let ends = |value: fn(&Point) -> f64| {
            outline
                .iter()
                .map(value)
                .fold((f64::MAX, f64::MIN), |(low, high), at| {
                    (low.min(at), high.max(at))
                })
        };
        let ((left, right), (top, bottom)) = (ends(|point| point.x), ends(|point| point.y));
        if !(right > left && bottom > top) {
            return;
        }
        self.context.save();
        self.trace(outline);
        self.context.clip();
        self.set_stroke(ink, Stroke::HAIR);
        self.context.begin_path();
        // From a fixed origin, so that neighbouring areas share one pattern.
        let mut at = ((left + top) / HATCH_PX).floor() * HATCH_PX;
        while at < right + bottom {
            self.context.move_to(at - top, top);
            self.context.line_to(at - bottom, bottom);
            at += HATCH_PX;
        }
        self.context.stroke();
        self.context.restore();
        (self.fill, self.face) = (None, None);
    }

    fn text(&mut self, ink: Ink, face: Face, align: Align, at: Point, text: &str) {
        self.set_fill(ink);
        self.set_face(face);
        self.context.set_text_align(match align {
            Align::Start => "left",
            Align::Middle => "center",
            Align::End => "right",
        });
        let _ = self.context.fill_text(text, at.x, at.y);
    }

    fn char_width(&mut self, face: Face) -> f64 {
        const TYPICAL: &str = "http.(*Mux).NewReadWriterWithNumbers";
        if self.fonts[face as usize].1 == 0.0 {
            let width = self.text_width(face, TYPICAL);
            self.fonts[face as usize].1 = (width / TYPICAL.len() as f64).max(1.0);
        }
        self.fonts[face as usize].1
    }

    fn text_width(&mut self, face: Face, text: &str) -> f64 {
        self.set_face(face);
        self.context
            .measure_text(text)
            .map_or(0.0, |metrics| metrics.width())
    }
}
