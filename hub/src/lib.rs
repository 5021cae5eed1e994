//! The hub: collectors send it frames, consoles read them, policy goes the other way.
//!
//! - [`serve`] (or [`Hub::bind`] and [`Hub::run`]) listens for HTTP: `/ws/collector`, `/ws/console`, the
//!   console's files, health and a little JSON.
//! - Frames are stored as they came, acknowledged once durable, and only then passed on, so that no console
//!   ever sees what a crash could take back.
//! - The ingest path looks at heads and envelopes only. It decodes no events. Reports, which need them, are
//!   computed beside it, from what is stored.
//! - Every queue and list has a bound in [`Limits`], and what a bound keeps out is counted.
//! - Alerts are rules on figures of sessions (`alerts`): evaluated beside the ingest path, told to a webhook.
//! - Share links show one session to whoever has the address (`links`); they decode frames, beside the ingest path.
//! - Whoever asks is somebody, with a role (`access`), who may be known to an identity provider (`oidc`); only a hub at
//!   one person's machine asks nobody.

mod access;
mod alerts;
mod annotations;
mod api;
mod assets;
mod backup;
mod catalog;
mod check;
mod check_config;
mod clock;
mod collector;
mod config;
mod console;
mod error;
mod excerpt;
mod fleet;
mod fleet_policy;
#[cfg(test)]
#[path = "../tests/hostile_bytes/attack.rs"]
mod hostile;
mod http;
mod hub;
mod levels;
mod links;
mod log;
mod metrics;
mod oidc;
mod origin;
mod outgoing;
mod peer;
mod policy;
mod pulses;
mod reports;
mod retention;
mod search;
mod secret;
mod server;
mod session;
mod session_clock;
mod stats;
mod store;
mod tls;
mod transfer;

pub use access::{NewToken, Role, TokenFile, TokenFileError, TokenInfo};
pub use assets::{Asset, Assets};
pub use backup::{BackupReport, backup};
pub use check::{CheckReport, check};
pub use check_config::check_config;
pub use config::{HubConfig, Limits, TlsFiles};
pub use error::HubError;
pub use log::{Level, Log, Record};
pub use oidc::{OidcConfig, RoleRule};
pub use retention::Retention;
pub use server::{Hub, serve};
pub use stats::StatsSnapshot;
pub use store::check::Finding;
