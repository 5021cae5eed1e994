//! Whether a collector takes a proposed policy: `(current, proposed, what it may) -> decision`.

use crate::document::{Policy, PolicyError};
use serde::{Deserialize, Serialize};

/// What the person who started the collector, and the program it watches, allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// `--allow-rate-write` was given.
    pub rate_write: bool,
    /// The address of `runtime.MemProfileRate` is known.
    pub rate_address_known: bool,
    /// Samples are seen: the kernel programs for the sampled path are attached, or Go's own profile is read.
    pub sampled_heap: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Take it; `write_rate_bytes` is the rate to write into the program, if it has to change.
    Apply {
        policy: Policy,
        write_rate_bytes: Option<u64>,
    },
    /// Already in force or overtaken by a later one.
    Ignore,
    Reject(RejectReason),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RejectReason {
    #[error("{0}")]
    Invalid(PolicyError),
    #[error("the policy does not allow writing MemProfileRate, so its sampling rate can't be changed")]
    WriteNotInPolicy,
    #[error("this collector was started without --allow-rate-write, so it won't write to the program")]
    WriteNotGranted,
    #[error("the address of runtime.MemProfileRate is not known in this binary")]
    RateAddressUnknown,
    #[error("heap samples can't be observed here, so a sampling rate has no effect")]
    NoSampledHeap,
    #[error("writing MemProfileRate failed: {detail}")]
    WriteFailed { detail: String },
    #[error("{what} can't be had here: {why}")]
    Unavailable { what: String, why: String },
}

/// Decides on `proposed`, given the policy in force and the rate that the program has now.
pub fn decide(
    current: &Policy,
    proposed: &Policy,
    program_rate_bytes: Option<u64>,
    grants: Grants,
) -> Decision {
    if proposed.revision <= current.revision && proposed.revision != 0 {
        return Decision::Ignore;
    }
    if let Err(error) = proposed.validate() {
        return Decision::Reject(RejectReason::Invalid(error));
    }
    let write_rate_bytes = match proposed.sampling_rate_bytes {
        Some(rate) if program_rate_bytes != Some(rate) => Some(rate),
        _ => None,
    };
    if write_rate_bytes.is_some() {
        let missing = if !grants.sampled_heap {
            Some(RejectReason::NoSampledHeap)
        } else if !proposed.allow_rate_write {
            Some(RejectReason::WriteNotInPolicy)
        } else if !grants.rate_write {
            Some(RejectReason::WriteNotGranted)
        } else if !grants.rate_address_known {
            Some(RejectReason::RateAddressUnknown)
        } else {
            None
        };
        if let Some(reason) = missing {
            return Decision::Reject(reason);
        }
    }
    Decision::Apply {
        policy: proposed.clone(),
        write_rate_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Grants = Grants {
        rate_write: true,
        rate_address_known: true,
        sampled_heap: true,
    };

    fn proposal(rate: Option<u64>, allow: bool) -> Policy {
        Policy {
            revision: 2,
            sampling_rate_bytes: rate,
            allow_rate_write: allow,
            ..Policy::default()
        }
    }

    #[test]
    fn writes_only_where_policy_and_grant_agree() {
        let current = Policy {
            revision: 1,
            ..Policy::default()
        };
        let no_write = Grants {
            rate_write: false,
            ..ALL
        };
        let no_address = Grants {
            rate_address_known: false,
            ..ALL
        };
        let no_heap = Grants {
            sampled_heap: false,
            ..ALL
        };
        let cases = [
            (proposal(Some(65_536), true), ALL, Ok(Some(65_536))),
            (proposal(Some(524_288), true), ALL, Ok(None)),
            (proposal(Some(524_288), false), no_write, Ok(None)),
            (proposal(None, false), no_write, Ok(None)),
            (
                proposal(Some(65_536), false),
                ALL,
                Err(RejectReason::WriteNotInPolicy),
            ),
            (
                proposal(Some(65_536), true),
                no_write,
                Err(RejectReason::WriteNotGranted),
            ),
            (
                proposal(Some(65_536), true),
                no_address,
                Err(RejectReason::RateAddressUnknown),
            ),
            (
                proposal(Some(65_536), true),
                no_heap,
                Err(RejectReason::NoSampledHeap),
            ),
        ];
        for (proposed, grants, expected) in cases {
            let got = match decide(&current, &proposed, Some(524_288), grants) {
                Decision::Apply { write_rate_bytes, .. } => Ok(write_rate_bytes),
                Decision::Reject(reason) => Err(reason),
                Decision::Ignore => panic!("ignored {proposed:?}"),
            };
            assert_eq!(got, expected, "{proposed:?}");
        }
    }

    #[test]
    fn an_overtaken_revision_is_ignored() {
        let current = Policy {
            revision: 5,
            ..Policy::default()
        };
        for revision in 1..=5 {
            let proposed = Policy {
                revision,
                ..Policy::default()
            };
            assert_eq!(
                decide(&current, &proposed, None, ALL),
                Decision::Ignore,
                "revision {revision}"
            );
        }
    }
}
