//! Sends to the hub what killed collectors left, and removes it.

use super::config::UplinkConfig;
use super::driver::Driver;
use super::event::{Outcome, UplinkEvent};
use super::spool::{Orphan, Spool, SpoolError};
use heaptide_protocol::SessionId;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// What may lie around from all dead collectors together; the oldest goes first.
const ORPHANS_MAX_BYTES: u64 = 1 << 30;

/// What became of the spool of one dead collector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrphanFate {
    /// Sent, ended, removed. What was torn or damaged is lost.
    Uploaded { frames: u64, cut_bytes: u64 },
    /// Removed unsent.
    Discarded { bytes: u64, why: String },
    /// Still there.
    Kept { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanReport {
    pub session: SessionId,
    pub fate: OrphanFate,
}

/// Uploads one spool after the other, and tries as long as the hub is away: give it a task of its own and
/// drop it when the collector goes. Spools that are cut short stay for the next one.
///
/// After a refusal that no other spool would escape (version, token) the rest is kept unsent. Errors are
/// those of the folder itself.
pub async fn upload_orphans(root: &Path, config: &UplinkConfig) -> Result<Vec<OrphanReport>, SpoolError> {
    let folder = root.to_owned();
    let orphans = blocking(move || Spool::orphans(&folder)).await?;
    let mut total_bytes: u64 = orphans.iter().map(Orphan::bytes).sum();
    let mut reports = Vec::new();
    let mut refusal: Option<String> = None;
    for orphan in orphans {
        let (session, orphan) = (orphan.session(), Arc::new(orphan));
        let fate = if total_bytes > ORPHANS_MAX_BYTES {
            total_bytes -= orphan.bytes();
            let why =
                format!("dead collectors left more than {ORPHANS_MAX_BYTES} bytes and this is the oldest");
            discard(orphan, why).await
        } else if let Some(why) = &refusal {
            OrphanFate::Kept { why: why.clone() }
        } else {
            upload(orphan, config, &mut refusal).await
        };
        reports.push(OrphanReport { session, fate });
    }
    Ok(reports)
}

async fn upload(orphan: Arc<Orphan>, config: &UplinkConfig, refusal: &mut Option<String>) -> OrphanFate {
    let reading = Arc::clone(&orphan);
    let spool = match blocking(move || reading.open()).await {
        Ok(spool) => spool,
        Err(error @ SpoolError::Unusable { .. }) => return discard(orphan, error.to_string()).await,
        Err(error) => {
            return OrphanFate::Kept {
                why: error.to_string(),
            };
        }
    };
    let recovery = spool.recovery();
    let (mut driver, events) = Driver::new(config.clone(), Arc::new(Mutex::new(spool)));
    driver.finish_at_last();
    let (outcome, trouble) = tokio::join!(driver.run(), listen(events));
    match (outcome, trouble) {
        (Outcome::Ended, _) => OrphanFate::Uploaded {
            frames: recovery.frames,
            cut_bytes: recovery.cut_bytes,
        },
        (Outcome::Left { .. }, Trouble::Unknown) if recovery.frames == 0 => {
            discard(
                orphan,
                "it holds no frames, and the hub does not know its session".to_owned(),
            )
            .await
        }
        (Outcome::Left { .. }, Trouble::Unknown) => OrphanFate::Kept {
            why: format!(
                "the hub lacks the frames before these: upload to the right hub, or delete {}",
                orphan.dir().display()
            ),
        },
        (Outcome::Left { .. }, Trouble::Refused(why)) => {
            *refusal = Some(why.clone());
            OrphanFate::Kept { why }
        }
        (Outcome::Left { .. }, Trouble::Unreadable(why)) => OrphanFate::Kept { why },
    }
}

async fn discard(orphan: Arc<Orphan>, why: String) -> OrphanFate {
    let bytes = orphan.bytes();
    match blocking(move || orphan.remove()).await {
        Ok(()) => OrphanFate::Discarded { bytes, why },
        Err(error) => OrphanFate::Kept {
            why: format!("{why}; {error}"),
        },
    }
}

/// Why an upload without a time limit stopped early.
enum Trouble {
    Unknown,
    Refused(String),
    Unreadable(String),
}

async fn listen(mut events: mpsc::Receiver<UplinkEvent>) -> Trouble {
    let mut trouble = Trouble::Unreadable("the upload was given up".to_owned());
    while let Some(event) = events.recv().await {
        match event {
            UplinkEvent::Refused { message, fatal: true } => trouble = Trouble::Refused(message),
            UplinkEvent::SessionUnknown { .. } => trouble = Trouble::Unknown,
            UplinkEvent::SpoolUnreadable { error } => trouble = Trouble::Unreadable(error),
            _ => {}
        }
    }
    trouble
}

/// Reading and deleting may take a while.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(SpoolError::Task(error.to_string())))
}
