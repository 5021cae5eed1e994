//! Who takes the frames on from here: a hub behind an uplink, or nobody, because they are in a file already.

use crate::uplink::{self, UplinkEvent, UplinkHandle};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug)]
pub(super) enum Delivery {
    Hub {
        uplink: UplinkHandle,
        events: mpsc::Receiver<UplinkEvent>,
    },
    File,
}

impl Delivery {
    /// There are new frames.
    pub(super) fn notify(&self) {
        if let Self::Hub { uplink, .. } = self {
            uplink.notify();
        }
    }

    /// What only a hub wants to know. What a reader of the file needs is in its data frames as well.
    pub(super) fn send_control(&self, frame: Vec<u8>) {
        if let Self::Hub { uplink, .. } = self {
            uplink.send_control(frame);
        }
    }

    /// The next word from the hub; never, without one.
    pub(super) async fn event(&mut self) -> Option<UplinkEvent> {
        match self {
            Self::Hub { events, .. } => events.recv().await,
            Self::File => std::future::pending().await,
        }
    }

    /// Whether everything arrived in time.
    pub(super) async fn finish(&self, timeout: Duration) -> bool {
        match self {
            Self::Hub { uplink, .. } => uplink.finish(timeout).await == uplink::Outcome::Ended,
            Self::File => true,
        }
    }
}
