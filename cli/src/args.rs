//! What can be said on the command line.

mod hub;

pub(crate) use hub::{
    CreateOptions, HubBackupOptions, HubCheckOptions, HubCommand, HubOptions, HubSettings, LogFormat,
    LogLevel, TokenCommand, TokenPlace,
};

use crate::alerts::AlertsCommand;
use crate::policy::PolicyCommand;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use heaptide_collector::uplink::TlsTrust;
use heaptide_policy::Labels;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Watch all programs of this host that match, as they come and go, until Ctrl-C, which leaves them running
    ///
    /// Each is watched by an attach of its own, and a watch that fails is tried again, later and later.
    Collect(CollectOptions),
    /// Watch without a hub and write one file
    ///
    /// A started command's exit code is passed on. A recording that was cut off is read up to its last whole
    /// frame.
    Record(RecordOptions),
    /// Tell what is in a recording
    Report(ReportOptions),
    /// Write a recording in the format of another tool
    Export(ExportOptions),
    /// Compare two recordings by call site
    ///
    /// Exit code 0: no condition is met; 2: one is; 1: something is wrong, also a condition that can't be judged.
    Diff(DiffOptions),
    /// Say what this host and a process allow to be seen, why not, and what would change it
    ///
    /// Looks only: nothing is attached or written. Exit code 0: a session can be watched with at least the sampled
    /// heap; 2: it can't.
    Doctor(DoctorOptions),
    /// Keep sessions, fan them out and serve the console
    Hub(Box<HubOptions>),
    /// The fleet's policy: rules by label for what is sampled and what that may cost
    Policy(PolicyCommands),
    /// Tell, read and change a hub's alerts
    Alerts(AlertsCommands),
    /// Put MemProfileRate back when the collector that wrote it is gone
    #[command(name = "restore-guard", hide = true)]
    RestoreGuard(GuardOptions),
    /// Open the uprobes of a collector that has no right to
    #[command(name = "attach-helper", hide = true)]
    AttachHelper(HelperOptions),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PolicyCommands {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AlertsCommands {
    #[command(subcommand)]
    pub(crate) command: AlertsCommand,
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
pub(crate) struct CollectOptions {
    #[command(flatten)]
    pub(crate) labels: LabelOptions,
    /// The hub to send to, as ws://HOST:PORT or wss://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Watch programs whose executable has this name; `*` stands for any text; can be repeated
    #[arg(long = "match", value_name = "NAME", required_unless_present = "all")]
    pub(crate) matches: Vec<String>,
    /// Watch every program that can be watched
    #[arg(long)]
    pub(crate) all: bool,
    /// Watch so many at once at most
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) max: usize,
    /// Where frames wait for the hub
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WatchOptions {
    #[command(flatten)]
    pub(crate) labels: LabelOptions,
    /// The hub to send to, as ws://HOST:PORT or wss://HOST:PORT; without it a hub is started here
    #[arg(long, value_name = "URL")]
    pub(crate) hub: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
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

/// How to get into a hub.
#[derive(Debug, ClapArgs)]
pub(crate) struct AccessOptions {
    /// Token for the hub
    #[arg(long, env = "HEAPTIDE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Authorities that may have signed the hub's certificate, in PEM; without it those that this system trusts
    #[arg(long, env = "HEAPTIDE_TLS_CA", value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Own certificate to show to the hub, in PEM
    #[arg(
        long,
        env = "HEAPTIDE_TLS_CLIENT_CERT",
        value_name = "FILE",
        requires = "tls_client_key"
    )]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(
        long,
        env = "HEAPTIDE_TLS_CLIENT_KEY",
        value_name = "FILE",
        requires = "tls_client_cert"
    )]
    pub(crate) tls_client_key: Option<PathBuf>,
}

/// What a session is called by.
#[derive(Debug, ClapArgs)]
pub(crate) struct LabelOptions {
    /// A label for the session, by which a fleet is searched, grouped and ruled; may be given several times. The
    /// labels service, host, platform and version are found where they are not given
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = Labels::parse)]
    pub(crate) labels: Vec<(String, String)>,
}

/// The policy that a watch starts with.
#[derive(Debug, ClapArgs)]
pub(crate) struct PolicyOptions {
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
    /// Follow each goroutine from its birth, with the whole stack of its creator; 2 to 6 µs for each that starts
    #[arg(long, conflicts_with = "no_bpf")]
    pub(crate) goroutine_events: bool,
    /// Read Go's own heap profile beside the probes, and show how the two agree
    #[arg(long)]
    pub(crate) buckets: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RecordOptions {
    #[command(flatten)]
    pub(crate) labels: LabelOptions,
    /// The file to write; conventionally NAME.htl
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write over a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// End after so many seconds; the program goes on unwatched
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) length: Option<Duration>,
    /// End when the file has come so far
    #[arg(long, default_value_t = 4 << 30, value_name = "BYTES")]
    pub(crate) max_bytes: u64,
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print what was written as JSON, as the last line of standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The process to watch; `pgrep -a NAME` lists ids
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub(crate) pid: Option<u32>,
    /// The command to start and watch, with its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// A part of a recording.
#[derive(Debug, ClapArgs)]
pub(crate) struct SpanOptions {
    /// Begin of the window, in seconds from the recording's beginning
    #[arg(long, value_name = "SECONDS")]
    pub(crate) from: Option<f64>,
    /// End of the window, in seconds from the recording's beginning
    #[arg(long, value_name = "SECONDS")]
    pub(crate) to: Option<f64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReportOptions {
    /// A recording, or a folder with a session's segments
    pub(crate) file: PathBuf,
    /// Print JSON; docs/recording.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
    /// What to tell; may be given several times
    #[arg(long = "kind", default_value = "heap", value_name = "KIND")]
    pub(crate) kinds: Vec<KindArg>,
    /// What the heap's tables count
    #[arg(long, default_value = "live", value_name = "METRIC")]
    pub(crate) metric: MetricArg,
    #[command(flatten)]
    pub(crate) span: SpanOptions,
    /// Keep rows whose stack or text contains this, whatever its case
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) filter: String,
    /// Rows of a table
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub(crate) limit: u32,
    /// Show the stacks behind the rows
    #[arg(long)]
    pub(crate) stacks: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExportOptions {
    /// A recording, or a folder with a session's segments
    pub(crate) file: PathBuf,
    /// The format to write
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: FormatArg,
    /// The file to write; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What is counted; pprof has live and allocated in one file, and this one as its default
    #[arg(long, default_value = "live", value_name = "METRIC")]
    pub(crate) metric: MetricArg,
    #[command(flatten)]
    pub(crate) span: SpanOptions,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DiffOptions {
    /// The recording before
    pub(crate) before: PathBuf,
    /// The recording after
    pub(crate) after: PathBuf,
    /// What is compared
    #[arg(long, default_value = "live", value_name = "METRIC")]
    pub(crate) metric: DiffMetricArg,
    #[command(flatten)]
    pub(crate) span: SpanOptions,
    /// Print JSON; docs/recording.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 2 if this is met, noise allowed for: 'live > +10%', 'live:main.leak > +1MiB',
    /// 'pause_p99 > 5ms'; docs/recording.md has the grammar
    #[arg(long, value_name = "CONDITION")]
    pub(crate) fail_if: Vec<String>,
    /// Rows of the table
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub(crate) limit: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorOptions {
    /// A process to look at as well; `pgrep -a NAME` lists ids
    pub(crate) pid: Option<u32>,
    /// Print JSON; docs/recording.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindArg {
    Heap,
    Goroutines,
    Pauses,
    Mappings,
    Ledger,
    Drift,
    Exact,
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MetricArg {
    /// At the window's end, whenever it was allocated since attach
    Live,
    /// Allocated in the window and not freed by its end
    Kept,
    /// Allocated in the window
    Allocated,
    /// Freed in the window
    Freed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DiffMetricArg {
    Live,
    Allocated,
    #[value(name = "allocated_per_s")]
    AllocatedPerSecond,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatArg {
    /// For `go tool pprof`
    Pprof,
    /// For flamegraph.pl and its relatives
    Collapsed,
    /// For profiler.firefox.com
    Firefox,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GuardOptions {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) address: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HelperOptions {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
}

impl AccessOptions {
    pub(crate) fn trust(&self) -> TlsTrust {
        TlsTrust {
            ca: self.tls_ca.clone(),
            client: self.tls_client_cert.clone().zip(self.tls_client_key.clone()),
        }
    }

    /// As they would be given to another `heaptide`, less the token, which everyone on the host could read.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        [
            ("--tls-ca", &self.tls_ca),
            ("--tls-client-cert", &self.tls_client_cert),
            ("--tls-client-key", &self.tls_client_key),
        ]
        .into_iter()
        .filter_map(|(name, path)| Some([name.into(), path.as_ref()?.into()]))
        .flatten()
        .collect()
    }
}

impl PolicyOptions {
    /// As they would be given to another `heaptide`.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec!["--tick-ms".into(), self.tick_ms.to_string().into()];
        for (is_set, name) in [
            (self.allow_rate_write, "--allow-rate-write"),
            (self.allow_leak_check, "--allow-leak-check"),
            (self.all_events, "--all-events"),
            (self.addresses, "--addresses"),
            (self.no_bpf, "--no-bpf"),
            (self.goroutine_events, "--goroutine-events"),
            (self.buckets, "--buckets"),
        ] {
            if is_set {
                all.push(name.into());
            }
        }
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                all.push(name.into());
                all.push(value.into());
            }
        };
        put("--sampling-rate", self.sampling_rate.map(|rate| rate.to_string()));
        put("--exact", self.exact.map(|seconds| seconds.to_string()));
        put("--exact-cost", self.exact.map(|_| self.exact_cost.to_string()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `collect` passes on is what it was given.
    #[test]
    fn policy_options_survive_being_passed_on() {
        for given in [
            &[][..],
            &[
                "--allow-rate-write",
                "--sampling-rate",
                "65536",
                "--tick-ms",
                "50",
            ],
            &[
                "--exact",
                "5",
                "--exact-cost",
                "300",
                "--all-events",
                "--addresses",
                "--buckets",
            ],
            &["--no-bpf"],
            &["--goroutine-events", "--allow-leak-check"],
        ] {
            let parse = |arguments: &[OsString]| {
                let words = ["heaptide", "attach", "1"].map(OsString::from);
                let parsed = Args::try_parse_from(words.iter().chain(arguments)).unwrap();
                let Command::Attach(options) = parsed.command else {
                    panic!("not attach")
                };
                options.watch.policy
            };
            let given: Vec<OsString> = given.iter().map(OsString::from).collect();
            let first = parse(&given);
            let again = parse(&first.arguments());
            assert_eq!(format!("{first:?}"), format!("{again:?}"), "{given:?}");
        }
    }
}
