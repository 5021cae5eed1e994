//! A canvas that follows its room, the screen's pixels and the theme.

use std::cell::Cell;
use std::rc::Rc;

use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{HtmlCanvasElement, MediaQueryList, MutationObserver, MutationObserverInit, ResizeObserver};

use super::{Canvas2d, WeakFrame};

/// Of the canvas, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub width_px: f64,
    pub height_px: f64,
    pub device_pixel_ratio: f64,
}

pub struct Surface {
    element: HtmlCanvasElement,
    canvas: Canvas2d,
    size: Size,
    has_new_theme: Rc<Cell<bool>>,
    sizes: Option<ResizeObserver>,
    attributes: Option<MutationObserver>,
    scheme: Option<MediaQueryList>,
    _on_size: Closure<dyn FnMut()>,
    on_theme: Closure<dyn FnMut()>,
}

impl Surface {
    /// Asks for a frame whenever the size or the theme changes. `None` if the browser has no 2D context.
    pub fn new(element: HtmlCanvasElement, frame: WeakFrame) -> Option<Self> {
        let canvas = Canvas2d::new(&element)?;
        let has_new_theme = Rc::new(Cell::new(false));
        let on_size = {
            let frame = frame.clone();
            Closure::wrap(Box::new(move || frame.request()) as Box<dyn FnMut()>)
        };
        let on_theme = {
            let has_new_theme = Rc::clone(&has_new_theme);
            Closure::wrap(Box::new(move || {
                has_new_theme.set(true);
                frame.request();
            }) as Box<dyn FnMut()>)
        };
        let sizes = ResizeObserver::new(on_size.as_ref().unchecked_ref()).ok();
        if let Some(sizes) = &sizes {
            sizes.observe(&element);
        }
        let attributes = MutationObserver::new(on_theme.as_ref().unchecked_ref()).ok();
        let window = web_sys::window()?;
        if let (Some(attributes), Some(root)) = (&attributes, window.document()?.document_element()) {
            let what = MutationObserverInit::new();
            what.set_attributes(true);
            let _ = attributes.observe_with_options(&root, &what);
        }
        let scheme = window.match_media("(prefers-color-scheme: dark)").ok().flatten();
        if let Some(scheme) = &scheme {
            let _ = scheme.add_event_listener_with_callback("change", on_theme.as_ref().unchecked_ref());
        }
        let size = Size {
            width_px: 0.0,
            height_px: 0.0,
            device_pixel_ratio: 1.0,
        };
        let _on_size = on_size;
        Some(Self {
            element,
            canvas,
            size,
            has_new_theme,
            sizes,
            attributes,
            scheme,
            _on_size,
            on_theme,
        })
    }

    /// Follows what has changed since the last frame, before drawing; true if all must be drawn again.
    /// The screen's pixels are read here too: no event tells of a window that moved to another screen.
    pub fn follow(&mut self) -> bool {
        let room = self.element.get_bounding_client_rect();
        let ratio = web_sys::window()
            .map_or(1.0, |window| window.device_pixel_ratio())
            .max(0.1);
        let size = Size {
            width_px: room.width(),
            height_px: room.height(),
            device_pixel_ratio: ratio,
        };
        let has_new_theme = self.has_new_theme.replace(false);
        if has_new_theme {
            self.canvas.read_theme(&self.element);
        }
        let has_new_size = self.size != size;
        if has_new_size {
            self.size = size;
            self.canvas
                .resize(&self.element, size.width_px, size.height_px, ratio);
        }
        has_new_size || has_new_theme
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn canvas(&mut self) -> &mut Canvas2d {
        &mut self.canvas
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        if let Some(sizes) = &self.sizes {
            sizes.disconnect();
        }
        if let Some(attributes) = &self.attributes {
            attributes.disconnect();
        }
        if let Some(scheme) = &self.scheme {
            let _ =
                scheme.remove_event_listener_with_callback("change", self.on_theme.as_ref().unchecked_ref());
        }
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Surface")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
