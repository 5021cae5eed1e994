//! Control payloads: postcard structs, one per frame kind.

use crate::ids::SessionId;
use crate::session::{Capability, PlatformSignature};
use heaptide_policy::{Labels, Policy, RejectReason};
use serde::{Deserialize, Serialize};

/// [`FrameKind::Hello`](crate::FrameKind::Hello): first on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub role: Role,
    /// Name and version for people, for example `heaptide 0.1.0`.
    pub agent: String,
    pub token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Collector,
    Console,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub agent: String,
    /// Changes whenever the hub restarts.
    pub hub_epoch: u64,
    pub unix_ns: u64,
}

/// The connection ends after this one. Its layout is the same in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    pub code: RefuseCode,
    /// The hub's protocol version.
    pub ours: u8,
    /// The peer's, as the hub read it; 0 if it could not.
    pub theirs: u8,
    /// What is wrong and what to do.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseCode {
    Version,
    Forbidden,
    Malformed,
    TooManySessions,
    SequenceGap,
    StorageFull,
    ShuttingDown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub signature: PlatformSignature,
    pub labels: Labels,
    pub capabilities: Vec<Capability>,
    pub policy: Policy,
    /// Whether [`Policy::allow_rate_write`] can be granted here at all.
    pub rate_write_granted: bool,
    /// The first frame that the collector still has.
    pub first_seq: u64,
}

/// Everything up to `durable_seq` is on disk; the collector may forget it. Also answers [`Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub durable_seq: u64,
}

/// `t1` on the sender's clock; the answer adds the receiver's clock at arrival and departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPing {
    pub t1_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPong {
    pub t1_ns: u64,
    pub t2_unix_ns: u64,
    pub t3_unix_ns: u64,
}

/// How the hub's wall clock relates to a session's, as its collector measured it at `at_ns` of the session's:
/// `hub_unix_ns = session_ns + offset_ns`, within `error_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// Counts from 0. Between two epochs a clock was set, drifted beyond reason, or stood still in a suspend, so
    /// readings of one epoch say nothing about another.
    pub epoch: u64,
    pub at_ns: u64,
    pub offset_ns: i64,
    /// At `at_ns`; before and after, what the clocks may drift comes on top.
    pub error_ns: u64,
    /// For how long the machine was suspended since it started; 0 where that is not known.
    pub suspended_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySet {
    pub policy: Policy,
}

/// What a collector did with a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOutcome {
    pub timestamp_ns: u64,
    pub revision: u64,
    pub result: PolicyResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyResult {
    /// In force; the program's sampling rate before and after, 0 if unknown.
    Applied {
        policy: Policy,
        rate_before_bytes: u64,
        rate_after_bytes: u64,
    },
    Rejected {
        reason: RejectReason,
    },
}

/// Headline figures, so that a fleet page needs no decoding. Not durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    pub timestamp_ns: u64,
    pub rss_bytes: u64,
    /// Estimated bytes live since attach, and the standard error of that.
    pub live_bytes: f64,
    pub live_std_error_bytes: f64,
    pub allocated_bytes_per_s: f64,
    pub samples_per_s: f64,
    /// Records lost so far at any hop.
    pub dropped: u64,
    pub seen: u64,
    pub sampling_rate_bytes: u64,
    pub collector_cpu_permille: u32,
    pub collector_rss_bytes: u64,
    /// Frames as they go to the hub.
    pub sent_bytes_per_s: u64,
    /// What the host could give without swapping, and all that it has; 0 if unknown.
    pub host_available_bytes: u64,
    pub host_total_bytes: u64,
}

/// A session's frames after `after_seq`, then live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    pub after_seq: u64,
}

/// A session from its beginning, then live, where a past that is longer than that many bytes comes in steps: as few as
/// keep to it, narrower ones, or each frame, for a range that is looked at closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    pub past_bytes: u64,
    /// On the session's clock; an empty range is none.
    pub close_from_ns: u64,
    pub close_to_ns: u64,
}

/// The data frames up to `to_seq` that follow stand for all of `from_seq..=to_seq`, in steps. The first answer to an
/// [`Overview`] is [`Stretch::BEGIN`]: what came before it belongs to an earlier subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub from_seq: u64,
    pub to_seq: u64,
    pub step_ns: u64,
}

impl Stretch {
    /// No frames: the session from its beginning follows.
    pub const BEGIN: Self = Self {
        from_seq: 1,
        to_seq: 0,
        step_ns: 0,
    };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    pub sessions: Vec<SessionSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    pub session: SessionId,
    pub signature: PlatformSignature,
    pub labels: Labels,
    pub capabilities: Vec<Capability>,
    pub state: SessionState,
    pub first_ns: u64,
    pub last_ns: u64,
    pub frames: u64,
    pub stored_bytes: u64,
    pub rate_write_granted: bool,
    pub policy: PolicyState,
    pub pulse: Option<Pulse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    Live,
    /// The collector's connection is gone; it may come back.
    Away {
        since_unix_ns: u64,
    },
    Ended,
}

/// What the hub wants and what the collector last said to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyState {
    /// In force at the collector, as far as it told.
    pub applied: Option<Policy>,
    /// Sent or waiting to be sent, not answered yet.
    pub pending: Option<Policy>,
    pub last_outcome: Option<PolicyOutcome>,
    /// Why the hub itself refused the last proposal.
    pub refused: Option<String>,
    /// The revision of the fleet's policy that this session is meant to follow; 0 is none.
    #[serde(default)]
    pub fleet_revision: u64,
    /// A person has changed this session by itself, and what they changed goes before the fleet's policy.
    #[serde(default)]
    pub is_overridden: bool,
}

/// Frames `from_seq..=to_seq` were not sent on this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub from_seq: u64,
    pub to_seq: u64,
    pub reason: MissedReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MissedReason {
    /// This console read too slowly.
    SlowReader,
    /// The hub no longer has them.
    Expired,
    /// Damaged on the hub's disk.
    Damaged,
}

/// The hub numbers revisions: `policy.revision` must be the one that the console saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPropose {
    pub policy: Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaughtUp {
    pub last_seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub message: String,
}
