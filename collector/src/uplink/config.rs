//! Where the hub is, and how patient the collector is with it.

use std::time::Duration;
use tokio_tungstenite::tungstenite::http::Uri;

const PATH: &str = "/ws/collector";
const DEFAULT_PORT: u16 = 80;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UplinkError {
    #[error("{got:?} is not a hub's address: {why}; expected ws://HOST:PORT")]
    Url { got: String, why: String },
}

#[derive(Debug, Clone)]
pub struct UplinkConfig {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    pub token: Option<String>,
    /// Name and version for people, told to the hub.
    pub agent: String,
    pub timing: Timing,
    /// Frames sent and not acknowledged; a single larger frame still goes.
    pub window_bytes: usize,
    /// The session's clock; by default the one that the sources of this platform use.
    pub session_clock: fn() -> u64,
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

impl UplinkConfig {
    /// `ws://host:port`, with `/ws/collector` added unless a path is given. `host:port` alone will do.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, UplinkError> {
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
        match uri.scheme_str() {
            Some("ws" | "http") => {}
            Some("wss" | "https") => {
                return Err(error(
                    "TLS is not built in, put a TLS proxy or a tunnel before it",
                ));
            }
            _ => return Err(error("its scheme is unknown")),
        }
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
        let path = match uri.path_and_query().map_or("", |path| path.as_str()) {
            "" | "/" => PATH,
            path => path,
        };
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(DEFAULT_PORT),
            path: path.to_owned(),
            token,
            agent: concat!("heaptide ", env!("CARGO_PKG_VERSION")).to_owned(),
            timing: Timing::default(),
            window_bytes: 4 << 20,
            session_clock: super::clock::session_ns,
        })
    }

    /// The address in full, for people.
    pub fn url(&self) -> String {
        format!("ws://{}:{}{}", self.host, self.port, self.path)
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
        ] {
            assert_eq!(
                UplinkConfig::new(given, None).map(|config| config.url()),
                Ok(expected.to_owned())
            );
        }
        for (given, why) in [
            ("", "can't be read"),
            ("ws://", "can't be read"),
            ("ws://hub:port", "port"),
            ("ws://hub:99999", "port"),
            ("ws://hub:0", "port"),
            ("ws://:7070", "no host"),
            ("wss://hub:7070", "TLS"),
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
