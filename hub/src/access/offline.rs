//! The tokens of a data folder that no hub is using, for the command line.
//!
//! Whoever may write the folder may do anything to its hub, so nobody is asked who they are.

use super::token::{NewToken, TokenInfo};
use super::tokens::{TokenError, Tokens, Wanted};
use super::{Caller, Role};
use crate::catalog::Catalog;
use crate::config::Limits;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
pub struct TokenFile {
    catalog: Catalog,
    tokens: Tokens,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    #[error("can't use the data folder {path}: {source}; choose another with --data")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("{why}; if a hub is running on this folder, ask it with --hub URL and an admin's --token")]
    Catalog { why: String },
    #[error("{why}")]
    Refused { why: String },
}

impl From<TokenError> for TokenFileError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Catalog(error) => Self::Catalog {
                why: error.to_string(),
            },
            other => Self::Refused {
                why: other.to_string(),
            },
        }
    }
}

impl TokenFile {
    /// Makes the folder if there is none.
    pub fn open(data_dir: &Path) -> Result<Self, TokenFileError> {
        std::fs::create_dir_all(data_dir).map_err(|source| TokenFileError::Folder {
            path: data_dir.to_owned(),
            source,
        })?;
        let catalog = Catalog::open(data_dir).map_err(TokenError::from)?;
        let tokens = Tokens::open(&catalog, Limits::default().tokens).map_err(TokenError::from)?;
        Ok(Self { catalog, tokens })
    }

    pub fn create(
        &self,
        name: &str,
        role: Role,
        lasts: Option<Duration>,
        why: &str,
    ) -> Result<NewToken, TokenFileError> {
        let wanted = Wanted {
            name: name.to_owned(),
            role,
            expires_unix_ns: lasts.map(expiry),
        };
        Ok(self
            .tokens
            .create(&self.catalog, &Caller::local(), &wanted, why)?)
    }

    pub fn list(&self) -> Vec<TokenInfo> {
        self.tokens.list()
    }

    /// Also the last admin's: another can be made here.
    pub fn revoke(&self, id: &str, why: &str) -> Result<TokenInfo, TokenFileError> {
        Ok(self
            .tokens
            .revoke(&self.catalog, &Caller::local(), id, why, true)?)
    }
}

fn expiry(lasts: Duration) -> u64 {
    let lasts_ns = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
    crate::clock::unix_ns().saturating_add(lasts_ns)
}
