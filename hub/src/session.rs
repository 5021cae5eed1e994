//! One session in memory: what its collector said, what is durable, who watches.
//!
//! Everything here is a state that others look at when they are notified. Nothing is queued per watcher:
//! a collector's connection compares `durable_seq` with what it acknowledged last, a console's compares its
//! cursor with the end of the log. So memory stays bounded however slow a peer is.

use crate::policy::Authority;
use crate::pulses::PulseRing;
use crate::session_clock::SessionClock;
use crate::store::index::{Added, LogView, Stretch};
use crate::store::meta::Meta;
use bytes::Bytes;
use heaptide_policy::{Labels, Policy};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{ClockReading, Open, PolicyState, Pulse, SessionState, SessionSummary};
use heaptide_protocol::session::{Capability, PlatformSignature};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    signature: PlatformSignature,
    labels: Labels,
    capabilities: Vec<Capability>,
    rate_write_granted: bool,
    state: SessionState,
    policy: Authority,
    pulse: Option<Pulse>,
    pulses: PulseRing,
    clock: SessionClock,
    log: LogView,
    tail: Tail,
    /// The collector's connection; a newer one takes the place of an older one.
    link: Option<Link>,
    opened_unix_ns: u64,
    links_so_far: u64,
    watchers: Vec<(u64, Arc<Notify>)>,
    /// Has expired: nothing of it is written any more.
    removed: bool,
}

#[derive(Debug)]
struct Link {
    number: u64,
    wake: Arc<Notify>,
    /// Why the store could not take this connection's frames.
    failure: Option<String>,
}

/// What a collector's connection has to act on.
#[derive(Debug)]
pub(crate) struct LinkView {
    pub(crate) durable_seq: u64,
    pub(crate) pending: Option<Policy>,
    pub(crate) replaced: bool,
    pub(crate) failure: Option<String>,
}

/// A session, as far as the fleet's policy needs to know it.
#[derive(Debug)]
pub(crate) struct ForPolicy {
    pub(crate) is_live: bool,
    /// When its collector was seen last, if it is not there.
    pub(crate) away_since_unix_ns: u64,
    pub(crate) labels: Labels,
    pub(crate) authority: Authority,
    pub(crate) pulse: Option<Pulse>,
    pub(crate) opened_unix_ns: u64,
}

/// Where a console is in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) next_seq: u64,
    pub(crate) position: u64,
    /// The summary that it is in.
    pub(crate) inside: Option<Inside>,
}

/// A place in a summary of expired frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) base_seq: u64,
    /// Some of the frames that it stands for were read before they expired.
    pub(crate) knows_a_part: bool,
}

/// What a console should do next to get on.
#[derive(Debug)]
pub(crate) enum Next {
    /// Everything durable has been sent.
    CaughtUp { last_seq: u64 },
    /// In memory.
    Frames { frames: Vec<Bytes>, cursor: Cursor },
    /// On disk.
    Read(Stretch),
}

/// The newest frames, while anybody watches.
#[derive(Debug, Default)]
struct Tail {
    frames: VecDeque<(u64, u64, Bytes)>,
    bytes: usize,
}

impl Cursor {
    /// Is in a summary of frames some of which were read before they expired.
    pub(crate) fn knows_a_part(&self) -> bool {
        self.inside.is_some_and(|inside| inside.knows_a_part)
    }
}

impl Session {
    pub(crate) fn new(id: SessionId, meta: Meta, log: LogView) -> Self {
        let state = match meta.state {
            SessionState::Live => SessionState::Away {
                since_unix_ns: crate::clock::unix_ns(),
            },
            other => other,
        };
        Self {
            id,
            state: Mutex::new(State {
                signature: meta.signature,
                labels: meta.labels,
                capabilities: meta.capabilities,
                rate_write_granted: meta.rate_write_granted,
                state,
                policy: Authority::new(meta.policy, meta.issued_revision, meta.standing),
                pulse: None,
                pulses: PulseRing::default(),
                clock: meta.clock,
                log,
                tail: Tail::default(),
                link: None,
                opened_unix_ns: 0,
                links_so_far: 0,
                watchers: Vec::new(),
                removed: false,
            }),
        }
    }

    pub(crate) fn durable_seq(&self) -> u64 {
        self.lock().log.durable_seq()
    }

    pub(crate) fn summary(&self) -> SessionSummary {
        let state = self.lock();
        let (first_ns, last_ns) = state.log.span_ns();
        SessionSummary {
            session: self.id,
            signature: state.signature.clone(),
            labels: state.labels.clone(),
            capabilities: state.capabilities.clone(),
            state: state.state.clone(),
            first_ns,
            last_ns,
            frames: state.log.frames(),
            stored_bytes: state.log.stored_bytes(),
            rate_write_granted: state.rate_write_granted,
            policy: state.policy.state().clone(),
            pulse: state.pulse.clone(),
        }
    }

    pub(crate) fn meta(&self) -> Meta {
        self.meta_of(&self.lock())
    }

    /// Description and segments at one moment.
    pub(crate) fn saved(&self) -> (Meta, Vec<crate::store::index::Segment>) {
        let state = self.lock();
        (self.meta_of(&state), state.log.segments().cloned().collect())
    }

    fn meta_of(&self, state: &State) -> Meta {
        Meta {
            session: self.id.to_string(),
            signature: state.signature.clone(),
            labels: state.labels.clone(),
            capabilities: state.capabilities.clone(),
            rate_write_granted: state.rate_write_granted,
            state: state.state.clone(),
            policy: state.policy.state().clone(),
            standing: state.policy.standing().clone(),
            issued_revision: state.policy.issued_revision(),
            durable_seq: state.log.durable_seq(),
            clock: state.clock.clone(),
            sealed: state.log.sealed().cloned().collect(),
        }
    }

    /// Takes what a collector says about itself, and its connection. Returns the connection's number, or none if
    /// the session is being removed.
    pub(crate) fn open(&self, open: Open, wake: Arc<Notify>) -> Option<u64> {
        let mut state = self.lock();
        if state.removed {
            return None;
        }
        state.signature = open.signature;
        state.labels = open.labels;
        state.capabilities = open.capabilities;
        state.rate_write_granted = open.rate_write_granted;
        state.policy.opened(open.policy);
        state.state = SessionState::Live;
        state.opened_unix_ns = crate::clock::unix_ns();
        state.links_so_far += 1;
        let number = state.links_so_far;
        let link = Link {
            number,
            wake,
            failure: None,
        };
        if let Some(old) = state.link.replace(link) {
            old.wake.notify_one();
        }
        Some(number)
    }

    pub(crate) fn state(&self) -> SessionState {
        self.lock().state.clone()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.lock().removed
    }

    /// From here on nothing is written for it. False, and nothing changes, while a collector is connected.
    pub(crate) fn remove(&self) -> bool {
        let mut state = self.lock();
        state.removed = state.link.is_none();
        state.removed
    }

    /// Segments that have expired, and what stands in their place. Says which were there.
    pub(crate) fn expire(
        &self,
        base_seqs: &[u64],
        summary: Option<crate::store::index::Segment>,
    ) -> Vec<crate::store::index::Segment> {
        self.lock().log.replace(base_seqs, summary)
    }

    /// The connection is gone. Says whether that changed the session's state.
    pub(crate) fn close(&self, link: u64, ended: bool) -> bool {
        let mut state = self.lock();
        if state.link.as_ref().is_none_or(|current| current.number != link) {
            return false;
        }
        state.link = None;
        state.pulse = None;
        if ended {
            state.pulses = PulseRing::default();
        }
        state.state = if ended {
            SessionState::Ended
        } else {
            SessionState::Away {
                since_unix_ns: crate::clock::unix_ns(),
            }
        };
        true
    }

    pub(crate) fn link_view(&self, link: u64) -> LinkView {
        let state = self.lock();
        let current = state.link.as_ref().filter(|current| current.number == link);
        LinkView {
            durable_seq: state.log.durable_seq(),
            pending: state.policy.state().pending.clone(),
            replaced: current.is_none(),
            failure: current.and_then(|current| current.failure.clone()),
        }
    }

    /// Whether an older one was forgotten for it.
    pub(crate) fn set_pulse(&self, pulse: Pulse, kept: usize) -> bool {
        let mut state = self.lock();
        let forgot = state
            .pulses
            .push(&pulse, crate::clock::unix_ns() / 1_000_000_000, kept);
        state.pulse = Some(pulse);
        forgot
    }

    /// Whether what is known of its clock should be saved; or why this reading can't be.
    pub(crate) fn take_clock(&self, reading: ClockReading, arrived_unix_ns: u64) -> Result<bool, String> {
        self.lock().clock.take(reading, arrived_unix_ns)
    }

    pub(crate) fn clock(&self) -> SessionClock {
        self.lock().clock.clone()
    }

    /// What alerts look at: state, labels and last pulses.
    pub(crate) fn with_pulses<T>(
        &self,
        read: impl FnOnce(&SessionState, &Labels, &[crate::pulses::Point]) -> T,
    ) -> T {
        let state = &mut *self.lock();
        read(&state.state, &state.labels, state.pulses.points())
    }

    pub(crate) fn labels(&self) -> Labels {
        self.lock().labels.clone()
    }

    /// Its last pulses, with what they are grouped by.
    pub(crate) fn pulses(&self) -> (Labels, PulseRing) {
        let state = self.lock();
        (state.labels.clone(), state.pulses.clone())
    }

    /// Runs a change of the policy's state, then wakes the collector's connection.
    pub(crate) fn with_policy<T>(&self, change: impl FnOnce(&mut Authority) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.policy);
        if let Some(link) = &state.link {
            link.wake.notify_one();
        }
        result
    }

    /// What the fleet's policy looks at; none of a session that is over.
    pub(crate) fn for_policy(&self) -> Option<ForPolicy> {
        let state = self.lock();
        (state.state != SessionState::Ended).then(|| ForPolicy {
            is_live: state.state == SessionState::Live,
            away_since_unix_ns: match state.state {
                SessionState::Away { since_unix_ns } => since_unix_ns,
                SessionState::Live | SessionState::Ended => 0,
            },
            labels: state.labels.clone(),
            authority: state.policy.clone(),
            pulse: state.pulse.clone(),
            opened_unix_ns: state.opened_unix_ns,
        })
    }

    pub(crate) fn policy_state(&self) -> PolicyState {
        self.lock().policy.state().clone()
    }

    /// The writer's view of where to go on.
    pub(crate) fn with_log<T>(&self, read: impl FnOnce(&LogView) -> T) -> T {
        read(&self.lock().log)
    }

    /// The writer made these records durable.
    pub(crate) fn publish(
        &self,
        new_segment: Option<crate::store::index::Segment>,
        records: impl Iterator<Item = (Added, Bytes)>,
        tail_bytes: usize,
    ) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(segment) = new_segment {
            state.log.push_segment(segment);
        }
        let watched = !state.watchers.is_empty();
        state.log.written(crate::clock::steady_unix_ns());
        for (added, frame) in records {
            state.log.append(added);
            if watched {
                state.tail.push(added.seq, state.log.end(), frame, tail_bytes);
            }
        }
        if !watched {
            state.tail = Tail::default();
        }
        if let Some(link) = &state.link {
            link.wake.notify_one();
        }
        for (_, watcher) in &state.watchers {
            watcher.notify_one();
        }
    }

    /// The writer could not make this session's frames durable.
    pub(crate) fn fail(&self, why: &str) {
        if let Some(link) = &mut self.lock().link {
            link.failure = Some(why.to_owned());
            link.wake.notify_one();
        }
    }

    pub(crate) fn watch(&self, watcher: u64, wake: Arc<Notify>) {
        let mut state = self.lock();
        state.watchers.retain(|(number, _)| *number != watcher);
        state.watchers.push((watcher, wake));
    }

    pub(crate) fn unwatch(&self, watcher: u64) {
        let mut state = self.lock();
        state.watchers.retain(|(number, _)| *number != watcher);
        if state.watchers.is_empty() {
            state.tail = Tail::default();
        }
    }

    /// A cursor for everything after `seq`.
    pub(crate) fn cursor_after(&self, seq: u64) -> Cursor {
        let next_seq = seq.saturating_add(1);
        Cursor {
            next_seq,
            position: self.lock().log.seek(next_seq),
            inside: None,
        }
    }

    /// The cursor behind everything durable.
    pub(crate) fn newest(&self) -> Cursor {
        let state = self.lock();
        Cursor {
            next_seq: state.log.durable_seq() + 1,
            position: state.log.end(),
            inside: None,
        }
    }

    pub(crate) fn next(&self, cursor: Cursor) -> Next {
        let state = self.lock();
        let last_seq = state.log.durable_seq();
        if cursor.next_seq > last_seq {
            return Next::CaughtUp { last_seq };
        }
        if let Some(next) = state.tail.after(cursor) {
            return next;
        }
        match state.log.stretch(cursor) {
            Some(stretch) => Next::Read(stretch),
            None => Next::CaughtUp { last_seq },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn push(&mut self, seq: u64, end: u64, frame: Bytes, limit_bytes: usize) {
        self.bytes += frame.len();
        self.frames.push_back((seq, end, frame));
        while self.bytes > limit_bytes {
            let Some((_, _, gone)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= gone.len();
        }
    }

    /// Sequence numbers in here are contiguous: only the writer pushes, in order.
    fn after(&self, cursor: Cursor) -> Option<Next> {
        let (first_seq, _, _) = self.frames.front()?;
        let skip = usize::try_from(cursor.next_seq.checked_sub(*first_seq)?).ok()?;
        let (last_seq, end, _) = self.frames.back()?;
        if cursor.next_seq > *last_seq {
            return None;
        }
        Some(Next::Frames {
            frames: self
                .frames
                .iter()
                .skip(skip)
                .map(|(_, _, frame)| frame.clone())
                .collect(),
            cursor: Cursor {
                next_seq: last_seq + 1,
                position: *end,
                inside: None,
            },
        })
    }
}
