//! Whether a hub could start with a configuration, without starting one or making anything.

use crate::access::TokenFile;
use crate::alerts::CA_SETTING;
use crate::catalog::Catalog;
use crate::config::HubConfig;
use crate::error::HubError;
use crate::oidc::Oidc;
use crate::outgoing::Outgoing;
use crate::tls::Tls;
use std::path::Path;

/// What would keep a hub from starting, each in a sentence. With `keeps` the data folder is looked at, too.
///
/// Whether the address is free is not tried: a hub may be running with this very configuration.
pub fn check_config(config: &HubConfig, keeps: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(files) = &config.tls
        && let Err(error) = Tls::open(files.clone())
    {
        problems.push(error.to_string());
    }
    if let Some(oidc) = config.oidc.clone()
        && let Err(why) = Oidc::open(oidc)
    {
        problems.push(HubError::Oidc { why }.to_string());
    }
    if let Err(why) = Outgoing::new(config.webhook_ca.as_deref(), CA_SETTING) {
        problems.push(why);
    }
    if keeps && let Err(why) = folder(&config.data_dir) {
        problems.push(why);
    }
    let address = config.listen;
    let asks_nobody =
        !address.ip().is_loopback() && !config.allow_remote && !config.require_token && config.oidc.is_none();
    if asks_nobody && !has_tokens(&config.data_dir) {
        problems.push(HubError::NoAccessControl { address }.to_string());
    }
    problems
}

/// It is there and ours to write, or it can be made.
fn folder(path: &Path) -> Result<(), String> {
    let nearest = path
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("."));
    let nearest = if nearest.as_os_str().is_empty() {
        Path::new(".")
    } else {
        nearest
    };
    if !nearest.is_dir() {
        return Err(format!(
            "the data folder {} can't be: {} is no folder",
            path.display(),
            nearest.display()
        ));
    }
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
            format!(
                "nothing can be written in the data folder {} ({}: {error})",
                path.display(),
                nearest.display()
            )
        })?;
    }
    Ok(())
}

/// A catalogue that is in use belongs to a hub that has started.
fn has_tokens(data_dir: &Path) -> bool {
    data_dir.join(Catalog::FILE).is_file()
        && TokenFile::open(data_dir).map_or(true, |tokens| !tokens.list().is_empty())
}
