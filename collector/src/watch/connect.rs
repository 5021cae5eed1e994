//! Opening a session at the hub: an id, a spool, an uplink.

use super::WatchConfig;
use super::attach::Target;
use super::outgoing::Outgoing;
use crate::CollectorError;
use crate::uplink::{Spool, SpoolHead, Uplink, UplinkConfig, UplinkEvent, UplinkHandle};
use heaptide_policy::Policy;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::Open;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// What it takes to open a session at the hub.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) url: &'a str,
    pub(super) token: Option<String>,
    pub(super) spool_root: &'a std::path::Path,
    pub(super) rate_write: bool,
}

impl Connection<'_> {
    pub(super) fn open(
        self,
        target: &Target,
        policy: &Policy,
        session: SessionId,
    ) -> Result<(Outgoing, UplinkHandle, mpsc::Receiver<UplinkEvent>), CollectorError> {
        let open = Open {
            signature: target.signature.clone(),
            capabilities: target.capabilities.clone(),
            policy: policy.clone(),
            rate_write_granted: self.rate_write && target.go.rate_address().is_some(),
            first_seq: 1,
        };
        let head = SpoolHead { session, open };
        let spool = Spool::create(self.spool_root, head, policy.budget.spool_bytes)?;
        let spool = Arc::new(Mutex::new(spool));
        let config = UplinkConfig::new(self.url, self.token)?;
        let (uplink, events) = Uplink::start(config, Arc::clone(&spool));
        Ok((Outgoing::new(session, spool), uplink, events))
    }
}

pub(super) fn connect(
    config: &WatchConfig,
    target: &Target,
    policy: &Policy,
    session: SessionId,
) -> Result<(Outgoing, UplinkHandle, mpsc::Receiver<UplinkEvent>), CollectorError> {
    let connection = Connection {
        url: &config.hub_url,
        token: config.token.clone(),
        spool_root: &config.spool_root,
        rate_write: config.allow_rate_write,
    };
    connection.open(target, policy, session)
}

pub(super) fn new_session_id() -> Result<SessionId, CollectorError> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|source| CollectorError::io("can't read /dev/urandom", source))?;
    Ok(SessionId(bytes))
}
