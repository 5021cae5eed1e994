//! Whether the disk takes writes. Says so once when that changes, and spaces out the attempts in between.

use crate::log::Log;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Health {
    log: Log,
    stalled: Mutex<Option<Stalled>>,
    /// The sentence for consoles; `None` while all is well.
    told: watch::Sender<Option<String>>,
}

#[derive(Debug, Clone)]
struct Stalled {
    why: String,
    /// Frames were refused; if not, only what sessions are about. A full disk may have room for that.
    of_frames: bool,
    backoff: Duration,
    retry_at: Instant,
}

impl Health {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            stalled: Mutex::new(None),
            told: watch::Sender::new(None),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.told.subscribe()
    }

    /// Why nothing is taken in at the moment. `None` also when it is time for another attempt.
    pub(crate) fn refusal(&self, now: Instant) -> Option<String> {
        let stalled = self.lock();
        stalled
            .as_ref()
            .filter(|stalled| now < stalled.retry_at)
            .map(|stalled| stalled.why.clone())
    }

    pub(crate) fn why(&self) -> Option<String> {
        self.lock().as_ref().map(|stalled| stalled.why.clone())
    }

    /// Frames could not be stored.
    pub(crate) fn failed(&self, why: &str, now: Instant) {
        self.stall(why, now, true);
    }

    /// What a session is about could not be stored.
    pub(crate) fn save_failed(&self, why: &str, now: Instant) {
        self.stall(why, now, false);
    }

    fn stall(&self, why: &str, now: Instant, of_frames: bool) {
        let mut stalled = self.lock();
        if let Some(before) = stalled.as_mut() {
            before.of_frames |= of_frames;
            // A batch of sessions fails together; that is one attempt.
            if now >= before.retry_at {
                before.backoff = (before.backoff * 2).min(LAST_BACKOFF);
                before.retry_at = now + before.backoff;
            }
            return;
        }
        *stalled = Some(Stalled {
            why: why.to_owned(),
            of_frames,
            backoff: FIRST_BACKOFF,
            retry_at: now + FIRST_BACKOFF,
        });
        drop(stalled);
        self.log.error(format!(
            "can't store frames: {why}. Nothing is acknowledged until that works again; collectors keep what they have"
        ));
        self.told
            .send_replace(Some(format!("The hub can't store new data: {why}")));
    }

    /// Frames were stored.
    pub(crate) fn succeeded(&self) {
        self.resume(|_| true);
    }

    /// What a session is about was stored.
    pub(crate) fn saved(&self) {
        self.resume(|stalled| !stalled.of_frames);
    }

    fn resume(&self, is_over: impl FnOnce(&Stalled) -> bool) {
        if self.lock().take_if(|stalled| is_over(stalled)).is_some() {
            self.log.info("frames are stored again");
            self.told.send_replace(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stalled>> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
