//! The policy in force: decided by `heaptide_policy`, carried out here.

use super::attach::Target;
use crate::CollectorError;
use crate::linux::bpf::{Class, ClassSet};
use crate::linux::leak_check::LeakCheck;
use crate::linux::monotonic_ns;
use crate::linux::rate::RateControl;
use crate::pipeline::Pipeline;
use heaptide_policy::{Decision, ExactRequest, Grants, Policy, RejectReason, Sources, decide};
use heaptide_protocol::control::{PolicyOutcome, PolicyResult};

/// Go assumes this unless it is told otherwise (`runtime.MemProfileRate`).
pub(crate) const GO_DEFAULT_RATE_BYTES: u64 = 512 << 10;
/// Go's `schedinit` zeroes the rate of a program without pprof; a write before that is repeated.
const SETTLE_NS: u64 = 2_000_000_000;

#[derive(Debug)]
pub(super) struct Control {
    policy: Policy,
    rate: Option<RateControl>,
    grants: Grants,
    leak_check: LeakCheck,
    last_outcome: Option<PolicyOutcome>,
    started_ns: u64,
    /// Why there can be no exact window here.
    no_exact: Option<String>,
}

impl Control {
    pub(super) fn new(
        policy: Policy,
        rate: Option<RateControl>,
        rate_write: bool,
        sampled_heap: bool,
        leak_check: LeakCheck,
    ) -> Self {
        let grants = Grants {
            rate_write,
            rate_address_known: rate.is_some(),
            sampled_heap,
        };
        Self {
            policy,
            rate,
            grants,
            leak_check,
            last_outcome: None,
            started_ns: monotonic_ns(),
            no_exact: None,
        }
    }

    /// Whether there can be exact windows, and if not, why. A start-up window that can't be had is left out, and
    /// that is told.
    pub(super) fn allow_exact(&mut self, available: Result<(), &str>) -> Option<String> {
        self.no_exact = available.err().map(str::to_owned);
        let reason = self.reject_exact(self.policy.exact)?;
        self.policy.exact = None;
        Some(reason.to_string())
    }

    fn reject_exact(&self, exact: Option<ExactRequest>) -> Option<RejectReason> {
        exact
            .and(self.no_exact.clone())
            .map(|why| RejectReason::Unavailable {
                what: "an exact window".to_owned(),
                why,
            })
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A start-up rate that can't be had is left out, so that nobody is told that it is in force.
    pub(super) fn leave_out_rate(&mut self, target: &Target) -> Option<RejectReason> {
        let rate_now = self.program_rate(target);
        match decide(&Policy::default(), &self.policy, Some(rate_now), self.grants) {
            Decision::Reject(reason) => {
                self.policy.sampling_rate_bytes = None;
                Some(reason)
            }
            Decision::Apply { .. } | Decision::Ignore => None,
        }
    }

    /// The rate in force in the program; Go's default if it can't be read.
    pub(super) fn program_rate(&self, target: &Target) -> u64 {
        self.rate
            .as_ref()
            .and_then(|rate| rate.read(&target.process).ok())
            .unwrap_or(GO_DEFAULT_RATE_BYTES)
    }

    /// Follows a rate that the program changed itself. While the program starts, also undoes what its
    /// `schedinit` did to ours: a program without pprof sets the rate to 0 there. What that made of the
    /// policy is handed out.
    pub(super) fn follow_rate(
        &mut self,
        target: &Target,
        pipeline: &mut Pipeline,
    ) -> Result<Option<PolicyOutcome>, CollectorError> {
        let rate_now = self.program_rate(target);
        let wanted = self.wanted_rate(rate_now).filter(|wanted| *wanted != rate_now);
        let is_untouched = self.is_starting() && self.policy.revision == 0;
        if let (Some(wanted), Some(rate), true) = (wanted, &mut self.rate, is_untouched) {
            rate.own_value_is(rate_now);
            // From before the write on, so that no sample falls between the two.
            let at_ns = monotonic_ns();
            rate.write(&target.process, wanted)?;
            pipeline.set_rate(wanted, at_ns);
            return Ok(self.fill_in(wanted, rate_now));
        }
        pipeline.set_rate(rate_now, monotonic_ns());
        Ok(None)
    }

    /// A rate that nobody has named becomes part of the policy; otherwise a change of something else would
    /// take it away.
    fn fill_in(&mut self, rate_bytes: u64, rate_before_bytes: u64) -> Option<PolicyOutcome> {
        if self.policy.sampling_rate_bytes == Some(rate_bytes) {
            return None;
        }
        self.policy.sampling_rate_bytes = Some(rate_bytes);
        Some(PolicyOutcome {
            timestamp_ns: monotonic_ns(),
            revision: self.policy.revision,
            result: PolicyResult::Applied {
                policy: self.policy.clone(),
                rate_before_bytes,
                rate_after_bytes: rate_bytes,
            },
        })
    }

    /// Whether the program may still be setting itself up.
    pub(super) fn is_starting(&self) -> bool {
        monotonic_ns() < self.started_ns + SETTLE_NS
    }

    /// The start-up policy, which needs an answer only where it says more than it was told.
    ///
    /// A program that doesn't sample is made to, if that is allowed. One that hasn't run yet is written to
    /// by [`Self::follow_rate`], when it has.
    pub(super) fn start(
        &mut self,
        target: &mut Target,
        pipeline: &mut Pipeline,
    ) -> Result<Option<PolicyOutcome>, RejectReason> {
        let rate_now = self.program_rate(target);
        let mut policy = self.policy.clone();
        let wanted = self.wanted_rate(rate_now).filter(|_| target.child.is_none());
        policy.sampling_rate_bytes = wanted.or(policy.sampling_rate_bytes);
        match decide(&Policy::default(), &policy, Some(rate_now), self.grants) {
            Decision::Apply {
                mut policy,
                write_rate_bytes,
            } => {
                let write = write_rate_bytes.filter(|_| target.child.is_none());
                policy.sampling_rate_bytes = self.policy.sampling_rate_bytes;
                self.apply(policy, write, target, pipeline)?;
                // Nobody asked for these in particular, so what can't be had is only told.
                let refused = target.follow_classes(&self.policy.sources);
                let told = refused
                    .into_iter()
                    .map(|refused| format!("{} are not observed: {}", refused.what, refused.why));
                target.warnings.extend(told);
                Ok(wanted.and_then(|wanted| self.fill_in(wanted, rate_now)))
            }
            Decision::Ignore => Ok(None),
            Decision::Reject(reason) => Err(reason),
        }
    }

    fn wanted_rate(&self, rate_now: u64) -> Option<u64> {
        let may = self.policy.allow_rate_write && self.grants.rate_write && self.grants.sampled_heap;
        let default = (rate_now == 0 && may).then_some(GO_DEFAULT_RATE_BYTES);
        self.policy.sampling_rate_bytes.filter(|_| may).or(default)
    }

    /// Decides on a policy from the hub, carries it out and says what became of it.
    pub(super) fn propose(
        &mut self,
        proposed: &Policy,
        target: &mut Target,
        pipeline: &mut Pipeline,
    ) -> Option<PolicyOutcome> {
        let before = self.program_rate(target);
        let result = match decide(&self.policy, proposed, Some(before), self.grants) {
            Decision::Ignore => {
                // The hub asks again after a lost connection; it gets the same answer.
                return self
                    .last_outcome
                    .clone()
                    .filter(|outcome| outcome.revision == proposed.revision);
            }
            Decision::Reject(reason) => PolicyResult::Rejected { reason },
            Decision::Apply {
                policy,
                write_rate_bytes,
            } => match self.carry_out(policy, write_rate_bytes, target, pipeline) {
                Ok(()) => PolicyResult::Applied {
                    policy: self.policy.clone(),
                    rate_before_bytes: before,
                    rate_after_bytes: self.program_rate(target),
                },
                Err(reason) => PolicyResult::Rejected { reason },
            },
        };
        let outcome = PolicyOutcome {
            timestamp_ns: monotonic_ns(),
            revision: proposed.revision,
            result,
        };
        self.last_outcome = Some(outcome.clone());
        Some(outcome)
    }

    /// Starts what puts the rate back if this process can't.
    pub(super) fn arm(&mut self, target: &Target) -> Result<(), CollectorError> {
        let armed = self
            .rate
            .as_mut()
            .map_or(Ok(()), |rate| rate.arm(&target.process));
        armed.map_err(|source| CollectorError::io("can't start the guard of MemProfileRate", source))
    }

    /// Puts the program's own rate back, and takes back a leak check that no collection has begun.
    pub(super) fn undo(&mut self, target: &Target) -> Result<(), CollectorError> {
        let leak_check = self
            .leak_check
            .undo(&target.process)
            .map_err(|source| CollectorError::io("can't take back the leak check", source));
        let rate = self
            .rate
            .as_mut()
            .map_or(Ok(()), |rate| rate.restore(&target.process));
        rate.and(leak_check)
    }

    fn carry_out(
        &mut self,
        policy: Policy,
        write_rate_bytes: Option<u64>,
        target: &mut Target,
        pipeline: &mut Pipeline,
    ) -> Result<(), RejectReason> {
        self.follow_classes(&policy, target)?;
        let applied = self.apply(policy, write_rate_bytes, target, pipeline);
        if applied.is_err() {
            let _ = target.follow_classes(&self.policy.sources);
        }
        applied
    }

    /// What a proposal turns on must be had, or it is refused and everything stays as it was.
    fn follow_classes(&self, proposed: &Policy, target: &mut Target) -> Result<(), RejectReason> {
        let before = &self.policy.sources;
        let mut refused = target.follow_classes(&proposed.sources);
        if refused.is_empty() {
            return Ok(());
        }
        // What could not be had before either is no reason.
        let old = target.follow_classes(before);
        refused.retain(|new| old.iter().all(|old| old.what != new.what));
        match refused.pop() {
            Some(refused) => Err(RejectReason::Unavailable {
                what: refused.what.to_owned(),
                why: refused.why,
            }),
            None => {
                let _ = target.follow_classes(&proposed.sources);
                Ok(())
            }
        }
    }

    fn apply(
        &mut self,
        policy: Policy,
        write_rate_bytes: Option<u64>,
        target: &mut Target,
        pipeline: &mut Pipeline,
    ) -> Result<(), RejectReason> {
        if let Some(reason) = self.reject_exact(policy.exact) {
            return Err(reason);
        }
        let failed = |error: CollectorError| RejectReason::WriteFailed {
            detail: error.to_string(),
        };
        if target.bpf.is_none() && policy.sources.needs_probes() {
            return Err(RejectReason::Unavailable {
                what: "what needs probes".to_owned(),
                why: "nothing is probed in this session".to_owned(),
            });
        }
        if policy.leak_check != 0 && policy.leak_check != self.policy.leak_check {
            self.leak_check.ask(&target.process)?;
        }
        // From before the write on, so that no sample falls between the two.
        let at_ns = monotonic_ns();
        if let Some(rate) = &mut self.rate {
            let undo = policy.sampling_rate_bytes.is_none() && rate.written_bytes().is_some();
            if let Some(bytes) = write_rate_bytes {
                rate.write(&target.process, bytes).map_err(failed)?;
            } else if undo {
                rate.restore(&target.process).map_err(failed)?;
            }
        }
        let classes = classes_of(policy.sources);
        if let Some(bpf) = &mut target.bpf {
            bpf.set_enabled(target.process.pid(), classes)
                .map_err(|error| failed(CollectorError::from(error)))?;
        }
        pipeline.set_policy(policy.tiers, policy.addresses);
        pipeline.count_buckets(policy.sources.counts_buckets());
        pipeline.set_rate(self.program_rate(target), at_ns);
        self.policy = policy;
        Ok(())
    }
}

/// Frees are followed as long as allocations are: a live table that is not emptied would lie.
fn classes_of(sources: Sources) -> ClassSet {
    let classes = [
        (sources.sampled_heap, &[Class::Alloc, Class::Free][..]),
        (sources.gc, &[Class::Gc, Class::Stw]),
        (sources.gc_work, &[Class::GcWork]),
        (sources.mappings, &[Class::Mapping]),
        (sources.huge_pages, &[Class::HugePage]),
        (sources.page_faults_one_in != 0, &[Class::PageFault]),
        (sources.scheduling, &[Class::OffCpu]),
        (sources.goroutine_events, &[Class::Goroutine]),
    ];
    classes
        .into_iter()
        .filter(|(on, _)| *on)
        .flat_map(|(_, classes)| classes)
        .fold(ClassSet::NONE, |set, class| set.with(*class))
}
