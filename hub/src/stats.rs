//! Counters of everything that a hub takes in, gives out and leaves out. Served as JSON.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Stats {
            $($(#[doc = $doc])* pub(crate) $name: Counter,)*
        }

        /// The counters at one moment; all but `connections` only grow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub struct StatsSnapshot {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl StatsSnapshot {
            /// Name, what is counted, and how much.
            pub(crate) fn named(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc,)*), self.$name),)*]
            }
        }

        impl Stats {
            pub(crate) fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Open now.
    connections,
    /// Turned away because there were too many.
    connections_refused,
    /// WebSocket handshakes or frames that broke a rule, the peer being told why.
    peers_refused,
    /// Data frames from collectors, repeats included.
    frames_received,
    /// Of those data frames.
    bytes_received,
    /// Data frames that were already durable.
    frames_repeated,
    /// Data frames taken in but given up before they were durable; never acknowledged.
    frames_abandoned,
    /// Data frames that are on disk.
    frames_durable,
    /// Of those.
    bytes_durable,
    /// Acknowledgements to collectors.
    acks_sent,
    /// Group commits, counted per session.
    commits,
    /// Commits that the disk refused.
    commit_failures,
    /// Data frames to consoles.
    frames_sent,
    /// Frames that consoles were told in steps instead.
    frames_told_in_steps,
    /// Of those.
    bytes_sent,
    /// Data frames that a console did not get because it read too slowly.
    frames_missed_slow,
    /// Data frames that a console did not get because the disk damaged or lost them.
    frames_missed_damaged,
    /// Data frames that a console did not get because they had expired.
    frames_missed_expired,
    /// Segments deleted because of a limit of age or size, with what was in them.
    segments_expired,
    /// Frames of them.
    frames_expired,
    /// Bytes of them.
    bytes_expired,
    /// Sessions of which nothing was left.
    sessions_expired,
    /// Expired stretches whose dictionaries could not be carried over.
    summaries_failed,
    /// Copies of the data folder that were made.
    backups,
    /// Stretches of sessions of which levels were made, with their rows and the size of their files.
    level_parts,
    /// Stretches of segments still being written of which levels were made, which the former take the place of.
    newest_level_parts,
    /// Rows in them.
    level_rows,
    /// Bytes of them.
    level_bytes,
    /// Stretches of which no level could be made.
    levels_failed,
    /// Sampled objects that are in no level because a session has too many call sites.
    level_samples_left_out,
    /// Answers to questions for a range.
    ranges_answered,
    /// Halvings of an answer's call sites because an answer is bounded.
    ranges_shortened,
    /// Damaged places found on disk at start.
    damaged_places,
    /// Bytes cut from torn ends of logs at start; none of them was acknowledged.
    cut_bytes,
    /// Session lists that did not hold every session because a frame is bounded.
    session_lists_shortened,
    /// Secrets of links that opened nothing.
    links_not_found,
    /// Recordings that became sessions.
    sessions_imported,
    /// Pulses that made room for newer ones of the same session.
    pulses_forgotten,
    /// Readings of a session's clock that can't be; the session goes on.
    clocks_refused,
    /// Frames of a kind that this hub does not know, from collectors.
    frames_unknown,
    /// Policies that the fleet's rules came to, for one session each, refused ones included.
    policies_issued,
    /// Revisions of the fleet's policy that were taken back.
    policy_roll_backs,
    /// Answers to questions for a table.
    reports_computed,
    /// Alerts that began to fire.
    alerts_fired,
    /// Alerts that ended.
    alerts_resolved,
    /// Looks whose outcome could not be kept, so that nobody was told; the next look tries again.
    alerts_not_kept,
    /// Notices that a webhook took.
    alert_notices_sent,
    /// Attempts to tell a webhook that failed; each notice is tried again.
    alert_attempts_failed,
    /// Notices that no webhook took: too old, too many, or no webhook any more.
    alert_notices_given_up,
    /// Tokens that opened nothing, those not looked at because their address was locked out included.
    tokens_refused,
    /// Requests without a token where one is needed.
    requests_unknown,
    /// Requests that came too often.
    requests_limited,
    /// Browsers that signed in.
    sign_ins,
    /// Sign-ins through the identity provider that opened nothing.
    sign_ins_refused,
    /// Sign-ins that ended early because there were too many.
    sign_ins_ended,
    /// Addresses whose wrong tokens or requests were no longer remembered because there were too many.
    addresses_forgotten,
    /// Connections that ended because what opened them was revoked or has expired.
    grants_lost,
    /// Connections that never got as far as HTTP.
    tls_failures,
    /// Certificate files that changed and could not be used.
    tls_reload_failures,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }
}
