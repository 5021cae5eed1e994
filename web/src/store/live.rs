//! Data beside the signals: a value that lives as long as the page, and a signal that only says "changed".
//!
//! A signal per type would bring the whole reactive machinery for that type; this shares one for all. It
//! also lets a reader look into the value without a copy.

use leptos::prelude::*;
use std::sync::{PoisonError, RwLock};

pub(crate) struct Live<T: 'static> {
    value: &'static RwLock<T>,
    changed: RwSignal<()>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Live<T> {}

impl<T> Live<T> {
    /// Never freed: for what lives as long as the page.
    pub(super) fn new(value: T) -> Self {
        Self {
            value: Box::leak(Box::new(RwLock::new(value))),
            changed: RwSignal::new(()),
        }
    }

    /// Reads, and runs the reader's surroundings again when it changes.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        self.changed.track();
        self.peek(read)
    }

    /// Reads without being told of changes.
    pub(crate) fn peek<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify();
    }

    pub(crate) fn set(&self, value: T) {
        self.update(|old| *old = value);
    }
}

impl<T: Clone> Live<T> {
    pub(crate) fn get(&self) -> T {
        self.with(T::clone)
    }
}
