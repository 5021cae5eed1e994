//! What a hub is told: by flags, by the environment, by a file, or by nobody, in this order of precedence.
//!
//! All three are read by the same parser, so that a value means the same wherever it stands.

pub(crate) mod check;
mod file;
mod layers;

pub(crate) use layers::{Source, Told};

use heaptide_hub::{HubConfig, OidcConfig, Retention, TlsFiles};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub(super) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
pub(super) const KEEP_BYTES: u64 = 20 << 30;

impl Told {
    pub(crate) fn hub_config(&self, data: PathBuf) -> HubConfig {
        let values = &self.values;
        let mut config = HubConfig::new(values.listen.unwrap_or(LISTEN), data);
        config.open.clone_from(&values.open);
        config.allow_remote = values.insecure_allow_remote.unwrap_or(false);
        config.require_token = values.require_token.unwrap_or(false);
        if let (Some(cert), Some(key)) = (&values.tls_cert, &values.tls_key) {
            config.tls = Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                client_ca: values.tls_client_ca.clone(),
            });
        }
        config.webhook_ca.clone_from(&values.webhook_ca);
        if let (Some(issuer), Some(client_id), Some(public_url)) =
            (&values.oidc_issuer, &values.oidc_client_id, &values.public_url)
        {
            config.oidc = Some(OidcConfig {
                issuer: issuer.clone(),
                client_id: client_id.clone(),
                client_secret: values.oidc_client_secret_file.clone(),
                public_url: public_url.clone(),
                roles: values.oidc_role.clone(),
                scopes: values.oidc_scope.clone(),
                ca: values.oidc_ca.clone(),
            });
        }
        config.allowed_hosts.clone_from(&values.allow_host);
        let keep_bytes = values.keep_bytes.unwrap_or(KEEP_BYTES);
        config.retention = Retention {
            max_age: values.keep_for,
            max_session_bytes: values.keep_session_bytes,
            max_total_bytes: (keep_bytes > 0).then_some(keep_bytes),
        };
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::HubSettings;
    use heaptide_hub::check_config;

    #[test]
    fn the_check_looks_at_what_is_set_of_a_provider() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "sesame\n").unwrap();
        let missing = folder.path().join("missing");
        for (public_url, secret, expected) in [
            ("https://hub.example", &secret, None),
            (
                "http://hub.example",
                &secret,
                Some("public-url: http://hub.example is not https"),
            ),
            ("https://hub.example", &missing, Some("oidc-client-secret-file: ")),
        ] {
            let flags = HubSettings {
                // Others reach it, and a provider is access control.
                listen: Some(([0, 0, 0, 0], 7070).into()),
                public_url: Some(public_url.to_owned()),
                oidc_issuer: Some("https://id.example".to_owned()),
                oidc_client_id: Some("hub".to_owned()),
                oidc_client_secret_file: Some(secret.clone()),
                oidc_role: vec!["groups=sre:admin".parse().unwrap()],
                ..HubSettings::default()
            };
            let told = Told::resolve(&flags, None, std::iter::empty()).unwrap();
            let problems = check_config(&told.hub_config(folder.path().join("data")), true);
            match expected {
                None => assert_eq!(problems, [""; 0]),
                Some(expected) => {
                    assert_eq!(problems.len(), 1, "{problems:?}");
                    assert!(problems[0].contains(expected), "{problems:?}");
                }
            }
        }
    }
}
