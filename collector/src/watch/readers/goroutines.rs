//! The goroutine census: what `linux::memory::goroutines` reads, with stacks by id, ages and creators.
//!
//! An age counts from when a census or the creation event first showed the goroutine's id, so it is a lower
//! bound: what lived before the watch began is as old as the watch.

use super::{ReadContext, Reader};
use crate::CollectorError;
use crate::linux::memory::goroutines::{Census, Group, Plan, status};
use crate::linux::{GoTarget, NO_CREATOR, monotonic_ns};
use crate::pipeline::Pipeline;
use heaptide_policy::Policy;
use heaptide_protocol::StackId;
use heaptide_protocol::goroutines::{GoroutineCensus, GoroutineGroup, GoroutineState};
use heaptide_protocol::section::Section;
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};
use heaptide_symbols::{GoVersion, RuntimeOffsets, wait_reason};
use std::collections::HashMap;

/// With it a census of 100,000 goroutines stays below 100 ms.
const WALK_NS: u64 = 60_000_000;
/// Groups in one census, the largest first: some 100 KB.
const MAX_GROUPS: usize = 2_000;
/// Classes of age: at least 2^n seconds.
const AGE_CLASSES: usize = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Of [`RuntimeOffsets::syscall_saves_bp`].
const NO_SYSCALL_STACK: &str = "; Go before 1.23 doesn't keep from where a system call was made";

#[derive(Debug)]
pub(crate) struct GoroutineReader {
    /// Address of `runtime.allgs`, offsets and version; or why there is none.
    place: Result<(u64, &'static RuntimeOffsets, GoVersion), String>,
}

/// What makes goroutines one group on the wire.
type Key = (u32, Option<StackId>);

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    stack_bytes: u64,
    /// `None` if the age of none is known.
    oldest_seen_ns: Option<u64>,
    ages: [u32; AGE_CLASSES],
}

impl GoroutineReader {
    pub(crate) fn new(go: &GoTarget) -> Self {
        Self {
            place: go.goroutines(),
        }
    }
}

impl Reader for GoroutineReader {
    fn name(&self) -> &'static str {
        "goroutine census"
    }

    fn period_ns(&self, policy: &Policy) -> Option<u64> {
        let period_ms = policy.sources.goroutine_census_ms;
        (self.place.is_ok() && period_ms != 0).then(|| u64::from(period_ms) * 1_000_000)
    }

    fn capability(&self) -> Capability {
        Capability {
            class: EventClass::Goroutine,
            source: "runtime.allgs in the process's memory".to_owned(),
            method: Method::Census,
            state: match &self.place {
                Ok((_, offsets, _)) => CapabilityState::Limited {
                    why: format!(
                        "what lives shorter than the time between two censuses is not seen; a creator is one \
                         frame unless goroutine events are on; running goroutines have no stack; of more than \
                         64 alike, one in 64 is looked at{}{}",
                        if offsets.g_parent_goid == 0 {
                            NO_CREATOR
                        } else {
                            ""
                        },
                        if offsets.syscall_saves_bp {
                            ""
                        } else {
                            NO_SYSCALL_STACK
                        },
                    ),
                },
                Err(why) => CapabilityState::Unavailable {
                    why: why.clone(),
                    remedy: "report this binary's Go version".to_owned(),
                },
            },
        }
    }

    fn read(&mut self, context: &mut ReadContext<'_>) -> Result<Vec<Section>, CollectorError> {
        let Ok((allgs, offsets, version)) = &self.place else {
            return Ok(Vec::new());
        };
        let plan = Plan {
            allgs: *allgs,
            offsets,
            walk_ns: WALK_NS,
        };
        let began_ns = monotonic_ns();
        let unreadable = |source| CollectorError::io("can't read the list of goroutines", source);
        let census = Census::take(context.process, &plan).map_err(unreadable)?;
        // Ids of processes are used again; memory of another one would be nonsense.
        context.process.stat().map_err(unreadable)?;
        let tallies = tally(&census, began_ns, context.pipeline);
        let groups = name(&census, tallies, version, context);
        let grouped: u64 = groups.iter().map(|group| group.count).sum();
        Ok(vec![Section::Goroutines(GoroutineCensus {
            timestamp_ns: began_ns,
            took_ns: census.took_ns,
            goroutines: census.alive,
            dead: census.dead,
            torn: census.torn,
            ungrouped: census.alive - census.torn - grouped,
            inferred: census.inferred,
            groups,
        })])
    }
}

/// Adds up the members of each group, with what is remembered of each.
fn tally(census: &Census, now_ns: u64, pipeline: &mut Pipeline) -> Vec<(Key, Tally)> {
    let known = pipeline.goroutines();
    known.begin_census(now_ns);
    let mut by_key: HashMap<Key, usize> = HashMap::new();
    let mut tallies: Vec<(Key, Tally)> = Vec::new();
    let mut last = None;
    for member in &census.members {
        let birth = known.seen(member.goid);
        let key = (member.group, birth.and_then(|birth| birth.creator));
        // Those that were created together lie together.
        let at = match last {
            Some((last, at)) if last == key => at,
            _ => *by_key.entry(key).or_insert_with(|| {
                tallies.push((key, Tally::default()));
                tallies.len() - 1
            }),
        };
        last = Some((key, at));
        let Some((_, tally)) = tallies.get_mut(at) else {
            continue;
        };
        tally.count += 1;
        tally.stack_bytes += member.stack_bytes;
        if let Some(birth) = birth {
            let seen_ns = birth.first_seen_ns;
            let oldest_ns = tally.oldest_seen_ns.unwrap_or(u64::MAX);
            tally.oldest_seen_ns = Some(oldest_ns.min(seen_ns));
            if let Some(class) = age_class(now_ns.saturating_sub(seen_ns)) {
                tally.ages[class] += 1;
            }
        }
    }
    known.end_census();
    tallies.sort_unstable_by_key(|(key, tally)| (std::cmp::Reverse(tally.count), *key));
    tallies.truncate(MAX_GROUPS);
    tallies
}

/// The highest n with 2^n seconds in it; `None` below a second.
fn age_class(age_ns: u64) -> Option<usize> {
    let seconds = age_ns / SECOND_NS;
    seconds
        .checked_ilog2()
        .map(|class| (class as usize).min(AGE_CLASSES - 1))
}

/// Gives stacks their ids and wait reasons their words.
fn name(
    census: &Census,
    tallies: Vec<(Key, Tally)>,
    version: &GoVersion,
    context: &mut ReadContext<'_>,
) -> Vec<GoroutineGroup> {
    let mut groups = Vec::with_capacity(tallies.len());
    for ((index, creator), tally) in tallies {
        let Some(group) = census.groups.get(index as usize) else {
            continue;
        };
        let mut intern = |pcs: &[u64]| context.pipeline.intern_read(pcs, context.go);
        // The creator of the first goroutine is the runtime's assembly: no pc.
        let creator_frame = if group.gopc == 0 {
            None
        } else {
            intern(&[group.gopc - 1])
        };
        groups.push(GoroutineGroup {
            creator: creator.or(creator_frame),
            creator_is_whole: creator.is_some(),
            entry: intern(&[group.startpc]),
            wait: intern(&group.stack),
            state: state(group),
            wait_reason: wait_reason(version, group.wait_reason).to_owned(),
            count: tally.count,
            stack_bytes: tally.stack_bytes,
            oldest_seen_ns: tally.oldest_seen_ns.unwrap_or(0),
            ages: tally.ages.to_vec(),
        });
    }
    groups
}

fn state(group: &Group) -> GoroutineState {
    match group.status {
        status::IDLE => GoroutineState::Idle,
        status::RUNNABLE => GoroutineState::Runnable,
        status::RUNNING => GoroutineState::Running,
        status::SYSCALL => GoroutineState::Syscall,
        status::WAITING => GoroutineState::Waiting,
        status::COPYING_STACK => GoroutineState::CopyingStack,
        status::PREEMPTED => GoroutineState::Preempted,
        status::LEAKED => GoroutineState::Leaked,
        _ => GoroutineState::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_into_powers_of_two_seconds() {
        for (age_ns, expected) in [
            (0, None),
            (SECOND_NS - 1, None),
            (SECOND_NS, Some(0)),
            (2 * SECOND_NS - 1, Some(0)),
            (2 * SECOND_NS, Some(1)),
            (5 * SECOND_NS, Some(2)),
            (u64::MAX, Some(15)),
        ] {
            assert_eq!(age_class(age_ns), expected, "{age_ns} ns");
        }
    }
}
