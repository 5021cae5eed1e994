//! Watches one program: attaches, turns ticks into frames, obeys the policy, and leaves everything as it was.

mod attach;
mod capabilities;
mod connect;
mod control;
mod delivery;
mod exact;
mod kernel;
#[cfg(test)]
mod ledger_tests;
mod loss;
mod outgoing;
pub(crate) mod readers;
mod recording;
mod run;

pub(crate) use capabilities::on_demand as on_demand_capabilities;

pub use attach::Target;
pub(crate) use control::GO_DEFAULT_RATE_BYTES;
pub use recording::Recorded;
pub use run::{Outcome, watch};

use crate::linux::confine::Confinement;
use crate::uplink::TlsTrust;
use heaptide_policy::{Labels, Policy};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::Pulse;
use heaptide_protocol::exact::ExactEnd;
use heaptide_protocol::section::EndReason;
use heaptide_protocol::session::{Capability, PlatformSignature};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug)]
pub struct WatchConfig {
    pub target: TargetChoice,
    pub destination: Destination,
    /// What the person calls this session by; what the program and the host tell is added.
    pub labels: Labels,
    pub policy: Policy,
    /// Whether a policy may have `MemProfileRate` written at all.
    pub allow_rate_write: bool,
    /// Whether a policy may have Go's leak detector asked for, which writes one byte to the program.
    pub allow_leak_check: bool,
    /// The compiled eBPF programs; `None` probes nothing.
    pub bpf_object: Option<&'static [u8]>,
    /// An executable that answers to [`crate::linux::rate::GUARD_COMMAND`] and
    /// [`crate::linux::bpf::HELPER_COMMAND`].
    pub own_executable: PathBuf,
    /// What this process gives up once the program is under watch; `None` gives up nothing, for a process that does
    /// more than watch.
    pub confinement: Option<Confinement>,
}

/// Where the frames go.
#[derive(Debug, Clone)]
pub enum Destination {
    Hub {
        url: String,
        token: Option<String>,
        /// For a `wss://` address.
        trust: TlsTrust,
        /// Unacknowledged frames are kept below this directory.
        spool_root: PathBuf,
    },
    /// A file in the form of [`heaptide_protocol::log`].
    File {
        path: PathBuf,
        /// Whether a file of that name may be written over.
        replace: bool,
        /// The watch ends when the file has come so far.
        max_bytes: u64,
    },
}

#[derive(Debug, Clone)]
pub enum TargetChoice {
    Attach { pid: u32 },
    Run { command: Vec<OsString> },
}

/// What a person at the keyboard wants to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WatchEvent {
    Watching {
        session: SessionId,
        signature: Box<PlatformSignature>,
        capabilities: Vec<Capability>,
    },
    HubConnected,
    HubLost {
        why: String,
    },
    PolicyApplied {
        revision: u64,
        rate_bytes: u64,
    },
    PolicyRejected {
        revision: u64,
        reason: String,
    },
    /// A window in which every allocation was counted is over.
    ExactWindow {
        number: u32,
        objects: u64,
        bytes: u64,
        length_ns: u64,
        ended_by: ExactEnd,
    },
    /// Something is not as it should be, and the watch goes on.
    Warning {
        message: String,
    },
    /// Once a second: the figures of the fleet page, and how long the file is.
    Second {
        pulse: Box<Pulse>,
        recorded: Option<Recorded>,
    },
    Ended {
        reason: EndReason,
    },
}

/// What the caller may ask of a watch under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// Leave the program running.
    Detach,
    /// Pass a signal on to a program that we started.
    Signal(i32),
}
