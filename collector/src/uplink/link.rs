//! One WebSocket, written and read in the same step, so that neither waits for the other.

use super::config::UplinkConfig;
use super::wire::{self, Wire};
use futures_util::{Sink, Stream};
use heaptide_protocol::frame::MAX_FRAME_BYTES;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// The reason in the close frame that ends a session.
const ENDED: &str = "ended";

#[derive(Debug)]
pub(super) struct Link {
    socket: WebSocketStream<Box<dyn Wire>>,
    outgoing: Option<Message>,
    flushing: bool,
    close_sent: bool,
    /// Reading goes on after that: the hub may have said why.
    write_error: Option<String>,
    close_answer: Option<CloseFrame>,
}

#[derive(Debug)]
pub(super) enum Step {
    /// There is room for the next message.
    Sent,
    Received(Bytes),
    /// Text, or a WebSocket's own ping or pong.
    Other,
    Lost {
        error: String,
        clean: bool,
    },
}

impl Link {
    pub(super) async fn open(config: &UplinkConfig) -> Result<Self, String> {
        let stream = wire::dial(&config.address, &config.trust).await?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES))
            // It is filled with zeros at each read, and a hub says little.
            .read_buffer_size(4 << 10);
        let (socket, _) = tokio_tungstenite::client_async_with_config(config.url(), stream, Some(limits))
            .await
            .map_err(|error| match error {
                Error::Http(answer) => format!(
                    "{} answered HTTP {} instead of a WebSocket: is that a hub?",
                    config.url(),
                    answer.status().as_u16()
                ),
                error => format!("no WebSocket at {}: {error}", config.url()),
            })?;
        Ok(Self {
            socket,
            outgoing: None,
            flushing: false,
            close_sent: false,
            write_error: None,
            close_answer: None,
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.outgoing.is_none() && !self.close_sent && self.write_error.is_none()
    }

    /// Only when there is room.
    pub(super) fn send(&mut self, frame: Vec<u8>) {
        self.outgoing = Some(Message::Binary(frame.into()));
    }

    /// In the place of what has not been started yet, which is not sent any more.
    pub(super) fn close(&mut self, ended: bool) {
        self.close_sent = true;
        let reason = if ended { ENDED } else { "" };
        self.outgoing = Some(Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: reason.into(),
        })));
    }

    /// May be cancelled at any point without losing a message.
    pub(super) async fn step(&mut self) -> Step {
        poll_fn(|context| self.poll_step(context)).await
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if self.write_error.is_none() {
            match self.poll_write(context) {
                Poll::Ready(Ok(true)) => return Poll::Ready(Step::Sent),
                Poll::Ready(Err(error)) => self.write_error = Some(error.to_string()),
                Poll::Ready(Ok(false)) | Poll::Pending => {}
            }
        }
        let received = ready!(Pin::new(&mut self.socket).poll_next(context));
        Poll::Ready(match received {
            Some(Ok(Message::Binary(bytes))) => Step::Received(bytes),
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.unwrap_or(CloseFrame {
                    code: CloseCode::Normal,
                    reason: "".into(),
                });
                self.close_answer = Some(frame);
                Step::Other
            }
            Some(Ok(_)) => Step::Other,
            Some(Err(error)) => self.lost(&error.to_string()),
            None => self.lost("the hub closed the connection"),
        })
    }

    /// True when a message was handed over.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut socket = Pin::new(&mut self.socket);
        if self.outgoing.is_some() {
            ready!(socket.as_mut().poll_ready(context))?;
            if let Some(message) = self.outgoing.take() {
                socket.start_send(message)?;
                self.flushing = true;
                return Poll::Ready(Ok(true));
            }
        }
        if self.flushing {
            ready!(socket.poll_flush(context))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(false))
    }

    /// Clean if the hub closed as we asked. If it closed for a reason of its own at the same moment, it may
    /// not have read ours.
    fn lost(&self, error: &str) -> Step {
        let clean = self.close_sent
            && self.outgoing.is_none()
            && self
                .close_answer
                .as_ref()
                .is_some_and(|answer| answer.code == CloseCode::Normal);
        let error = match (&self.close_answer, &self.write_error) {
            (Some(answer), _) if answer.reason.is_empty() => {
                format!(
                    "the hub closed the connection with code {}",
                    u16::from(answer.code)
                )
            }
            (Some(answer), _) => format!(
                "the hub closed the connection with code {}: {}",
                u16::from(answer.code),
                answer.reason
            ),
            (None, Some(write_error)) => write_error.clone(),
            (None, None) => error.to_owned(),
        };
        Step::Lost { error, clean }
    }
}
