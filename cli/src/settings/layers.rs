//! Layers of settings, the upper ones before the lower ones.

use super::{KEEP_BYTES, LISTEN, file};
use crate::args::{HubSettings, LogFormat, LogLevel};
use anyhow::{Context as _, bail};
use clap::Parser;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const VARIABLES: &str = "HEAPTIDE_HUB_";
/// Names the file of settings, and is none itself.
const CONFIG_VARIABLE: &str = "HEAPTIDE_HUB_CONFIG";

/// What is worth nothing without the others.
const NEEDS: &[(&str, &[&str])] = &[
    ("tls-cert", &["tls-key"]),
    ("tls-key", &["tls-cert"]),
    ("tls-client-ca", &["tls-cert"]),
    ("oidc-issuer", &["oidc-client-id", "public-url", "oidc-role"]),
    ("oidc-client-id", &["oidc-issuer"]),
    ("oidc-client-secret-file", &["oidc-issuer"]),
    ("oidc-role", &["oidc-issuer"]),
    ("oidc-scope", &["oidc-issuer"]),
    ("oidc-ca", &["oidc-issuer"]),
];

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    File,
    Default,
}

/// All settings, and of each where it comes from.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) values: HubSettings,
    pub(crate) rows: Vec<Row>,
    /// Variables that look like settings and are none.
    pub(crate) unknown_variables: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// `None` if nobody says anything.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
}

/// One setting by its flag's parser.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct One {
    #[command(flatten)]
    settings: HubSettings,
}

macro_rules! settings {
    ($($field:ident $name:literal),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];

        /// What is said above, else what is said below.
        fn over(upper: HubSettings, lower: HubSettings) -> HubSettings {
            HubSettings { $($field: upper.$field.or_below(lower.$field)),* }
        }

        /// Each setting in the order of the flags, as text if it is said.
        fn texts(settings: &HubSettings) -> Vec<Option<String>> {
            vec![$(settings.$field.text()),*]
        }
    };
}

settings! {
    listen "listen",
    data "data",
    open "open",
    insecure_allow_remote "insecure-allow-remote",
    require_token "require-token",
    tls_cert "tls-cert",
    tls_key "tls-key",
    tls_client_ca "tls-client-ca",
    webhook_ca "webhook-ca",
    public_url "public-url",
    oidc_issuer "oidc-issuer",
    oidc_client_id "oidc-client-id",
    oidc_client_secret_file "oidc-client-secret-file",
    oidc_role "oidc-role",
    oidc_scope "oidc-scope",
    oidc_ca "oidc-ca",
    allow_host "allow-host",
    keep_for "keep-for",
    keep_session_bytes "keep-session-bytes",
    keep_bytes "keep-bytes",
    log_format "log-format",
    log_level "log-level",
}

impl Told {
    pub(crate) fn resolve(
        flags: &HubSettings,
        config: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> anyhow::Result<Self> {
        let (environment, unknown_variables) = from_environment(variables)?;
        let file = config.map_or_else(|| Ok(HubSettings::default()), from_file)?;
        let default = HubSettings {
            listen: Some(LISTEN),
            insecure_allow_remote: Some(false),
            require_token: Some(false),
            keep_bytes: Some(KEEP_BYTES),
            log_format: Some(LogFormat::default()),
            log_level: Some(LogLevel::default()),
            ..HubSettings::default()
        };
        let layers = [
            (Source::Flag, flags.clone()),
            (Source::Environment, environment),
            (Source::File, file),
            (Source::Default, default),
        ];
        let said: Vec<(Source, Vec<Option<String>>)> = layers
            .iter()
            .map(|(source, settings)| (*source, texts(settings)))
            .collect();
        let rows = NAMES.iter().enumerate().map(|(at, name)| {
            let first = said
                .iter()
                .find_map(|(source, texts)| Some((*source, texts[at].clone()?)));
            Row {
                name,
                source: first.as_ref().map_or(Source::Default, |(source, _)| *source),
                value: first.map(|(_, text)| text),
            }
        });
        let rows = rows.collect();
        let values = layers
            .into_iter()
            .map(|(_, settings)| settings)
            .reduce(over)
            .unwrap_or_default();
        let told = Self {
            values,
            rows,
            unknown_variables,
        };
        told.agree()?;
        Ok(told)
    }

    /// Whether what came from different places goes together.
    fn agree(&self) -> anyhow::Result<()> {
        let values = &self.values;
        let is_said = |name: &str| {
            let mut rows = self.rows.iter();
            rows.any(|row| row.name == name && row.value.is_some())
        };
        for (name, others) in NEEDS {
            if let Some(other) = others.iter().find(|other| is_said(name) && !is_said(other)) {
                bail!("--{name} ({}) needs --{other} too", self.source(name));
            }
        }
        if !values.open.is_empty() && values.data.is_some() {
            bail!(
                "--open ({}) keeps nothing, and --data ({}) says where to keep it: leave one of them out",
                self.source("open"),
                self.source("data")
            );
        }
        Ok(())
    }

    fn source(&self, name: &str) -> Source {
        let row = self.rows.iter().find(|row| row.name == name);
        row.map_or(Source::Default, |row| row.source)
    }
}

fn from_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<(HubSettings, Vec<String>)> {
    let mut settings = HubSettings::default();
    let mut unknown = Vec::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(VARIABLES)) else {
            continue;
        };
        // An empty variable is how a service's file takes one back.
        if variable == CONFIG_VARIABLE || value.is_empty() {
            continue;
        }
        let Some(name) = NAMES.iter().find(|name| variable_of(name) == variable) else {
            unknown.push(variable.to_owned());
            continue;
        };
        let text = value
            .to_str()
            .with_context(|| format!("{variable} is not UTF-8"))?;
        let texts: Vec<String> = match *name {
            "allow-host" | "oidc-role" | "oidc-scope" | "open" => {
                text.split(',').map(str::to_owned).collect()
            }
            _ => vec![text.to_owned()],
        };
        settings = over(one(name, &texts).with_context(|| variable.to_owned())?, settings);
    }
    unknown.sort();
    Ok((settings, unknown))
}

/// Paths in a file are relative to it.
fn from_file(path: &Path) -> anyhow::Result<HubSettings> {
    let mut settings = HubSettings::default();
    for entry in file::read(path)? {
        let place = format!("{}, line {}", path.display(), entry.line);
        let Some(name) = NAMES.iter().find(|name| **name == entry.name) else {
            bail!(
                "{place}: there is no setting '{}': expected one of {}",
                entry.name,
                NAMES.join(", ")
            );
        };
        settings = over(one(name, &entry.texts).context(place)?, settings);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let paths = [
        &mut settings.data,
        &mut settings.tls_cert,
        &mut settings.tls_key,
        &mut settings.tls_client_ca,
        &mut settings.webhook_ca,
        &mut settings.oidc_client_secret_file,
        &mut settings.oidc_ca,
    ];
    for path in paths.into_iter().flatten().chain(&mut settings.open) {
        *path = folder.join(&*path);
    }
    Ok(settings)
}

fn variable_of(name: &str) -> String {
    format!("{VARIABLES}{}", name.replace('-', "_").to_ascii_uppercase())
}

fn one(name: &str, texts: &[String]) -> anyhow::Result<HubSettings> {
    let arguments = texts.iter().map(|text| format!("--{name}={text}"));
    match One::try_parse_from(arguments) {
        Ok(one) => Ok(one.settings),
        Err(error) => {
            let text = error.to_string();
            // The first line says what is wrong; the others tell of flags.
            let first = text.lines().next().unwrap_or_default();
            bail!("{}", first.trim_start_matches("error: "))
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

trait Layered: Sized {
    fn or_below(self, lower: Self) -> Self;
    fn text(&self) -> Option<String>;
}

impl<T: Shown> Layered for Option<T> {
    fn or_below(self, lower: Self) -> Self {
        self.or(lower)
    }

    fn text(&self) -> Option<String> {
        self.as_ref().map(Shown::shown)
    }
}

impl<T: Shown> Layered for Vec<T> {
    fn or_below(self, lower: Self) -> Self {
        if self.is_empty() { lower } else { self }
    }

    fn text(&self) -> Option<String> {
        let texts: Vec<String> = self.iter().map(Shown::shown).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

/// As it could be said again.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for std::net::SocketAddr {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

macro_rules! shown_as_said {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn shown(&self) -> String {
                let value = clap::ValueEnum::to_possible_value(self);
                value.map_or_else(String::new, |value| value.get_name().to_owned())
            }
        }
    )*};
}

shown_as_said!(LogFormat, LogLevel);

impl Shown for heaptide_hub::RoleRule {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        in_units(
            self.as_secs(),
            &[("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)],
        )
    }
}

impl Shown for u64 {
    fn shown(&self) -> String {
        let units = [
            ("TiB", 1 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("", 1),
        ];
        in_units(*self, &units)
    }
}

/// In the largest unit that leaves no rest.
fn in_units(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .find(|(_, size)| number > 0 && number.is_multiple_of(*size));
    whole.map_or_else(
        || number.to_string(),
        |(name, size)| format!("{}{name}", number / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flags: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> anyhow::Result<Told> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let flags = One::try_parse_from(flags).unwrap().settings;
        let variables = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let told = Told::resolve(&flags, file.map(|_| path.as_path()), variables);
        told.map(|mut told| {
            // What is relative to the file is told relative to it.
            let base = format!("{}/", folder.path().display());
            for row in &mut told.rows {
                row.value = row.value.take().map(|value| value.replace(&base, "FOLDER/"));
            }
            told
        })
    }

    #[test]
    fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
        let file = "listen = \"127.0.0.1:1\"\nkeep-bytes = \"1GiB\"\nkeep-for = \"48h\"\ndata = \"store\"\n\
                    require-token = true\nallow-host = [\"a\", \"b\"]\n\
                    oidc-issuer = \"https://id.example\"\noidc-client-id = \"hub\"\n\
                    oidc-client-secret-file = \"oidc.secret\"\npublic-url = \"https://hub.example\"\n";
        let environment = [
            ("HEAPTIDE_HUB_LISTEN", "127.0.0.1:2"),
            ("HEAPTIDE_HUB_KEEP_BYTES", "2GiB"),
            ("HEAPTIDE_HUB_REQUIRE_TOKEN", "false"),
            ("HEAPTIDE_HUB_KEEP_FOR", ""),
            (
                "HEAPTIDE_HUB_OIDC_ROLE",
                "groups=sre:admin,email=*@example.com:viewer",
            ),
            ("HEAPTIDE_HUB_CONFIG", "elsewhere"),
            ("HEAPTIDE_HUB_LISTN", "typing"),
            ("HOME", "/"),
        ];
        let told = told(&["--listen=127.0.0.1:3"], &environment, Some(file)).unwrap();
        let of = |name: &str| {
            let row = told.rows.iter().find(|row| row.name == name).unwrap();
            (row.value.clone(), row.source)
        };
        for (name, value, source) in [
            ("listen", Some("127.0.0.1:3"), Source::Flag),
            ("keep-bytes", Some("2GiB"), Source::Environment),
            ("require-token", Some("false"), Source::Environment),
            ("keep-for", Some("2d"), Source::File),
            ("data", Some("FOLDER/store"), Source::File),
            ("allow-host", Some("a, b"), Source::File),
            (
                "oidc-client-secret-file",
                Some("FOLDER/oidc.secret"),
                Source::File,
            ),
            (
                "oidc-role",
                Some("groups=sre:admin, email=*@example.com:viewer"),
                Source::Environment,
            ),
            ("insecure-allow-remote", Some("false"), Source::Default),
            ("tls-cert", None, Source::Default),
        ] {
            assert_eq!(of(name), (value.map(str::to_owned), source), "{name}");
        }
        assert_eq!(told.unknown_variables, ["HEAPTIDE_HUB_LISTN"]);
        assert_eq!(told.values.keep_bytes, Some(2 << 30));
        assert_eq!(told.values.require_token, Some(false));
    }

    #[test]
    fn with_nothing_said_the_defaults_hold() {
        let told = told(&[], &[], None).unwrap();
        assert_eq!(told.values.listen, Some(LISTEN));
        assert_eq!(told.values.keep_bytes, Some(KEEP_BYTES));
        assert!(told.rows.iter().all(|row| row.source == Source::Default));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let none: &[(&str, &str)] = &[];
        for (flags, environment, file, expected) in [
            (
                &[][..],
                none,
                Some("lisen = \"a\""),
                "hub.toml, line 1: there is no setting 'lisen'",
            ),
            (
                &[],
                none,
                Some("\nkeep-for = \"90\""),
                "hub.toml, line 2: invalid value '90'",
            ),
            (
                &[],
                none,
                Some("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]"),
                "line 1",
            ),
            (
                &[],
                &[("HEAPTIDE_HUB_LISTEN", "x")],
                None,
                "HEAPTIDE_HUB_LISTEN: invalid value 'x'",
            ),
            (&["--tls-cert=a"], none, None, "--tls-cert (flag) needs --tls-key"),
            (&["--tls-key=a"], none, None, "--tls-key (flag) needs --tls-cert"),
            (
                &[],
                none,
                Some("tls-client-ca = \"a\""),
                "--tls-client-ca (file) needs --tls-cert",
            ),
            (
                &["--oidc-issuer=https://id.example", "--oidc-client-id=hub"],
                &[("HEAPTIDE_HUB_OIDC_ROLE", "groups=sre:admin,groups=dev:viewer")],
                None,
                "--oidc-issuer (flag) needs --public-url",
            ),
            (
                &["--oidc-issuer=https://id.example", "--oidc-client-id=hub"],
                none,
                Some("public-url = \"https://hub.example\""),
                "--oidc-issuer (flag) needs --oidc-role",
            ),
            (
                &[],
                none,
                Some("oidc-role = [\"groups=sre:root\"]"),
                "line 1: invalid value 'groups=sre:root'",
            ),
            (
                &["--oidc-ca=a"],
                none,
                None,
                "--oidc-ca (flag) needs --oidc-issuer",
            ),
            (
                &["--open=a"],
                &[("HEAPTIDE_HUB_DATA", "b")],
                None,
                "--data (environment)",
            ),
        ] {
            let error = format!("{:#}", told(flags, environment, file).unwrap_err());
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
        let missing = Told::resolve(
            &HubSettings::default(),
            Some(Path::new("/nowhere/hub.toml")),
            std::iter::empty(),
        );
        let error = format!("{:#}", missing.unwrap_err());
        assert!(
            error.contains("can't read the settings in /nowhere/hub.toml"),
            "{error}"
        );
    }

    #[test]
    fn every_flag_has_a_row_and_says_its_value_as_it_could_be_said_again() {
        use clap::CommandFactory as _;
        let command = One::command();
        let flags: Vec<&str> = command
            .get_arguments()
            .filter_map(|flag| flag.get_long())
            .collect();
        assert_eq!(flags, NAMES);
        for (name, text) in [
            ("keep-for", "90d"),
            ("keep-for", "36h"),
            ("keep-for", "61s"),
            ("keep-bytes", "0"),
            ("keep-bytes", "1000"),
            ("keep-session-bytes", "1536MiB"),
            ("require-token", "true"),
            ("listen", "[::1]:7070"),
            ("log-format", "json"),
            ("log-level", "warning"),
            ("oidc-role", "email=*@example.com:viewer"),
        ] {
            let settings = one(name, &[text.to_owned()]).unwrap();
            let at = NAMES.iter().position(|known| *known == name).unwrap();
            assert_eq!(texts(&settings)[at].as_deref(), Some(text));
        }
    }
}
