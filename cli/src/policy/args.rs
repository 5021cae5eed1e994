//! What can be said to `heaptide policy`.

use crate::args::AccessOptions;
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the newest document, or that of a revision
    ///
    /// The document is JSON on standard output; its revision, which `apply --from` needs, is told on standard error.
    Get(GetOptions),
    /// Compare a document with the newest one, and say which live sessions it would change
    ///
    /// Exit code 0: the same; 2: they differ; 1: something is wrong, also with the document.
    Diff(DiffOptions),
    /// Make a document the newest, which then goes out by steps
    ///
    /// Exit code 0: it is the newest, or was already; 2: somebody else was faster, and what they changed is told.
    Apply(ApplyOptions),
    /// List revisions with who changed what, when and why
    History(HistoryOptions),
    /// Go back to the document of an earlier revision, as a new one that goes out by steps
    ///
    /// Exit code 2: somebody else was faster.
    Revert(RevertOptions),
    /// Tell how far the newest revision is and where each session stands; hurry it or take it back
    ///
    /// With --wait, exit code 0: it has settled; 2: it was rolled back or replaced.
    Rollout(RolloutOptions),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HubPlace {
    /// The hub, as http://HOST:PORT or https://HOST:PORT
    #[arg(
        long,
        env = "HEAPTIDE_HUB",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL"
    )]
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Print the hub's whole answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// This revision, and not the newest
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DiffOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// The document; - is standard input
    pub(crate) file: PathBuf,
    /// Compare with this revision, and not with the newest
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// The document; - is standard input
    pub(crate) file: PathBuf,
    /// The revision that it was made from, as `heaptide policy get` told it
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: u64,
    /// Why, for the history and the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HistoryOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// Revisions to list, at most 1000
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub(crate) limit: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RevertOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// The revision whose document shall hold again; 0 is no rule at all
    pub(crate) revision: u64,
    /// Only if this is still the newest
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: Option<u64>,
    /// Why, for the history and the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RolloutOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// Send it to all now; or, when it is with all, watch it no longer
    #[arg(long, conflicts_with = "take_back")]
    pub(crate) promote: bool,
    /// Go back to the revision before
    #[arg(long)]
    pub(crate) take_back: bool,
    /// Why, for the history and the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
    /// Wait until it has settled or is gone
    #[arg(long, conflicts_with = "take_back")]
    pub(crate) wait: bool,
}
