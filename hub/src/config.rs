//! What a hub is started with, and every limit that keeps it bounded.

use crate::assets::Assets;
use crate::log::Log;
use crate::oidc::OidcConfig;
use crate::retention::Retention;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Port 0 takes any free one; [`Hub::address`](crate::Hub::address) tells which.
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    /// Recordings to show from the start, as sessions of their own ids.
    pub open: Vec<PathBuf>,
    pub assets: Assets,
    /// Listen on an address that others can reach although nobody is asked who they are.
    pub allow_remote: bool,
    /// Ask for a token also while none exists.
    pub require_token: bool,
    pub tls: Option<TlsFiles>,
    /// Sign-in through an identity provider. With it, nobody gets in unasked.
    pub oidc: Option<OidcConfig>,
    /// Authorities, in PEM, that a webhook's certificate may also come from, beside the system's.
    pub webhook_ca: Option<PathBuf>,
    /// Host names, besides the loopback ones, under which a hub on a loopback address may be asked. A
    /// browser that was led here under another name (DNS rebinding) is turned away.
    pub allowed_hosts: Vec<String>,
    /// Name and version for people, told to every peer.
    pub agent: String,
    pub retention: Retention,
    pub limits: Limits,
    pub log: Log,
}

/// Certificates in PEM. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The hub's own certificate, and those that lead to its authority.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Whoever has a certificate of one of these authorities is a collector.
    pub client_ca: Option<PathBuf>,
}

/// Bounds of time and memory. The defaults are meant for two cores and a few hundred connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the end of its HTTP head, and again to its first frame.
    pub handshake: Duration,
    /// A collector that says nothing for so long is gone (it sends a pulse every second).
    pub collector_silence: Duration,
    /// A stalled browser tab may be silent for minutes and costs little.
    pub console_silence: Duration,
    /// At shutdown, for what was received to become durable and for sockets to close.
    pub drain: Duration,
    pub head_bytes: usize,
    pub connections: usize,
    pub sessions: usize,
    pub sessions_per_connection: usize,
    pub subscriptions_per_connection: usize,
    /// The largest [`Open`](heaptide_protocol::control::Open) payload: it is kept in memory.
    pub open_bytes: usize,
    /// Frames received and not yet durable, all sessions together. Above it, collectors wait.
    pub queue_bytes: usize,
    /// What one group commit takes at most.
    pub batch_bytes: usize,
    /// A segment file is closed after the commit that takes it past this size.
    pub segment_bytes: u64,
    /// A console that is further behind than either of these loses what lies between.
    pub slow_reader_bytes: u64,
    pub slow_reader_frames: u64,
    /// Newest frames of a watched session kept in memory, so that prompt consoles need no disk.
    pub tail_bytes: usize,
    /// Sessions whose analysis is kept in memory for the next question about them.
    pub reported_sessions: usize,
    /// Of a session for its reports: of a longer one, what is asked about or newest is read frame by frame, the rest in
    /// steps.
    pub report_bytes: u64,
    /// The longest recording that is taken in as a session.
    pub import_bytes: u64,
    /// Share links that are open.
    pub links: usize,
    /// The copy of one frozen link, and of all.
    pub frozen_bytes: u64,
    pub all_frozen_bytes: u64,
    /// Files on their way in or out at once.
    pub transfers: usize,
    /// Between two looks at whether sessions have the policy that they are meant to have.
    pub policy_interval: Duration,
    /// A new session is left alone for so long, while its collector finds out what it runs with.
    pub policy_settle: Duration,
    /// A session whose collector is away for less than this is still counted on by a roll-out.
    pub policy_away: Duration,
    /// Pulses of a session kept in memory, for sums over a fleet; one comes each second.
    pub pulse_history: usize,
    /// Longest time that an acknowledgement waits for others to go with.
    pub ack_every: Duration,
    /// Shortest time between two session lists.
    pub fleet_interval: Duration,
    pub tokens: usize,
    /// Browsers signed in at once, in all and with one token.
    pub sign_ins: usize,
    pub sign_ins_of_one: usize,
    pub sign_in_lasts: Duration,
    /// Requests of one caller at one address; an open hub doesn't count them.
    pub requests_per_s: u32,
    pub requests_burst: u32,
    /// Addresses of which wrong tokens are remembered, and as many of which requests are counted.
    pub remembered_addresses: usize,
    /// How often the certificate files are looked at.
    pub tls_look: Duration,
    /// Between two looks at what has expired.
    pub retention_interval: Duration,
    /// Frames of the segment that is being written without levels, before those get them too.
    pub newest_bytes: u64,
    /// Between two looks for something to make levels of.
    pub level_interval: Duration,
    /// Between two looks at what alerts stand at.
    pub alert_interval: Duration,
    /// Between two readings of stored frames for alerts, and of how many sessions at most.
    pub alert_read_interval: Duration,
    pub alert_sessions: usize,
    /// For one attempt to tell a webhook, from its name to its answer.
    pub alert_patience: Duration,
    /// Before the second attempt; each further pause is twice as long, up to five minutes.
    pub alert_retry: Duration,
    /// A session whose collector is away for longer may expire as a whole.
    pub away_patience: Duration,
}

impl HubConfig {
    /// Defaults with no console inside.
    pub fn new(listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            data_dir: data_dir.into(),
            open: Vec::new(),
            assets: Assets::default(),
            allow_remote: false,
            require_token: false,
            tls: None,
            oidc: None,
            webhook_ca: None,
            allowed_hosts: Vec::new(),
            agent: concat!("heaptide ", env!("CARGO_PKG_VERSION")).to_owned(),
            retention: Retention::default(),
            limits: Limits::default(),
            log: Log::silent(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            collector_silence: Duration::from_secs(45),
            console_silence: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(5),
            head_bytes: 8 << 10,
            connections: 2048,
            sessions: 4096,
            sessions_per_connection: 64,
            subscriptions_per_connection: 64,
            open_bytes: 64 << 10,
            queue_bytes: 64 << 20,
            batch_bytes: 8 << 20,
            segment_bytes: 64 << 20,
            slow_reader_bytes: 8 << 20,
            slow_reader_frames: 4096,
            tail_bytes: 1 << 20,
            reported_sessions: 4,
            report_bytes: 256 << 20,
            import_bytes: 4 << 30,
            links: 1_000,
            frozen_bytes: 512 << 20,
            all_frozen_bytes: 8 << 30,
            transfers: 4,
            policy_interval: Duration::from_millis(500),
            policy_settle: Duration::from_secs(3),
            pulse_history: 300,
            policy_away: Duration::from_secs(60),
            ack_every: Duration::from_millis(250),
            fleet_interval: Duration::from_millis(500),
            tokens: 4096,
            sign_ins: 1024,
            sign_ins_of_one: 32,
            sign_in_lasts: Duration::from_secs(12 * 60 * 60),
            requests_per_s: 100,
            requests_burst: 500,
            remembered_addresses: 4096,
            tls_look: Duration::from_secs(10),
            retention_interval: Duration::from_secs(10),
            newest_bytes: 512 << 10,
            level_interval: Duration::from_secs(2),
            alert_interval: Duration::from_secs(1),
            alert_read_interval: Duration::from_secs(15),
            alert_sessions: 8,
            alert_patience: Duration::from_secs(10),
            alert_retry: Duration::from_secs(1),
            away_patience: Duration::from_secs(60 * 60),
        }
    }
}
