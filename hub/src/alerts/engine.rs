//! Looks at all sessions now and then, and makes what changed durable before anybody is told.

use super::machine::{Alert, Ending, Notice, State};
use super::notice::{self, Told};
use super::rule::Rule;
use super::{Kept, Pair, Posted, delivery, figure, lock, reader};
use crate::hub::Hub;
use crate::session::Session;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::SessionState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Pairs of a rule and a session that are looked at.
const PAIRS: usize = 10_000;
/// So long an alert that is over is shown as resolved.
const SHOWN_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Runs until it is dropped.
pub(crate) async fn run(hub: Arc<Hub>) {
    let looks = async {
        loop {
            look(&hub).await;
            tokio::select! {
                () = tokio::time::sleep(hub.config.limits.alert_interval) => {}
                () = hub.alerts.changed.notified() => {}
            }
        }
    };
    tokio::join!(looks, reader::run(&hub), delivery::run(&hub));
}

/// What one look changes.
#[derive(Debug, Default)]
struct Changes {
    notices: Vec<(Pair, Notice)>,
    /// No longer shown.
    forgotten: Vec<Pair>,
}

async fn look(hub: &Arc<Hub>) {
    let book = hub.alerts.rules();
    let rules = &book.document.rules;
    let before = hub.alerts.board();
    if rules.is_empty() && before.is_empty() {
        return;
    }
    let sessions: HashMap<SessionId, Arc<Session>> =
        hub.fleet.all().into_iter().map(|one| (one.id, one)).collect();
    let (mut next, left_out) = look_at_all(hub, rules, &sessions, &before);
    hub.alerts.left_out.store(left_out, Relaxed);
    let mut changes = Changes::default();
    for (pair, (posted, notice)) in &mut next {
        if let Some(Notice::Firing) = notice
            && let Some(session) = sessions.get(&pair.1)
            && let Some(rule) = rules.iter().find(|rule| rule.name == pair.0)
        {
            posted.told = Some(Told::new(rule, session.summary(), posted.alert.since_unix_ns));
        }
        changes
            .notices
            .extend(notice.iter().map(|notice| (pair.clone(), *notice)));
    }
    let now_unix_ns = crate::clock::steady_unix_ns();
    for (pair, posted) in &before {
        if next.contains_key(pair) {
            continue;
        }
        let mut posted = posted.clone();
        if posted.alert.state == State::Firing {
            let why = ending(rules, &sessions, pair);
            let notice = posted.alert.end(why, now_unix_ns);
            changes.notices.push((pair.clone(), notice));
            next.insert(pair.clone(), (posted, Some(notice)));
        } else if posted.alert.state == State::Resolved && is_recent(&posted.alert, now_unix_ns) {
            next.insert(pair.clone(), (posted, None));
        } else {
            changes.forgotten.push(pair.clone());
        }
    }
    let next: BTreeMap<Pair, Posted> = next
        .into_iter()
        .map(|(pair, (posted, _))| (pair, posted))
        .collect();
    if let Err(error) = commit(hub, &next, &before, changes).await {
        hub.stats.alerts_not_kept.add(1);
        hub.config.log.error(format!(
            "what became of alerts can't be kept, and so nobody is told yet: {error}"
        ));
        return;
    }
    *lock(&hub.alerts.board) = next;
}

type Looked = BTreeMap<Pair, (Posted, Option<Notice>)>;

/// Each rule at each session that it is about; and how many pairs are too many.
fn look_at_all(
    hub: &Hub,
    rules: &[Rule],
    sessions: &HashMap<SessionId, Arc<Session>>,
    before: &BTreeMap<Pair, Posted>,
) -> (Looked, usize) {
    let now_ns = crate::clock::steady_unix_ns();
    let (mut next, mut left_out) = (Looked::new(), 0);
    let mut ids: Vec<_> = sessions.keys().copied().collect();
    // The same ones at each look, if there are too many.
    ids.sort_unstable();
    for session in ids.iter().filter_map(|id| sessions.get(id)) {
        session.with_pulses(|state, labels, points| {
            if *state == SessionState::Ended {
                return;
            }
            for rule in rules.iter().filter(|rule| rule.labels.matches(labels)) {
                let pair = (rule.name.clone(), session.id);
                let known = before.get(&pair);
                if known.is_none() && next.len() >= PAIRS {
                    left_out += 1;
                    continue;
                }
                let mut posted = known.cloned().unwrap_or_else(|| Posted {
                    alert: Alert::unknown(now_ns),
                    told: None,
                });
                let reading = match state {
                    SessionState::Live if rule.figure.is_stored() => {
                        reader::last(hub, session.id, &rule.figure, now_ns)
                    }
                    SessionState::Live => figure::of_pulses(&rule.figure, points, now_ns),
                    SessionState::Away { .. } | SessionState::Ended => {
                        Err("its collector is away".to_owned())
                    }
                };
                let notice = posted.alert.step(rule, &reading, now_ns);
                if posted.alert.state == State::Resolved && !is_recent(&posted.alert, now_ns) {
                    posted.alert.state = State::Ok;
                }
                next.insert(pair, (posted, notice));
            }
        });
    }
    (next, left_out)
}

fn is_recent(alert: &Alert, now_unix_ns: u64) -> bool {
    now_unix_ns.saturating_sub(alert.since_unix_ns) < SHOWN_NS
}

fn ending(rules: &[Rule], sessions: &HashMap<SessionId, Arc<Session>>, pair: &Pair) -> Ending {
    let (name, id) = pair;
    match sessions.get(id) {
        _ if rules.iter().all(|rule| rule.name != *name) => Ending::RuleRemoved,
        None => Ending::SessionGone,
        Some(session) if session.state() == SessionState::Ended => Ending::SessionEnded,
        Some(_) => Ending::NoLongerMatches,
    }
}

/// Makes it durable with what is to be told, counts it, and lets the delivery have it.
async fn commit(
    hub: &Arc<Hub>,
    next: &BTreeMap<Pair, Posted>,
    before: &BTreeMap<Pair, Posted>,
    changes: Changes,
) -> Result<(), String> {
    let mut kept = Vec::new();
    let mut bodies = Vec::new();
    for (pair, notice) in &changes.notices {
        let Some(Posted {
            alert,
            told: Some(told),
        }) = next.get(pair)
        else {
            continue;
        };
        let row = Kept {
            rule: pair.0.clone(),
            session: pair.1.to_string(),
            alert: alert.clone(),
            told: told.clone(),
        };
        kept.push((key(pair), row));
        bodies.push(notice::body(*notice, alert, told).map_err(|error| error.to_string())?);
    }
    let was_kept = |pair: &&Pair| before.get(*pair).is_some_and(|posted| posted.told.is_some());
    let forgotten: Vec<String> = changes.forgotten.iter().filter(was_kept).map(key).collect();
    if kept.is_empty() && forgotten.is_empty() {
        return Ok(());
    }
    let delivery = hub.alerts.delivery();
    let numbered = delivery.number(bodies, crate::clock::unix_ns());
    let put = numbered.clone();
    let changed = hub.catalog.change(move |change| {
        for (key, row) in &kept {
            change.put(key, row)?;
        }
        for key in &forgotten {
            change.remove::<Kept>(key)?;
        }
        put.iter()
            .try_for_each(|(number, notice)| delivery::put(change, *number, notice))
    });
    changed.await.map_err(|error| error.to_string())?;
    for (pair, notice) in &changes.notices {
        let (counter, word) = match notice {
            Notice::Firing => (&hub.stats.alerts_fired, "fires"),
            Notice::Resolved(_) => (&hub.stats.alerts_resolved, "is over"),
        };
        counter.add(1);
        hub.config
            .log
            .info(format!("alert '{}' of session {} {word}", pair.0, pair.1));
    }
    let gone = delivery.queued(numbered);
    if !gone.is_empty() {
        hub.stats.alert_notices_given_up.add(gone.len() as u64);
        let removed = hub.catalog.change(move |change| {
            gone.into_iter()
                .try_for_each(|number| delivery::remove(change, number))
        });
        removed.await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// By session, then by rule: a name may hold anything but control characters.
fn key((rule, session): &Pair) -> String {
    format!("{session}/{rule}")
}
