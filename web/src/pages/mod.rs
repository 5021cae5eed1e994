//! What each address shows.

mod explain;
mod grouping;
mod lacks;
mod losses;
mod naming;

#[cfg(target_arch = "wasm32")]
mod about;
#[cfg(target_arch = "wasm32")]
mod capabilities;
#[cfg(target_arch = "wasm32")]
mod controls;
#[cfg(target_arch = "wasm32")]
mod figures;
#[cfg(target_arch = "wasm32")]
mod flame;
#[cfg(target_arch = "wasm32")]
mod fleet;
#[cfg(target_arch = "wasm32")]
mod live;
#[cfg(target_arch = "wasm32")]
mod loss_panel;
#[cfg(target_arch = "wasm32")]
mod report;
#[cfg(target_arch = "wasm32")]
mod sites;

pub use explain::{Explained, FIGURES, explain};
pub use grouping::{Group, label, label_keys, lines, session_name, sum};
pub use lacks::{class_of, why_lacking};
pub use losses::{LossLine, flaw_lines, loss_lines};
pub use naming::{class_name, drop_words, flaw_words, hop_name, metric_name, metric_words, service_name};

#[cfg(target_arch = "wasm32")]
pub(crate) use self::controls::{filter_box, group_box, range_picker};
#[cfg(target_arch = "wasm32")]
pub(crate) use self::{
    flame::FlamePage, fleet::FleetPage, live::LivePage, live::UnknownPage, report::report_page,
};
