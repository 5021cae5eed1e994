//! Control frames that wait for the socket. Every slot is bounded: the newest wins where only that counts.

use heaptide_protocol::control::{ClockPing, ClockPong};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{FrameKind, SessionId};
use std::collections::VecDeque;

/// Control frames other than pulses that may wait.
pub(super) const CONTROL_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Hello or Open.
    pub(super) handshake: Option<Vec<u8>>,
    /// The hub's `t1` and when it came.
    pub(super) pong: Option<(u64, u64)>,
    pub(super) ping: bool,
    /// The newest reading of the clock.
    pub(super) clock: Option<Vec<u8>>,
    control: VecDeque<Vec<u8>>,
    pulse: Option<Vec<u8>>,
}

impl Outbox {
    /// False if there is no room.
    pub(super) fn push_control(&mut self, frame: Vec<u8>) -> bool {
        let room = self.control.len() < CONTROL_MAX;
        if room {
            self.control.push_back(frame);
        }
        room
    }

    /// False if that replaced an older one.
    pub(super) fn set_pulse(&mut self, frame: Vec<u8>) -> bool {
        self.pulse.replace(frame).is_none()
    }

    /// Forgets what belonged to a connection. Control frames wait for the next one.
    pub(super) fn disconnected(&mut self) -> bool {
        self.handshake = None;
        self.pong = None;
        self.ping = false;
        self.clock = None;
        self.pulse.take().is_some()
    }

    pub(super) fn take_pong(&mut self, unix_ns: u64) -> Option<Vec<u8>> {
        let (t1_ns, t2_unix_ns) = self.pong.take()?;
        let pong = ClockPong {
            t1_ns,
            t2_unix_ns,
            t3_unix_ns: unix_ns,
        };
        encode_control(FrameKind::ClockPong, SessionId::default(), &pong).ok()
    }

    pub(super) fn take_ping(&mut self, session_ns: u64) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.ping) {
            return None;
        }
        let ping = ClockPing { t1_ns: session_ns };
        encode_control(FrameKind::ClockPing, SessionId::default(), &ping).ok()
    }

    pub(super) fn take_control(&mut self) -> Option<Vec<u8>> {
        let control = self.control.pop_front().or_else(|| self.clock.take());
        control.or_else(|| self.pulse.take())
    }
}
