//! The session's matrix, with what the host forbids put in.

use super::Obstacle;
use super::host::Host;
use super::target::Target;
use crate::linux::{self, ProbePlan};
use heaptide_protocol::session::{Capability, CapabilityState};
use heaptide_symbols::{GoVersion, NEWEST_MINOR, RuntimeOffsets};

/// What a source needs of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Programs at functions of the program.
    Uprobes,
    /// Programs at the kernel's tracepoints.
    Tracepoints,
    /// No more than that the process can be read.
    Nothing,
}

/// Without a process: what this host allows of a Go program as they are made today.
pub(super) fn sources(host: &Host, target: Option<&Target>) -> Vec<Capability> {
    let assumed = assumed();
    let assumed_rate = Some(crate::watch::GO_DEFAULT_RATE_BYTES);
    let (plan, rate, obstacle) = match target {
        None => (assumed.as_ref(), assumed_rate, None),
        Some(target) => match &target.plan {
            Ok(plan) => (Some(plan), target.rate_bytes, None),
            // The rows are the same; the reason is one for all.
            Err(obstacle) => (assumed.as_ref(), assumed_rate, Some(obstacle)),
        },
    };
    let Some(plan) = plan else { return Vec::new() };
    let mut rows = linux::capabilities(plan, Ok(()), rate);
    rows.extend(target.iter().flat_map(|target| target.on_demand.iter().cloned()));
    for row in &mut rows {
        let forbidden = match Need::of(&row.source) {
            Need::Uprobes => host.uprobes.as_ref(),
            Need::Tracepoints => host.tracepoints.as_ref(),
            Need::Nothing => None,
        };
        // What nothing on this host can mend comes first.
        if let Some(Obstacle { why, remedy }) = obstacle.or(forbidden) {
            row.state = CapabilityState::Unavailable {
                why: why.clone(),
                remedy: remedy.clone(),
            };
        }
    }
    rows
}

/// A plan that finds every site, for the newest Go that is known.
fn assumed() -> Option<ProbePlan> {
    let version = GoVersion {
        text: String::new(),
        major: 1,
        minor: NEWEST_MINOR,
    };
    Some(ProbePlan {
        points: Vec::new(),
        refused: Vec::new(),
        goroutines: Ok(Vec::new()),
        stop_reasons: true,
        offsets: RuntimeOffsets::of(&version),
    })
}

impl Need {
    /// A source begins with what it is.
    fn of(source: &str) -> Self {
        let starts = |words: &[&str]| words.iter().any(|word| source.starts_with(word));
        if starts(&["uprobe", "goroutine id of each sample"]) {
            Self::Uprobes
        } else if starts(&["tracepoint"]) {
            Self::Tracepoints
        } else {
            Self::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uprobes: bool, tracepoints: bool) -> Host {
        let obstacle = |is: bool, why: &str| (!is).then(|| Obstacle::new(why, "do something"));
        Host {
            facts: Vec::new(),
            uprobes: obstacle(uprobes, "no uprobes here"),
            tracepoints: obstacle(tracepoints, "no tracefs here"),
        }
    }

    #[test]
    fn what_the_host_forbids_is_in_the_rows_that_need_it() {
        for (uprobes, tracepoints) in [(true, true), (false, true), (true, false), (false, false)] {
            let rows = sources(&host(uprobes, tracepoints), None);
            for (source, expected) in [
                ("uprobes runtime.profilealloc", uprobes),
                ("uprobes startCycle", uprobes),
                ("tracepoints sys_", tracepoints),
                ("/proc/PID/statm", true),
            ] {
                let row = rows.iter().find(|row| row.source.starts_with(source)).unwrap();
                let is_there = !matches!(row.state, CapabilityState::Unavailable { .. });
                assert_eq!(is_there, expected, "{uprobes} {tracepoints}: {row:?}");
            }
        }
    }
}
