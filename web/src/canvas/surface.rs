//! A canvas that follows its room, the screen's pixels and the theme, and draws at most once per frame.

use std::rc::Rc;

use leptos::html::Canvas;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{HtmlCanvasElement, MutationObserver, MutationObserverInit, ResizeObserver};

use super::Canvas2d;

/// Of the canvas, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub width_px: f64,
    pub height_px: f64,
    pub device_pixel_ratio: f64,
}

/// A handle; copies mean the same canvas.
#[derive(Debug, Clone, Copy)]
pub struct Surface {
    pub size: RwSignal<Size>,
    inner: StoredValue<Inner, LocalStorage>,
}

struct Inner {
    target: Option<(HtmlCanvasElement, Canvas2d)>,
    paint: Rc<dyn Fn(&mut Canvas2d)>,
    is_requested: bool,
}

/// Watches the element once it is there; `paint` runs in an animation frame after [`Surface::request`],
/// and whenever the size or the theme changes.
pub fn use_surface(canvas: NodeRef<Canvas>, paint: impl Fn(&mut Canvas2d) + 'static) -> Surface {
    let none = Size {
        width_px: 0.0,
        height_px: 0.0,
        device_pixel_ratio: 1.0,
    };
    let inner = Inner {
        target: None,
        paint: Rc::new(paint),
        is_requested: false,
    };
    let surface = Surface {
        size: RwSignal::new(none),
        inner: StoredValue::new_local(inner),
    };
    Effect::new(move |_| {
        if let Some(element) = canvas.get() {
            surface.watch(&element);
        }
    });
    surface
}

impl Surface {
    /// Draws in the next frame; asking again before it changes nothing.
    pub fn request(self) {
        let asked = self
            .inner
            .try_update_value(|inner| std::mem::replace(&mut inner.is_requested, true));
        if asked == Some(false) {
            request_animation_frame(move || self.draw());
        }
    }

    fn draw(self) {
        self.follow_size();
        let paint = self.inner.try_update_value(|inner| {
            inner.is_requested = false;
            Rc::clone(&inner.paint)
        });
        let Some(paint) = paint else { return };
        // Taken out while it draws: painting may ask for another frame.
        let target = self.inner.try_update_value(|inner| inner.target.take()).flatten();
        if let Some((element, mut to)) = target {
            untrack(|| paint(&mut to));
            self.inner
                .try_update_value(|inner| inner.target = Some((element, to)));
        }
    }

    fn watch(self, element: &HtmlCanvasElement) {
        let Some(canvas) = Canvas2d::new(element) else {
            return;
        };
        self.inner
            .update_value(|inner| inner.target = Some((element.clone(), canvas)));
        let on_size = Closure::<dyn FnMut()>::new(move || {
            self.follow_size();
            self.request();
        });
        let sizes = ResizeObserver::new(on_size.as_ref().unchecked_ref()).ok();
        if let Some(sizes) = &sizes {
            sizes.observe(element);
        }
        let on_theme = Closure::<dyn FnMut()>::new(move || self.follow_theme());
        let attributes = MutationObserver::new(on_theme.as_ref().unchecked_ref()).ok();
        let root = document().document_element();
        if let (Some(attributes), Some(root)) = (&attributes, root) {
            let what = MutationObserverInit::new();
            what.set_attributes(true);
            let _ = attributes.observe_with_options(&root, &what);
        }
        let scheme = window()
            .match_media("(prefers-color-scheme: dark)")
            .ok()
            .flatten();
        if let Some(scheme) = &scheme {
            let _ = scheme.add_event_listener_with_callback("change", on_theme.as_ref().unchecked_ref());
        }
        let kept = StoredValue::new_local(Some((on_size, on_theme, sizes, attributes, scheme)));
        on_cleanup(move || {
            let Some((_, on_theme, sizes, attributes, scheme)) =
                kept.try_update_value(Option::take).flatten()
            else {
                return;
            };
            sizes.inspect(ResizeObserver::disconnect);
            attributes.inspect(MutationObserver::disconnect);
            if let Some(scheme) = scheme {
                let _ =
                    scheme.remove_event_listener_with_callback("change", on_theme.as_ref().unchecked_ref());
            }
        });
    }

    /// Also called before each drawing: no event tells of a window that moved to another screen.
    fn follow_size(self) {
        let changed = self.inner.try_update_value(|inner| {
            let (element, canvas) = inner.target.as_mut()?;
            let room = element.get_bounding_client_rect();
            let size = Size {
                width_px: room.width(),
                height_px: room.height(),
                device_pixel_ratio: window().device_pixel_ratio().max(0.1),
            };
            (self.size.try_get_untracked()? != size).then(|| {
                canvas.resize(element, size.width_px, size.height_px, size.device_pixel_ratio);
                size
            })
        });
        if let Some(size) = changed.flatten() {
            self.size.set(size);
        }
    }

    fn follow_theme(self) {
        self.inner.try_update_value(|inner| {
            if let Some((element, canvas)) = inner.target.as_mut() {
                canvas.read_theme(element);
            }
        });
        self.request();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inner")
            .field("is_requested", &self.is_requested)
            .finish_non_exhaustive()
    }
}
