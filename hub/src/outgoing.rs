//! Requests that the hub itself makes: to an alert webhook, to an identity provider. HTTP/1.1 by hyper, over rustls
//! where the address says so.
//!
//! Only whoever runs or administers the hub sets such addresses. A name is looked up for each request, and what it
//! leads to is what is connected to; redirections are not followed, and of an answer no more is read than was asked for.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const URL_BYTES: usize = 2_048;

/// What to connect to and to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    is_tls: bool,
}

impl Target {
    /// Or a sentence on why it can't be, that begins with the name of the field.
    pub(crate) fn parse(field: &str, url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{field}: {why}; expected http://HOST[:PORT]/PATH or https://…");
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
            return Err(wrong(
                "has a name or password in it, which has a setting of its own",
            ));
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

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// One that only this machine can mean.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        format!("{host}:{}", self.port)
    }
}

/// Whom the hub believes when it connects somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    tls: Arc<ClientConfig>,
    /// The setting that names more authorities, for sentences.
    ca_setting: &'static str,
}

/// A status, and the body where one was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// Trusts the authorities of the system, and those of a file. Blocks.
    pub(crate) fn new(file: Option<&Path>, ca_setting: &'static str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // A system may hold some that nobody can read; the others do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = file {
            let wrong = |error: String| format!("{}: {error}", file.display());
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
            let mut added = 0;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
                added += 1;
            }
            if added == 0 {
                return Err(wrong("no certificate in it; expected PEM".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            tls: Arc::new(builder.with_root_certificates(roots).with_no_client_auth()),
            ca_setting,
        })
    }

    /// Asks once. Of the body at most so many bytes are read, and a longer one is an error; with 0 it is not looked at.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        request: hyper::http::request::Builder,
        body: Bytes,
        most_bytes: usize,
    ) -> Result<Answer, String> {
        let request = request
            .uri(&target.path)
            .header("host", target.authority())
            .header("user-agent", concat!("heaptide/", env!("CARGO_PKG_VERSION")))
            .header("connection", "close")
            .body(Full::new(body))
            .map_err(|error| format!("what is to be sent can't be: {error}"))?;
        let stream = dial(target).await?;
        if !target.is_tls {
            return exchange(stream, request, most_bytes).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| "the host's name is none that a certificate can have".to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let connected = connector.connect(name, stream).await;
        let stream = connected.map_err(|error| self.no_tls(target, &error))?;
        exchange(stream, request, most_bytes).await
    }

    /// What is wrong with a certificate, and what would help.
    fn no_tls(&self, target: &Target, error: &io::Error) -> String {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let host = &target.host;
        let why = match inner {
            Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
                // The latter where another authority has the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                    "the certificate of {host} is of no authority that this hub believes; --{} FILE names another",
                    self.ca_setting
                ),
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("the certificate is not for the name {host}; ask under a name that it is for")
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    format!("the certificate of {host} has expired; whoever runs it has to renew it")
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    format!("the certificate of {host} is not valid yet; look at the clocks of both machines")
                }
                _ => error.to_string(),
            },
            _ => error.to_string(),
        };
        format!("no TLS with it: {why}")
    }
}

/// Where nobody's receiver is: a cloud's metadata, groups, nowhere.
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
    request: Request<Full<Bytes>>,
    most_bytes: usize,
) -> Result<Answer, String> {
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        // A body that nobody asked for is nobody's business; dropping it ends the connection.
        let body = if most_bytes == 0 {
            Bytes::new()
        } else {
            let read = Limited::new(answer.into_body(), most_bytes).collect().await;
            read.map_err(|error| {
                format!("its answer can't be read, at most {most_bytes} bytes long: {error}")
            })?
            .to_bytes()
        };
        Ok(Answer { status, body })
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // The answer may have come with the end; if it has not, the exchange says what broke.
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_send_to() {
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
            match (Target::parse("url", url), expected) {
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{url}: {got}"),
                (got, expected) => assert_eq!(got, expected.map_err(str::to_owned), "{url}"),
            }
        }
    }

    #[test]
    fn which_hosts_are_this_machine() {
        for (url, expected) in [
            ("http://localhost:7070", true),
            ("http://LOCALHOST", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:1", true),
            ("http://localhost.evil.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(
                Target::parse("url", url).unwrap().is_loopback(),
                expected,
                "{url}"
            );
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

    #[test]
    fn a_file_of_authorities_has_some_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.pem");
        std::fs::write(&text, "text").unwrap();
        for (file, expected) in [
            (text, "no certificate in it"),
            (folder.path().join("none"), "none"),
        ] {
            let error = Outgoing::new(Some(&file), "webhook-ca").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
