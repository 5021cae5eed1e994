//! The browser's WebSocket, as the worker uses it: binary messages in order, and an end.

use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, MessageEvent, WebSocket};

/// What happened to a socket.
pub(crate) enum SocketEvent {
    Opened,
    Message(Vec<u8>),
    Closed,
}

/// Closes and goes silent when dropped, so that an old socket can't speak for a new one.
pub(crate) struct Socket {
    inner: WebSocket,
    _opened: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _closed: Closure<dyn FnMut()>,
}

impl Socket {
    /// `None` if the browser refuses the address.
    pub(crate) fn open(url: &str, on_event: impl FnMut(SocketEvent) + 'static) -> Option<Self> {
        let inner = WebSocket::new(url).ok()?;
        inner.set_binary_type(BinaryType::Arraybuffer);
        let on_event = Rc::new(RefCell::new(on_event));
        let emit = move |event| {
            if let Ok(mut on_event) = on_event.try_borrow_mut() {
                on_event(event);
            }
        };
        let (opened, message, closed) = (emit.clone(), emit.clone(), emit);
        let opened = Closure::<dyn FnMut()>::new(move || opened(SocketEvent::Opened));
        let message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let data = event.data();
            if data.is_instance_of::<js_sys::ArrayBuffer>() {
                message(SocketEvent::Message(js_sys::Uint8Array::new(&data).to_vec()));
            }
        });
        // An error is always followed by a close, which is what counts.
        let closed = Closure::<dyn FnMut()>::new(move || closed(SocketEvent::Closed));
        inner.set_onopen(Some(opened.as_ref().unchecked_ref()));
        inner.set_onmessage(Some(message.as_ref().unchecked_ref()));
        inner.set_onclose(Some(closed.as_ref().unchecked_ref()));
        Some(Self {
            inner,
            _opened: opened,
            _message: message,
            _closed: closed,
        })
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        // A socket that is closing reports that by itself.
        let _ = self.inner.send_with_u8_array(bytes);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.inner.set_onopen(None);
        self.inner.set_onmessage(None);
        self.inner.set_onclose(None);
        let _ = self.inner.close();
    }
}
