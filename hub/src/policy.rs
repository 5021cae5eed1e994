//! The policy authority of a session: who may change what, and which revision comes next.
//!
//! Pure state. A proposal has to name the revision that its author saw, so that two people who edit at once
//! can't overwrite each other unseen. Revision numbers are given out once, also if a collector rejects one.

use heaptide_policy::Policy;
use heaptide_protocol::control::{PolicyOutcome, PolicyResult, PolicyState};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    state: PolicyState,
    issued_revision: u64,
}

impl Authority {
    pub(crate) fn new(state: PolicyState, issued_revision: u64) -> Self {
        Self {
            state,
            issued_revision,
        }
    }

    pub(crate) fn state(&self) -> &PolicyState {
        &self.state
    }

    pub(crate) fn issued_revision(&self) -> u64 {
        self.issued_revision
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
        self.state.applied = Some(in_force);
    }

    /// A person's proposal: pending from now on, or a sentence why not.
    pub(crate) fn propose(&mut self, mut proposed: Policy) -> Result<(), String> {
        let current = self.current_revision();
        if proposed.revision != current {
            return Err(format!(
                "this change starts from revision {}, but revision {current} is the newest: look at that one, then \
                 change it",
                proposed.revision
            ));
        }
        proposed.validate().map_err(|error| error.to_string())?;
        self.issued_revision = self.issued_revision.max(current).saturating_add(1);
        proposed.revision = self.issued_revision;
        self.state.pending = Some(proposed);
        Ok(())
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
        if let PolicyResult::Applied { policy, .. } = &outcome.result {
            self.state.applied = Some(policy.clone());
        }
        self.state.last_outcome = Some(outcome);
    }

    /// What a person who looks now sees: the pending one, else the one in force.
    fn current_revision(&self) -> u64 {
        let state = &self.state;
        state
            .pending
            .as_ref()
            .or(state.applied.as_ref())
            .map_or(0, |policy| policy.revision)
    }
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

    fn pending(authority: &Authority) -> Option<u64> {
        authority.state.pending.as_ref().map(|policy| policy.revision)
    }

    #[test]
    fn a_proposal_from_an_old_revision_is_refused_with_both_numbers() {
        let mut authority = Authority::new(PolicyState::default(), 0);
        authority.opened(at(3));
        assert_eq!(authority.propose(at(3)), Ok(()));
        assert_eq!(pending(&authority), Some(4));
        let refused = authority.propose(at(3)).unwrap_err();
        assert!(
            refused.contains("revision 3") && refused.contains("revision 4"),
            "{refused}"
        );
        assert_eq!(pending(&authority), Some(4));
        assert_eq!(authority.propose(at(4)), Ok(()));
        assert_eq!(pending(&authority), Some(5));
    }

    #[test]
    fn an_invalid_proposal_changes_nothing() {
        let mut authority = Authority::new(PolicyState::default(), 0);
        let before = authority.clone();
        let refused = authority.propose(Policy { tick_ms: 0, ..at(0) }).unwrap_err();
        assert!(refused.contains("tick of 0 ms"), "{refused}");
        assert_eq!(authority, before);
    }

    #[test]
    fn a_rejected_revision_number_is_not_given_out_again() {
        let mut authority = Authority::new(PolicyState::default(), 0);
        authority.opened(at(0));
        authority.propose(at(0)).unwrap();
        let reason = RejectReason::WriteNotGranted;
        authority.outcome(outcome(1, PolicyResult::Rejected { reason }));
        assert_eq!(pending(&authority), None);
        authority.propose(at(0)).unwrap();
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
        let mut authority = Authority::new(PolicyState::default(), 0);
        authority.opened(at(0));
        authority.propose(at(0)).unwrap();
        authority.propose(at(1)).unwrap();
        let reason = RejectReason::WriteNotGranted;
        authority.outcome(outcome(1, PolicyResult::Rejected { reason }));
        assert_eq!(pending(&authority), Some(2));
        authority.opened(at(2));
        assert_eq!(pending(&authority), None);
    }
}
