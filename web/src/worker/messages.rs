//! What page and worker say to each other.

use super::fleet::FleetRow;
use crate::net::LinkState;
use crate::url::Range;
use heaptide_analysis::report::ReportKind;
use heaptide_analysis::views::{Flame, Headline, Metric, SiteTable, Timeline, Window};
use heaptide_policy::Policy;
use heaptide_protocol::SessionId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// First of all.
    Start {
        socket_url: String,
        seed: u64,
    },
    /// What is on screen now; replaces the one before.
    Show(Show),
    Propose {
        session: SessionId,
        policy: Policy,
    },
    RetryNow,
    /// Nobody can see a hidden page: nothing is computed for it, all is taken in.
    Visible(bool),
}

/// Which answers the page needs, whenever they change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Show {
    /// Comes back with each answer, so that the page knows one of an earlier question.
    pub number: u32,
    pub session: Option<SessionId>,
    pub range: Range,
    /// Held at this moment of session time.
    pub at_ns: Option<u64>,
    pub selection: Option<Window>,
    pub timeline_points: u32,
    pub extra: Extra,
    pub metric: Option<Metric>,
    pub filter: String,
}

/// The heavier answer that goes with the headline and the timeline. The hub computes reports; all else is computed
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Extra {
    #[default]
    None,
    Sites,
    Flame,
    Report(ReportKind),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToPage {
    Link(LinkState),
    Fleet(Vec<FleetRow>),
    View(Box<ViewUpdate>),
    /// A [`ReportTold`](heaptide_protocol::report::ReportTold) as the hub encoded it; its number is the question's.
    Report(Vec<u8>),
    Damage(Damage),
    Notice(String),
}

/// What has changed since the last one; `None` is "as before".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewUpdate {
    pub show: u32,
    pub session: SessionId,
    pub progress: Progress,
    pub headline: Option<Headline>,
    pub timeline: Option<Timeline>,
    pub sites: Option<SiteTable>,
    pub flame: Option<Flame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The stored past has been read; what comes now is live.
    pub caught_up: bool,
    pub last_seq: u64,
    /// As the hub last told.
    pub stored_frames: u64,
}

/// Frames of this connection that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Damage {
    pub count: u64,
    /// Of the last one: what was wrong, and how it begins.
    pub what: String,
    pub hex: String,
}
