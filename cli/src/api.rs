//! A running hub's HTTP API, asked from the command line.

use crate::args::AccessOptions;
use anyhow::{Context as _, bail};
use heaptide_collector::uplink::{HubAddress, TlsTrust, dial};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// More than any answer that is read whole.
const MAX_BODY_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: HubAddress,
    token: Option<String>,
    trust: TlsTrust,
    patience: Duration,
}

/// What the hub said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    text: Bytes,
}

impl Api {
    pub(crate) fn new(url: &str, access: &AccessOptions) -> anyhow::Result<Self> {
        Ok(Self {
            address: HubAddress::parse(url)?,
            token: access.token.clone(),
            trust: access.trust(),
            patience: PATIENCE,
        })
    }

    /// For what takes as long as it takes.
    pub(crate) fn patient(self) -> Self {
        Self {
            patience: Duration::from_secs(24 * 60 * 60),
            ..self
        }
    }

    /// Asks and waits. An answer that says no becomes an error with the hub's own words.
    pub(crate) fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask(method, path, body)?.success(&self.address)
    }

    /// Asks and waits, for an answer that may say no in a way that is looked into.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let (status, text) = runtime()?.block_on(async {
            tokio::time::timeout(self.patience, self.exchange(method, path, body))
                .await
                .with_context(|| {
                    format!(
                        "{} did not answer within {} s",
                        self.address,
                        self.patience.as_secs()
                    )
                })?
        })?;
        Ok(Answer { status, text })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let wire = dial(&self.address, &self.trust)
            .await
            .map_err(anyhow::Error::msg)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(wire)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{}:{}", self.address.host, self.address.port));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                serde_json::to_vec(body)?.into()
            }
        };
        let answer = sender.send_request(request.body(Full::new(bytes))?).await?;
        let status = answer.status();
        let text = Limited::new(answer.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        connection.abort();
        Ok((status, text))
    }
}

impl Answer {
    /// Null where the answer is no JSON.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_slice(&self.text).unwrap_or_default()
    }

    pub(crate) fn success(&self, address: &HubAddress) -> anyhow::Result<Value> {
        let body = self.body();
        if self.status.is_success() {
            return Ok(body);
        }
        let status = self.status.as_u16();
        match body["error"].as_str() {
            Some(told) => bail!("the hub says no ({status}): {told}"),
            None => bail!(
                "{address} answered HTTP {status}: {}",
                String::from_utf8_lossy(&self.text).trim()
            ),
        }
    }
}

/// Between two questions.
pub(crate) fn pause(length: Duration) -> anyhow::Result<()> {
    runtime()?.block_on(async { tokio::time::sleep(length).await });
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Text as a part of a path or query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_query_is_one_value() {
        for (text, expected) in [
            ("left us", "left%20us"),
            ("a&b=c/d", "a%26b%3Dc%2Fd"),
            ("\u{e4}", "%C3%A4"),
            ("A-z_0.9~", "A-z_0.9~"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
