//! The policy document, its defaults and its bounds.

use serde::{Deserialize, Serialize};

/// One revision of the sampling policy of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Grows by one with every accepted change; 0 is the collector's own start-up policy.
    pub revision: u64,
    pub sources: Sources,
    /// Mean bytes between two heap samples (`runtime.MemProfileRate`); `None` leaves the program's own.
    pub sampling_rate_bytes: Option<u64>,
    /// Whether the collector may write `runtime.MemProfileRate` in the watched process.
    pub allow_rate_write: bool,
    pub tiers: Tiers,
    /// Whether event rows carry object addresses (about 4 more bytes an allocation).
    pub addresses: bool,
    /// Length of an aggregation tick.
    pub tick_ms: u32,
    pub budget: Budget,
    /// A window in which every allocation is counted; each new number starts one.
    pub exact: Option<ExactRequest>,
    /// Each new number asks Go's own leak detector to look with the next collection, which writes one byte
    /// to the program; 0 never does.
    pub leak_check: u32,
}

/// What is observed, and how often that which is read and not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Probes on Go's sampled path: each sample with its stack, each free.
    pub sampled_heap: bool,
    /// Go's own heap profile (`runtime.mbuckets`) read from the process's memory, without a probe.
    pub bucket_heap: bool,
    pub gc: bool,
    /// Mark assists and sweeps by goroutines that allocate: hot in a program that is short of memory.
    pub gc_work: bool,
    pub mappings: bool,
    /// Huge pages put together or not (`huge_memory:*` tracepoints).
    pub huge_pages: bool,
    /// One page fault in so many is sent; 0 is none.
    pub page_faults_one_in: u32,
    /// Time that threads of the program wait for a processor.
    pub scheduling: bool,
    /// Time between two censuses of all goroutines; 0 is never.
    pub goroutine_census_ms: u32,
    /// Creation with its whole stack, exit and stack growth of each goroutine.
    pub goroutine_events: bool,
    /// Time between two ledgers of resident memory; 0 is never.
    pub ledger_ms: u32,
}

/// A window of exact counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactRequest {
    pub number: u32,
    pub seconds: u16,
    /// It stops itself when the probes take more than so many thousandths of a core from the program.
    pub max_cost_permille: u16,
}

/// Which allocations are worth an event row of their own; the rest is only in the per-tick lifetime rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiers {
    /// At or above this size every allocation is sent.
    pub always_from_bytes: u64,
    /// From this size on, those whose `stack_trace_hash % 100` lies below `hashed_percent` are sent.
    pub hashed_from_bytes: u64,
    pub hashed_percent: u8,
}

/// What observing may cost; the collector enforces it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// CPU of the collector in thousandths of one core.
    pub collector_cpu_permille: u32,
    pub collector_rss_bytes: u64,
    /// Frames made in a second, as they go to the hub or into a file.
    #[serde(default = "Budget::default_sent_bytes_per_s")]
    pub sent_bytes_per_s: u64,
    /// Frames kept on disk while the hub is away.
    pub spool_bytes: u64,
}

/// What an allocation of a given size and stack gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    EventRow,
    AggregateOnly,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PolicyError {
    #[error("sampling rate of {got} bytes is out of range: expected {min} to {max}")]
    SamplingRate { got: u64, min: u64, max: u64 },
    #[error("tick of {got} ms is out of range: expected {min} to {max}")]
    Tick { got: u32, min: u32, max: u32 },
    #[error("hashed_percent is {got}: expected at most 100")]
    Percent { got: u8 },
    #[error("hashed_from_bytes ({hashed}) lies above always_from_bytes ({always}): lower the first")]
    TierOrder { hashed: u64, always: u64 },
    #[error("collector budget of {got} thousandths of a core is out of range: expected 1 to 1000")]
    Cpu { got: u32 },
    #[error("a budget of {got} bytes a second is out of range: expected {min} or more")]
    SentBytes { got: u64, min: u64 },
    #[error("a budget of {got} bytes of memory is out of range: expected {min} or more")]
    Rss { got: u64, min: u64 },
    #[error("spool of {got} bytes is out of range: expected {min} to {max}")]
    Spool { got: u64, min: u64, max: u64 },
    #[error("{what} every {got} ms is out of range: expected 0 (never) or {min} to {max}")]
    Period {
        what: ReadKind,
        got: u32,
        min: u32,
        max: u32,
    },
    #[error("an exact window of {got} s is out of range: expected 1 to {max}")]
    ExactLength { got: u16, max: u16 },
}

/// What is read now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadKind {
    GoroutineCensus,
    Ledger,
}

impl std::fmt::Display for ReadKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::GoroutineCensus => "a goroutine census",
            Self::Ledger => "a ledger",
        })
    }
}

impl Policy {
    /// Below 512 bytes almost every allocation of a Go program takes the slow path.
    pub const MIN_RATE_BYTES: u64 = 512;
    pub const MAX_RATE_BYTES: u64 = 1 << 30;
    pub const MIN_TICK_MS: u32 = 20;
    pub const MAX_TICK_MS: u32 = 10_000;
    /// Gauges and lifetime rows alone need about a tenth of this.
    pub const MIN_SENT_BYTES_PER_S: u64 = 4 << 10;
    pub const MIN_BUDGET_RSS_BYTES: u64 = 1 << 20;
    pub const MIN_SPOOL_BYTES: u64 = 1 << 20;
    pub const MAX_SPOOL_BYTES: u64 = 1 << 36;
    pub const MIN_PERIOD_MS: u32 = 100;
    pub const MAX_PERIOD_MS: u32 = 3_600_000;
    pub const MAX_EXACT_SECONDS: u16 = 60;

    /// Checks every bound; the first one broken is returned.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if let Some(got) = self.sampling_rate_bytes
            && !(Self::MIN_RATE_BYTES..=Self::MAX_RATE_BYTES).contains(&got)
        {
            return Err(PolicyError::SamplingRate {
                got,
                min: Self::MIN_RATE_BYTES,
                max: Self::MAX_RATE_BYTES,
            });
        }
        if !(Self::MIN_TICK_MS..=Self::MAX_TICK_MS).contains(&self.tick_ms) {
            return Err(PolicyError::Tick {
                got: self.tick_ms,
                min: Self::MIN_TICK_MS,
                max: Self::MAX_TICK_MS,
            });
        }
        if self.tiers.hashed_percent > 100 {
            return Err(PolicyError::Percent {
                got: self.tiers.hashed_percent,
            });
        }
        if self.tiers.hashed_from_bytes > self.tiers.always_from_bytes {
            return Err(PolicyError::TierOrder {
                hashed: self.tiers.hashed_from_bytes,
                always: self.tiers.always_from_bytes,
            });
        }
        if !(1..=1000).contains(&self.budget.collector_cpu_permille) {
            return Err(PolicyError::Cpu {
                got: self.budget.collector_cpu_permille,
            });
        }
        if self.budget.collector_rss_bytes < Self::MIN_BUDGET_RSS_BYTES {
            return Err(PolicyError::Rss {
                got: self.budget.collector_rss_bytes,
                min: Self::MIN_BUDGET_RSS_BYTES,
            });
        }
        if self.budget.sent_bytes_per_s < Self::MIN_SENT_BYTES_PER_S {
            return Err(PolicyError::SentBytes {
                got: self.budget.sent_bytes_per_s,
                min: Self::MIN_SENT_BYTES_PER_S,
            });
        }
        if !(Self::MIN_SPOOL_BYTES..=Self::MAX_SPOOL_BYTES).contains(&self.budget.spool_bytes) {
            return Err(PolicyError::Spool {
                got: self.budget.spool_bytes,
                min: Self::MIN_SPOOL_BYTES,
                max: Self::MAX_SPOOL_BYTES,
            });
        }
        for (what, got) in [
            (ReadKind::GoroutineCensus, self.sources.goroutine_census_ms),
            (ReadKind::Ledger, self.sources.ledger_ms),
        ] {
            if got != 0 && !(Self::MIN_PERIOD_MS..=Self::MAX_PERIOD_MS).contains(&got) {
                return Err(PolicyError::Period {
                    what,
                    got,
                    min: Self::MIN_PERIOD_MS,
                    max: Self::MAX_PERIOD_MS,
                });
            }
        }
        if let Some(exact) = self.exact
            && !(1..=Self::MAX_EXACT_SECONDS).contains(&exact.seconds)
        {
            return Err(PolicyError::ExactLength {
                got: exact.seconds,
                max: Self::MAX_EXACT_SECONDS,
            });
        }
        Ok(())
    }
}

impl Tiers {
    pub fn tier(&self, size_bytes: u64, stack_trace_hash: u64) -> Tier {
        let hashed =
            size_bytes >= self.hashed_from_bytes && stack_trace_hash % 100 < u64::from(self.hashed_percent);
        if size_bytes >= self.always_from_bytes || hashed {
            Tier::EventRow
        } else {
            Tier::AggregateOnly
        }
    }
}

impl Budget {
    /// For documents from before there was such a bound.
    fn default_sent_bytes_per_s() -> u64 {
        16 << 20
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            revision: 0,
            sources: Sources::default(),
            sampling_rate_bytes: None,
            allow_rate_write: false,
            tiers: Tiers::default(),
            addresses: false,
            tick_ms: 100,
            budget: Budget::default(),
            exact: None,
            leak_check: 0,
        }
    }
}

impl Sources {
    /// Nothing that needs a probe in the program or the kernel, and nothing read either.
    pub const NO_PROBES: Self = Self {
        sampled_heap: false,
        bucket_heap: false,
        gc: false,
        gc_work: false,
        mappings: false,
        huge_pages: false,
        page_faults_one_in: 0,
        scheduling: false,
        goroutine_census_ms: 0,
        goroutine_events: false,
        ledger_ms: 0,
    };

    pub fn needs_probes(&self) -> bool {
        let without = Self {
            bucket_heap: self.bucket_heap,
            goroutine_census_ms: self.goroutine_census_ms,
            ledger_ms: self.ledger_ms,
            ..Self::NO_PROBES
        };
        *self != without
    }

    /// Whether Go's own heap profile is what the heap is counted by: where the probes are off. Both are
    /// never summed up.
    pub fn counts_buckets(&self) -> bool {
        self.bucket_heap && !self.sampled_heap
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            sampled_heap: true,
            bucket_heap: false,
            gc: true,
            gc_work: false,
            mappings: true,
            huge_pages: true,
            page_faults_one_in: 0,
            scheduling: false,
            goroutine_census_ms: 5_000,
            goroutine_events: false,
            ledger_ms: 10_000,
        }
    }
}

impl Default for Tiers {
    fn default() -> Self {
        Self {
            always_from_bytes: 1 << 20,
            hashed_from_bytes: 128 << 10,
            hashed_percent: 15,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            collector_cpu_permille: 100,
            collector_rss_bytes: 128 << 20,
            sent_bytes_per_s: Self::default_sent_bytes_per_s(),
            spool_bytes: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_valid() {
        assert_eq!(Policy::default().validate(), Ok(()));
    }

    #[test]
    fn bounds_are_checked() {
        let with = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.validate().unwrap_err().to_string()
        };
        type Break = fn(&mut Policy);
        let cases: [(Break, &str); 10] = [
            (|p| p.sampling_rate_bytes = Some(1), "sampling rate of 1 bytes"),
            (|p| p.tick_ms = 0, "tick of 0 ms"),
            (|p| p.tiers.hashed_percent = 101, "hashed_percent is 101"),
            (|p| p.tiers.hashed_from_bytes = 2 << 20, "lies above"),
            (|p| p.budget.collector_cpu_permille = 0, "thousandths of a core"),
            (|p| p.budget.spool_bytes = 0, "spool of 0 bytes"),
            (|p| p.budget.sent_bytes_per_s = 1, "budget of 1 bytes a second"),
            (
                |p| p.budget.collector_rss_bytes = 1,
                "budget of 1 bytes of memory",
            ),
            (|p| p.sources.ledger_ms = 1, "a ledger every 1 ms"),
            (
                |p| {
                    p.exact = Some(ExactRequest {
                        number: 1,
                        seconds: 0,
                        max_cost_permille: 100,
                    });
                },
                "window of 0 s",
            ),
        ];
        for (change, expected) in cases {
            let got = with(change);
            assert!(got.contains(expected), "{got:?} lacks {expected:?}");
        }
    }

    #[test]
    fn one_source_counts_the_heap() {
        let all = Sources::default();
        let cases = [
            (
                Sources {
                    bucket_heap: true,
                    ..all
                },
                true,
                false,
            ),
            (
                Sources {
                    bucket_heap: true,
                    ledger_ms: 1_000,
                    ..Sources::NO_PROBES
                },
                false,
                true,
            ),
            (Sources::NO_PROBES, false, false),
            (
                Sources {
                    goroutine_events: true,
                    ..Sources::NO_PROBES
                },
                true,
                false,
            ),
        ];
        for (sources, probes, buckets) in cases {
            assert_eq!(
                (sources.needs_probes(), sources.counts_buckets()),
                (probes, buckets),
                "{sources:?}"
            );
        }
    }

    #[test]
    fn tiers_follow_size_then_hash() {
        let tiers = Tiers::default();
        let cases = [
            (1 << 20, 99, Tier::EventRow),
            ((1 << 20) - 1, 99, Tier::AggregateOnly),
            ((1 << 20) - 1, 14, Tier::EventRow),
            (128 << 10, 114, Tier::EventRow),
            (128 << 10, 15, Tier::AggregateOnly),
            ((128 << 10) - 1, 0, Tier::AggregateOnly),
        ];
        for (size_bytes, hash, expected) in cases {
            assert_eq!(
                tiers.tier(size_bytes, hash),
                expected,
                "{size_bytes} bytes, hash {hash}"
            );
        }
    }
}
