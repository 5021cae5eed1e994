//! What can be said to `heaptide alerts`.

use crate::policy::HubPlace;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Print the rules
    ///
    /// The document is JSON on standard output; its revision, which `apply --from` needs, is told on standard error.
    Get(GetOptions),
    /// Make a document the newest rules
    ///
    /// Exit code 0: it is the newest; 2: somebody else was faster.
    Apply(ApplyOptions),
    /// Tell what each rule stands at, for each session that it is about
    ///
    /// Exit code 0: none fires; 2: at least one does.
    List(ListOptions),
    /// Tell, set or take away where notices go; for admins
    #[command(subcommand)]
    Webhook(WebhookCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Print where notices go, without secrets, and how it goes with that
    Get(GetOptions),
    /// Send notices there from now on
    ///
    /// What is left out is none: a secret that is to stay has to be given again. Exit code 2: somebody else was faster.
    Set(SetOptions),
    /// Tell nobody from now on, and give up what waits
    ///
    /// Exit code 2: somebody else was faster.
    Remove(RemoveOptions),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SetOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// Where to, as https://HOST[:PORT]/PATH
    pub(crate) url: String,
    /// A file with the secret that signs what is sent
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// A file with what is sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    pub(crate) bearer_file: Option<PathBuf>,
    /// The revision that it was made from, as `get` told it; 0 where none is set
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: u64,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RemoveOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// The revision that is to go, as `get` told it
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// The document; - is standard input
    pub(crate) file: PathBuf,
    /// The revision that it was made from, as `heaptide alerts get` told it
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: u64,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) hub: HubPlace,
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Firing,
    #[value(name = "no_data")]
    NoData,
    Pending,
    Resolved,
    Ok,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::NoData => "no_data",
            Self::Pending => "pending",
            Self::Resolved => "resolved",
            Self::Ok => "ok",
        }
    }
}
