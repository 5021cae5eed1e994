//! What the runtime and the kernel know of memory: Go's statistics, its heap profile, and the ledger.

use super::{ReadContext, Reader};
use crate::CollectorError;
use crate::linux::memory::buckets::{Buckets, physical};
use crate::linux::memory::heap_stats::HeapStats;
use crate::linux::memory::layout::HeapLayout;
use crate::linux::{GoTarget, ledger, monotonic_ns};
use crate::pipeline::{BucketTotals, Symbolize as _};
use heaptide_policy::Policy;
use heaptide_protocol::StackId;
use heaptide_protocol::gauges::Gauges;
use heaptide_protocol::section::Section;
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};

const SECOND_NS: u64 = 1_000_000_000;

/// The three.
pub(crate) fn all(go: &GoTarget, rate_bytes: Option<u64>) -> Vec<Box<dyn Reader>> {
    let layout = HeapLayout::of(go).map_err(|error| error.to_string());
    vec![
        Box::new(BucketReader {
            layout: layout.clone(),
            rate_bytes,
            buckets: Buckets::default(),
            stacks: Vec::new(),
        }),
        Box::new(StatsReader {
            layout: layout.clone(),
        }),
        Box::new(LedgerReader {
            layout,
            sees_huge: true,
        }),
    ]
}

type Layout = Result<HeapLayout, String>;

fn of(layout: &Layout) -> Result<&HeapLayout, CollectorError> {
    layout
        .as_ref()
        .map_err(|why| CollectorError::io(why.clone(), std::io::ErrorKind::Unsupported.into()))
}

fn state(layout: &Layout, otherwise: CapabilityState) -> CapabilityState {
    match layout {
        Ok(_) => otherwise,
        Err(why) => CapabilityState::Unavailable {
            why: why.clone(),
            remedy: "report this binary's Go version".to_owned(),
        },
    }
}

fn limited(why: &str) -> CapabilityState {
    CapabilityState::Limited { why: why.to_owned() }
}

fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> CollectorError {
    move |source| CollectorError::io(format!("can't read {what}"), source)
}

fn statistics(context: &ReadContext<'_>, layout: &HeapLayout) -> Result<Section, CollectorError> {
    let stats = HeapStats::read(context.process, layout).map_err(failed("Go's heap statistics"))?;
    Ok(Section::Gauges(Gauges {
        timestamp_ns: monotonic_ns(),
        values: stats.gauges(),
    }))
}

/// Whether the policy wants the profile and it can be had.
fn reads_buckets(layout: &Layout, policy: &Policy) -> bool {
    policy.sources.bucket_heap && layout.as_ref().is_ok_and(|layout| layout.mbuckets.is_some())
}

/// `runtime.memstats` about once a second.
#[derive(Debug)]
struct StatsReader {
    layout: Layout,
}

impl Reader for StatsReader {
    fn name(&self) -> &'static str {
        "Go's heap statistics"
    }

    /// With the profile on, both are read in one go: their comparison is of one moment.
    fn period_ns(&self, policy: &Policy) -> Option<u64> {
        (self.layout.is_ok() && !reads_buckets(&self.layout, policy)).then_some(SECOND_NS)
    }

    fn capability(&self) -> Capability {
        Capability {
            class: EventClass::Gauge,
            source: "runtime.memstats and mcaches by process_vm_readv".to_owned(),
            method: Method::Exact,
            state: state(&self.layout, CapabilityState::Active),
        }
    }

    fn read(&mut self, context: &mut ReadContext<'_>) -> Result<Vec<Section>, CollectorError> {
        Ok(vec![statistics(context, of(&self.layout)?)?])
    }
}

/// `runtime.mbuckets` about once a second, where the policy wants it.
#[derive(Debug)]
struct BucketReader {
    layout: Layout,
    /// `MemProfileRate` at attach.
    rate_bytes: Option<u64>,
    buckets: Buckets,
    /// Of each bucket; `None` where the table of stacks is full.
    stacks: Vec<Option<StackId>>,
}

impl Reader for BucketReader {
    fn name(&self) -> &'static str {
        "Go's heap profile"
    }

    fn period_ns(&self, policy: &Policy) -> Option<u64> {
        reads_buckets(&self.layout, policy).then_some(SECOND_NS)
    }

    fn capability(&self) -> Capability {
        let state = match (&self.layout, self.rate_bytes) {
            (Ok(layout), _) if layout.mbuckets.is_none() => CapabilityState::Unavailable {
                why: "runtime.mbuckets was not found in this binary".to_owned(),
                remedy: "report this binary's Go version".to_owned(),
            },
            (Ok(_), Some(0)) => CapabilityState::Off {
                why: "MemProfileRate is 0 (pprof is not linked in): a policy that allows writing it turns it on"
                    .to_owned(),
            },
            _ => state(
                &self.layout,
                limited(
                    "by stack and size, not by object: the oldest is taken to die first, so an age is an upper bound",
                ),
            ),
        };
        Capability {
            class: EventClass::Allocation,
            source: "runtime.mbuckets by process_vm_readv".to_owned(),
            method: Method::Sampled {
                rate_bytes: self.rate_bytes.filter(|rate| *rate > 0).unwrap_or(524_288),
            },
            state,
        }
    }

    fn read(&mut self, context: &mut ReadContext<'_>) -> Result<Vec<Section>, CollectorError> {
        let name = self.name();
        self.buckets
            .read(context.process, of(&self.layout)?)
            .map_err(failed(name))?;
        let at_ns = monotonic_ns();
        for (index, bucket) in self.buckets.known().iter().enumerate() {
            if self.stacks.len() <= index {
                let depth = |pc| {
                    let mut frames = 0;
                    context.go.symbolize(pc, true, &mut |_| frames += 1);
                    frames
                };
                let mut pcs = physical(&bucket.pcs, depth);
                // The leaf is looked up as it is, and all of these are return addresses.
                if let Some(leaf) = pcs.first_mut() {
                    *leaf = leaf.saturating_sub(1);
                }
                self.stacks.push(context.pipeline.intern_read(&pcs, context.go));
            }
            if let Some(Some(stack)) = self.stacks.get(index) {
                let totals = BucketTotals {
                    stack: *stack,
                    size_bytes: bucket.size_bytes,
                    allocs: bucket.allocs,
                    frees: bucket.frees,
                };
                context.pipeline.bucket(index, totals, at_ns);
            }
        }
        context.pipeline.buckets_read();
        if self.buckets.full {
            return Err(CollectorError::io(
                format!(
                    "only the first {} buckets are followed",
                    self.buckets.known().len()
                ),
                std::io::ErrorKind::OutOfMemory.into(),
            ));
        }
        Ok(vec![statistics(context, of(&self.layout)?)?])
    }
}

/// Every resident page, as often as the policy wants it.
#[derive(Debug)]
struct LedgerReader {
    layout: Layout,
    sees_huge: bool,
}

impl Reader for LedgerReader {
    fn name(&self) -> &'static str {
        "ledger of resident memory"
    }

    fn period_ns(&self, policy: &Policy) -> Option<u64> {
        let period_ms = u64::from(policy.sources.ledger_ms);
        (period_ms != 0 && self.layout.is_ok()).then_some(period_ms * 1_000_000)
    }

    fn capability(&self) -> Capability {
        let working = if self.sees_huge {
            CapabilityState::Active
        } else {
            limited(
                "this kernel (before 6.7) doesn't tell huge pages apart: huge-page padding is in idle heap",
            )
        };
        Capability {
            class: EventClass::Gauge,
            source: "/proc/PID/smaps, pagemap and runtime.mheap_".to_owned(),
            method: Method::Census,
            state: state(&self.layout, working),
        }
    }

    fn read(&mut self, context: &mut ReadContext<'_>) -> Result<Vec<Section>, CollectorError> {
        let mut books =
            ledger::read(context.process, of(&self.layout)?, &monotonic_ns).map_err(failed(self.name()))?;
        self.sees_huge = books.knows_huge;
        for region in &mut books.regions.rows {
            region.stack = context.pipeline.mapped_by(region.start, region.end);
        }
        Ok(vec![
            Section::Ledger(books.ledger),
            Section::Regions(books.regions),
        ])
    }
}
