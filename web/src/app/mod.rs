//! The frame around the pages: navigation, connection, theme, keys, what is shown beside every page.

pub mod commands;
#[cfg(target_arch = "wasm32")]
pub(crate) mod history;
#[cfg(target_arch = "wasm32")]
mod keys;
#[cfg(target_arch = "wasm32")]
mod shell;
#[cfg(target_arch = "wasm32")]
mod status;
#[cfg(target_arch = "wasm32")]
mod theme;
