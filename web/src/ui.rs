//! Closures for views, boxed: one type of text, of attribute, of part of a page.
//!
//! Leptos compiles a full set of its machinery for each type of closure in a view. Behind these aliases there
//! is one set for all of them, which is worth a third of the download; a virtual call per change is not felt.

use leptos::prelude::*;
use web_sys::{Event, MouseEvent};

pub(crate) type Text = Box<dyn FnMut() -> String + Send>;
pub(crate) type Maybe = Box<dyn FnMut() -> Option<String> + Send>;
pub(crate) type Flag = Box<dyn FnMut() -> bool + Send>;
pub(crate) type Part = Box<dyn FnMut() -> AnyView + Send>;

/// A text node or an attribute that is always there.
pub(crate) fn text(read: impl FnMut() -> String + Send + 'static) -> Text {
    Box::new(read)
}

/// An attribute that can be absent.
pub(crate) fn maybe(read: impl FnMut() -> Option<String> + Send + 'static) -> Maybe {
    Box::new(read)
}

/// A boolean attribute or property.
pub(crate) fn flag(read: impl FnMut() -> bool + Send + 'static) -> Flag {
    Box::new(read)
}

/// A part of a page that is built anew when what it reads changes.
pub(crate) fn part(build: impl FnMut() -> AnyView + Send + 'static) -> Part {
    Box::new(build)
}

/// Nothing, as a part.
pub(crate) fn nothing() -> AnyView {
    ().into_any()
}

pub(crate) fn click(act: impl FnMut(MouseEvent) + 'static) -> Box<dyn FnMut(MouseEvent)> {
    Box::new(act)
}

/// For `input` and `change`.
pub(crate) fn input(act: impl FnMut(Event) + 'static) -> Box<dyn FnMut(Event)> {
    Box::new(act)
}

/// One of the symbols in `index.html`.
pub(crate) fn icon(name: &str) -> AnyView {
    let href = format!("#i-{name}");
    view! {
        <svg class="icon" width="16" height="16" aria-hidden="true">
            <use_ href=href></use_>
        </svg>
    }
    .into_any()
}
