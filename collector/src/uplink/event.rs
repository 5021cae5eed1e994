//! What the uplink tells the collector.

use super::spool::SpoolNotice;
use heaptide_policy::Policy;
use heaptide_protocol::control::ClockReading;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UplinkEvent {
    /// The hub knows the session and has it up to here.
    Connected {
        agent: String,
        hub_epoch: u64,
        durable_seq: u64,
    },
    /// Also for a connection that never came about.
    Disconnected {
        error: String,
        retry_in: Duration,
    },
    /// Everything up to here is durable. Only the latest waits to be read.
    Acked(u64),
    /// Obey, or reject, and answer with a `PolicyOutcome`. Only the latest waits to be read.
    PolicySet(Policy),
    /// Only the latest waits to be read.
    Clock(ClockReading),
    /// After a fatal one there are no more attempts.
    Refused {
        message: String,
        fatal: bool,
    },
    /// The hub lacks frames that are no longer in the spool: start a new session. No more attempts.
    SessionUnknown {
        hub_durable_seq: Option<u64>,
    },
    /// Frames in the spool can't be read any more: start a new session. No more attempts.
    SpoolUnreadable {
        error: String,
    },
    Spool(SpoolNotice),
    /// A sentence from the hub for a person.
    Notice(String),
}

/// How an uplink went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is durable, the hub knows that the session ended, and the spool is removed.
    Ended,
    /// So many frames were not acknowledged and stay in the spool, if that is on disk.
    Left { unacked_frames: u64 },
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UplinkStats {
    pub connections: u64,
    pub frames_sent: u64,
    pub bytes_sent: u64,
    /// Of `frames_sent`, those that had been sent before.
    pub frames_repeated: u64,
    pub acked_seq: u64,
    /// Damaged, or not what the protocol has at that point; ignored.
    pub bad_frames: u64,
    /// Of a kind that this version does not know; ignored.
    pub unknown_frames: u64,
    /// Control frames that found the queue full or no connection.
    pub dropped_control: u64,
    /// Pulses replaced by a newer one or without a connection.
    pub dropped_pulses: u64,
    /// Events that nobody fetched in time.
    pub dropped_events: u64,
}
