//! What became of a proposal, and whether the rate can be changed at all, each in a sentence.

use super::amount::amount;
use heaptide_policy::Policy;
use heaptide_protocol::control::{PolicyResult, PolicyState, SessionState, SessionSummary};

/// Where the policy stands, for the status line of the panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `idle`, `pending`, `applied`, `rejected` or `conflict`: what tests and styles go by.
    pub state: &'static str,
    pub words: String,
    /// What a new draft starts from.
    pub current: Policy,
}

/// `proposed` says that this page has sent a proposal from that base revision.
pub fn standing(policy: &PolicyState, proposed: Option<u64>) -> Standing {
    let current = policy
        .pending
        .clone()
        .or_else(|| policy.applied.clone())
        .unwrap_or_default();
    let told = |state, words| Standing {
        state,
        words,
        current: current.clone(),
    };
    if let Some(pending) = &policy.pending {
        return told(
            "pending",
            format!("Revision {} is on its way to the collector…", pending.revision),
        );
    }
    if let (Some(why), Some(_)) = (&policy.refused, proposed) {
        let state = if why.contains("starts from revision") {
            "conflict"
        } else {
            "rejected"
        };
        return told(state, format!("The hub refused the change: {why}."));
    }
    match &policy.last_outcome {
        Some(outcome) => match &outcome.result {
            PolicyResult::Applied {
                rate_before_bytes,
                rate_after_bytes,
                ..
            } => {
                let rate = match (*rate_before_bytes, *rate_after_bytes) {
                    (_, 0) => String::new(),
                    (before, after) if before == after => format!(" Sampling rate {}.", amount(after)),
                    (0, after) => format!(" Sampling rate now {}.", amount(after)),
                    (before, after) => {
                        format!(" Sampling rate {}, before {}.", amount(after), amount(before))
                    }
                };
                told(
                    "applied",
                    format!("Revision {} is in force.{rate}", outcome.revision),
                )
            }
            PolicyResult::Rejected { reason } => told(
                "rejected",
                format!("The collector rejected revision {}: {reason}.", outcome.revision),
            ),
        },
        None if current.revision == 0 => told("idle", "The collector's own policy is in force.".to_owned()),
        None => told("applied", format!("Revision {} is in force.", current.revision)),
    }
}

/// Why the sampling rate can't be changed here; `None` if it can.
pub fn rate_lock(summary: &SessionSummary) -> Option<String> {
    match &summary.state {
        SessionState::Ended => return Some("The session has ended.".to_owned()),
        SessionState::Away { .. } => {
            return Some("The collector is away; a change would wait for it to come back.".to_owned());
        }
        SessionState::Live => {}
    }
    (!summary.rate_write_granted).then(|| {
        "The collector was not given leave to write to the program. To allow it, start it with --allow-rate-write."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_policy::RejectReason;
    use heaptide_protocol::control::PolicyOutcome;

    fn at(revision: u64) -> Policy {
        Policy {
            revision,
            ..Policy::default()
        }
    }

    fn outcome(revision: u64, result: PolicyResult) -> Option<PolicyOutcome> {
        Some(PolicyOutcome {
            timestamp_ns: 0,
            revision,
            result,
        })
    }

    #[test]
    fn each_standing_has_its_words() {
        let applied = |before, after| PolicyResult::Applied {
            policy: at(3),
            rate_before_bytes: before,
            rate_after_bytes: after,
        };
        let rejected = PolicyResult::Rejected {
            reason: RejectReason::WriteNotGranted,
        };
        let base = PolicyState {
            applied: Some(at(3)),
            ..PolicyState::default()
        };
        let cases = [
            (PolicyState::default(), None, "idle", "own policy", 0),
            (base.clone(), None, "applied", "Revision 3 is in force", 3),
            (
                PolicyState {
                    pending: Some(at(4)),
                    ..base.clone()
                },
                Some(3),
                "pending",
                "Revision 4 is on its way",
                4,
            ),
            (
                PolicyState {
                    last_outcome: outcome(3, applied(524_288, 65_536)),
                    ..base.clone()
                },
                Some(2),
                "applied",
                "Sampling rate 64 KiB, before 512 KiB.",
                3,
            ),
            (
                PolicyState {
                    last_outcome: outcome(4, rejected),
                    ..base.clone()
                },
                Some(3),
                "rejected",
                "--allow-rate-write",
                3,
            ),
            (
                PolicyState {
                    refused: Some("this change starts from revision 2, but revision 3 is the newest".into()),
                    ..base.clone()
                },
                Some(2),
                "conflict",
                "revision 3 is the newest",
                3,
            ),
            (
                // Somebody else's refused proposal is not ours to explain.
                PolicyState {
                    refused: Some("no".into()),
                    ..base
                },
                None,
                "applied",
                "Revision 3",
                3,
            ),
        ];
        for (policy, proposed, state, words, current) in cases {
            let got = standing(&policy, proposed);
            assert_eq!(got.state, state, "{policy:?}");
            assert!(got.words.contains(words), "{}", got.words);
            assert_eq!(got.current.revision, current);
        }
    }
}
