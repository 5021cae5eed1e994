//! What can keep a hub from starting or running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error(
        "won't listen on {address} without access control: everyone who reaches that address could read and tune \
         every session; create a first token with `heaptide hub token create --role admin --name NAME` on the same \
         --data, ask for one with --require-token, listen on a loopback address, or accept it with \
         --insecure-allow-remote"
    )]
    NoAccessControl { address: SocketAddr },
    #[error("{address} is in use by another program: choose another with --listen")]
    AddressInUse { address: SocketAddr },
    #[error("can't listen on {address}: {source}; choose another with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("another hub uses the data folder {path}: stop it, or choose another with --data")]
    DataDirInUse { path: PathBuf },
    #[error("can't use the data folder {path}: {source}; choose another with --data")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("can't write a backup to {path}: {source}")]
    Backup { path: PathBuf, source: io::Error },
    #[error("can't use {why}")]
    Catalog { why: String },
    #[error("can't speak TLS: {why}")]
    Tls { why: String },
    #[error("can't use the authorities of webhooks: {why}")]
    WebhookCa { why: String },
    #[error("can't sign people in with the identity provider: {why}")]
    Oidc { why: String },
    #[error("can't open {path}: {why}")]
    Open { path: PathBuf, why: String },
    #[error("can't start the store's writer thread: {source}")]
    WriterThread { source: io::Error },
}

impl From<crate::catalog::CatalogError> for HubError {
    fn from(error: crate::catalog::CatalogError) -> Self {
        Self::Catalog {
            why: error.to_string(),
        }
    }
}
