//! Figures that only stored frames tell: read now and then, of a bounded number of sessions, beside the ingest path.

use super::figure::{Measured, Reading};
use super::lock;
use super::rule::Figure;
use crate::hub::Hub;
use crate::reports;
use heaptide_analysis::report::At;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::SessionState;
use heaptide_protocol::report::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A census or ledger this much older than the newest frame says nothing about now.
const OLD_NS: u64 = 10 * 60 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;
/// Readings that missed so many turns are none.
const MISSED_TURNS: u32 = 4;

/// Reads until it is dropped.
pub(super) async fn run(hub: &Arc<Hub>) {
    loop {
        read_all(hub).await;
        tokio::time::sleep(hub.config.limits.alert_read_interval).await;
    }
}

/// What was read last of a figure, if that is not too long ago.
pub(super) fn last(hub: &Hub, session: SessionId, figure: &Figure, now_ns: u64) -> Reading {
    let stored = lock(&hub.alerts.stored);
    let Some((reading, read_ns)) = stored.get(&(session, figure.clone())) else {
        return Err("it has not been read from the stored frames yet".to_owned());
    };
    let limit = hub.config.limits.alert_read_interval * MISSED_TURNS;
    let age_ns = now_ns.saturating_sub(*read_ns);
    // A hub that has much to read takes longer for a turn.
    if u128::from(age_ns) > limit.as_nanos() + u128::from(60 * SECOND_NS) {
        return Err(format!(
            "the stored frames were last read {} s ago",
            age_ns / SECOND_NS
        ));
    }
    reading.clone()
}

async fn read_all(hub: &Arc<Hub>) {
    let mut wanted = wanted(hub);
    let limit = hub.config.limits.alert_sessions;
    let keys: BTreeSet<reports::Key> = wanted.keys().take(limit).map(|id| id.0).collect();
    hub.alerts.reads.retain(&|key| keys.contains(key));
    let mut all = BTreeSet::new();
    for (id, figures) in &wanted {
        all.extend(figures.iter().map(|figure| (*id, figure.clone())));
    }
    lock(&hub.alerts.stored).retain(|key, _| all.contains(key));
    let over = wanted.keys().nth(limit).copied();
    let left_out = over.map(|over| wanted.split_off(&over)).unwrap_or_default();
    for (id, figures) in left_out {
        let why = format!(
            "the stored frames of at most {limit} sessions are read for alerts, and this is none of them: select \
             fewer by label"
        );
        tell(
            hub,
            id,
            figures.into_iter().map(|figure| (figure, Err(why.clone()))),
        );
    }
    for (id, figures) in wanted {
        let Some(session) = hub.fleet.get(id) else {
            continue;
        };
        let asked = figures.clone();
        let read = reports::look(hub, &hub.alerts.reads, session, reports::ALL, move |data| {
            asked.iter().map(|figure| of(figure, data)).collect::<Vec<_>>()
        });
        let readings = match read.await {
            Ok(readings) => readings,
            Err(why) => vec![Err(why); figures.len()],
        };
        tell(hub, id, figures.into_iter().zip(readings));
    }
}

fn tell(hub: &Hub, id: SessionId, readings: impl Iterator<Item = (Figure, Reading)>) {
    let now_ns = crate::clock::steady_unix_ns();
    let mut stored = lock(&hub.alerts.stored);
    stored.extend(readings.map(|(figure, reading)| ((id, figure), (reading, now_ns))));
}

/// Which figures of which live sessions the rules ask for.
fn wanted(hub: &Hub) -> BTreeMap<SessionId, Vec<Figure>> {
    let book = hub.alerts.rules();
    let mut wanted: BTreeMap<SessionId, Vec<Figure>> = BTreeMap::new();
    let rules = book.document.rules.iter();
    let rules: Vec<_> = rules.filter(|rule| rule.figure.is_stored()).collect();
    if rules.is_empty() {
        return wanted;
    }
    for session in hub.fleet.all() {
        if session.state() != SessionState::Live {
            continue;
        }
        let labels = session.labels();
        for rule in rules.iter().filter(|rule| rule.labels.matches(&labels)) {
            let figures = wanted.entry(session.id).or_default();
            if !figures.contains(&rule.figure) {
                figures.push(rule.figure.clone());
            }
        }
    }
    wanted
}

fn of(figure: &Figure, data: &heaptide_analysis::Session) -> Reading {
    let now_ns = data.span().to_ns;
    let recent = |at: Option<At>, what: &str| {
        let at = at.ok_or_else(|| format!("{what} has been taken in this session"))?;
        let age_ns = now_ns.saturating_sub(at.at_ns);
        if age_ns > OLD_NS {
            return Err(format!("the last reading is {} s old", age_ns / SECOND_NS));
        }
        Ok(Measured {
            value: at.value,
            error: None,
        })
    };
    match figure {
        Figure::Goroutines { creator } => {
            recent(data.goroutines_created_by(creator), "no census of goroutines")
        }
        Figure::UnaccountedShare {} => recent(data.unaccounted_share(), "no ledger of resident pages"),
        Figure::PauseP99 { window_seconds } => {
            let length_ns = u64::from(*window_seconds) * SECOND_NS;
            let window = Window {
                from_ns: now_ns.saturating_sub(length_ns),
                to_ns: now_ns,
            };
            let found = data.pause_p99_ns(window);
            found
                .map(|at| Measured {
                    value: at.value,
                    error: None,
                })
                .ok_or_else(|| format!("no pause was seen in the last {window_seconds} s"))
        }
        _ => Err("this figure comes with pulses".to_owned()),
    }
}
