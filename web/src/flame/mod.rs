//! The flame graph: callers on top, width by bytes, and its twin, a table that a keyboard and a screen
//! reader can walk.
//!
//! Pure steps, each a file: a [`Flame`](heaptide_analysis::views::Flame) becomes a [`Scene`] once per
//! refresh (layout, keys, colours), [`cull`] picks what a [`Camera`] can see, [`paint`] draws it, [`hit`]
//! finds what is under a point. What is too narrow is merged and counted, never dropped in silence. Left
//! out: bottom-up and sandwich views, differences.

mod colour;
mod cull;
#[cfg(target_arch = "wasm32")]
mod graph;
mod hit;
mod key;
mod label;
mod layout;
mod paint;
mod rows;
mod scene;
mod search;
mod state;
#[cfg(target_arch = "wasm32")]
mod table;
mod table_state;
mod tip;
mod words;

pub use colour::{Hue, hue_of, package_of};
pub use cull::{Camera, Culled, FlameBox, What, cull};
#[cfg(target_arch = "wasm32")]
pub(crate) use graph::flame_graph;
pub use hit::hit;
pub use key::{NodeKey, node_of, path_of};
pub use label::{elide, short_name};
pub use layout::{Layout, Step};
pub use paint::paint;
pub use rows::{FunctionRow, Order, TreeRow, function_rows, opened_to, tree_rows};
pub use scene::Scene;
pub use search::{Matches, search};
pub use state::{Ask, GraphInput, GraphState};
#[cfg(target_arch = "wasm32")]
pub(crate) use table::flame_table;
pub use table_state::TableState;
pub use tip::tip;
pub use words::{describe, metric_word, status};

#[cfg(test)]
mod sample;
