//! A byte stream to the hub, with TLS where its address says so.
//!
//! Certificates are read for each connection, so files that are renewed are used from the next one on.

use super::config::{HubAddress, UplinkError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whom to believe, and what to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Authorities in PEM; without it those that this system trusts.
    pub ca: Option<PathBuf>,
    /// A certificate of our own and its key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What a WebSocket or HTTP is spoken over.
pub trait Wire: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Wire for T {}

impl TlsTrust {
    /// Finds now what a connection would find later.
    pub(super) fn check(&self, address: &HubAddress) -> Result<(), UplinkError> {
        if !address.secure {
            return if *self == Self::default() {
                Ok(())
            } else {
                Err(UplinkError::Tls {
                    why: format!("{address} speaks no TLS: certificates go with a wss:// address"),
                })
            };
        }
        self.config().map(drop).map_err(|why| UplinkError::Tls { why })
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{}: {error}; expected a private key in PEM", key.display()))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| {
                    format!(
                        "{} and {} don't go together: {error}",
                        cert.display(),
                        key.display()
                    )
                })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("{}: {error}", path.display()))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                // Those of a system that rustls can't read are none that a hub has.
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(
                        "this system has no certificates of authorities: name the hub's with --tls-ca"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(roots)
    }
}

/// Opens a connection; a sentence if that can't be done.
pub async fn dial(address: &HubAddress, trust: &TlsTrust) -> Result<Box<dyn Wire>, String> {
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port))
        .await
        .map_err(|error| format!("can't reach {address}: {error}"))?;
    // What is sent is small and someone waits for it.
    stream
        .set_nodelay(true)
        .map_err(|error| format!("can't set up the socket to {address}: {error}"))?;
    if !address.secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
    let connector = TlsConnector::from(Arc::new(trust.config()?));
    let stream = connector.connect(name, stream).await.map_err(|error| {
        format!(
            "no TLS with {address}: {error}; --tls-ca FILE names the authority of a hub's own certificate"
        )
    })?;
    Ok(Box::new(stream))
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
