//! What can be said on the command line.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a running Go program's memory goes, live, with each number's origin and error.
#[derive(Debug, Parser)]
#[command(name = "heaptide", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a command and watch it from its first instruction
    ///
    /// Without --hub, a hub of its own is started and the address of its console printed. Ends with the exit
    /// code of the command.
    Run(RunOptions),
    /// Watch a running process until it ends or Ctrl-C, which leaves it running
    Attach(AttachOptions),
    /// Keep sessions, fan them out and serve the console
    Hub(HubOptions),
    /// Put MemProfileRate back when the collector that wrote it is gone
    #[command(name = "restore-guard", hide = true)]
    RestoreGuard(GuardOptions),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) watch: WatchOptions,
    /// The command and its arguments, after `--`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AttachOptions {
    #[command(flatten)]
    pub(crate) watch: WatchOptions,
    /// The process to watch; `pgrep -a NAME` lists ids
    pub(crate) pid: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WatchOptions {
    /// The hub to send to, as ws://HOST:PORT; without it a hub is started here
    #[arg(long, value_name = "URL")]
    pub(crate) hub: Option<String>,
    /// Token for the hub
    #[arg(long, env = "HEAPTIDE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Let the policy write MemProfileRate in the program; it is put back at detach, also after a crash
    #[arg(long)]
    pub(crate) allow_rate_write: bool,
    /// Let the policy ask for Go's own leak detector (Go 1.27), which writes one byte to the program
    #[arg(long)]
    pub(crate) allow_leak_check: bool,
    /// Mean bytes between two samples; needs --allow-rate-write unless the program has this rate already
    #[arg(long, value_name = "BYTES")]
    pub(crate) sampling_rate: Option<u64>,
    /// Length of a tick in milliseconds
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub(crate) tick_ms: u32,
    /// Send an event row for every sample, whatever its size
    #[arg(long)]
    pub(crate) all_events: bool,
    /// Put object addresses into event rows
    #[arg(long)]
    pub(crate) addresses: bool,
    /// Begin with an exact window: every allocation counted for so long, by call site and type
    #[arg(long, value_name = "SECONDS")]
    pub(crate) exact: Option<u16>,
    /// An exact window ends early when it takes more than so many thousandths of a core from the program
    #[arg(long, default_value_t = 1000, value_name = "PERMILLE", requires = "exact")]
    pub(crate) exact_cost: u16,
    /// Put no probe anywhere: only read the program's memory and /proc, which needs no rights on a program of
    /// your own
    #[arg(long)]
    pub(crate) no_bpf: bool,
    /// Read Go's own heap profile beside the probes, and show how the two agree
    #[arg(long)]
    pub(crate) buckets: bool,
    /// Where frames wait for the hub
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// Address of the hub that is started here
    #[arg(
        long,
        default_value = "127.0.0.1:7070",
        value_name = "ADDR:PORT",
        conflicts_with = "hub"
    )]
    pub(crate) listen: SocketAddr,
    /// Where the hub that is started here keeps its sessions
    #[arg(long, value_name = "DIR", conflicts_with = "hub")]
    pub(crate) data: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HubOptions {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// Where sessions are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Listen on an address that others can reach, although this version has no access control
    #[arg(long)]
    pub(crate) insecure_allow_remote: bool,
    /// Another host name under which browsers may ask
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) allowed_hosts: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GuardOptions {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) address: u64,
    pub(crate) original: u64,
}
