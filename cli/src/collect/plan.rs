//! Which processes to watch now: a pure function of what was seen before, what runs, and the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A watch that failed is tried again, each time later; it may have failed for want of rights or of a hub.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// A running process; the two numbers name it for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    /// Its executable's file name.
    pub(super) name: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) start: Vec<Seen>,
    /// That match and are too many, when there are newly some.
    pub(super) left_out: usize,
}

#[derive(Debug)]
pub(super) struct Plan {
    patterns: Vec<String>,
    all: bool,
    max: usize,
    known: BTreeMap<u32, Known>,
    left_out: usize,
}

#[derive(Debug)]
struct Known {
    start_ticks: u64,
    state: State,
    failures: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Watched,
    /// It has been watched to a good end: it ended, or somebody detached.
    Done,
    RetryAt(Instant),
}

impl Plan {
    /// Names are matched whole, with `*` for any text.
    pub(super) fn new(patterns: &[String], all: bool, max: usize) -> Self {
        Self {
            patterns: patterns.to_vec(),
            all,
            max,
            known: BTreeMap::new(),
            left_out: 0,
        }
    }

    pub(super) fn look(&mut self, running: &[Seen], own_pid: u32, now: Instant) -> News {
        self.known.retain(|pid, known| {
            let runs = running
                .iter()
                .any(|seen| seen.pid == *pid && seen.start_ticks == known.start_ticks);
            // Its watch has an end to report yet.
            runs || known.state == State::Watched
        });
        let mut watched = self
            .known
            .values()
            .filter(|known| known.state == State::Watched)
            .count();
        let mut news = News::default();
        for seen in running {
            if seen.pid == own_pid || !self.wants(&seen.name) {
                continue;
            }
            let known = self.known.get(&seen.pid);
            let waits = known.is_some_and(|known| match known.state {
                State::Watched => true,
                State::Done => known.start_ticks == seen.start_ticks,
                State::RetryAt(at) => known.start_ticks == seen.start_ticks && now < at,
            });
            if waits {
                continue;
            }
            if watched >= self.max {
                news.left_out += 1;
                continue;
            }
            watched += 1;
            let failures = known
                .filter(|known| known.start_ticks == seen.start_ticks)
                .map_or(0, |known| known.failures);
            let next = Known {
                start_ticks: seen.start_ticks,
                state: State::Watched,
                failures,
            };
            self.known.insert(seen.pid, next);
            news.start.push(seen.clone());
        }
        // Said when it changes, not each second.
        let left_out = std::mem::replace(&mut self.left_out, news.left_out);
        if left_out == news.left_out {
            news.left_out = 0;
        }
        news
    }

    /// A watch has ended.
    pub(super) fn ended(&mut self, pid: u32, well: bool, now: Instant) {
        let Some(known) = self.known.get_mut(&pid) else {
            return;
        };
        if well {
            known.state = State::Done;
            return;
        }
        let wait = FIRST_RETRY
            .saturating_mul(1 << known.failures.min(10))
            .min(LAST_RETRY);
        known.failures += 1;
        known.state = State::RetryAt(now + wait);
    }

    fn wants(&self, name: &str) -> bool {
        // Not ourselves, unless somebody insists.
        (self.all && name != "heaptide") || self.patterns.iter().any(|pattern| matches(pattern, name))
    }
}

/// `*` stands for any text, also none.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, name: &str) -> Seen {
        Seen {
            pid,
            start_ticks: 7,
            name: name.to_owned(),
        }
    }

    fn pids(news: &News) -> Vec<u32> {
        news.start.iter().map(|seen| seen.pid).collect()
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "shopper", false),
            ("shop*", "shopper", true),
            ("*-server", "etcd-server", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("*", "", true),
            ("é*", "é", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn each_process_is_watched_once_and_a_reused_number_is_another() {
        let now = Instant::now();
        let mut plan = Plan::new(&["shop".to_owned()], false, 9);
        let running = [seen(1, "shop"), seen(2, "other"), seen(3, "shop")];
        assert_eq!(pids(&plan.look(&running, 3, now)), [1]);
        assert_eq!(pids(&plan.look(&running, 3, now)), [0; 0]);
        plan.ended(1, true, now);
        assert_eq!(
            pids(&plan.look(&running, 3, now)),
            [0; 0],
            "it was detached by somebody"
        );
        let later = Seen {
            start_ticks: 8,
            ..seen(1, "shop")
        };
        assert_eq!(pids(&plan.look(&[later], 3, now)), [1]);
    }

    #[test]
    fn a_watch_that_fails_is_tried_again_later_and_later() {
        let mut now = Instant::now();
        let mut plan = Plan::new(&[], true, 9);
        let running = [seen(1, "shop"), seen(2, "heaptide")];
        assert_eq!(pids(&plan.look(&running, 9, now)), [1]);
        for wait_s in [5, 10, 20, 40, 80, 160, 300, 300] {
            plan.ended(1, false, now);
            now += Duration::from_secs(wait_s - 1);
            assert_eq!(pids(&plan.look(&running, 9, now)), [0; 0], "before {wait_s} s");
            now += Duration::from_secs(1);
            assert_eq!(pids(&plan.look(&running, 9, now)), [1], "after {wait_s} s");
        }
    }

    #[test]
    fn too_many_are_told_when_that_changes() {
        let now = Instant::now();
        let mut plan = Plan::new(&[], true, 2);
        let running: Vec<Seen> = (1..=5).map(|pid| seen(pid, "shop")).collect();
        let news = plan.look(&running, 9, now);
        assert_eq!((news.start.len(), news.left_out), (2, 3));
        assert_eq!(plan.look(&running, 9, now), News::default());
        plan.ended(1, true, now);
        let news = plan.look(&running, 9, now);
        assert_eq!((news.start.len(), news.left_out), (1, 2));
    }
}
