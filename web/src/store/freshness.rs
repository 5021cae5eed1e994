//! The browser's clock, for countdowns and ages.

/// Whole seconds from a moment of `Date.now()` to now.
pub(crate) fn seconds_since(then_ms: f64) -> f64 {
    (js_sys::Date::now() - then_ms) / 1_000.0
}
