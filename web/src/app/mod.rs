//! The frame around the pages: navigation, connection, theme, keys, what is shown beside every page.

pub mod commands;
#[cfg(target_arch = "wasm32")]
pub(crate) mod history;
