//! How a revision goes out: to a few sessions, then to all, or back. A pure function of `(state, event, now)`.
//!
//! The few are chosen by the hash of their ids and stay chosen, so that no session goes to and fro. What a
//! decision means for a session (sending it a policy) is the hub's to do.

use crate::fleet::RolloutPlan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where a revision is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    pub revision: u64,
    /// What those that don't have it yet are on, and what all go back to.
    pub from_revision: u64,
    pub plan: RolloutPlan,
    pub stage: Stage,
    /// Sessions that were chosen to be first, by id.
    pub chosen: BTreeSet<String>,
    pub started_unix_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Stage {
    /// Only the chosen have it.
    First {
        /// Since one of them has it in force; the healthy interval is counted from here.
        healthy_since_unix_ns: Option<u64>,
    },
    /// All have it, and are watched for as long again.
    Everywhere { since_unix_ns: u64 },
    /// Nobody watches any more.
    Settled { since_unix_ns: u64 },
    RolledBack {
        at_unix_ns: u64,
        why: String,
        /// The session that it was taken back for; none if a person did it.
        session: Option<String>,
    },
}

/// How a session stands with the policy that it is meant to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not answered yet.
    Pending,
    Applied,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutEvent<'a> {
    /// All live sessions for which this revision makes a difference.
    Looked { sessions: &'a [(String, Standing)] },
    /// A session that has it costs or loses too much, or did not take it.
    Harm { session: &'a str, why: String },
    /// A person does not want to wait.
    Promote,
    /// A person does not want it.
    TakeBack { why: String },
}

impl Rollout {
    pub fn new(revision: u64, from_revision: u64, plan: RolloutPlan, now_unix_ns: u64) -> Self {
        Self {
            revision,
            from_revision,
            plan,
            stage: Stage::First {
                healthy_since_unix_ns: None,
            },
            chosen: BTreeSet::new(),
            started_unix_ns: now_unix_ns,
        }
    }

    /// One that is everywhere from the start and not watched: a hub's own way back.
    pub fn settled(revision: u64, plan: RolloutPlan, now_unix_ns: u64) -> Self {
        Self {
            stage: Stage::Settled {
                since_unix_ns: now_unix_ns,
            },
            ..Self::new(revision, revision, plan, now_unix_ns)
        }
    }

    /// By a hub that is back: the healthy interval begins anew, since nobody looked meanwhile.
    #[must_use]
    pub fn resumed(self, now_unix_ns: u64) -> Self {
        let stage = match self.stage {
            Stage::First { .. } => Stage::First {
                healthy_since_unix_ns: None,
            },
            Stage::Everywhere { .. } => Stage::Everywhere {
                since_unix_ns: now_unix_ns,
            },
            over => over,
        };
        Self { stage, ..self }
    }

    /// The revision that a session is meant to follow.
    pub fn revision_of(&self, session: &str) -> u64 {
        match self.stage {
            Stage::First { .. } if !self.chosen.contains(session) => self.from_revision,
            Stage::RolledBack { .. } => self.from_revision,
            _ => self.revision,
        }
    }

    pub fn is_watched(&self) -> bool {
        matches!(self.stage, Stage::First { .. } | Stage::Everywhere { .. })
    }

    /// What the next one takes the place of: whatever most sessions are on.
    pub fn base_for_next(&self) -> u64 {
        match self.stage {
            Stage::First { .. } | Stage::RolledBack { .. } => self.from_revision,
            Stage::Everywhere { .. } | Stage::Settled { .. } => self.revision,
        }
    }

    /// The state after an event.
    pub fn step(&self, event: &RolloutEvent<'_>, now_unix_ns: u64) -> Self {
        let mut next = self.clone();
        match event {
            RolloutEvent::Looked { sessions } => next.look(sessions, now_unix_ns),
            RolloutEvent::Harm { session, why } => {
                let has_it = self.is_watched() && self.revision_of(session) == self.revision;
                if has_it {
                    next.take_back(why.clone(), Some((*session).to_owned()), now_unix_ns);
                }
            }
            RolloutEvent::Promote => match self.stage {
                Stage::First { .. } => {
                    next.stage = Stage::Everywhere {
                        since_unix_ns: now_unix_ns,
                    }
                }
                Stage::Everywhere { .. } => {
                    next.stage = Stage::Settled {
                        since_unix_ns: now_unix_ns,
                    }
                }
                Stage::Settled { .. } | Stage::RolledBack { .. } => {}
            },
            RolloutEvent::TakeBack { why } if self.is_watched() => {
                next.take_back(why.clone(), None, now_unix_ns);
            }
            RolloutEvent::TakeBack { .. } => {}
        }
        next
    }

    fn take_back(&mut self, why: String, session: Option<String>, at_unix_ns: u64) {
        self.stage = Stage::RolledBack {
            at_unix_ns,
            why,
            session,
        };
    }

    fn look(&mut self, sessions: &[(String, Standing)], now_unix_ns: u64) {
        let healthy_ns = u64::from(self.plan.healthy_seconds) * 1_000_000_000;
        let is_over = |since: u64| now_unix_ns.saturating_sub(since) >= healthy_ns;
        match self.stage {
            Stage::First {
                healthy_since_unix_ns,
            } => {
                self.choose(sessions);
                let tried = || sessions.iter().filter(|(id, _)| self.chosen.contains(id));
                let applied = tried()
                    .filter(|(_, standing)| *standing == Standing::Applied)
                    .count();
                let since = (applied > 0).then(|| healthy_since_unix_ns.unwrap_or(now_unix_ns));
                let all_applied = applied > 0 && applied == tried().count();
                self.stage = if all_applied && since.is_some_and(is_over) {
                    Stage::Everywhere {
                        since_unix_ns: now_unix_ns,
                    }
                } else {
                    Stage::First {
                        healthy_since_unix_ns: since,
                    }
                };
            }
            Stage::Everywhere { since_unix_ns } if is_over(since_unix_ns) => {
                self.stage = Stage::Settled {
                    since_unix_ns: now_unix_ns,
                };
            }
            _ => {}
        }
    }

    /// Adds to the chosen until there are enough of those that are there.
    fn choose(&mut self, sessions: &[(String, Standing)]) {
        let percent = usize::from(self.plan.first_percent);
        let wanted = (sessions.len() * percent).div_ceil(100);
        let there = sessions.iter().filter(|(id, _)| self.chosen.contains(id)).count();
        let mut others: Vec<(u64, &String)> = sessions
            .iter()
            .filter(|(id, _)| !self.chosen.contains(id))
            .map(|(id, _)| (rank(id), id))
            .collect();
        others.sort_unstable();
        let added = others.into_iter().take(wanted.saturating_sub(there));
        self.chosen.extend(added.map(|(_, id)| id.clone()));
    }
}

/// FNV-1a of the id, mixed (as SplitMix64 does) so that ids that differ little lie far apart.
fn rank(id: &str) -> u64 {
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn plan(first_percent: u8) -> RolloutPlan {
        RolloutPlan {
            first_percent,
            healthy_seconds: 10,
            max_loss_permille: 10,
        }
    }

    fn sessions(count: usize, standing: Standing) -> Vec<(String, Standing)> {
        (0..count)
            .map(|number| (format!("s{number}"), standing))
            .collect()
    }

    fn look(rollout: &Rollout, sessions: &[(String, Standing)], now_s: u64) -> Rollout {
        rollout.step(&RolloutEvent::Looked { sessions }, now_s * S)
    }

    #[test]
    fn the_first_are_a_share_at_least_one_and_stay_chosen() {
        for (count, percent, expected) in [
            (0, 5, 0),
            (1, 5, 1),
            (19, 5, 1),
            (20, 5, 1),
            (21, 5, 2),
            (40, 5, 2),
            (40, 100, 40),
            (1000, 5, 50),
        ] {
            let rollout = Rollout::new(2, 1, plan(percent), 0);
            let got = look(&rollout, &sessions(count, Standing::Pending), 1);
            assert_eq!(got.chosen.len(), expected, "{percent} % of {count}");
            let again = look(&got, &sessions(count, Standing::Pending), 2);
            assert_eq!(again.chosen, got.chosen);
            let grown = look(&got, &sessions(count * 2, Standing::Pending), 2);
            assert!(grown.chosen.is_superset(&got.chosen));
        }
        // The same ones for the next revision, too.
        let some = sessions(100, Standing::Pending);
        let first = look(&Rollout::new(2, 1, plan(5), 0), &some, 1);
        let second = look(&Rollout::new(3, 2, plan(5), 0), &some, 1);
        assert_eq!(first.chosen, second.chosen);
    }

    #[test]
    fn chosen_ones_that_are_gone_are_replaced() {
        let all = sessions(40, Standing::Applied);
        let rollout = look(&Rollout::new(2, 1, plan(5), 0), &all, 1);
        let left: Vec<_> = all
            .iter()
            .filter(|(id, _)| !rollout.chosen.contains(id))
            .cloned()
            .collect();
        let later = look(&rollout, &left, 2);
        assert_eq!(later.chosen.len(), 4);
        assert!(later.chosen.is_superset(&rollout.chosen));
    }

    /// One step of a story: what happens at which second, and the stage after it.
    enum Do {
        Look(usize, Standing),
        Harm(&'static str),
        Promote,
        TakeBack,
    }

    fn stage_name(rollout: &Rollout) -> &'static str {
        match &rollout.stage {
            Stage::First { .. } => "first",
            Stage::Everywhere { .. } => "everywhere",
            Stage::Settled { .. } => "settled",
            Stage::RolledBack { .. } => "rolled back",
        }
    }

    #[test]
    fn stories_as_a_table() {
        use Standing::{Applied, Pending};
        type Story = (&'static str, &'static [(u64, Do, &'static str)]);
        let stories: [Story; 8] = [
            (
                "healthy",
                &[
                    (0, Do::Look(1, Pending), "first"),
                    (5, Do::Look(1, Applied), "first"),
                    (14, Do::Look(1, Applied), "first"),
                    (15, Do::Look(1, Applied), "everywhere"),
                    (24, Do::Look(1, Applied), "everywhere"),
                    (25, Do::Look(1, Applied), "settled"),
                    (26, Do::Harm("s0"), "settled"),
                ],
            ),
            (
                "nobody there to try it on",
                &[
                    (0, Do::Look(0, Pending), "first"),
                    (999, Do::Look(0, Pending), "first"),
                ],
            ),
            (
                "one that does not answer",
                &[
                    (0, Do::Look(1, Pending), "first"),
                    (999, Do::Look(1, Pending), "first"),
                ],
            ),
            (
                "all gone meanwhile: counted anew",
                &[
                    (0, Do::Look(1, Applied), "first"),
                    (5, Do::Look(0, Pending), "first"),
                    (11, Do::Look(1, Applied), "first"),
                    (21, Do::Look(1, Applied), "everywhere"),
                ],
            ),
            (
                "harm to one of the first",
                &[
                    (0, Do::Look(1, Applied), "first"),
                    (1, Do::Harm("s0"), "rolled back"),
                    (99, Do::Look(1, Applied), "rolled back"),
                    (100, Do::Promote, "rolled back"),
                ],
            ),
            (
                "harm to another is not this one's",
                &[(0, Do::Look(1, Applied), "first"), (1, Do::Harm("s9"), "first")],
            ),
            (
                "harm after it went to all",
                &[
                    (0, Do::Look(1, Applied), "first"),
                    (10, Do::Look(1, Applied), "everywhere"),
                    (11, Do::Harm("s9"), "rolled back"),
                ],
            ),
            (
                "a person hurries, and another takes back",
                &[
                    (0, Do::Promote, "everywhere"),
                    (1, Do::TakeBack, "rolled back"),
                    (2, Do::TakeBack, "rolled back"),
                ],
            ),
        ];
        for (what, steps) in stories {
            let mut rollout = Rollout::new(2, 1, plan(5), 0);
            for (now_s, step, expected) in steps {
                let listed;
                let event = match step {
                    Do::Look(count, standing) => {
                        listed = sessions(*count, *standing);
                        RolloutEvent::Looked { sessions: &listed }
                    }
                    Do::Harm(session) => RolloutEvent::Harm {
                        session,
                        why: "dear".to_owned(),
                    },
                    Do::Promote => RolloutEvent::Promote,
                    Do::TakeBack => RolloutEvent::TakeBack { why: "no".to_owned() },
                };
                rollout = rollout.step(&event, now_s * S);
                assert_eq!(stage_name(&rollout), *expected, "{what}, at {now_s} s");
            }
        }
    }

    #[test]
    fn time_without_a_hub_is_not_healthy_time() {
        let all = sessions(1, Standing::Applied);
        let before = look(&Rollout::new(2, 1, plan(5), 0), &all, 0);
        let after = before.clone().resumed(9 * S);
        assert_eq!(after.chosen, before.chosen);
        assert_eq!(stage_name(&look(&after, &all, 10)), "first");
        let everywhere = before.step(&RolloutEvent::Promote, S).resumed(11 * S);
        assert_eq!(stage_name(&look(&everywhere, &all, 12)), "everywhere");
        assert_eq!(stage_name(&look(&everywhere, &all, 21)), "settled");
    }

    #[test]
    fn who_follows_which_revision_at_each_stage() {
        let all = sessions(40, Standing::Applied);
        let first = look(&Rollout::new(7, 4, plan(5), 0), &all, 0);
        let everywhere = first.step(&RolloutEvent::Promote, 0);
        let settled = everywhere.step(&RolloutEvent::Promote, 0);
        let back = first.step(&RolloutEvent::TakeBack { why: "no".to_owned() }, 0);
        for (rollout, with_new, base_for_next) in [
            (&first, 2, 4),
            (&everywhere, 40, 7),
            (&settled, 40, 7),
            (&back, 0, 4),
        ] {
            let got = all.iter().filter(|(id, _)| rollout.revision_of(id) == 7).count();
            assert_eq!(got, with_new, "{}", stage_name(rollout));
            assert_eq!(rollout.base_for_next(), base_for_next);
            let rest = all.iter().filter(|(id, _)| rollout.revision_of(id) == 4).count();
            assert_eq!(got + rest, 40);
        }
    }
}
