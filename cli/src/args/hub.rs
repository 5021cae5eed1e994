//! What can be said to `heaptide hub`.

use super::AccessOptions;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use heaptide_hub::{Role, RoleRule};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct HubOptions {
    #[command(subcommand)]
    pub(crate) command: Option<HubCommand>,
    /// Read settings from this file, in TOML, under the names of the flags
    ///
    /// Each setting can also come from the environment, as HEAPTIDE_HUB_KEEP_BYTES for --keep-bytes. A flag has
    /// precedence over the environment, that over the file, that over what holds otherwise.
    #[arg(long, value_name = "FILE", env = "HEAPTIDE_HUB_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Tell each setting and where it comes from, and whether a hub can start with them; exit code 1 if not
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Print JSON
    #[arg(long, requires = "check_config")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: HubSettings,
}

/// What flags, the environment and a file can set alike; `None` or an empty list is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, ClapArgs)]
pub(crate) struct HubSettings {
    /// Address to listen on, 127.0.0.1:7070 unless it is given; port 0 takes any free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where sessions are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Show these recordings, and keep nothing when it ends
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) open: Vec<PathBuf>,
    /// Listen on an address that others can reach although the hub asks nobody who they are
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_allow_remote: Option<bool>,
    /// Ask for a token also while none exists
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) require_token: Option<bool>,
    /// Speak TLS with this certificate, in PEM with those that lead to its authority; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let collectors in that have a certificate of one of these authorities, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Believe webhooks whose certificate is of one of these authorities, in PEM, beside those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_ca: Option<PathBuf>,
    /// The address under which browsers see this hub, as https://hub.example:7070; for sign-in with a provider
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Let people sign in with this OpenID Connect provider, by its issuer exactly as it writes it
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,
    /// What the provider calls this hub
    #[arg(long, value_name = "ID")]
    pub(crate) oidc_client_id: Option<String>,
    /// A file with the client's secret, if the provider gave one
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_client_secret_file: Option<PathBuf>,
    /// Who has which role: groups=sre:admin, email=*@example.com:viewer; nobody gets in whom none fits
    #[arg(long, value_name = "CLAIM=VALUE:ROLE")]
    pub(crate) oidc_role: Vec<RoleRule>,
    /// What to ask the provider for beside openid, email and profile
    #[arg(long, value_name = "SCOPE")]
    pub(crate) oidc_scope: Vec<String>,
    /// Believe a provider whose certificate is of one of these authorities, in PEM, beside those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_ca: Option<PathBuf>,
    /// Another host name under which browsers may ask
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Delete what was written longer ago, as 90d, 36h, 15m or 20s
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub(crate) keep_for: Option<Duration>,
    /// Delete the oldest of a session above this size, as 500MiB or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) keep_session_bytes: Option<u64>,
    /// Delete the oldest of all sessions above this size in all, 20GiB unless it is given; 0 is without limit
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) keep_bytes: Option<u64>,
    /// How the log on standard error is written, text unless it is given; json is one object a line
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// The least that is written to it, info unless it is given
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    #[default]
    Info,
    Warning,
    Error,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Create, list and revoke the tokens that let people and collectors in
    ///
    /// On a data folder that no hub is using, or with --hub and an admin's --token on a running one.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Read a data folder against its checksums; exit code 1 if anything is damaged
    ///
    /// No hub may run on the folder meanwhile. A repair puts bad bytes aside, below `set-aside` in the folder, and
    /// deletes no good record.
    Check(HubCheckOptions),
    /// Copy a data folder, also while a hub runs on it; the copy opens as a data folder
    Backup(HubBackupOptions),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HubCheckOptions {
    /// The data folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Take out what is damaged
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HubBackupOptions {
    /// The folder to make; of a running hub, on that one's disk
    pub(crate) target: PathBuf,
    /// The data folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the running hub is asked, as http://HOST:PORT or https://HOST:PORT, if not where it says it listens
    #[arg(long, value_name = "URL")]
    pub(crate) hub: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Create(CreateOptions),
    /// Tell which tokens there are, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TokenPlace,
    },
    /// End a token, and what it has opened
    Revoke {
        /// The middle part of the token, as `list` tells it
        id: String,
        /// The reason, for the audit log
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        place: TokenPlace,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CreateOptions {
    /// Whose it is, or what it is for
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// What it allows: viewer looks, tuner also changes what is sampled, admin also gives access, collector sends
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Role,
    /// How long it holds, as 30d, 12h, 45m or 90s; without it until it is revoked
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub(crate) expires: Option<Duration>,
    /// The reason, for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
    /// Print JSON, with the token in it
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: TokenPlace,
}

/// Whose tokens.
#[derive(Debug, ClapArgs)]
pub(crate) struct TokenPlace {
    /// The data folder of a hub that is not running
    #[arg(long, value_name = "DIR", conflicts_with = "hub")]
    pub(crate) data: Option<PathBuf>,
    /// A running hub, as http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) hub: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

fn length(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with a unit, as 30d, 12h, 45m or 90s".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        'd' => 24 * 60 * 60,
        'h' => 60 * 60,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// `500MiB`, or plain bytes.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("", 1),
    ];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let scaled = factor.and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
    scaled.ok_or_else(|| {
        format!("expected a number and KiB, MiB, GiB, TiB or nothing, as in 500MiB, got '{text}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("500MiB", Some(500 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("1GB", None),
            ("GiB", None),
            ("-1", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn lengths() {
        for (text, seconds) in [
            ("30d", Some(30 * 86_400)),
            ("12h", Some(43_200)),
            ("45m", Some(2_700)),
            ("90s", Some(90)),
            ("0d", None),
            ("90", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("1.5h", None),
            ("99999999999999999999d", None),
            ("9999999999999999999d", None),
            ("3\u{e4}", None),
        ] {
            let got = length(text).ok().map(|length| length.as_secs());
            assert_eq!(got, seconds, "{text:?}");
        }
    }
}
