//! The few calls by which the drawn views touch the page.
//!
//! These views are not built of signals and closures: one state, one function that shows it, once per frame.
//! Leptos compiles a set of its machinery for each type of closure in a view, and these views would need
//! some hundred.

use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{Element, Event, EventTarget, HtmlElement};

/// The element that the markup marks with `data-part`.
pub fn part(root: &Element, name: &str) -> Option<HtmlElement> {
    root.query_selector(&format!("[data-part={name}]"))
        .ok()??
        .dyn_into()
        .ok()
}

pub fn set_text(element: &HtmlElement, text: &str) {
    element.set_text_content(Some(text));
}

/// `None` takes the attribute away.
pub fn set_attribute(element: &HtmlElement, name: &str, value: Option<&str>) {
    let _ = match value {
        Some(value) => element.set_attribute(name, value),
        None => element.remove_attribute(name),
    };
}

pub fn set_style(element: &HtmlElement, property: &str, value: &str) {
    let _ = element.style().set_property(property, value);
}

/// Moves an element by CSS pixels from where it is laid out; `None` hides it.
pub fn place(element: &HtmlElement, at: Option<super::Rect>) {
    element.set_hidden(at.is_none());
    if let Some(at) = at {
        use crate::format::px;
        set_style(
            element,
            "transform",
            &format!("translate({},{})", px(at.x), px(at.y)),
        );
        set_style(element, "width", &px(at.width));
        set_style(element, "height", &px(at.height));
    }
}

/// Hears events until it is dropped.
pub struct Listener {
    target: EventTarget,
    kinds: &'static [&'static str],
    heard: Closure<dyn FnMut(Event)>,
}

impl Listener {
    pub fn new(target: &EventTarget, kinds: &'static [&'static str], hear: Box<dyn FnMut(Event)>) -> Self {
        let heard = Closure::wrap(hear);
        for kind in kinds {
            let _ = target.add_event_listener_with_callback(kind, heard.as_ref().unchecked_ref());
        }
        Self {
            target: target.clone(),
            kinds,
            heard,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for kind in self.kinds {
            let _ = self
                .target
                .remove_event_listener_with_callback(kind, self.heard.as_ref().unchecked_ref());
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Listener")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}
