//! Where notices go, and one attempt to bring one there: an HTTP POST by hyper, over rustls where the address says so.
//!
//! Only an admin sets the address. It is looked up for each attempt, and what it leads to is what is connected to;
//! a redirection is not followed, and of an answer nothing but the status is told to anybody.

use crate::catalog::Entry;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const URL_BYTES: usize = 2_048;
const SECRET_BYTES: usize = 1_024;

/// The one webhook of a hub.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) revision: u64,
    pub(crate) who: String,
    pub(crate) unix_ns: u64,
    pub(crate) url: String,
    /// Signs what is sent.
    pub(crate) secret: Option<String>,
    /// Goes as `Authorization: Bearer`.
    pub(crate) bearer: Option<String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An address may hold a secret, too.
        write!(f, "Webhook(revision {})", self.revision)
    }
}

impl Entry for Webhook {
    const TABLE: &'static str = "alert_webhook";
}

/// What to connect to and to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    is_tls: bool,
}

/// What of a webhook can't be, as a sentence.
pub(crate) fn problem(url: &str, secret: Option<&str>, bearer: Option<&str>) -> Option<String> {
    if let Err(why) = Target::parse(url) {
        return Some(why);
    }
    let is_long = |text: &&str| text.is_empty() || text.len() > SECRET_BYTES;
    if secret.filter(is_long).is_some() {
        return Some(format!("secret: expected 1 to {SECRET_BYTES} bytes"));
    }
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if bearer.is_some_and(|text| is_long(&text) || !is_word(text)) {
        return Some(format!(
            "bearer: expected 1 to {SECRET_BYTES} visible ASCII letters without spaces"
        ));
    }
    None
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("url: {why}; expected http://HOST[:PORT]/PATH or https://…");
        if url.len() > URL_BYTES {
            return Err(wrong(&format!("has {} bytes, above {URL_BYTES}", url.len())));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("is no address"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a name or password in it, for which there is 'bearer'"));
        }
        let host = authority.host();
        if host.is_empty() || authority.port_u16() == Some(0) {
            return Err(wrong("has no host or port that can be"));
        }
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            is_tls,
        })
    }

    fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        format!("{host}:{}", self.port)
    }
}

/// Where no webhook of anybody is: a cloud's metadata, groups, nowhere.
fn is_off_limits(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                // AWS has its metadata there, too.
                || v6.segments()[..3] == [0xfd00, 0xec2, 0]
        }
    }
}

/// One notice, ready to be sent.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The same at each attempt, so that a receiver can tell a repetition.
    pub(crate) id: String,
    pub(crate) unix_s: u64,
    pub(crate) body: Bytes,
}

/// `sha256=…` over `SECONDS.BODY`, as in `Heaptide-Signature`.
pub(crate) fn signature(secret: &str, unix_s: u64, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = ring::hmac::Context::with_key(&key);
    context.update(format!("{unix_s}.").as_bytes());
    context.update(body);
    format!(
        "sha256={}",
        data_encoding::HEXLOWER.encode(context.sign().as_ref())
    )
}

/// Brings one there, or tells why not.
pub(crate) async fn post(
    webhook: &Webhook,
    parcel: &Parcel,
    patience: Duration,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(), String> {
    let target = Target::parse(&webhook.url)?;
    let attempt = async {
        let stream = dial(&target).await?;
        if target.is_tls {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|_| "the host's name is none that a certificate can have".to_owned())?;
            let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            let stream = connected.map_err(|error| format!("no TLS with it: {error}"))?;
            exchange(stream, &target, webhook, parcel).await
        } else {
            exchange(stream, &target, webhook, parcel).await
        }
    };
    match tokio::time::timeout(patience, attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", patience.as_secs_f32())),
    }
}

async fn dial(target: &Target) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| format!("the host's name leads nowhere: {error}"))?
        .collect();
    let mut last = "the host's name leads nowhere".to_owned();
    for address in addresses {
        if is_off_limits(address.ip()) {
            last =
                "the host is at a link-local, metadata or group address, to which nothing is sent".to_owned();
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("can't connect: {error}"),
        }
    }
    Err(last)
}

async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    target: &Target,
    webhook: &Webhook,
    parcel: &Parcel,
) -> Result<(), String> {
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut request = Request::post(&target.path)
        .header("host", target.authority())
        .header("content-type", "application/json")
        .header("user-agent", concat!("heaptide/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .header("heaptide-delivery", &parcel.id)
        .header("heaptide-timestamp", parcel.unix_s);
    if let Some(secret) = &webhook.secret {
        request = request.header(
            "heaptide-signature",
            signature(secret, parcel.unix_s, &parcel.body),
        );
    }
    if let Some(bearer) = &webhook.bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    let request = request
        .body(Full::new(parcel.body.clone()))
        .map_err(|error| format!("what is to be sent can't be: {error}"))?;
    let exchange = async {
        // The body of the answer is nobody's business; dropping it ends the connection.
        let answer = sender.send_request(request).await.map_err(broken)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered with status {}", status.as_u16())),
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // The answer may have come with the end; if it has not, the exchange says what broke.
        _ = connection => exchange.await,
    }
}

/// Trusts the authorities of the system, and those of a file.
pub(crate) fn trust(file: Option<&std::path::Path>) -> Result<rustls::ClientConfig, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    // A system may hold some that nobody can read; the others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = file {
        let wrong = |error: String| format!("{}: {error}", file.display());
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_webhooks() {
        let target = |host: &str, port, path: &str, is_tls| Target {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            is_tls,
        };
        for (url, expected) in [
            ("http://hooks/a?b=c", Ok(target("hooks", 80, "/a?b=c", false))),
            ("https://hooks", Ok(target("hooks", 443, "/", true))),
            ("http://[::1]:9/x", Ok(target("::1", 9, "/x", false))),
            ("ftp://hooks/", Err("is neither http nor https")),
            ("file:///etc/passwd", Err("url: ")),
            ("/only/a/path", Err("is neither http nor https")),
            ("http://ana:word@hooks/", Err("has a name or password")),
            ("http://hooks:0/", Err("has no host or port")),
            ("http://ho oks/", Err("is no address")),
            ("http://hooks/\r\nX: y", Err("is no address")),
        ] {
            match (Target::parse(url), expected) {
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{url}: {got}"),
                (got, expected) => assert_eq!(got, expected.map_err(str::to_owned), "{url}"),
            }
        }
    }

    #[test]
    fn what_can_be_no_secret_is_told() {
        let long = "x".repeat(SECRET_BYTES + 1);
        for (secret, bearer, expected) in [
            (None, None, None),
            (Some("s p a c e"), Some("word"), None),
            (Some(""), None, Some("secret: ")),
            (Some(long.as_str()), None, Some("secret: ")),
            (None, Some("two words"), Some("bearer: ")),
            (None, Some("a\r\nb"), Some("bearer: ")),
        ] {
            let got = problem("http://hooks/", secret, bearer);
            assert_eq!(got.is_some(), expected.is_some(), "{got:?}");
            assert!(got.unwrap_or_default().starts_with(expected.unwrap_or_default()));
        }
    }

    #[test]
    fn nothing_goes_to_a_clouds_metadata() {
        for (address, expected) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("fd00:1::1", false),
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_off_limits(address.parse().unwrap()), expected, "{address}");
        }
    }

    /// `printf '7.{}' | openssl dgst -sha256 -hmac key`
    #[test]
    fn a_signature_as_openssl_makes_it() {
        assert_eq!(signature("key", 7, b"{}"), OPENSSL);
    }

    const OPENSSL: &str = "sha256=77bc83bd1f40422311e47918b203449aecf84b02c1568bb1b570ac2a474cc2d8";
}
