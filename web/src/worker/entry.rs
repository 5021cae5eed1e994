//! Ties the worker's state machine to a browser's dedicated Worker: its socket, its timer, its messages.

use super::core::{Core, CoreOutput};
use super::messages::ToWorker;
use crate::net::socket::{Socket, SocketEvent};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;
use web_sys::DedicatedWorkerGlobalScope;

struct Host {
    scope: DedicatedWorkerGlobalScope,
    core: Core,
    socket: Option<Socket>,
    /// The timer's handle and when it rings.
    timer: Option<(i32, u64)>,
    /// Made once: a closure per timer would leak each time a timer is set anew.
    alarm: Closure<dyn FnMut()>,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Called by `worker.js` once the module is there.
#[wasm_bindgen]
pub fn worker_start() {
    crate::panic::report_to_script();
    let host = Host {
        scope: js_sys::global().unchecked_into(),
        core: Core::new("heaptide console"),
        socket: None,
        timer: None,
        alarm: Closure::new(|| with_host(|host| host.timer = None)),
    };
    HOST.with(|slot| *slot.borrow_mut() = Some(host));
}

/// Called by `worker.js` for each message of the page.
#[wasm_bindgen]
pub fn worker_message(bytes: &[u8]) {
    if let Ok(message) = postcard::from_bytes::<ToWorker>(bytes) {
        with_host(|host| host.core.page_message(now_ms() as u64, message));
    }
}

/// Called by `worker.js` for `__heaptide.parity()`: 16 hex digits, empty while no session is open.
#[wasm_bindgen]
pub fn worker_parity() -> String {
    let digest = HOST.with(|slot| slot.try_borrow().ok()?.as_ref()?.core.parity());
    digest.map_or_else(String::new, |digest| format!("{digest:016x}"))
}

fn with_host(change: impl FnOnce(&mut Host)) {
    HOST.with(|slot| {
        if let Ok(mut slot) = slot.try_borrow_mut()
            && let Some(host) = slot.as_mut()
        {
            change(host);
            host.run();
        }
    });
}

impl Host {
    /// Does what is due and what the core wants, and sets the alarm for what comes next.
    fn run(&mut self) {
        self.core.wake(now_ms() as u64, &now_ms);
        while let Some(output) = self.core.poll() {
            match output {
                CoreOutput::Connect { url } => self.connect(&url),
                CoreOutput::Disconnect => self.socket = None,
                CoreOutput::Send(bytes) => {
                    if let Some(socket) = &self.socket {
                        socket.send(&bytes);
                    }
                }
                CoreOutput::Post(bytes) => self.post(&bytes),
            }
        }
        self.set_alarm();
    }

    fn connect(&mut self, url: &str) {
        self.socket = Socket::open(url, |event| {
            with_host(|host| {
                let now_ms = now_ms() as u64;
                match event {
                    SocketEvent::Opened => host.core.socket_opened(now_ms),
                    SocketEvent::Message(bytes) => host.core.socket_message(now_ms, &bytes),
                    SocketEvent::Closed => host.core.socket_closed(now_ms),
                }
            });
        });
        if self.socket.is_none() {
            self.core.socket_closed(now_ms() as u64);
        }
    }

    /// Hands the bytes over: the page gets the buffer itself, not a copy.
    fn post(&self, bytes: &[u8]) {
        let buffer = js_sys::Uint8Array::from(bytes).buffer();
        let transfer = js_sys::Array::of1(&buffer);
        let _ = self.scope.post_message_with_transfer(&buffer, &transfer);
    }

    fn set_alarm(&mut self) {
        let Some(next_ms) = self.core.next_ms() else {
            return;
        };
        // An alarm that rings too early does no harm; one that rings too late does.
        if self.timer.is_some_and(|(_, rings_ms)| rings_ms <= next_ms) {
            return;
        }
        if let Some((handle, _)) = self.timer.take() {
            self.scope.clear_timeout_with_handle(handle);
        }
        let wait_ms = next_ms.saturating_sub(now_ms() as u64).clamp(1, 60_000) as i32;
        self.timer = self
            .scope
            .set_timeout_with_callback_and_timeout_and_arguments_0(
                self.alarm.as_ref().unchecked_ref(),
                wait_ms,
            )
            .ok()
            .map(|handle| (handle, next_ms));
    }
}

/// Milliseconds that never go back, on the worker's own clock.
fn now_ms() -> f64 {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    scope
        .performance()
        .map_or_else(js_sys::Date::now, |performance| performance.now())
}
