//! The loop: a tick at a time until the program ends or the watch is called off.

mod second;

use super::attach::Target;
use super::capabilities::sampled_at;
use super::connect::{connect, new_session_id, upload_orphans_of};
use super::control::Control;
use super::delivery::Delivery;
use super::exact::ExactWindows;
use super::loss::loss_report;
use super::outgoing::Outgoing;
use super::readers::{ReadContext, Readers};
use super::recording::Recorded;
use super::{Destination, StopRequest, TargetChoice, WatchConfig, WatchEvent};
use crate::CollectorError;
use crate::linux::bpf::{BpfSession, ClassSet, Counters, decode};
use crate::linux::confine::Needs;
use crate::linux::leak_check::LeakCheck;
use crate::linux::rate::RateControl;
use crate::linux::{self, HostMemory, Pacer, Ticker, monotonic_ns};
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::uplink::{SpoolNotice, UplinkEvent};
use heaptide_policy::{BudgetGuard, CostSample, Policy};
use heaptide_protocol::control::{PolicyOutcome, PolicyResult};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::gauges::{Gauge, Gauges};
use heaptide_protocol::section::{EndReason, Section, SessionEnd, SessionStart};
use heaptide_protocol::{FrameKind, SessionId};
use second::SecondSample;
use std::time::Duration;
use tokio::sync::mpsc;

/// Records taken in one go; the ring is asked again at once if there are more.
const POLL_RECORDS: usize = 50_000;
const GAUGES_EVERY_NS: u64 = 250_000_000;
/// After a longer standstill the ticks that were missed become one.
const MAX_LATE_TICKS: u64 = 50;
const SECOND_NS: u64 = 1_000_000_000;
/// How long the last frames may take to reach the hub. What doesn't arrive stays in the spool.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a watch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub session: SessionId,
    pub reason: EndReason,
    /// The hub or the file has everything; otherwise it is in the spool for the next collector.
    pub delivered: bool,
    /// How far the file came, if there is one.
    pub recorded: Option<Recorded>,
}

/// Watches until the program ends or `stop` says so. `tell` hears what a person would want to know.
///
/// Runs on a current-thread runtime: a started program is traced by the thread that started it.
pub async fn watch(
    config: WatchConfig,
    mut stop: mpsc::Receiver<StopRequest>,
    tell: &mut dyn FnMut(WatchEvent),
) -> Result<Outcome, CollectorError> {
    // Who keeps all rights needs nobody to hold one.
    let helper = config.confinement.map(|_| config.own_executable.as_path());
    let target = Target::attach(&config.target, config.bpf_object, helper)?;
    let started = target.child.as_ref().map(std::process::Child::id);
    // Who asked for a program under watch doesn't get one without.
    let confined = Watch::new(&config, target).and_then(|watch| watch.confined(&config));
    let mut watch = confined.inspect_err(|_| {
        let pid = started.and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    })?;
    let orphans = upload_orphans_of(&config.destination)?;
    watch.begin(tell)?;
    let reason = watch.follow(&mut stop, tell).await;
    // Whatever happened, the program gets its own rate back first.
    let undone = watch.control.undo(&watch.target);
    let reason = reason?;
    watch.end(&reason, tell)?;
    undone?;
    tell(WatchEvent::Ended {
        reason: reason.clone(),
    });
    let session = watch.outgoing.session();
    if let Some(orphans) = orphans {
        orphans.abort();
    }
    let delivered = watch.delivery.finish(FAREWELL).await;
    Ok(Outcome {
        session,
        reason,
        delivered,
        recorded: watch.outgoing.recorded(),
    })
}

struct Watch {
    target: Target,
    pipeline: Pipeline,
    control: Control,
    outgoing: Outgoing,
    delivery: Delivery,
    destination: Destination,
    policy_at_start: Policy,
    tick_ns: u64,
    /// The end of the last tick that was closed.
    closed_ns: u64,
    page_bytes: u64,
    waiting: Vec<Section>,
    readers: Readers,
    exact: ExactWindows,
    rollup_pacer: Pacer,
    gauges_due_ns: u64,
    second_due_ns: u64,
    last_second: SecondSample,
    budget: BudgetGuard,
    cost: CostSample,
    host: HostMemory,
    counters: Counters,
    rss_bytes: u64,
    rate_write: bool,
}

impl Watch {
    fn new(config: &WatchConfig, mut target: Target) -> Result<Self, CollectorError> {
        let rate = target
            .go
            .rate_address()
            .map(|address| RateControl::new(address, config.own_executable.clone()));
        target.name(&config.labels);
        let leak_check = LeakCheck::new(target.go.leak_check_address(), config.allow_leak_check);
        let readers = Readers::all(&target.go, target.rate_bytes());
        target.capabilities.extend(readers.capabilities());
        let mut control = Control::new(
            target.startable(&config.policy),
            rate,
            config.allow_rate_write,
            target.sees_heap() || target.bpf.is_none(),
            leak_check,
        );
        let exact = ExactWindows::new(config.bpf_object, &target.go);
        target.warnings.extend(control.allow_exact(exact.available()));
        if let Some(reason) = control.leave_out_rate(&target) {
            target.warnings.push(reason.to_string());
        }
        let policy = control.policy().clone();
        sampled_at(&mut target.capabilities, policy.sampling_rate_bytes);
        let kernel = target.kernel.capabilities(&policy.sources);
        target.capabilities.extend(kernel);
        target.capabilities.push(exact.capability());
        target.tell_what_is_not_probed();
        let tick_ns = u64::from(policy.tick_ms) * 1_000_000;
        let pipeline = Pipeline::new(
            PipelineConfig {
                tick_ns,
                tiers: policy.tiers,
                addresses: policy.addresses,
                wakep_site: target.wakep_site(),
                stop_reasons: target.go.tells_stop_reasons(),
                processors: target.signature.cpus,
            },
            control.program_rate(&target),
        );
        let session = new_session_id()?;
        let rate_write = config.allow_rate_write;
        let (outgoing, delivery) = connect(&config.destination, rate_write, &target, &policy, session)?;
        let now_ns = monotonic_ns();
        Ok(Self {
            target,
            pipeline,
            control,
            outgoing,
            delivery,
            destination: config.destination.clone(),
            policy_at_start: policy,
            tick_ns,
            closed_ns: now_ns - now_ns % tick_ns,
            page_bytes: rustix::param::page_size() as u64,
            waiting: Vec::new(),
            readers,
            exact,
            rollup_pacer: Pacer::new(),
            gauges_due_ns: 0,
            second_due_ns: 0,
            last_second: SecondSample {
                at_ns: now_ns,
                own_cpu_ns: linux::own_cpu_ns(),
                ..SecondSample::default()
            },
            budget: BudgetGuard::default(),
            cost: CostSample {
                cpu_permille: 0,
                rss_bytes: 0,
                sent_bytes_per_s: 0,
            },
            host: HostMemory::default(),
            counters: Counters::default(),
            rss_bytes: 0,
            rate_write,
        })
    }

    /// With the rights alone that are needed from here on. What takes others has happened by now: the program runs,
    /// its files and the guard's and helper's pipes are open.
    fn confined(mut self, config: &WatchConfig) -> Result<Self, CollectorError> {
        let Some(confinement) = config.confinement else {
            return Ok(self);
        };
        if config.allow_rate_write {
            self.control.arm(&self.target)?;
        }
        let needs = Needs {
            probes: self.target.bpf.is_some(),
            signals: matches!(config.target, TargetChoice::Run { .. }),
            writes: config.allow_rate_write || config.allow_leak_check,
        };
        self.target.warnings.extend(confinement.enforce(needs)?);
        Ok(self)
    }

    fn begin(&mut self, tell: &mut dyn FnMut(WatchEvent)) -> Result<(), CollectorError> {
        tell(WatchEvent::Watching {
            session: self.outgoing.session(),
            signature: Box::new(self.target.signature.clone()),
            capabilities: self.target.capabilities.clone(),
        });
        let started = self.control.start(&mut self.target, &mut self.pipeline);
        for message in std::mem::take(&mut self.target.warnings) {
            tell(WatchEvent::Warning { message });
        }
        self.introduce()?;
        match started {
            Ok(outcome) => self.announce(outcome.as_ref(), tell),
            Err(reason) => tell(WatchEvent::Warning {
                message: reason.to_string(),
            }),
        }
        Ok(())
    }

    /// The first frame of a session.
    fn introduce(&mut self) -> Result<(), CollectorError> {
        let start = SessionStart {
            signature: self.target.signature.clone(),
            labels: self.target.labels.clone(),
            capabilities: self.target.capabilities.clone(),
            policy: self.policy_at_start.clone(),
        };
        let now_ns = monotonic_ns();
        self.outgoing.send(&[Section::Start(start)], now_ns, now_ns)?;
        self.delivery.notify();
        Ok(())
    }

    async fn follow(
        &mut self,
        stop: &mut mpsc::Receiver<StopRequest>,
        tell: &mut dyn FnMut(WatchEvent),
    ) -> Result<EndReason, CollectorError> {
        let pidfd = self.target.process.pidfd().try_clone_to_owned();
        let pidfd = pidfd
            .and_then(linux::readable)
            .map_err(|source| CollectorError::io("can't wait for the program's end", source))?;
        let ticker = Ticker::new(self.tick_ns, monotonic_ns());
        let no_timer = |source| CollectorError::io("can't wait for the end of a tick", source);
        let ticker = ticker.map_err(no_timer)?;
        loop {
            tokio::select! {
                ticked = ticker.tick() => {
                    ticked.map_err(no_timer)?;
                    self.tick(tell)?;
                    if self.outgoing.is_full() {
                        let message = "the file has reached its limit, so the watch ends".to_owned();
                        tell(WatchEvent::Warning { message });
                        return Ok(EndReason::Detached);
                    }
                }
                ended = pidfd.readable() => {
                    let _ready = ended
                        .map_err(|source| CollectorError::io("can't wait for the program's end", source))?;
                    return Ok(self.how_it_ended());
                }
                Some(event) = self.delivery.event() => self.on_uplink(event, tell)?,
                Some(request) = stop.recv() => match request {
                    StopRequest::Detach => return Ok(EndReason::Detached),
                    StopRequest::Signal(signal) => self.pass_on(signal),
                },
            }
        }
    }

    fn tick(&mut self, tell: &mut dyn FnMut(WatchEvent)) -> Result<(), CollectorError> {
        self.drain();
        let now_ns = monotonic_ns();
        let end_ns = now_ns - now_ns % self.tick_ns;
        if self.control.is_starting() {
            self.follow_rate(tell)?;
        }
        if now_ns >= self.gauges_due_ns {
            self.gauges_due_ns = now_ns + GAUGES_EVERY_NS;
            self.read_gauges(now_ns);
        }
        if now_ns >= self.second_due_ns {
            self.second_due_ns = now_ns + SECOND_NS;
            self.every_second(now_ns, tell)?;
        }
        self.read(now_ns, tell);
        let exact = self
            .exact
            .follow(self.control.policy(), &mut self.target, &mut self.pipeline, tell);
        self.waiting.extend(exact);
        // What was late is closed tick by tick, so that each sample stays in the one in which it happened.
        let oldest_ns = end_ns.saturating_sub(MAX_LATE_TICKS * self.tick_ns);
        let mut next_ns = (self.closed_ns + self.tick_ns).max(oldest_ns);
        while next_ns < end_ns {
            self.close(next_ns)?;
            next_ns += self.tick_ns;
        }
        self.closed_ns = end_ns;
        self.close(end_ns)
    }

    /// Sends the tick, or keeps it open while the spool is full.
    fn close(&mut self, end_ns: u64) -> Result<(), CollectorError> {
        if !self.outgoing.has_room() {
            self.pipeline.hold_tick(end_ns);
            return Ok(());
        }
        let output = self.pipeline.close_tick(end_ns);
        let mut sections = output.sections;
        sections.append(&mut self.waiting);
        let idle = sections
            .iter()
            .all(|section| matches!(section, Section::Lifetimes(table) if table.is_empty()));
        if !idle {
            self.outgoing.send(&sections, output.first_ns, output.last_ns)?;
            self.delivery.notify();
        }
        Ok(())
    }

    fn drain(&mut self) {
        let Self {
            target: Target { bpf, go, .. },
            pipeline,
            ..
        } = self;
        let Some(bpf) = bpf else { return };
        // Bounded: a program that outruns us is told of by the kernel's drop counters.
        for _ in 0..8 {
            let polled = bpf.poll(POLL_RECORDS, |bytes| match decode(bytes) {
                Ok(record) => pipeline.record(&record, go),
                Err(error) => pipeline.malformed(&error),
            });
            if !polled.more {
                break;
            }
        }
    }

    /// Lets the readers of memory and `/proc` look, where one of them is due.
    fn read(&mut self, now_ns: u64, tell: &mut dyn FnMut(WatchEvent)) {
        let mut context = ReadContext {
            now_ns,
            policy: self.control.policy(),
            process: &self.target.process,
            go: &mut self.target.go,
            pipeline: &mut self.pipeline,
        };
        let sections = self.readers.run(&mut context, &mut |message| {
            tell(WatchEvent::Warning { message });
        });
        self.waiting.extend(sections);
    }

    fn read_gauges(&mut self, now_ns: u64) {
        let process = &self.target.process;
        let Ok(values) = linux::size(process, self.page_bytes) else {
            return;
        };
        self.rss_bytes = linux::value_of(&values, Gauge::RSS_BYTES);
        self.waiting.push(Section::Gauges(Gauges {
            timestamp_ns: now_ns,
            values,
        }));
    }

    fn on_uplink(
        &mut self,
        event: UplinkEvent,
        tell: &mut dyn FnMut(WatchEvent),
    ) -> Result<(), CollectorError> {
        match event {
            UplinkEvent::Connected { .. } => tell(WatchEvent::HubConnected),
            UplinkEvent::Disconnected { error, .. } => tell(WatchEvent::HubLost { why: error }),
            UplinkEvent::PolicySet(policy) => {
                let outcome = self
                    .control
                    .propose(&policy, &mut self.target, &mut self.pipeline);
                self.announce(outcome.as_ref(), tell);
            }
            UplinkEvent::SessionUnknown { .. } => self.start_over("the hub lacks what it once had", tell)?,
            UplinkEvent::SpoolUnreadable { error } => self.start_over(&error, tell)?,
            UplinkEvent::Notice(message) => tell(WatchEvent::Warning { message }),
            UplinkEvent::Spool(notice) => tell(WatchEvent::Warning {
                message: match notice {
                    SpoolNotice::FellBack { error } => {
                        format!("frames wait in memory and would not survive heaptide: {error}")
                    }
                    SpoolNotice::Recovered => "frames go to disk again".to_owned(),
                },
            }),
            UplinkEvent::Refused { message, fatal: true } => return Err(CollectorError::Refused { message }),
            UplinkEvent::Refused { message, .. } => tell(WatchEvent::Warning { message }),
            _ => {}
        }
        Ok(())
    }

    fn follow_rate(&mut self, tell: &mut dyn FnMut(WatchEvent)) -> Result<(), CollectorError> {
        let outcome = self.control.follow_rate(&self.target, &mut self.pipeline)?;
        self.announce(outcome.as_ref(), tell);
        Ok(())
    }

    fn announce(&mut self, outcome: Option<&PolicyOutcome>, tell: &mut dyn FnMut(WatchEvent)) {
        let Some(outcome) = outcome else { return };
        let revision = outcome.revision;
        tell(match &outcome.result {
            PolicyResult::Applied { rate_after_bytes, .. } => WatchEvent::PolicyApplied {
                revision,
                rate_bytes: *rate_after_bytes,
            },
            PolicyResult::Rejected { reason } => WatchEvent::PolicyRejected {
                revision,
                reason: reason.to_string(),
            },
        });
        self.send_control(FrameKind::PolicyOutcome, outcome);
        self.waiting.push(Section::PolicyOutcome(outcome.clone()));
        if let PolicyResult::Applied { policy, .. } = &outcome.result {
            self.outgoing.remember_policy(policy);
        }
    }

    /// The hub has lost what it acknowledged, so the session can't go on: a new one begins.
    fn start_over(&mut self, why: &str, tell: &mut dyn FnMut(WatchEvent)) -> Result<(), CollectorError> {
        tell(WatchEvent::Warning {
            message: format!("{why}: starting a new session"),
        });
        self.pipeline.restart();
        let session = new_session_id()?;
        let (outgoing, delivery) = connect(
            &self.destination,
            self.rate_write,
            &self.target,
            self.control.policy(),
            session,
        )?;
        self.outgoing.abandon();
        (self.outgoing, self.delivery) = (outgoing, delivery);
        self.introduce()
    }

    /// The last records and the end itself.
    fn end(&mut self, reason: &EndReason, tell: &mut dyn FnMut(WatchEvent)) -> Result<(), CollectorError> {
        let exact = self.exact.finish(&mut self.target, &mut self.pipeline, tell);
        self.waiting.extend(exact);
        if *reason == EndReason::Detached {
            self.leave();
        }
        self.drain();
        let now_ns = monotonic_ns();
        if let Some(Ok(counters)) = self.target.bpf.as_ref().map(BpfSession::counters) {
            self.counters = counters;
        }
        let last = self.pipeline.close_tick(now_ns + 1);
        let mut sections = last.sections;
        sections.append(&mut self.waiting);
        sections.push(Section::Loss(loss_report(
            &self.counters,
            self.pipeline.books(),
            now_ns,
        )));
        sections.push(Section::End(SessionEnd {
            timestamp_ns: now_ns,
            reason: reason.clone(),
        }));
        self.outgoing.send(&sections, last.first_ns, now_ns)?;
        self.outgoing.sync()?;
        self.delivery.notify();
        Ok(())
    }

    /// Takes the probes off a program that goes on, so that nothing is sent behind the last look at the
    /// kernel's counters. Off first, because taking them off takes a while.
    fn leave(&mut self) {
        let pid = self.target.process.pid();
        let Some(bpf) = &mut self.target.bpf else { return };
        // Each fails only if there was nothing to take off.
        let _ = bpf.set_enabled(pid, ClassSet::NONE);
        bpf.detach_mappings();
        bpf.detach_classes();
        let _ = bpf.detach(pid);
    }

    fn how_it_ended(&mut self) -> EndReason {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.target.child.as_mut().and_then(|child| child.wait().ok());
        match status {
            Some(status) => linux::describe_status(status.into_raw()),
            None => self.target.process.end(),
        }
    }

    fn pass_on(&self, signal: i32) {
        let pid = rustix::process::Pid::from_raw(self.target.process.pid() as i32);
        if let (Some(pid), Some(signal)) = (pid, rustix::process::Signal::from_named_raw(signal)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn send_control<T: serde::Serialize>(&self, kind: FrameKind, payload: &T) {
        if let Ok(bytes) = encode_control(kind, self.outgoing.session(), payload) {
            self.delivery.send_control(bytes);
        }
    }
}
