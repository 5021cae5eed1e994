//! The way to a hub that speaks TLS, with a token or with a certificate of the collector's own.

use super::*;
use heaptide_hub::{Hub, HubConfig, Role, TlsFiles, TokenFile};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

struct Authority {
    pem: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = folder.join(format!("{name}-ca.pem"));
        std::fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        std::fs::write(&paths.0, cert.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

#[tokio::test]
async fn frames_arrive_over_tls_by_token_or_by_certificate_and_not_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, clients) = (Authority::new(folder, "hub"), Authority::new(folder, "clients"));
    let (cert, key) = ours.sign(folder, "hub");
    let client = clients.sign(folder, "node-7");
    let file = TokenFile::open(&folder.join("data")).unwrap();
    let collector = file.create("collector", Role::Collector, None, "").unwrap().token;
    let viewer = file.create("viewer", Role::Viewer, None, "").unwrap().token;
    drop(file);
    let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder.join("data"));
    config.tls = Some(TlsFiles {
        cert,
        key,
        client_ca: Some(clients.pem.clone()),
    });
    let hub = Hub::bind(config).await.unwrap();
    let address = hub.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(hub.run(async {
        let _ = stopped.await;
    }));
    let trusting = TlsTrust {
        ca: Some(ours.pem.clone()),
        client: None,
    };
    let with_certificate = TlsTrust {
        client: Some(client),
        ..trusting.clone()
    };
    let wrong_authority = TlsTrust {
        ca: Some(clients.pem.clone()),
        client: None,
    };
    // What the uplink says, or that everything is durable.
    let cases = [
        ("wss", Some(&collector), &trusting, None),
        ("wss", None, &with_certificate, None),
        ("wss", None, &trusting, Some("asks for a token")),
        ("wss", Some(&viewer), &trusting, Some("needs a collector")),
        ("wss", Some(&collector), &wrong_authority, Some("--tls-ca")),
        ("ws", Some(&collector), &TlsTrust::default(), Some("no WebSocket")),
    ];
    for (number, (scheme, token, trust, expected)) in cases.into_iter().enumerate() {
        let url = format!("{scheme}://{address}");
        let mut config = UplinkConfig::with_trust(&url, token.cloned(), trust.clone()).unwrap();
        config.timing.retry_first = Duration::from_millis(10);
        let number = u8::try_from(number + 1).unwrap();
        let head = SpoolHead {
            session: session(number),
            open: open(),
        };
        let mut spool = Spool::create(&folder.join("spool"), head, MANY_BYTES).unwrap();
        spool.append(1, &data(number, 1)).unwrap();
        let spool = Arc::new(Mutex::new(spool));
        let (_uplink, mut events) = Uplink::start(config, Arc::clone(&spool));
        let said = tokio::time::timeout(PATIENCE, async {
            loop {
                match events.recv().await {
                    Some(UplinkEvent::Acked(1)) => return None,
                    Some(
                        UplinkEvent::Disconnected { error, .. } | UplinkEvent::Refused { message: error, .. },
                    ) => {
                        return Some(error);
                    }
                    Some(_) => {}
                    None => panic!("the uplink ended without a word"),
                }
            }
        })
        .await
        .unwrap();
        match (said, expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => {
                assert!(said.contains(expected), "{url}: {said} lacks {expected:?}");
            }
            (said, expected) => panic!("{url}, token {token:?}: {said:?} instead of {expected:?}"),
        }
    }
    let _ = stop.send(());
    running.await.unwrap();
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = Authority::new(folder, "hub");
    let (cert, key) = ours.sign(folder, "node");
    let (_, other_key) = ours.sign(folder, "other");
    let missing = folder.join("missing");
    for (url, ca, client, expected) in [
        ("wss://hub", Some(&missing), None, "missing"),
        ("wss://hub", Some(&key), None, "no certificate in it"),
        (
            "wss://hub",
            Some(&ours.pem),
            Some((&cert, &other_key)),
            "don't go together",
        ),
        (
            "wss://hub",
            Some(&ours.pem),
            Some((&cert, &cert)),
            "expected a private key",
        ),
        ("ws://hub", Some(&ours.pem), None, "speaks no TLS"),
    ] {
        let trust = TlsTrust {
            ca: ca.cloned(),
            client: client.map(|(cert, key)| (cert.clone(), key.clone())),
        };
        let error = UplinkConfig::with_trust(url, None, trust)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{url}: {error} lacks {expected:?}");
    }
}
