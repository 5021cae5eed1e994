//! Sees to it that each live session has the policy that it is meant to have, and that a new one does no harm.
//!
//! It looks at all sessions now and then, and at once when something changed. Everything that decides is a pure
//! function of `heaptide_policy`; what is decided is carried out by the session's own authority.

use super::Book;
use crate::access::Caller;
use crate::hub::Hub;
use crate::policy::{Answer, Followed};
use crate::session::{ForPolicy, Session};
use heaptide_policy::{
    CostSample, Evaluated, HealthGuard, HealthSample, PressureGuard, RolloutEvent, Standing,
};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::Pulse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// However much happens, others get a turn.
const PAUSE: Duration = Duration::from_millis(20);
const SECOND_NS: u64 = 1_000_000_000;

/// What is remembered of a session from one look to the next.
#[derive(Debug, Default)]
struct Watched {
    pressure: Option<PressureGuard>,
    health: HealthGuard,
    /// The revision that `health` is about.
    revision: u64,
    pulse_ns: u64,
}

/// What one look at a session found.
#[derive(Debug)]
pub(crate) struct Look {
    /// The revision that it follows.
    pub(crate) revision: u64,
    pub(crate) evaluated: Evaluated,
    /// Whether the newest revision is another policy to it than the one before.
    pub(crate) makes_a_difference: bool,
    pub(crate) followed: Followed,
}

/// Runs until it is dropped.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut watched = HashMap::new();
    loop {
        look_at_all(&hub, &mut watched).await;
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep(hub.config.limits.policy_interval) => {}
            () = hub.policies.changed.notified() => {}
        }
    }
}

/// What a session is meant to have and has. Changes nothing: what has to be changed is in `followed`.
pub(crate) fn look(
    book: &Book,
    id: SessionId,
    view: &ForPolicy,
    is_short: bool,
    now_unix_ns: u64,
) -> Option<Look> {
    let revision = book.rollout.revision_of(&id.to_string());
    let subject = view.authority.subject(&view.labels, is_short)?;
    let now_unix_s = now_unix_ns / SECOND_NS;
    let new = book.newest.document.evaluate(&subject, now_unix_s);
    let old = book.before.evaluate(&subject, now_unix_s);
    // Names and numbers of rules don't reach a session.
    let makes_a_difference = new.policy != old.policy
        || new.memory_pressure != old.memory_pressure
        || new.until_unix_s != old.until_unix_s;
    let evaluated = if revision == book.newest.revision {
        new
    } else {
        old
    };
    let mut trial = view.authority.clone();
    let followed = trial.follow(revision, &evaluated.policy, is_short);
    Some(Look {
        revision,
        evaluated,
        makes_a_difference,
        followed,
    })
}

async fn look_at_all(hub: &Arc<Hub>, watched: &mut HashMap<SessionId, Watched>) {
    let book = hub.policies.book();
    let now_unix_ns = crate::clock::unix_ns();
    let limits = &hub.config.limits;
    let (settle_ns, away_ns) = (nanoseconds(limits.policy_settle), nanoseconds(limits.policy_away));
    let (mut concerned, mut harm) = (Vec::new(), None);
    let mut seen = HashMap::new();
    for session in hub.fleet.all() {
        let Some(view) = session.for_policy() else {
            continue;
        };
        let mut memory = watched.remove(&session.id).unwrap_or_default();
        let since = |unix_ns: u64| now_unix_ns.saturating_sub(unix_ns);
        let is_settled = view.is_live && since(view.opened_unix_ns) >= settle_ns;
        let found = if is_settled {
            attend(hub, &book, &session, &view, &mut memory, now_unix_ns)
        } else if view.is_live || since(view.away_since_unix_ns) < away_ns {
            let is_short = view.authority.standing().is_short_of_memory;
            look(&book, session.id, &view, is_short, now_unix_ns)
        } else {
            None
        };
        if let Some(found) = found.filter(|found| found.makes_a_difference) {
            let id = session.id.to_string();
            let has_newest = is_settled && found.revision == book.newest.revision;
            if has_newest && book.rollout.is_watched() && harm.is_none() {
                harm = harm_of(&book, &view, &found, &mut memory).map(|why| (id.clone(), why));
            }
            let is_applied = has_newest && found.followed.answer == Answer::Applied;
            concerned.push((
                id,
                if is_applied {
                    Standing::Applied
                } else {
                    Standing::Pending
                },
            ));
        }
        seen.insert(session.id, memory);
    }
    *watched = seen;
    if !book.rollout.is_watched() {
        return;
    }
    let event = match &harm {
        Some((session, why)) => RolloutEvent::Harm {
            session,
            why: format!("session {session}: {why}"),
        },
        None => RolloutEvent::Looked { sessions: &concerned },
    };
    let revision = book.newest.revision;
    let stepped = hub
        .policies
        .step(&hub.catalog, &Caller::hub(), revision, &event, "")
        .await;
    match stepped {
        Ok(true) if harm.is_some() => {
            hub.stats.policy_roll_backs.add(1);
            let (_, why) = harm.unwrap_or_default();
            hub.config.log.warning(format!(
                "revision {revision} of the fleet's policy was rolled back: {why}"
            ));
        }
        Ok(_) => {}
        Err(error) => hub.config.log.error(format!("a roll-out can't go on: {error}")),
    }
}

/// One session: has its host memory left, and does it have what it should?
fn attend(
    hub: &Hub,
    book: &Book,
    session: &Arc<Session>,
    view: &ForPolicy,
    memory: &mut Watched,
    now_unix_ns: u64,
) -> Option<Look> {
    let was_short = view.authority.standing().is_short_of_memory;
    let guard = memory
        .pressure
        .get_or_insert_with(|| PressureGuard::resumed(was_short));
    let before = look(book, session.id, view, guard.is_short(), now_unix_ns)?;
    let rule = before.evaluated.memory_pressure.as_ref();
    let (available, total) = view.pulse.as_ref().map_or((0, 0), |pulse| {
        (pulse.host_available_bytes, pulse.host_total_bytes)
    });
    guard.observe(rule, available, total, now_unix_ns / SECOND_NS);
    let found = look(book, session.id, view, guard.is_short(), now_unix_ns)?;
    if !found.followed.has_changed {
        return Some(found);
    }
    let (revision, is_short) = (found.revision, guard.is_short());
    let before = view.authority.issued_revision();
    // Somebody may have changed it since; then the next look sees that.
    let issued = session.with_policy(|policy_of| {
        policy_of.follow(revision, &found.evaluated.policy, is_short);
        policy_of.issued_revision()
    });
    hub.stats.policies_issued.add(u64::from(issued != before));
    hub.store.save_later(session);
    hub.fleet.changed();
    Some(found)
}

/// Why a session that has the newest revision is not well.
fn harm_of(book: &Book, view: &ForPolicy, look: &Look, memory: &mut Watched) -> Option<String> {
    if memory.revision != look.revision {
        memory.revision = look.revision;
        memory.health = HealthGuard::default();
    }
    match &look.followed.answer {
        Answer::Rejected(why) => Some(format!("the collector did not take it: {why}")),
        Answer::Pending => None,
        Answer::Applied => {
            let pulse = view.pulse.as_ref()?;
            if pulse.timestamp_ns == memory.pulse_ns {
                return None;
            }
            memory.pulse_ns = pulse.timestamp_ns;
            let budget = view.authority.state().applied.as_ref()?.budget;
            let max_loss_permille = book.rollout.plan.max_loss_permille;
            memory.health.observe(&sample(pulse), &budget, max_loss_permille)
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn sample(pulse: &Pulse) -> HealthSample {
    HealthSample {
        cost: CostSample {
            cpu_permille: pulse.collector_cpu_permille,
            rss_bytes: pulse.collector_rss_bytes,
            sent_bytes_per_s: pulse.sent_bytes_per_s,
        },
        seen: pulse.seen,
        dropped: pulse.dropped,
    }
}
