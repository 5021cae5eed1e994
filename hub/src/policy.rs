//! The policy authority of a session: who may change what, and which revision comes next.
//!
//! Pure state. A proposal has to name the revision that its author saw, so that two people who edit at once
//! can't overwrite each other unseen. Revision numbers are given out once, also if a collector rejects one.
//!
//! Two want something of a session: the fleet's policy, and a person who changes this one alone. What the person
//! changed is kept apart ([`Standing::overrides`]) and goes before the fleet's, until it is released.

use heaptide_policy::{Labels, Policy, PolicyFields, Subject};
use heaptide_protocol::control::{PolicyOutcome, PolicyResult, PolicyState};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    state: PolicyState,
    issued_revision: u64,
    standing: Standing,
}

/// How a session stands with the fleet's policy. Kept with the session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Standing {
    /// What its collector was started with.
    own: Option<Policy>,
    pub(crate) overrides: PolicyFields,
    pub(crate) overridden_by: Option<OverriddenBy>,
    /// The person's proposal that is not answered yet, and the overrides before it.
    unanswered: Option<(u64, PolicyFields)>,
    /// What the fleet's policy asked for last, with the session's revision of it.
    sent: Option<Policy>,
    /// Why the collector did not take that.
    rejected: Option<String>,
    pub(crate) is_short_of_memory: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverriddenBy {
    pub(crate) who: String,
    pub(crate) unix_ns: u64,
}

/// What came of asking a session to follow the fleet's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Something was changed that has to be kept and passed on.
    pub(crate) has_changed: bool,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Pending,
    Applied,
    Rejected(String),
}

impl Authority {
    pub(crate) fn new(state: PolicyState, issued_revision: u64, standing: Standing) -> Self {
        Self {
            state,
            issued_revision,
            standing,
        }
    }

    pub(crate) fn state(&self) -> &PolicyState {
        &self.state
    }

    pub(crate) fn issued_revision(&self) -> u64 {
        self.issued_revision
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// A collector (re)connected and says what is in force there.
    pub(crate) fn opened(&mut self, in_force: Policy) {
        self.issued_revision = self.issued_revision.max(in_force.revision);
        if self
            .state
            .pending
            .as_ref()
            .is_some_and(|pending| pending.revision <= in_force.revision)
        {
            self.state.pending = None;
        }
        if in_force.revision == 0 || self.standing.own.is_none() {
            self.standing.own = Some(in_force.clone());
        }
        self.state.applied = Some(in_force);
    }

    /// A person's proposal: pending from now on, or a sentence why not.
    pub(crate) fn propose(&mut self, proposed: Policy, by: OverriddenBy) -> Result<(), String> {
        let current = self.current_revision();
        if proposed.revision != current {
            return Err(format!(
                "this change starts from revision {}, but revision {current} is the newest: look at that one, then \
                 change it",
                proposed.revision
            ));
        }
        let before = self.current().cloned().unwrap_or_default();
        let changed = PolicyFields::between(&before, &proposed);
        let revision = self.issue(proposed)?;
        if !changed.is_empty() {
            let standing = &mut self.standing;
            standing.unanswered = Some((revision, standing.overrides));
            standing.overrides.merge(&changed);
            standing.overridden_by = Some(by);
            self.state.is_overridden = true;
        }
        Ok(())
    }

    /// The fleet's policy holds again. Whether anything was overridden.
    pub(crate) fn release(&mut self) -> bool {
        self.standing.unanswered = None;
        self.standing.overridden_by = None;
        self.state.is_overridden = false;
        !std::mem::take(&mut self.standing.overrides).is_empty()
    }

    /// What the fleet's policy is applied to; none before a collector has said what it runs with.
    pub(crate) fn subject<'a>(&'a self, labels: &'a Labels, is_short_of_memory: bool) -> Option<Subject<'a>> {
        let own = self.standing.own.as_ref()?;
        self.state.applied.as_ref()?;
        Some(Subject {
            labels,
            own,
            overrides: &self.standing.overrides,
            is_short_of_memory,
        })
    }

    /// Asks for what the fleet's policy comes to, unless it was asked for already.
    pub(crate) fn follow(
        &mut self,
        fleet_revision: u64,
        wanted: &Policy,
        is_short_of_memory: bool,
    ) -> Followed {
        let mut has_changed = self.state.fleet_revision != fleet_revision
            || self.standing.is_short_of_memory != is_short_of_memory;
        self.state.fleet_revision = fleet_revision;
        self.standing.is_short_of_memory = is_short_of_memory;
        let Some(current) = self.current().cloned() else {
            let answer = Answer::Pending;
            return Followed { has_changed, answer };
        };
        // What was asked for once, or is taken at the start only, is not the fleet's to change.
        let mut wanted = Policy {
            revision: current.revision,
            exact: current.exact,
            leak_check: current.leak_check,
            tick_ms: current.tick_ms,
            ..wanted.clone()
        };
        wanted.budget.spool_bytes = current.budget.spool_bytes;
        let was_asked = self
            .standing
            .sent
            .as_ref()
            .is_some_and(|sent| is_same(sent, &wanted));
        // A collector may have made something else of it, which is its answer.
        let is_this = was_asked
            && self
                .standing
                .sent
                .as_ref()
                .is_some_and(|sent| sent.revision == current.revision);
        let answer = match &self.standing.rejected {
            Some(why) if was_asked => Answer::Rejected(why.clone()),
            _ if is_this || is_same(&wanted, &current) => {
                if !is_this {
                    (self.standing.sent, self.standing.rejected) = (None, None);
                }
                if self.state.pending.is_some() {
                    Answer::Pending
                } else {
                    Answer::Applied
                }
            }
            _ => {
                has_changed = true;
                let issued = self.issue(wanted.clone());
                wanted.revision = *issued.as_ref().unwrap_or(&wanted.revision);
                self.standing.sent = Some(wanted);
                self.standing.rejected = issued.err();
                let rejected = self.standing.rejected.clone();
                rejected.map_or(Answer::Pending, Answer::Rejected)
            }
        };
        Followed { has_changed, answer }
    }

    /// The collector's answer.
    pub(crate) fn outcome(&mut self, outcome: PolicyOutcome) {
        if self
            .state
            .pending
            .as_ref()
            .is_some_and(|pending| pending.revision <= outcome.revision)
        {
            self.state.pending = None;
        }
        self.issued_revision = self.issued_revision.max(outcome.revision);
        let standing = &mut self.standing;
        let unanswered = standing
            .unanswered
            .take_if(|(revision, _)| *revision <= outcome.revision);
        match &outcome.result {
            PolicyResult::Applied { policy, .. } => {
                if outcome.revision == 0 {
                    // What it was started with became more definite.
                    standing.own = Some(policy.clone());
                }
                self.state.applied = Some(policy.clone());
            }
            PolicyResult::Rejected { reason } => {
                if let Some((revision, before)) = unanswered
                    && revision == outcome.revision
                {
                    standing.overrides = before;
                    if before.is_empty() {
                        standing.overridden_by = None;
                    }
                    self.state.is_overridden = !before.is_empty();
                }
                if standing
                    .sent
                    .as_ref()
                    .is_some_and(|sent| sent.revision == outcome.revision)
                {
                    standing.rejected = Some(reason.to_string());
                }
            }
        }
        self.state.last_outcome = Some(outcome);
    }

    /// Gives a policy the next number and makes it pending, if it is within its bounds.
    fn issue(&mut self, mut policy: Policy) -> Result<u64, String> {
        policy.validate().map_err(|error| error.to_string())?;
        self.issued_revision = self
            .issued_revision
            .max(self.current_revision())
            .saturating_add(1);
        policy.revision = self.issued_revision;
        self.state.pending = Some(policy);
        Ok(self.issued_revision)
    }

    /// What a person who looks now sees: the pending one, else the one in force.
    fn current(&self) -> Option<&Policy> {
        self.state.pending.as_ref().or(self.state.applied.as_ref())
    }

    fn current_revision(&self) -> u64 {
        self.current().map_or(0, |policy| policy.revision)
    }
}

/// But for the number.
fn is_same(a: &Policy, b: &Policy) -> bool {
    let (mut a, b) = (a.clone(), b);
    a.revision = b.revision;
    a == *b
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_policy::RejectReason;

    fn at(revision: u64) -> Policy {
        Policy {
            revision,
            ..Policy::default()
        }
    }

    fn outcome(revision: u64, result: PolicyResult) -> PolicyOutcome {
        PolicyOutcome {
            timestamp_ns: 0,
            revision,
            result,
        }
    }

    fn new() -> Authority {
        Authority::new(PolicyState::default(), 0, Standing::default())
    }

    fn propose(authority: &mut Authority, policy: Policy) -> Result<(), String> {
        let by = OverriddenBy {
            who: "anna".to_owned(),
            unix_ns: 1,
        };
        authority.propose(policy, by)
    }

    /// What the fleet's policy wants: so many percent.
    fn follow(authority: &mut Authority, fleet_revision: u64, percent: u8) -> Followed {
        let labels = Labels::default();
        let subject = authority.subject(&labels, false).unwrap();
        let mut wanted = subject.own.clone();
        wanted.tiers.hashed_percent = percent;
        subject.overrides.apply(&mut wanted);
        authority.follow(fleet_revision, &wanted, false)
    }

    fn answer(authority: &mut Authority, takes: bool) {
        let policy = authority.state.pending.clone().unwrap();
        let result = if takes {
            PolicyResult::Applied {
                policy: policy.clone(),
                rate_before_bytes: 0,
                rate_after_bytes: 0,
            }
        } else {
            PolicyResult::Rejected {
                reason: RejectReason::WriteNotGranted,
            }
        };
        authority.outcome(outcome(policy.revision, result));
    }

    fn percent(authority: &Authority) -> u8 {
        authority.state.applied.as_ref().unwrap().tiers.hashed_percent
    }

    #[test]
    fn what_the_fleet_wants_is_asked_once_and_answered() {
        let mut authority = new();
        assert!(authority.subject(&Labels::default(), false).is_none());
        authority.opened(at(0));
        // What it has already needs no asking.
        assert_eq!(follow(&mut authority, 1, 15).answer, Answer::Applied);
        assert_eq!(pending(&authority), None);
        let asked = follow(&mut authority, 2, 30);
        assert_eq!((asked.has_changed, asked.answer), (true, Answer::Pending));
        let again = follow(&mut authority, 2, 30);
        assert_eq!((again.has_changed, again.answer), (false, Answer::Pending));
        answer(&mut authority, true);
        assert_eq!(follow(&mut authority, 2, 30).answer, Answer::Applied);
        // Back to where it began.
        assert_eq!(follow(&mut authority, 3, 15).answer, Answer::Pending);
        answer(&mut authority, true);
        assert_eq!((percent(&authority), authority.issued_revision), (15, 2));
        assert_eq!(authority.state.fleet_revision, 3);
    }

    #[test]
    fn what_a_collector_does_not_take_is_not_asked_again_until_it_is_something_else() {
        let mut authority = new();
        authority.opened(at(0));
        follow(&mut authority, 1, 30);
        answer(&mut authority, false);
        for _ in 0..2 {
            let told = follow(&mut authority, 1, 30).answer;
            assert!(
                matches!(&told, Answer::Rejected(why) if why.contains("--allow-rate-write")),
                "{told:?}"
            );
        }
        assert_eq!(pending(&authority), None);
        // Taken back: what it has is right again.
        assert_eq!(follow(&mut authority, 2, 15).answer, Answer::Applied);
        assert_eq!(follow(&mut authority, 3, 31).answer, Answer::Pending);
    }

    #[test]
    fn what_a_person_changed_goes_before_the_fleets_until_it_is_released() {
        let mut authority = new();
        authority.opened(at(0));
        let mut mine = at(0);
        mine.tiers.hashed_percent = 50;
        propose(&mut authority, mine).unwrap();
        answer(&mut authority, true);
        assert!(authority.state.is_overridden);
        assert_eq!(authority.standing.overrides.names(), ["tiers.hashed_percent"]);
        assert_eq!(follow(&mut authority, 1, 30).answer, Answer::Applied);
        assert_eq!(percent(&authority), 50);
        assert!(authority.release() && !authority.release());
        assert_eq!(follow(&mut authority, 1, 30).answer, Answer::Pending);
        answer(&mut authority, true);
        assert_eq!(percent(&authority), 30);
        assert!(!authority.state.is_overridden);
    }

    #[test]
    fn a_change_that_was_not_taken_overrides_nothing_and_an_exact_window_neither() {
        let mut authority = new();
        authority.opened(at(0));
        let mut mine = at(0);
        mine.tiers.hashed_percent = 50;
        propose(&mut authority, mine).unwrap();
        answer(&mut authority, false);
        assert_eq!(
            (authority.state.is_overridden, authority.standing.overrides),
            (false, PolicyFields::default())
        );
        let exact = Policy {
            exact: Some(heaptide_policy::ExactRequest {
                number: 1,
                seconds: 5,
                max_cost_permille: 1000,
            }),
            ..at(0)
        };
        propose(&mut authority, exact.clone()).unwrap();
        answer(&mut authority, true);
        assert!(!authority.state.is_overridden);
        // The fleet's next change keeps the window that was asked for.
        follow(&mut authority, 1, 30);
        let pending = authority.state.pending.clone().unwrap();
        assert_eq!(pending.exact, exact.exact);
    }

    fn pending(authority: &Authority) -> Option<u64> {
        authority.state.pending.as_ref().map(|policy| policy.revision)
    }

    #[test]
    fn a_proposal_from_an_old_revision_is_refused_with_both_numbers() {
        let mut authority = new();
        authority.opened(at(3));
        assert_eq!(propose(&mut authority, at(3)), Ok(()));
        assert_eq!(pending(&authority), Some(4));
        let refused = propose(&mut authority, at(3)).unwrap_err();
        assert!(
            refused.contains("revision 3") && refused.contains("revision 4"),
            "{refused}"
        );
        assert_eq!(pending(&authority), Some(4));
        assert_eq!(propose(&mut authority, at(4)), Ok(()));
        assert_eq!(pending(&authority), Some(5));
    }

    #[test]
    fn an_invalid_proposal_changes_nothing() {
        let mut authority = new();
        let before = authority.clone();
        let refused = propose(&mut authority, Policy { tick_ms: 0, ..at(0) }).unwrap_err();
        assert!(refused.contains("tick of 0 ms"), "{refused}");
        assert_eq!(authority, before);
    }

    #[test]
    fn a_rejected_revision_number_is_not_given_out_again() {
        let mut authority = new();
        authority.opened(at(0));
        propose(&mut authority, at(0)).unwrap();
        let reason = RejectReason::WriteNotGranted;
        authority.outcome(outcome(1, PolicyResult::Rejected { reason }));
        assert_eq!(pending(&authority), None);
        propose(&mut authority, at(0)).unwrap();
        assert_eq!(pending(&authority), Some(2));
        let policy = at(2);
        authority.outcome(outcome(
            2,
            PolicyResult::Applied {
                policy,
                rate_before_bytes: 0,
                rate_after_bytes: 0,
            },
        ));
        assert_eq!(pending(&authority), None);
        assert_eq!(
            authority.state.applied.as_ref().map(|policy| policy.revision),
            Some(2)
        );
    }

    #[test]
    fn a_late_answer_leaves_a_newer_proposal_pending() {
        let mut authority = new();
        authority.opened(at(0));
        propose(&mut authority, at(0)).unwrap();
        propose(&mut authority, at(1)).unwrap();
        let reason = RejectReason::WriteNotGranted;
        authority.outcome(outcome(1, PolicyResult::Rejected { reason }));
        assert_eq!(pending(&authority), Some(2));
        authority.opened(at(2));
        assert_eq!(pending(&authority), None);
    }
}
