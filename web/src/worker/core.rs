//! The worker as a state machine: messages of the page and of the hub go in, answers come out.

use super::fleet::Fleet;
use super::messages::{Damage, Progress, Show, ToPage, ToWorker, ViewUpdate};
use super::views::Views;
use crate::net::{Link, LinkEvent, LinkOutput, LinkState};
use heaptide_analysis::Session;
use heaptide_analysis::views::Window;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::Stretch;
use std::collections::VecDeque;

/// Steps in a window, below which narrower ones are asked for.
const STEPS_SEEN: u64 = 200;
/// The fleet table and the count of damaged frames are no film.
const FLEET_MS: u64 = 250;

#[derive(Debug, Clone, PartialEq)]
pub enum CoreOutput {
    Connect {
        url: String,
    },
    Send(Vec<u8>),
    Disconnect,
    /// A [`ToPage`] in postcard.
    Post(Vec<u8>),
}

#[derive(Debug)]
pub struct Core {
    link: Link,
    socket_url: String,
    fleet: Fleet,
    fleet_changed: bool,
    fleet_not_before_ms: u64,
    watched: Option<Watched>,
    views: Views,
    damage: Damage,
    damage_changed: bool,
    sent_link: Option<LinkState>,
    visible: bool,
    posts: VecDeque<Vec<u8>>,
}

/// The one session that is held in memory. It stays while the fleet page is open, and resumes after it.
#[derive(Debug)]
struct Watched {
    id: SessionId,
    data: Session,
    caught_up: bool,
    /// The same read anew, until it takes the place of `data`.
    closer: Option<Session>,
    /// Where it was last asked for with narrower steps.
    close: Window,
}

impl Watched {
    /// What frames go into.
    fn incoming(&mut self) -> &mut Session {
        self.closer.as_mut().unwrap_or(&mut self.data)
    }

    /// The range to read anew, if what is looked at is told in steps too wide to see anything.
    fn wanted_closer(&mut self, window: Window) -> Option<Window> {
        let length_ns = window.to_ns.saturating_sub(window.from_ns);
        let span = self.data.span();
        let end_ns = span.to_ns;
        let asked_ns = self.close.to_ns.min(end_ns).saturating_sub(self.close.from_ns);
        let was_asked = self.close.from_ns <= window.from_ns
            && window.to_ns <= self.close.to_ns
            && asked_ns / 2 <= length_ns;
        // Steps of a whole session are as narrow as they can be already.
        let is_part = window.from_ns > span.from_ns || window.to_ns < span.to_ns;
        let is_wide = is_part && self.data.step_in(window) > length_ns / STEPS_SEEN;
        if !self.caught_up || self.closer.is_some() || was_asked || !is_wide {
            return None;
        }
        // What is looked at as it comes goes on.
        let to_ns = if window.to_ns >= end_ns {
            u64::MAX
        } else {
            window.to_ns
        };
        self.close = Window { to_ns, ..window };
        Some(self.close)
    }
}

impl Core {
    pub fn new(agent: &str) -> Self {
        Self {
            link: Link::new(agent, 1),
            socket_url: String::new(),
            fleet: Fleet::default(),
            fleet_changed: false,
            fleet_not_before_ms: 0,
            watched: None,
            views: Views::default(),
            damage: Damage::default(),
            damage_changed: false,
            sent_link: None,
            visible: true,
            posts: VecDeque::new(),
        }
    }

    pub fn page_message(&mut self, now_ms: u64, message: ToWorker) {
        match message {
            ToWorker::Start { socket_url, seed } => {
                self.socket_url = socket_url;
                self.link = Link::new(concat!("heaptide console ", env!("CARGO_PKG_VERSION")), seed);
                self.link.start(now_ms);
            }
            ToWorker::Show(show) => self.show(show),
            ToWorker::Propose { session, policy } => {
                if !self.link.propose(session, policy) {
                    self.post(&ToPage::Notice(
                        "The change was not sent: there is no connection to the hub. Try again when it is back.".into(),
                    ));
                }
            }
            ToWorker::RetryNow => self.link.retry_now(now_ms),
            ToWorker::Visible(visible) => self.visible = visible,
        }
    }

    pub fn socket_opened(&mut self, now_ms: u64) {
        self.link.opened(now_ms);
    }

    pub fn socket_closed(&mut self, now_ms: u64) {
        self.link.closed(now_ms);
    }

    pub fn socket_message(&mut self, now_ms: u64, bytes: &[u8]) {
        match self.link.message(now_ms, bytes) {
            LinkEvent::Data(frame) => {
                if let Some(watched) = &mut self.watched {
                    if let Err(error) = watched.incoming().apply(&frame) {
                        self.damage.note(error.to_string(), bytes);
                        self.damage_changed = true;
                    }
                    self.views.data_changed(watched.caught_up);
                }
            }
            LinkEvent::Missed(missed) => {
                if let Some(watched) = &mut self.watched {
                    watched.incoming().missed(missed.from_seq, missed.to_seq);
                    self.views.data_changed(watched.caught_up);
                }
            }
            LinkEvent::Stretch(stretch) => {
                if let Some(watched) = &mut self.watched {
                    if stretch == Stretch::BEGIN && watched.data.last_seq() > 0 {
                        watched.closer = Some(Session::new());
                    }
                    watched
                        .incoming()
                        .stretch(stretch.from_seq, stretch.to_seq, stretch.step_ns);
                }
            }
            LinkEvent::CaughtUp => {
                if let Some(watched) = &mut self.watched {
                    watched.caught_up = true;
                    if let Some(closer) = watched.closer.take() {
                        watched.data = closer;
                    }
                    self.views.data_changed(false);
                }
            }
            LinkEvent::Sessions(sessions) => {
                self.fleet.replace(sessions);
                self.fleet_changed = true;
            }
            LinkEvent::Pulse(session, pulse) => {
                self.fleet.pulse(session, pulse);
                self.fleet_changed = true;
            }
            LinkEvent::Policy(session, policy) => {
                self.fleet.policy(session, *policy);
                self.fleet_changed = true;
                self.fleet_not_before_ms = 0;
            }
            LinkEvent::Report(told) => {
                // Its number, its last frame, and whether it is a failure: what the page gets decoded in full.
                let head = postcard::take_from_bytes::<(u32, u64, bool)>(&told).ok();
                let failed = head.is_none_or(|((_, _, failed), _)| failed);
                self.views.answered(now_ms as f64, failed);
                self.post(&ToPage::Report(told));
            }
            LinkEvent::Notice(text) => self.post(&ToPage::Notice(text)),
            LinkEvent::Damaged(error) => {
                self.damage.note(error.to_string(), bytes);
                self.damage_changed = true;
            }
            LinkEvent::Nothing => {}
        }
    }

    /// One number for all that the session on screen says, for tests that hold it against a native build.
    pub fn parity(&self) -> Option<u64> {
        self.watched
            .as_ref()
            .map(|watched| heaptide_analysis::parity::digest(&watched.data))
    }

    /// Does what is due. Call it after any message and at [`Self::next_ms`].
    pub fn wake(&mut self, now_ms: u64, clock_ms: &dyn Fn() -> f64) {
        self.link.tick(now_ms);
        self.report_link(now_ms);
        if (self.fleet_changed || self.damage_changed) && now_ms >= self.fleet_not_before_ms {
            self.fleet_not_before_ms = now_ms + FLEET_MS;
            if std::mem::take(&mut self.fleet_changed) {
                self.post(&ToPage::Fleet(self.fleet.rows()));
            }
            if std::mem::take(&mut self.damage_changed) {
                self.post(&ToPage::Damage(self.damage.clone()));
            }
        }
        if !self.visible {
            return;
        }
        let Some(watched) = &mut self.watched else {
            return;
        };
        let window = self.views.looked_at(&watched.data);
        if let Some(close) = watched.wanted_closer(window) {
            self.link.look_closely(close.from_ns, close.to_ns);
        }
        if matches!(self.sent_link, Some(LinkState::Live { .. }))
            && let Some(ask) = self.views.question(&watched.data, clock_ms())
            && !self.link.ask(&ask)
        {
            self.views.answered(clock_ms(), true);
        }
        let mut update = ViewUpdate {
            show: self.views.show.number,
            session: watched.id,
            progress: Progress {
                caught_up: watched.caught_up,
                last_seq: watched.data.last_seq(),
                stored_frames: self.fleet.frames(watched.id),
            },
            headline: None,
            timeline: None,
            sites: None,
            flame: None,
        };
        if self
            .views
            .answer(watched.id, &watched.data, &mut update, clock_ms)
        {
            self.post(&ToPage::View(Box::new(update)));
        }
    }

    /// When to wake it at the latest.
    pub fn next_ms(&self) -> Option<u64> {
        let fleet = (self.fleet_changed || self.damage_changed).then_some(self.fleet_not_before_ms);
        let views = self
            .views
            .next_ms()
            .filter(|_| self.visible)
            .map(|ms| ms.ceil() as u64);
        [self.link.deadline_ms(), fleet, views]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn poll(&mut self) -> Option<CoreOutput> {
        if let Some(output) = self.link.poll() {
            return Some(match output {
                LinkOutput::Connect => CoreOutput::Connect {
                    url: self.socket_url.clone(),
                },
                LinkOutput::Send(bytes) => CoreOutput::Send(bytes),
                LinkOutput::Disconnect => CoreOutput::Disconnect,
            });
        }
        self.posts.pop_front().map(CoreOutput::Post)
    }

    fn show(&mut self, show: Show) {
        if let (None, Some(watched)) = (show.session, &mut self.watched) {
            watched.closer = None;
            watched.close = Window::default();
        }
        if let Some(id) = show.session
            && self.watched.as_ref().is_none_or(|watched| watched.id != id)
        {
            self.watched = Some(Watched {
                id,
                data: Session::new(),
                caught_up: false,
                closer: None,
                close: Window::default(),
            });
        }
        let after_seq = self.watched.as_ref().map_or(0, |watched| watched.data.last_seq());
        self.link.watch(show.session, after_seq);
        self.views.ask(show);
    }

    fn report_link(&mut self, now_ms: u64) {
        let state = self.link.state(now_ms);
        // A countdown is the page's business: only what else changes is told.
        let same = match (&self.sent_link, &state) {
            (Some(LinkState::Waiting { attempt: old, .. }), LinkState::Waiting { attempt, .. }) => {
                old == attempt
            }
            (Some(LinkState::Refused { message: old, .. }), LinkState::Refused { message, .. }) => {
                old == message
            }
            (Some(old), new) => old == new,
            (None, _) => false,
        };
        if !same {
            if matches!(state, LinkState::Live { .. }) {
                self.views.ask_again();
            }
            self.post(&ToPage::Link(state.clone()));
            self.sent_link = Some(state);
        }
    }

    fn post(&mut self, message: &ToPage) {
        // Our own types always encode; there is nobody to tell if they did not.
        if let Ok(bytes) = postcard::to_allocvec(message) {
            self.posts.push_back(bytes);
        }
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
