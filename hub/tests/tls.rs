//! TLS on the hub's side: its certificate, its renewal, and the certificates of collectors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::authority::Authority;
use common::{Answer, answer_in, bearer, patient, start_with};
use heaptide_hub::{Hub, HubConfig, Role as Access, TlsFiles, TokenFile};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Client<'a> {
    trusts: &'a Authority,
    shows: Option<&'a (PathBuf, PathBuf)>,
}

impl Client<'_> {
    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.trusts.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        patient(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    async fn ask(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = self.connect(address).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}",
            address.port()
        );
        patient(stream.write_all(request.as_bytes())).await?;
        let mut answer = Vec::new();
        let read = patient(stream.read_to_end(&mut answer)).await;
        // TLS 1.3 tells of a refused certificate at the first read.
        if answer.is_empty() {
            read?;
        }
        Ok(answer_in(&String::from_utf8_lossy(&answer)))
    }
}

#[tokio::test]
async fn under_tls_a_hub_answers_https_only_and_says_so_to_browsers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let authority = Authority::new();
    let (cert, key) = authority.sign(folder.path(), "hub", "hub");
    let admin = TokenFile::open(&data)
        .unwrap()
        .create("admin", Access::Admin, None, "")
        .unwrap();
    let hub = start_with(&data, |config| {
        config.tls = Some(TlsFiles {
            cert,
            key,
            client_ca: None,
        });
    })
    .await;
    let at = hub.address;
    let client = Client {
        trusts: &authority,
        shows: None,
    };
    let answer = client.ask(at, "GET", "/healthz", "", "").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert!(
        answer
            .head
            .contains("strict-transport-security: max-age=31536000"),
        "{answer:?}"
    );
    let body = format!("{{\"token\": \"{}\"}}", admin.token);
    let port = at.port();
    // The page of this very host without TLS may be anybody's.
    for (origin, status) in [("https", 200), ("http", 403)] {
        let origin = format!("Origin: {origin}://localhost:{port}\r\n");
        let answer = client
            .ask(at, "POST", "/api/v1/sign-in", &origin, &body)
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
        if status == 200 {
            assert!(answer.head.contains("; secure"), "{answer:?}");
            assert!(answer.cookie().starts_with("__host-heaptide-"), "{answer:?}");
        }
    }
    let plain = common::raw(at, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!plain.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&plain));
    let stranger = Client {
        trusts: &Authority::new(),
        shows: None,
    };
    assert!(stranger.connect(at).await.is_err());
    // Both are counted by whoever looks next.
    let mut failures = 0;
    while failures < 2 {
        let stats = client
            .ask(at, "GET", "/api/v1/stats", &bearer(&admin.token), "")
            .await
            .unwrap();
        failures = stats.json()["counters"]["tls_failures"].as_u64().unwrap();
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let (cert, key) = old.sign(folder.path(), "hub", "hub");
    let hub = start_with(&folder.path().join("data"), |config| {
        config.tls = Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: None,
        });
        config.limits.tls_look = Duration::from_millis(10);
    })
    .await;
    let at = hub.address;
    let (by_old, by_new) = (
        Client {
            trusts: &old,
            shows: None,
        },
        Client {
            trusts: &new,
            shows: None,
        },
    );
    assert!(by_old.connect(at).await.is_ok());
    std::fs::write(&cert, "no certificate").unwrap();
    patient(async {
        while !hub.logged().contains("the TLS certificate stays the one before") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(by_old.connect(at).await.is_ok());
    assert!(by_new.connect(at).await.is_err());
    new.sign(folder.path(), "hub", "hub");
    patient(async {
        while by_new.connect(at).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(by_old.connect(at).await.is_err());
    hub.stop().await;
}

#[tokio::test]
async fn a_certificate_of_the_client_authority_makes_a_collector_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let (cert, key) = authority.sign(folder.path(), "hub", "hub");
    let ours = clients.sign(folder.path(), "ours", "node-7");
    let theirs = others.sign(folder.path(), "theirs", "node-7");
    let client_ca = Some(clients.write(folder.path(), "clients.pem"));
    let hub = start_with(&folder.path().join("data"), |config| {
        config.tls = Some(TlsFiles { cert, key, client_ca });
        config.require_token = true;
    })
    .await;
    let at = hub.address;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let by = |shows| Client {
        trusts: &authority,
        shows,
    };
    let me = by(Some(&ours))
        .ask(at, "GET", "/api/v1/me", "", "")
        .await
        .unwrap()
        .json();
    assert_eq!(
        (me["name"].as_str(), me["role"].as_str(), me["by"].as_str()),
        (Some("node-7"), Some("collector"), Some("certificate"))
    );
    for (shows, path, expected) in [
        (Some(&ours), "/api/v1/sessions", Some(403)),
        (Some(&ours), "/api/v1/tokens", Some(403)),
        (None, "/api/v1/me", Some(401)),
        // A certificate of somebody else's authority is no handshake at all.
        (Some(&theirs), "/healthz", None),
    ] {
        let status = by(shows)
            .ask(at, "GET", path, "", "")
            .await
            .ok()
            .map(|answer| answer.status);
        assert_eq!(status, expected, "{path}");
    }
    // The collector's conversation itself is a test of the collector's.
    let mut stream = by(Some(&ours)).connect(at).await.unwrap();
    let request = format!("GET /ws/collector HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    patient(stream.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
    drop(stream);
    hub.stop().await;
}

#[tokio::test]
async fn files_that_are_no_certificates_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (cert, key) = authority.sign(folder.path(), "hub", "hub");
    let (_, other_key) = authority.sign(folder.path(), "other", "other");
    let text = folder.path().join("text");
    std::fs::write(&text, "text").unwrap();
    let missing = folder.path().join("missing");
    for (cert, key, client_ca, expected) in [
        (&missing, &key, None, "missing"),
        (&text, &key, None, "no certificate in it"),
        (&cert, &text, None, "expected a private key in PEM"),
        (&cert, &other_key, None, "don't go together"),
        (&cert, &key, Some(&text), "no certificate in it"),
    ] {
        let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder.path().join("data"));
        config.tls = Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: client_ca.cloned(),
        });
        let error = Hub::bind(config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} lacks {expected:?}");
        assert!(error.contains("can't speak TLS"), "{error}");
    }
}
