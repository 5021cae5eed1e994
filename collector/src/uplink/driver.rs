//! The uplink on tokio: socket, spool, timers and the caller around the state machine.
//!
//! Runs on any runtime, a current-thread one too: what it reads from the spool lies in the page cache as a
//! rule. Left out: reconnecting on news from the network; the waits are short enough.

use super::clock::unix_ns;
use super::config::UplinkConfig;
use super::connection::{Action, Connection, Input, Moment};
use super::event::{Outcome, UplinkEvent, UplinkStats};
use super::link::{Link, Step};
use super::spool::Spool;
use heaptide_protocol::{Frame, FrameKind};
use std::collections::VecDeque;
use std::future::pending;
use std::mem::discriminant;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

const COMMANDS_MAX: usize = 64;
/// Events in the channel, and again as many before it.
const EVENTS_MAX: usize = 32;
/// Longer than any wait: a century.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Starts uplinks.
#[derive(Debug)]
pub struct Uplink;

/// To a running uplink. When it is dropped, the uplink closes and leaves the session as it is.
#[derive(Debug)]
pub struct UplinkHandle {
    commands: mpsc::Sender<Command>,
    appended: Arc<Notify>,
    progress: watch::Receiver<Progress>,
    dropped_control: AtomicU64,
    dropped_pulses: AtomicU64,
}

#[derive(Debug)]
enum Command {
    Control { kind: FrameKind, frame: Vec<u8> },
    Finish { by: Instant },
    Close,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    stats: UplinkStats,
    outcome: Option<Outcome>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Box<Link>, String>> + Send>>;

pub(super) struct Driver {
    config: UplinkConfig,
    spool: Arc<Mutex<Spool>>,
    machine: Connection,
    start: Instant,
    opening: Option<Opening>,
    link: Option<Box<Link>>,
    commands: Option<mpsc::Receiver<Command>>,
    appended: Arc<Notify>,
    events: Option<mpsc::Sender<UplinkEvent>>,
    waiting: VecDeque<UplinkEvent>,
    dropped_events: u64,
    progress: watch::Sender<Progress>,
}

enum Woke {
    Opened(Result<Box<Link>, String>),
    Stepped(Step),
    Command(Option<Command>),
    EventsGone,
    /// Time, new frames, or room for an event.
    Otherwise,
}

impl Uplink {
    /// Begins to connect, and goes on trying, in a task of the current runtime.
    pub fn start(
        config: UplinkConfig,
        spool: Arc<Mutex<Spool>>,
    ) -> (UplinkHandle, mpsc::Receiver<UplinkEvent>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (mut driver, events) = Driver::new(config, spool);
        driver.commands = Some(inbox);
        let handle = UplinkHandle {
            commands,
            appended: Arc::clone(&driver.appended),
            progress: driver.progress.subscribe(),
            dropped_control: AtomicU64::new(0),
            dropped_pulses: AtomicU64::new(0),
        };
        tokio::spawn(driver.run());
        (handle, events)
    }
}

impl UplinkHandle {
    /// There are new frames in the spool.
    pub fn notify(&self) {
        self.appended.notify_one();
    }

    /// Queues a control frame (`PolicyOutcome`, `Pulse`). False if it was dropped at once; a pulse without a
    /// connection is dropped later. Both are counted.
    pub fn send_control(&self, frame: Vec<u8>) -> bool {
        let Ok(kind) = Frame::parse(&frame).map(|parsed| parsed.envelope.kind) else {
            return false;
        };
        let sent = self.commands.try_send(Command::Control { kind, frame }).is_ok();
        if !sent {
            let counter = if kind == FrameKind::Pulse {
                &self.dropped_pulses
            } else {
                &self.dropped_control
            };
            counter.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Waits until all frames in the spool are durable at the hub, then ends the session there and removes
    /// the spool. After `timeout` the rest is left for the next collector.
    pub async fn finish(&self, timeout: Duration) -> Outcome {
        let by = Instant::now() + timeout.min(FOREVER);
        self.stop(Command::Finish { by }).await
    }

    /// Closes and leaves the session as it is: the hub shows its collector as away.
    pub async fn close(&self) -> Outcome {
        self.stop(Command::Close).await
    }

    pub fn stats(&self) -> UplinkStats {
        let mut stats = self.progress.borrow().stats;
        stats.dropped_control += self.dropped_control.load(Relaxed);
        stats.dropped_pulses += self.dropped_pulses.load(Relaxed);
        stats
    }

    async fn stop(&self, command: Command) -> Outcome {
        // Fails only if it has stopped already.
        let _ = self.commands.send(command).await;
        let mut progress = self.progress.clone();
        let stopped = progress.wait_for(|progress| progress.outcome.is_some()).await;
        stopped
            .ok()
            .and_then(|progress| progress.outcome)
            .unwrap_or(Outcome::Left { unacked_frames: 0 })
    }
}

impl Driver {
    pub(super) fn new(config: UplinkConfig, spool: Arc<Mutex<Spool>>) -> (Self, mpsc::Receiver<UplinkEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let head = lock(&spool).head().clone();
        let [a, b, c, d, e, f, g, h, ..] = head.session.0;
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ unix_ns();
        let driver = Self {
            machine: Connection::new(head, &config, seed),
            config,
            spool,
            start: Instant::now(),
            opening: None,
            link: None,
            commands: None,
            appended: Arc::new(Notify::new()),
            events: Some(events),
            waiting: VecDeque::new(),
            dropped_events: 0,
            progress: watch::Sender::new(Progress::default()),
        };
        (driver, receiver)
    }

    /// Ends the session as soon as all is durable, however long that takes.
    pub(super) fn finish_at_last(&mut self) {
        // The session's clock may be that of an earlier boot.
        self.machine.tell_no_clock();
        let now = self.now();
        self.refresh(now);
        let by = now.at + FOREVER;
        self.machine.handle(Input::Finish { by }, now);
    }

    pub(super) async fn run(mut self) -> Outcome {
        loop {
            let now = self.now();
            self.refresh(now);
            self.machine.handle(Input::Tick, now);
            self.fill_link(now);
            if let Some(outcome) = self.perform() {
                self.publish(Some(outcome));
                self.flush_events().await;
                return outcome;
            }
            self.offer_events();
            self.publish(None);
            let woke = self.wait().await;
            self.take(woke);
        }
    }

    async fn wait(&mut self) -> Woke {
        let deadline = self.machine.deadline().and_then(|at| self.start.checked_add(at));
        let events_wait = !self.waiting.is_empty();
        tokio::select! {
            opened = opened(&mut self.opening) => Woke::Opened(opened),
            step = step(&mut self.link) => Woke::Stepped(step),
            command = next_command(&mut self.commands) => Woke::Command(command),
            () = self.appended.notified() => Woke::Otherwise,
            () = sleep_until(deadline) => Woke::Otherwise,
            room = room(&mut self.events), if events_wait => if room { Woke::Otherwise } else { Woke::EventsGone },
        }
    }

    fn take(&mut self, woke: Woke) {
        let now = self.now();
        // What the caller appended before it asked to finish belongs to that.
        self.refresh(now);
        let input = match woke {
            Woke::Opened(opened) => {
                self.opening = None;
                match opened {
                    Ok(link) => {
                        self.link = Some(link);
                        Input::Connected
                    }
                    Err(error) => Input::Lost { error, clean: false },
                }
            }
            Woke::Stepped(Step::Received(bytes)) => return self.machine.handle(Input::Message(&bytes), now),
            Woke::Stepped(Step::Lost { error, clean }) => {
                self.link = None;
                Input::Lost { error, clean }
            }
            Woke::Command(Some(Command::Control { kind, frame })) => Input::Control { kind, frame },
            Woke::Command(Some(Command::Finish { by })) => Input::Finish {
                by: by.saturating_duration_since(self.start),
            },
            Woke::Command(Some(Command::Close)) => Input::Close,
            Woke::Command(None) => {
                self.commands = None;
                Input::Close
            }
            Woke::EventsGone => {
                self.events = None;
                self.waiting.clear();
                return;
            }
            Woke::Stepped(Step::Sent | Step::Other) | Woke::Otherwise => return,
        };
        self.machine.handle(input, now);
    }

    /// Tells the machine which frames there are, and the caller how the spool fares.
    fn refresh(&mut self, now: Moment) {
        let mut spool = lock(&self.spool);
        self.machine.set_frames(spool.first_seq(), spool.last_seq(), now);
        let notice = spool.take_notice();
        drop(spool);
        if let Some(notice) = notice {
            self.push_event(UplinkEvent::Spool(notice));
        }
    }

    fn fill_link(&mut self, now: Moment) {
        let Some(link) = self.link.as_mut().filter(|link| link.has_room()) else {
            return;
        };
        if let Some(frame) = self.machine.poll_send(now) {
            return link.send(frame);
        }
        let Some(after) = self.machine.next_data() else {
            return;
        };
        let found = lock(&self.spool).next_after(after);
        let error = match found {
            Ok(Some((seq, frame))) if self.machine.data_sent(seq, frame.len(), now) => {
                return link.send(frame);
            }
            Ok(_) => format!("frame {} is missing in the spool", after + 1),
            Err(error) => error.to_string(),
        };
        self.machine.handle(Input::SpoolUnreadable { error }, now);
    }

    fn perform(&mut self) -> Option<Outcome> {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Connect => {
                    self.machine.set_open(lock(&self.spool).head().open.clone());
                    let config = self.config.clone();
                    self.link = None;
                    self.opening = Some(Box::pin(async move { Link::open(&config).await.map(Box::new) }));
                }
                Action::Close { ended } => {
                    if let Some(link) = &mut self.link {
                        link.close(ended);
                    }
                }
                Action::Drop => {
                    self.link = None;
                    self.opening = None;
                }
                Action::Ack(durable_seq) => lock(&self.spool).ack(durable_seq),
                Action::Deliver(event) => self.push_event(event),
                Action::Stop(outcome) => {
                    if outcome == Outcome::Ended {
                        // What can't be deleted now is acknowledged in full: the next collector ends it again.
                        let _ = lock(&self.spool).remove();
                    }
                    return Some(outcome);
                }
            }
        }
        None
    }

    /// Of what only counts in its newest form, only that waits.
    fn push_event(&mut self, event: UplinkEvent) {
        if self.events.is_none() {
            return;
        }
        if matches!(
            event,
            UplinkEvent::Acked(_) | UplinkEvent::Clock(_) | UplinkEvent::PolicySet(_)
        ) {
            self.waiting
                .retain(|other| discriminant(other) != discriminant(&event));
        }
        if self.waiting.len() == EVENTS_MAX {
            self.waiting.pop_front();
            self.dropped_events += 1;
        }
        self.waiting.push_back(event);
    }

    fn offer_events(&mut self) {
        let Some(events) = &self.events else { return };
        while let Some(event) = self.waiting.pop_front() {
            if let Err(refused) = events.try_send(event) {
                if let mpsc::error::TrySendError::Full(event) = refused {
                    self.waiting.push_front(event);
                }
                return;
            }
        }
    }

    /// The last words; a caller that does not listen loses them.
    async fn flush_events(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        if let Some(events) = &self.events {
            for event in self.waiting.drain(..) {
                if !matches!(
                    tokio::time::timeout(PATIENCE, events.send(event)).await,
                    Ok(Ok(()))
                ) {
                    break;
                }
            }
        }
    }

    fn publish(&self, outcome: Option<Outcome>) {
        let stats = UplinkStats {
            dropped_events: self.dropped_events,
            ..self.machine.stats()
        };
        let progress = Progress { stats, outcome };
        self.progress
            .send_if_modified(|old| std::mem::replace(old, progress) != progress);
    }

    fn now(&self) -> Moment {
        Moment {
            at: self.start.elapsed(),
            session_ns: (self.config.session_clock)(),
            suspended_ns: (self.config.suspended)(),
            unix_ns: unix_ns(),
        }
    }
}

/// A panic elsewhere does not make a spool worthless: each of its changes is complete in itself.
fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn opened(opening: &mut Option<Opening>) -> Result<Box<Link>, String> {
    match opening {
        Some(opening) => opening.await,
        None => pending().await,
    }
}

async fn step(link: &mut Option<Box<Link>>) -> Step {
    match link {
        Some(link) => link.step().await,
        None => pending().await,
    }
}

async fn next_command(commands: &mut Option<mpsc::Receiver<Command>>) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => pending().await,
    }
}

/// False if nobody listens any more.
async fn room(events: &mut Option<mpsc::Sender<UplinkEvent>>) -> bool {
    match events {
        Some(events) => events.reserve().await.is_ok(),
        None => pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
