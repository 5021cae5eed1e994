//! Where the hub is, and how patient the collector is with it.

use super::wire::TlsTrust;
use std::fmt;
use std::time::Duration;
use tokio_tungstenite::tungstenite::http::Uri;

const PATH: &str = "/ws/collector";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UplinkError {
    #[error("{got:?} is not a hub's address: {why}; expected ws://HOST:PORT or wss://HOST:PORT")]
    Url { got: String, why: String },
    #[error("can't speak TLS with the hub: {why}")]
    Tls { why: String },
}

/// Where a hub listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress {
    pub host: String,
    pub port: u16,
    /// With TLS.
    pub secure: bool,
    /// Empty if none was given.
    pub path: String,
}

#[derive(Debug, Clone)]
pub struct UplinkConfig {
    pub(super) address: HubAddress,
    pub(super) trust: TlsTrust,
    pub token: Option<String>,
    /// Name and version for people, told to the hub.
    pub agent: String,
    pub timing: Timing,
    /// Frames sent and not acknowledged; a single larger frame still goes.
    pub window_bytes: usize,
    /// The session's clock; by default the one that the sources of this platform use.
    pub session_clock: fn() -> u64,
    /// For how long that clock has stood still because the machine was suspended.
    pub suspended: fn() -> u64,
}

/// Waits and limits of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub connect: Duration,
    /// For each answer of the handshake.
    pub handshake: Duration,
    pub ping_every: Duration,
    /// A hub that says nothing for so long is gone, whatever the socket thinks.
    pub silence: Duration,
    /// A hub that answers pings but makes no frame durable is stuck.
    pub ack_stall: Duration,
    /// For the closing handshake.
    pub close: Duration,
    pub retry_first: Duration,
    pub retry_max: Duration,
}

impl HubAddress {
    /// `ws://host:port` or `wss://host:port`, also with `http` and `https`. `host:port` alone will do.
    pub fn parse(url: &str) -> Result<Self, UplinkError> {
        let error = |why: &str| UplinkError::Url {
            got: url.chars().take(200).collect(),
            why: why.to_owned(),
        };
        let full = if url.contains("://") {
            url.to_owned()
        } else {
            format!("ws://{url}")
        };
        let uri: Uri = full.parse().map_err(|_| error("it can't be read"))?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(error("its scheme is unknown")),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(error("a name or password does not belong there, use a token"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| error("it has no host"))?;
        let port_text = uri
            .authority()
            .map_or("", |authority| &authority.as_str()[host.len()..]);
        if !port_text.is_empty() && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(error("its port is not a number from 1 to 65535"));
        }
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            secure,
            path: match uri.path_and_query().map_or("", |path| path.as_str()) {
                "/" => String::new(),
                path => path.to_owned(),
            },
        })
    }
}

/// Without the path.
impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl UplinkConfig {
    /// See [`HubAddress::parse`]; `/ws/collector` is added unless a path is given.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, UplinkError> {
        Self::with_trust(url, token, TlsTrust::default())
    }

    /// The same, for a `wss://` address with certificates of one's own.
    pub fn with_trust(url: &str, token: Option<String>, trust: TlsTrust) -> Result<Self, UplinkError> {
        let mut address = HubAddress::parse(url)?;
        if address.path.is_empty() {
            PATH.clone_into(&mut address.path);
        }
        trust.check(&address)?;
        Ok(Self {
            address,
            trust,
            token,
            agent: concat!("heaptide ", env!("CARGO_PKG_VERSION")).to_owned(),
            timing: Timing::default(),
            window_bytes: 4 << 20,
            session_clock: super::clock::session_ns,
            suspended: super::clock::suspended_ns,
        })
    }

    /// The address in full, for people.
    pub fn url(&self) -> String {
        format!("{}{}", self.address, self.address.path)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            ping_every: Duration::from_secs(10),
            silence: Duration::from_secs(15),
            ack_stall: Duration::from_secs(30),
            close: Duration::from_secs(2),
            retry_first: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (given, expected) in [
            ("ws://127.0.0.1:7070", "ws://127.0.0.1:7070/ws/collector"),
            ("ws://127.0.0.1:7070/", "ws://127.0.0.1:7070/ws/collector"),
            ("127.0.0.1:7070", "ws://127.0.0.1:7070/ws/collector"),
            ("http://hub.example", "ws://hub.example:80/ws/collector"),
            ("ws://[::1]:7070", "ws://[::1]:7070/ws/collector"),
            ("ws://hub:1/a/b?c=d", "ws://hub:1/a/b?c=d"),
            ("wss://hub", "wss://hub:443/ws/collector"),
            ("https://hub:7070/", "wss://hub:7070/ws/collector"),
        ] {
            let address = HubAddress::parse(given).unwrap();
            let path = if address.path.is_empty() {
                PATH
            } else {
                &address.path
            };
            assert_eq!(format!("{address}{path}"), expected);
        }
        for (given, why) in [
            ("", "can't be read"),
            ("ws://", "can't be read"),
            ("ws://hub:port", "port"),
            ("ws://hub:99999", "port"),
            ("ws://hub:0", "port"),
            ("ws://:7070", "no host"),
            ("ftp://hub:7070", "scheme"),
            ("ws://me:secret@hub:7070", "token"),
        ] {
            let error = UplinkConfig::new(given, None)
                .map(|config| config.url())
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{given}: {error}");
            assert!(error.contains("expected ws://HOST:PORT"), "{given}: {error}");
        }
    }
}
