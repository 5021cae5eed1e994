//! A part of the page that is markup and one listener, as the drawn views are: forms and lists need no signals.
//!
//! What can be done is marked with `data-act`; what is filled in later, with `data-part`.

use crate::canvas::dom::{Listener, part};
use crate::canvas::escape;
use js_sys::Reflect;
use leptos::html;
use leptos::prelude::*;
use std::cell::RefCell;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event};

/// The part's root, the act, and the element that it was marked on.
pub(super) type Hear = Box<dyn Fn(&Element, &str, &Element)>;

/// `mounted` runs once the markup is in the page.
pub(super) fn island(markup: String, mounted: Box<dyn FnOnce(&Element)>, hear: Hear) -> AnyView {
    let root = NodeRef::<html::Div>::new();
    let kept: StoredValue<Option<Listener>, LocalStorage> = StoredValue::new_local(None);
    let once = RefCell::new(Some((mounted, hear)));
    Effect::new(move || {
        let Some(element) = root.get() else { return };
        let Some((mounted, hear)) = once.borrow_mut().take() else {
            return;
        };
        let element: Element = element.unchecked_into();
        let heard = element.clone();
        let on_event = move |event: Event| {
            let target = event
                .target()
                .and_then(|target| target.dyn_into::<Element>().ok());
            let Some(on) = target.and_then(|target| target.closest("[data-act]").ok().flatten()) else {
                return;
            };
            // A field acts when it has changed, all else when it is clicked.
            if on.has_attribute("data-field") == (event.type_() == "change") {
                hear(&heard, &on.get_attribute("data-act").unwrap_or_default(), &on);
            }
        };
        kept.set_value(Some(Listener::new(
            &element,
            &["click", "change"],
            Box::new(on_event),
        )));
        mounted(&element);
    });
    view! { <div class="island" node_ref=root inner_html=markup></div> }.into_any()
}

/// What stands in a field.
pub(super) fn value(root: &Element, name: &str) -> String {
    field(root, name, "value").as_string().unwrap_or_default()
}

pub(super) fn is_checked(root: &Element, name: &str) -> bool {
    field(root, name, "checked").is_truthy()
}

pub(super) fn set_value(root: &Element, name: &str, value: &str) {
    if let Some(element) = part(root, name) {
        let _ = Reflect::set(&element, &"value".into(), &value.into());
    }
}

fn field(root: &Element, name: &str, property: &str) -> wasm_bindgen::JsValue {
    part(root, name)
        .and_then(|element| Reflect::get(&element, &property.into()).ok())
        .unwrap_or_default()
}

/// The revision that is shown, which a change starts from.
pub(super) fn revision(root: &Element, name: &str) -> String {
    let shown = part(root, name).and_then(|shown| shown.text_content());
    shown
        .filter(|shown| !shown.is_empty())
        .unwrap_or_else(|| "0".to_owned())
}

pub(super) fn fill(root: &Element, name: &str, markup: &str) {
    if let Some(element) = part(root, name) {
        element.set_inner_html(markup);
    }
}

/// A sentence, for a person who waits for it.
pub(super) fn say(root: &Element, name: &str, words: &str) {
    fill(root, name, &escape(words));
}
