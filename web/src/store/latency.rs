//! How old the newest sample is when it has reached the screen: from allocation to pixel.
//!
//! The age is taken at the start of the animation frame after the one that drew it, so it is never too
//! small. It holds the difference between the two computers' clocks, which the page can't know.

use super::Store;
use crate::order::ranked;
use heaptide_protocol::session::Clock;
use leptos::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

const KEPT: u32 = 500;
/// The corner that shows it is no film.
const SUMMARY_MS: f64 = 1_000.0;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Summary {
    pub(crate) paints: u32,
    pub(crate) median_ms: f64,
    pub(crate) p95_ms: f64,
}

pub(super) struct Latency {
    /// `window.__heaptide.latency_ms`, for measurements from outside.
    ages_ms: js_sys::Array,
    last_sample_ns: u64,
    paints: u32,
    told_ms: f64,
}

impl Latency {
    pub(super) fn new() -> Self {
        let ages_ms = js_sys::Array::new();
        let shown = js_sys::Object::new();
        let _ = js_sys::Reflect::set(&shown, &"latency_ms".into(), &ages_ms);
        let _ = js_sys::Reflect::set(&js_sys::global(), &"__heaptide".into(), &shown);
        Self {
            ages_ms,
            last_sample_ns: 0,
            paints: 0,
            told_ms: 0.0,
        }
    }

    /// Notes the age of a sample that is being drawn now, if it is a new one.
    pub(super) fn measure(this: &Rc<RefCell<Self>>, store: Store, newest_ns: u64, clock: &Clock) {
        {
            let mut latency = this.borrow_mut();
            // The first one after a pause or a replay was waiting for us, not we for it.
            let first = latency.last_sample_ns == 0;
            if newest_ns <= latency.last_sample_ns && newest_ns + 10_000_000_000 > latency.last_sample_ns {
                return;
            }
            latency.last_sample_ns = newest_ns;
            if first {
                return;
            }
        }
        let taken_ms = (clock.unix_ns as f64 + (newest_ns as f64 - clock.session_ns as f64)) / 1e6;
        let this = this.clone();
        request_animation_frame(move || {
            let now_ms = js_sys::Date::now();
            let mut latency = this.borrow_mut();
            latency.ages_ms.push(&JsValue::from_f64(now_ms - taken_ms));
            if latency.ages_ms.length() > KEPT {
                latency.ages_ms.shift();
            }
            latency.paints += 1;
            if now_ms - latency.told_ms > SUMMARY_MS {
                latency.told_ms = now_ms;
                store.latency.set(latency.summary());
            }
        });
    }

    fn summary(&self) -> Summary {
        let ages: Vec<f64> = self.ages_ms.iter().filter_map(|age| age.as_f64()).collect();
        let order = ranked(ages.len(), &|a, b| ages[a].total_cmp(&ages[b]));
        let at = |share: f64| {
            let index = (ages.len().saturating_sub(1) as f64 * share) as usize;
            order.get(index).map_or(0.0, |at| ages[*at as usize])
        };
        Summary {
            paints: self.paints,
            median_ms: at(0.5),
            p95_ms: at(0.95),
        }
    }
}
