//! Opening a session: an id, and a spool with its uplink, or a file.

use super::Destination;
use super::attach::Target;
use super::delivery::Delivery;
use super::outgoing::{Outgoing, Store};
use super::recording::Recording;
use crate::CollectorError;
use crate::uplink::{Spool, SpoolHead, Uplink, UplinkConfig, upload_orphans};
use heaptide_policy::Policy;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::Open;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

/// Opens a session at its destination.
pub(super) fn connect(
    destination: &Destination,
    rate_write: bool,
    target: &Target,
    policy: &Policy,
    session: SessionId,
) -> Result<(Outgoing, Delivery), CollectorError> {
    let (url, token, trust, spool_root) = match destination {
        Destination::File {
            path,
            replace,
            max_bytes,
        } => {
            let recording = Recording::create(path, *replace, *max_bytes)?;
            return Ok((Outgoing::new(session, Store::File(recording)), Delivery::File));
        }
        Destination::Hub {
            url,
            token,
            trust,
            spool_root,
        } => (url, token, trust, spool_root),
    };
    let open = Open {
        signature: target.signature.clone(),
        labels: target.labels.clone(),
        capabilities: target.capabilities.clone(),
        policy: policy.clone(),
        rate_write_granted: rate_write && target.go.rate_address().is_some(),
        first_seq: 1,
    };
    let head = SpoolHead { session, open };
    let spool = Spool::create(spool_root, head, policy.budget.spool_bytes)?;
    let spool = Arc::new(Mutex::new(spool));
    let config = UplinkConfig::with_trust(url, token.clone(), trust.clone())?;
    let (uplink, events) = Uplink::start(config, Arc::clone(&spool));
    Ok((
        Outgoing::new(session, Store::Spool(spool)),
        Delivery::Hub { uplink, events },
    ))
}

/// Sends what killed collectors left, as long as this one lives.
pub(super) fn upload_orphans_of(
    destination: &Destination,
) -> Result<Option<tokio::task::JoinHandle<()>>, CollectorError> {
    let Destination::Hub {
        url,
        token,
        trust,
        spool_root,
    } = destination
    else {
        return Ok(None);
    };
    let uplink = UplinkConfig::with_trust(url, token.clone(), trust.clone())?;
    let root = spool_root.clone();
    Ok(Some(tokio::spawn(async move {
        // A folder that can't be read is reported by this collector's own spool, which lies in it.
        let _ = upload_orphans(&root, &uplink).await;
    })))
}

pub(super) fn new_session_id() -> Result<SessionId, CollectorError> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|source| CollectorError::io("can't read /dev/urandom", source))?;
    Ok(SessionId(bytes))
}
