//! The console: one module, used twice, on the page and in its worker.
//!
//! What is pure (addresses, the connection's state machine, the worker's state machine, layout, formats)
//! compiles natively and is tested there; what touches a browser is behind `target_arch = "wasm32"`.

#![cfg_attr(
    target_arch = "wasm32",
    expect(
        unreachable_pub,
        reason = "the component macro makes each component's function public"
    )
)]

pub mod app;
pub mod canvas;
pub mod chart;
pub mod flame;
pub mod format;
#[cfg(target_arch = "wasm32")]
mod hub;
pub mod net;
pub mod pages;
#[cfg(target_arch = "wasm32")]
mod panic;
pub mod sampling;
#[cfg(target_arch = "wasm32")]
mod store;
#[cfg(target_arch = "wasm32")]
mod ui;
pub mod url;
pub mod worker;

pub use heaptide_analysis::order;
