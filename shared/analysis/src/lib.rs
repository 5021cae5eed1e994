//! From frames to answers: live heap, lifetimes, collections, errors. The same code natively and in the browser.

pub mod views;

/// Intervals are shown at this level.
pub const CONFIDENCE: f64 = 0.99;
