//! The timeline of a session and the small line of the fleet table.
//!
//! Pure steps, each a file: [`ChartLayout`] divides the room, [`TimeScale`] and [`ValueScale`] place
//! values, [`segments`] never has more points than pixels, [`paint`] draws, [`Brush`] turns a drag into a
//! time window, [`readout`] says what the chart shows at a moment, and [`table`] all of it. Left out: zooming the time axis by wheel, values other than bytes.

mod brush;
mod layout;
mod paint;
mod readout;
mod scale;
mod series;
mod spark;
mod state;
mod table;
#[cfg(target_arch = "wasm32")]
mod timeline;

pub use brush::{Brush, Edge, Nudge, nudge};
pub use layout::ChartLayout;
pub use paint::{Scales, Shown, paint};
pub use readout::{Reading, Readout, at_moment, readout, sample_rows};
pub use scale::{TimeScale, ValueScale, byte_ticks, time_ticks};
pub use series::{Segment, columns, segments};
pub use spark::{spark, steps};
pub use state::{ChartInput, ChartState, Chosen, Series};
pub use table::table;
#[cfg(target_arch = "wasm32")]
pub(crate) use timeline::{ChartOwner, timeline_chart};
