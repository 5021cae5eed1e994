//! TLS: the hub's certificate, read again when its files change, and the certificates of collectors.
//!
//! Connections that are open keep what they were opened with. Files that can't be used leave the ones before in
//! force, with a warning.

use crate::access::ClientCertificate;
use crate::config::TlsFiles;
use crate::error::HubError;
use crate::hub::Hub;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::FromDer as _;

const NAME_CHARS: usize = 128;

pub(crate) struct Tls {
    files: TlsFiles,
    /// What the files were like when they were first read.
    opened: Stamps,
    current: RwLock<Arc<ServerConfig>>,
}

/// When each file was changed last, and how long it is; a file that isn't there has neither.
type Stamps = [Option<(SystemTime, u64)>; 3];

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.files)
    }
}

impl Tls {
    pub(crate) fn open(files: TlsFiles) -> Result<Self, HubError> {
        // Before they are read: what changes meanwhile is then seen as a change.
        let opened = stamps(&files);
        let current = read(&files).map_err(|why| HubError::Tls { why })?;
        Ok(Self {
            files,
            opened,
            current: RwLock::new(current),
        })
    }

    /// Speaks TLS on a connection. The certificate is the peer's, if it has one.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<ClientCertificate>), String> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config)
            .accept(stream)
            .await
            .map_err(|error| error.to_string())?;
        let (_, connection) = stream.get_ref();
        let certificate = connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(describe)
            .transpose()?;
        Ok((stream, certificate))
    }

    fn reload(&self) -> Result<(), String> {
        let new = read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// Blocks.
fn stamps(files: &TlsFiles) -> Stamps {
    let files = [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()];
    files.map(|file| {
        let meta = std::fs::metadata(file?).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

/// Looks at the files for as long as it is polled.
pub(crate) async fn follow_files(hub: Arc<Hub>) {
    let Some(mut known) = hub.tls.as_ref().map(|tls| tls.opened) else {
        return;
    };
    loop {
        let for_files = Arc::clone(&hub);
        let looked = tokio::task::spawn_blocking(move || {
            let tls = for_files.tls.as_ref()?;
            let stamps = stamps(&tls.files);
            Some((stamps, (known != stamps).then(|| tls.reload())))
        });
        let Ok(Some((stamps, reloaded))) = looked.await else {
            return;
        };
        known = stamps;
        match reloaded {
            None => {}
            Some(Ok(())) => hub.config.log.info("the TLS certificate was read again"),
            Some(Err(why)) => {
                hub.stats.tls_reload_failures.add(1);
                hub.config
                    .log
                    .warning(format!("the TLS certificate stays the one before: {why}"));
            }
        }
        tokio::time::sleep(hub.config.limits.tls_look).await;
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("{}: {error}; expected a private key in PEM", files.key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            // Browsers and token holders have no certificate.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "{} and {} don't go together: {error}",
            files.cert.display(),
            files.key.display()
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls::pki_types::pem::Error| {
        format!("{}: {error}; expected certificates in PEM", path.display())
    };
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if all.is_empty() {
        return Err(format!("{}: no certificate in it; expected PEM", path.display()));
    }
    Ok(all)
}

/// Name and end of a certificate that the handshake has found to be right.
fn describe(certificate: &CertificateDer<'_>) -> Result<ClientCertificate, String> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|error| format!("the client's certificate can't be read: {error}"))?;
    let common_name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .map_or_else(|| parsed.subject().to_string(), str::to_owned);
    // It goes into logs.
    let subject = common_name
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS)
        .collect();
    let expires_s = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(ClientCertificate {
        subject,
        expires_unix_ns: expires_s.saturating_mul(1_000_000_000),
    })
}
