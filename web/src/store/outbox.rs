//! From the page to its worker.

use crate::worker::ToWorker;
use web_sys::Worker;

pub(crate) struct Outbox {
    worker: Worker,
}

impl Outbox {
    pub(super) fn new(worker: Worker) -> Self {
        Self { worker }
    }

    pub(super) fn send(&self, message: &ToWorker) {
        if let Ok(bytes) = postcard::to_allocvec(message) {
            let buffer = js_sys::Uint8Array::from(bytes.as_slice()).buffer();
            let transfer = js_sys::Array::of1(&buffer);
            // A worker that died has reported that by itself.
            let _ = self.worker.post_message_with_transfer(&buffer, &transfer);
        }
    }
}
