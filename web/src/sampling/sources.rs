//! The switches of the panel: what each turns on, and what that costs the program.

use heaptide_policy::{ExactRequest, Policy, Sources};

/// One switch.
#[derive(Debug, Clone, Copy)]
pub struct SourceSwitch {
    pub id: &'static str,
    pub label: &'static str,
    /// A word on cost, or on what it is for.
    pub hint: &'static str,
    /// Its name in a list of changes.
    pub field: &'static str,
    pub get: fn(&Sources) -> bool,
    pub set: fn(&mut Sources, bool),
}

/// What a switch sets that turns on what is read or taken now and then: the policy's defaults.
const CENSUS_MS: u32 = 5_000;
const LEDGER_MS: u32 = 10_000;
const PAGE_FAULTS_ONE_IN: u32 = 100;

const EXACT_SECONDS: u16 = 5;
/// A program that allocates much would pay several cores; this is half of one.
const EXACT_MAX_COST_PERMILLE: u16 = 500;

macro_rules! switch {
    ($id:literal, $label:literal, $hint:literal, $field:literal, $name:ident) => {
        switch!($id, $label, $hint, $field, $name, |on| on, |value| value)
    };
    ($id:literal, $label:literal, $hint:literal, $field:literal, $name:ident, $amount:ident) => {
        switch!(
            $id,
            $label,
            $hint,
            $field,
            $name,
            |on| if on { $amount } else { 0 },
            |value| value != 0
        )
    };
    ($id:literal, $label:literal, $hint:literal, $field:literal, $name:ident, |$on:ident| $to:expr, |$value:ident| $is:expr) => {
        SourceSwitch {
            id: $id,
            label: $label,
            hint: $hint,
            field: $field,
            get: |sources| {
                let $value = sources.$name;
                $is
            },
            set: |sources, $on| sources.$name = $to,
        }
    };
}

pub const SOURCES: [SourceSwitch; 11] = [
    switch!(
        "source-heap",
        "Heap samples: allocations and frees",
        "Probes on Go's sampled path alone.",
        "Heap samples",
        sampled_heap
    ),
    switch!(
        "source-buckets",
        "Go's own heap profile, read from memory",
        "No probe; costs the program nothing.",
        "Go's heap profile",
        bucket_heap
    ),
    switch!(
        "source-gc",
        "Collections and stop-the-world pauses",
        "A few probes per collection.",
        "Collections and pauses",
        gc
    ),
    switch!(
        "source-gc-work",
        "Mark assists and sweeps by goroutines",
        "Dear in a program that is short of memory.",
        "Assists and sweeps",
        gc_work
    ),
    switch!(
        "source-scheduling",
        "Time that threads wait for a processor",
        "A tracepoint per switch of its threads.",
        "Scheduling",
        scheduling
    ),
    switch!(
        "source-mappings",
        "Mappings of the process (mmap and its kin)",
        "A tracepoint per call.",
        "Mappings",
        mappings
    ),
    switch!(
        "source-huge-pages",
        "Huge pages put together, or not",
        "Seldom, so cheap.",
        "Huge pages",
        huge_pages
    ),
    switch!(
        "source-faults",
        "Page faults, one in a hundred",
        "All are counted in the kernel, few are sent.",
        "Page faults",
        page_faults_one_in,
        PAGE_FAULTS_ONE_IN
    ),
    switch!(
        "source-census",
        "Goroutine census every few seconds",
        "Read from memory, without a probe.",
        "Goroutine census",
        goroutine_census_ms,
        CENSUS_MS
    ),
    switch!(
        "source-goroutines",
        "Each goroutine's birth, end and stack growth",
        "2 to 6 µs for each goroutine that starts.",
        "Goroutine events",
        goroutine_events
    ),
    switch!(
        "source-ledger",
        "Ledger of resident memory every few seconds",
        "Reading it holds up the program's mmap calls for that long.",
        "Ledger",
        ledger_ms,
        LEDGER_MS
    ),
];

/// A window of exact counting after the last one.
pub fn next_exact(policy: &Policy) -> ExactRequest {
    ExactRequest {
        number: policy.exact.map_or(0, |last| last.number).wrapping_add(1).max(1),
        seconds: EXACT_SECONDS,
        max_cost_permille: EXACT_MAX_COST_PERMILLE,
    }
}

/// Go's leak detector once more.
pub fn next_leak_check(policy: &Policy) -> u32 {
    policy.leak_check.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_turns_one_thing_on_and_off() {
        for switch in SOURCES {
            let mut sources = Sources::default();
            for on in [true, false, true] {
                (switch.set)(&mut sources, on);
                assert_eq!((switch.get)(&sources), on, "{}", switch.id);
                let policy = Policy {
                    sources,
                    ..Policy::default()
                };
                assert_eq!(policy.validate(), Ok(()), "{}", switch.id);
            }
            for other in SOURCES.iter().filter(|other| other.id != switch.id) {
                let untouched = (other.get)(&Sources::default());
                assert_eq!((other.get)(&sources), untouched, "{} by {}", other.id, switch.id);
            }
        }
    }

    #[test]
    fn windows_are_numbered_on() {
        let mut policy = Policy::default();
        for expected in [1, 2, 3] {
            let next = next_exact(&policy);
            assert_eq!(next.number, expected);
            policy.exact = Some(next);
            assert_eq!(policy.validate(), Ok(()));
        }
        policy.exact = Some(ExactRequest {
            number: u32::MAX,
            ..next_exact(&policy)
        });
        assert_eq!(next_exact(&policy).number, 1);
    }
}
