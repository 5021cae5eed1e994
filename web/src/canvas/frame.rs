//! Work that is done at most once per animation frame, however often it is asked for.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;

/// A handle; clones mean the same work. It ends with the last of them.
#[derive(Clone)]
pub struct Frame(Rc<Inner>);

struct Inner {
    callback: Closure<dyn FnMut()>,
    pending: Rc<Cell<Option<i32>>>,
}

impl Frame {
    pub fn new(work: Box<dyn FnMut()>) -> Self {
        let pending = Rc::new(Cell::new(None));
        let (work, asked) = (RefCell::new(work), Rc::clone(&pending));
        let callback = Closure::wrap(Box::new(move || {
            asked.set(None);
            if let Ok(mut work) = work.try_borrow_mut() {
                work();
            }
        }) as Box<dyn FnMut()>);
        Self(Rc::new(Inner { callback, pending }))
    }

    /// In the next frame; asking again before it changes nothing.
    pub fn request(&self) {
        if self.0.pending.get().is_none()
            && let Some(window) = web_sys::window()
        {
            let callback = self.0.callback.as_ref().unchecked_ref();
            self.0.pending.set(window.request_animation_frame(callback).ok());
        }
    }

    /// For what the work itself holds, so that it doesn't keep itself alive.
    pub fn downgrade(&self) -> WeakFrame {
        WeakFrame(Rc::downgrade(&self.0))
    }
}

#[derive(Clone)]
pub struct WeakFrame(Weak<Inner>);

impl WeakFrame {
    pub fn request(&self) {
        if let Some(inner) = self.0.upgrade() {
            Frame(inner).request();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let (Some(pending), Some(window)) = (self.pending.get(), web_sys::window()) {
            let _ = window.cancel_animation_frame(pending);
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Frame")
            .field("pending", &self.0.pending.get())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WeakFrame {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WeakFrame").finish_non_exhaustive()
    }
}
