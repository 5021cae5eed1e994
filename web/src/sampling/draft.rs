//! A policy being edited, and how two policies differ in words.

use super::amount::amount;
use super::sources::{SOURCES, next_exact, next_leak_check};
use heaptide_policy::{ExactRequest, Policy};

/// The steps of the rate control: powers of two from 512 B to 8 MiB.
pub const MIN_STEP: u32 = 9;
pub const MAX_STEP: u32 = 23;
/// Go's own default.
const DEFAULT_STEP: u32 = 19;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the person saw when they began; the hub refuses a proposal from an older one.
    pub base: Policy,
    pub edited: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub field: &'static str,
    pub from: String,
    pub to: String,
}

impl Draft {
    pub fn new(base: Policy) -> Self {
        Self {
            edited: base.clone(),
            base,
        }
    }

    pub fn is_changed(&self) -> bool {
        self.base != self.edited
    }

    /// Where the rate control stands; the nearest step if the rate is between two.
    pub fn step(&self, program_rate_bytes: u64) -> u32 {
        let rate = self.edited.sampling_rate_bytes.unwrap_or(program_rate_bytes);
        if rate == 0 {
            return DEFAULT_STEP;
        }
        let floor = rate.ilog2();
        let nearer_above = rate - (1 << floor) > (1_u64 << floor) / 2;
        (floor + u32::from(nearer_above)).clamp(MIN_STEP, MAX_STEP)
    }

    pub fn set_step(&mut self, step: u32) {
        self.edited.sampling_rate_bytes = Some(1 << step.clamp(MIN_STEP, MAX_STEP));
    }

    pub fn counts_everything(&self) -> bool {
        self.edited.exact != self.base.exact
    }

    /// Asks for a window in which every allocation is counted, or no longer.
    pub fn count_everything(&mut self, on: bool) {
        self.edited.exact = if on {
            Some(next_exact(&self.base))
        } else {
            self.base.exact
        };
    }

    pub fn asks_leak_check(&self) -> bool {
        self.edited.leak_check != self.base.leak_check
    }

    /// Asks for Go's own leak detector with the next collection, or no longer.
    pub fn ask_leak_check(&mut self, on: bool) {
        self.edited.leak_check = if on {
            next_leak_check(&self.base)
        } else {
            self.base.leak_check
        };
    }

    /// What is wrong with the draft, before the hub is asked.
    pub fn problem(&self) -> Option<String> {
        if let Err(error) = self.edited.validate() {
            return Some(error.to_string());
        }
        let sets_rate = self.edited.sampling_rate_bytes.is_some()
            && self.edited.sampling_rate_bytes != self.base.sampling_rate_bytes;
        (sets_rate && !self.edited.allow_rate_write).then(|| {
            "setting a rate writes runtime.MemProfileRate in the program: allow that first".to_owned()
        })
    }

    /// The policy has moved on to `current` while this was being edited: where both changed the same.
    pub fn conflicts(&self, current: &Policy) -> Vec<Change> {
        let mine = changes(&self.base, &self.edited);
        changes(&self.base, current)
            .into_iter()
            .filter(|theirs| {
                mine.iter()
                    .any(|change| change.field == theirs.field && change.to != theirs.to)
            })
            .collect()
    }

    /// The same edits, on top of `current`.
    pub fn rebase(&mut self, current: &Policy) {
        let (old, mine) = (&self.base, &self.edited);
        let mut next = current.clone();
        macro_rules! carry {
            ($($($field:ident).+),*) => {$(
                if mine.$($field).+ != old.$($field).+ {
                    next.$($field).+ = mine.$($field).+;
                }
            )*};
        }
        carry!(
            sampling_rate_bytes,
            allow_rate_write,
            tiers.always_from_bytes,
            tiers.hashed_from_bytes,
            tiers.hashed_percent
        );
        for switch in SOURCES {
            let on = (switch.get)(&mine.sources);
            if on != (switch.get)(&old.sources) {
                (switch.set)(&mut next.sources, on);
            }
        }
        if mine.exact != old.exact {
            next.exact = Some(next_exact(current));
        }
        if mine.leak_check != old.leak_check {
            next.leak_check = next_leak_check(current);
        }
        *self = Self {
            base: current.clone(),
            edited: next,
        };
    }
}

/// What a person would call different, revision aside.
pub fn changes(from: &Policy, to: &Policy) -> Vec<Change> {
    let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
    let rate = |policy: &Policy| match policy.sampling_rate_bytes {
        Some(rate) => amount(rate),
        None => "the program's own".to_owned(),
    };
    let row = |field, from, to| Change { field, from, to };
    let exact = |request: &Option<ExactRequest>| match request {
        Some(request) => format!("window {}, {} s", request.number, request.seconds),
        None => "never".to_owned(),
    };
    let check = |number: u32| match number {
        0 => "never".to_owned(),
        number => format!("number {number}"),
    };
    let mut all = vec![
        row("Sampling rate", rate(from), rate(to)),
        row(
            "Write to the program",
            on_off(from.allow_rate_write),
            on_off(to.allow_rate_write),
        ),
        row("Count everything", exact(&from.exact), exact(&to.exact)),
        row("Leak check", check(from.leak_check), check(to.leak_check)),
        row(
            "Every allocation from",
            amount(from.tiers.always_from_bytes),
            amount(to.tiers.always_from_bytes),
        ),
        row(
            "Some allocations from",
            amount(from.tiers.hashed_from_bytes),
            amount(to.tiers.hashed_from_bytes),
        ),
        row(
            "How many of those",
            format!("{} %", from.tiers.hashed_percent),
            format!("{} %", to.tiers.hashed_percent),
        ),
    ];
    all.extend(SOURCES.iter().map(|switch| {
        let word = |policy: &Policy| on_off((switch.get)(&policy.sources));
        row(switch.field, word(from), word(to))
    }));
    all.into_iter()
        .filter(|change| change.from != change.to)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy::default();
        change(&mut policy);
        policy
    }

    #[test]
    fn steps_are_powers_of_two_within_bounds() {
        let mut draft = Draft::new(Policy::default());
        for (rate, step) in [
            (0, 19),
            (1, 9),
            (512, 9),
            (700, 9),
            (800, 10),
            (524_288, 19),
            (1 << 40, 23),
        ] {
            assert_eq!(draft.step(rate), step, "{rate}");
        }
        draft.set_step(16);
        assert_eq!(
            (draft.edited.sampling_rate_bytes, draft.step(1)),
            (Some(65_536), 16)
        );
        draft.set_step(99);
        assert_eq!(draft.edited.sampling_rate_bytes, Some(8 << 20));
    }

    #[test]
    fn a_rate_needs_leave_to_write() {
        let mut draft = Draft::new(Policy::default());
        assert_eq!(draft.problem(), None);
        draft.set_step(16);
        assert!(draft.problem().unwrap().contains("allow that first"));
        draft.edited.allow_rate_write = true;
        assert_eq!(draft.problem(), None);
        draft.edited.tiers.hashed_from_bytes = 4 << 20;
        assert!(draft.problem().unwrap().contains("lies above"));
    }

    #[test]
    fn counting_everything_is_proposed_once_and_can_be_taken_back() {
        let mut draft = Draft::new(Policy::default());
        draft.count_everything(true);
        assert!(draft.counts_everything() && draft.is_changed());
        assert_eq!(draft.edited.exact.map(|window| window.number), Some(1));
        let words = changes(&draft.base, &draft.edited);
        assert_eq!(words.len(), 1);
        assert_eq!(
            (words[0].from.as_str(), words[0].to.as_str()),
            ("never", "window 1, 5 s")
        );
        draft.count_everything(false);
        assert!(!draft.is_changed());
        draft.ask_leak_check(true);
        assert!(draft.asks_leak_check());
        let words = changes(&draft.base, &draft.edited);
        assert_eq!((words[0].field, words[0].to.as_str()), ("Leak check", "number 1"));
        draft.ask_leak_check(false);
        assert!(!draft.is_changed());
    }

    #[test]
    fn differences_are_named() {
        let to = policy(|p| {
            p.revision = 9;
            p.sampling_rate_bytes = Some(65_536);
            p.sources.gc = false;
            p.sources.page_faults_one_in = 7;
            p.tiers.hashed_percent = 20;
        });
        let got: Vec<String> = changes(&Policy::default(), &to)
            .iter()
            .map(|change| format!("{}: {} to {}", change.field, change.from, change.to))
            .collect();
        assert_eq!(
            got,
            [
                "Sampling rate: the program's own to 64 KiB",
                "How many of those: 15 % to 20 %",
                "Collections and pauses: on to off",
                "Page faults: off to on",
            ]
        );
    }

    #[test]
    fn edits_move_to_a_newer_policy_and_only_shared_fields_conflict() {
        let mut draft = Draft::new(Policy::default());
        draft.set_step(16);
        draft.edited.sources.mappings = false;
        draft.edited.sources.ledger_ms = 0;
        draft.count_everything(true);
        draft.ask_leak_check(true);
        let theirs = policy(|p| {
            p.revision = 4;
            p.sampling_rate_bytes = Some(1 << 20);
            p.sources.gc = false;
            p.sources.goroutine_census_ms = 700;
            p.exact = Some(next_exact(p));
            p.leak_check = 3;
        });
        let conflicts = draft.conflicts(&theirs);
        assert_eq!(
            conflicts.iter().map(|change| change.field).collect::<Vec<_>>(),
            ["Sampling rate", "Leak check"]
        );
        draft.rebase(&theirs);
        assert_eq!(draft.base.revision, 4);
        assert_eq!(draft.edited.revision, 4);
        assert_eq!(draft.edited.sampling_rate_bytes, Some(65_536));
        assert!(!draft.edited.sources.gc && !draft.edited.sources.mappings);
        assert_eq!(draft.edited.sources.goroutine_census_ms, 700);
        assert_eq!(draft.edited.sources.ledger_ms, 0);
        assert_eq!(draft.edited.exact.map(|window| window.number), Some(2));
        assert_eq!(draft.edited.leak_check, 4);
        assert!(draft.conflicts(&theirs).is_empty());
    }
}
