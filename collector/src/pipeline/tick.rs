//! One tick after the other: records come in, sections come out.

pub(super) mod buckets;
mod collections;
mod goroutines;

use super::books::Books;
use super::kernel;
use super::live::{Inserted, LiveObject, LiveTable};
use super::mapped::Mapped;
use super::mapping::mapping_row;
use super::stacks::{StackTable, Symbolize};
use super::{TAG_GO_HEAP, TAGS};
use crate::linux::bpf::{AbiError, Record, Stack, What};
use buckets::Buckets;
use goroutines::KnownGoroutines;
use heaptide_analysis::Estimator;
use heaptide_policy::{Tier, Tiers};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::loss::{DropReason, Flaw};
use heaptide_protocol::section::Section;
use heaptide_protocol::session::EventClass;
use heaptide_protocol::{StackId, SymbolGen};
use std::collections::{BTreeMap, HashSet};

/// A batch ends here, so that a frame stays well below its limit.
const MAX_BATCH_EVENTS: usize = 16_384;
const MAX_TABLE_ROWS: usize = 32_768;
const MAX_DICTIONARY_BYTES: usize = 256 << 10;
/// Symbols of a Go binary are known from the start.
const GENERATION: SymbolGen = SymbolGen(0);

#[derive(Debug, Clone)]
pub struct PipelineConfig {
    pub tick_ns: u64,
    pub tiers: Tiers,
    pub addresses: bool,
    /// Whether the end of a pause is seen at `CALL runtime.wakep`.
    pub wakep_site: bool,
    /// Whether the program tells why it stops the world (Go 1.21 on). Before that a stop is known by what
    /// happens in it: a cycle begins, marking ends, or neither.
    pub stop_reasons: bool,
    /// At most so many processors take one forced sample each after a change of the rate.
    pub processors: u32,
}

/// What a tick leaves behind.
#[derive(Debug, Default)]
pub struct TickOutput {
    pub sections: Vec<Section>,
    pub first_ns: u64,
    pub last_ns: u64,
}

/// A record whose stack has an id, waiting for its place in time.
#[derive(Debug, Clone, Copy)]
struct Pending {
    timestamp_ns: u64,
    thread_id: u32,
    what: PendingWhat,
}

#[derive(Debug, Clone, Copy)]
enum PendingWhat {
    Alloc {
        address: u64,
        size_bytes: u64,
        goroutine_id: u64,
        stack: StackId,
    },
    Free {
        address: u64,
    },
    Other {
        kind: EventKind,
        row: OtherRow,
    },
}

#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    stacks: StackTable,
    live: LiveTable,
    books: Books,
    pending: Vec<Pending>,
    births: BTreeMap<Allotment, u32>,
    deaths: BTreeMap<(Allotment, u32), u32>,
    batches: Vec<EventBatch>,
    next_event_id: u64,
    open_tick: u32,
    newest_sample_ns: u64,
    /// Rates by index.
    rates_bytes: Vec<u64>,
    /// From when on which of them holds, as far back as records are still to be placed.
    in_force: Vec<(u64, u32)>,
    /// Threads that took a sample since the rate changed: the first of each is forced.
    forced: Option<(u64, HashSet<u32>)>,
    stopping: Option<u8>,
    goroutines: KnownGoroutines,
    shedding: bool,
    room: kernel::Room,
    live_sum: Estimator,
    allocated_bytes: f64,
    samples: u64,
    bucket_heap: Buckets,
    mapped: Mapped,
}

impl Pipeline {
    pub fn new(config: PipelineConfig, rate_bytes: u64) -> Self {
        Self {
            config,
            stacks: StackTable::with_tags(&TAGS),
            live: LiveTable::default(),
            books: Books::default(),
            pending: Vec::new(),
            births: BTreeMap::new(),
            deaths: BTreeMap::new(),
            batches: Vec::new(),
            next_event_id: 1,
            open_tick: 0,
            newest_sample_ns: 0,
            rates_bytes: vec![rate_bytes],
            in_force: vec![(0, 0)],
            forced: None,
            stopping: None,
            goroutines: KnownGoroutines::default(),
            shedding: false,
            room: kernel::Room::default(),
            live_sum: Estimator::default(),
            allocated_bytes: 0.0,
            samples: 0,
            bucket_heap: Buckets::default(),
            mapped: Mapped::default(),
        }
    }

    pub fn rate_bytes(&self) -> u64 {
        self.rate_of(self.rate_index_at(u64::MAX))
    }

    /// A new rate holds from `at_ns` on. Go then samples one object on each processor whatever its size
    /// (`mcache.memProfRate`, Go 1.24) or after the old distance (before); those are dropped.
    pub fn set_rate(&mut self, rate_bytes: u64, at_ns: u64) {
        if rate_bytes == self.rate_bytes() {
            return;
        }
        // What is not placed yet keeps the rate of its time; when its tick ends, it is placed.
        let known = self.rates_bytes.iter().position(|known| *known == rate_bytes);
        let index = known.unwrap_or_else(|| {
            self.rates_bytes.push(rate_bytes);
            self.rates_bytes.len() - 1
        });
        self.in_force.push((at_ns, index as u32));
        self.forced = Some((at_ns, HashSet::new()));
    }

    pub fn set_policy(&mut self, tiers: Tiers, addresses: bool) {
        self.config.tiers = tiers;
        self.config.addresses = addresses;
    }

    /// Leaves out event rows of allocations; lifetime rows go on.
    pub fn set_shedding(&mut self, shedding: bool) {
        self.shedding = shedding;
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    pub fn live_samples(&self) -> usize {
        if self.bucket_heap.counted {
            return self.bucket_heap.live as usize;
        }
        self.live.len()
    }

    pub fn live_estimate(&self) -> (f64, f64) {
        let sum = if self.bucket_heap.counted {
            &self.bucket_heap.live_sum
        } else {
            &self.live_sum
        };
        (sum.bytes(self.rate_bytes()).value, sum.std_error_bytes())
    }

    /// Estimated bytes allocated, and samples taken, since the start.
    pub fn allocated(&self) -> (f64, u64) {
        if self.bucket_heap.counted {
            return (self.bucket_heap.allocated_bytes, self.bucket_heap.samples);
        }
        (self.allocated_bytes, self.samples)
    }

    /// The call that made most of an address range, if it was seen.
    pub(crate) fn mapped_by(&self, start: u64, end: u64) -> Option<StackId> {
        self.mapped.most_of(start, end)
    }

    /// A hub that does not know this session gets a new one: everything is defined again, nothing is live.
    pub fn restart(&mut self) {
        self.stacks.forget_sent();
        self.live.clear();
        self.births.clear();
        self.deaths.clear();
        self.batches.clear();
        self.live_sum = Estimator::default();
        self.bucket_heap.restart();
    }

    /// Takes a record in; its stack gets its id now, its place in time when the tick closes.
    pub fn record(&mut self, record: &Record<'_>, symbols: &mut dyn Symbolize) {
        let what = match record.what {
            What::SampledAlloc {
                goid,
                addr,
                size_bytes,
                stack,
            } => match self.intern(&stack, symbols) {
                Some(stack) => PendingWhat::Alloc {
                    address: addr,
                    size_bytes,
                    goroutine_id: goid.unwrap_or(0),
                    stack,
                },
                None => {
                    return self
                        .books
                        .dropped(EventClass::Allocation, DropReason::StackTableFull);
                }
            },
            What::SampledFree { addr, .. } => PendingWhat::Free { address: addr },
            What::Mapping {
                call, result, stack, ..
            } => {
                let stack = self.intern(&stack, symbols);
                self.mapped.record(&call, result, stack);
                let (kind, row) = mapping_row(call, result);
                PendingWhat::Other {
                    kind,
                    row: OtherRow { stack, ..row },
                }
            }
            What::GoroutineCreated { .. } | What::GoroutineExited { .. } | What::StackCopied { .. } => {
                let Some(row) = self.goroutine_row(&record.what, record.at.ts_ns, symbols) else {
                    return;
                };
                PendingWhat::Other {
                    kind: EventKind::Goroutine,
                    row,
                }
            }
            ref other => match kernel::row(record) {
                Some((kind, row, stack)) => {
                    let stack = stack.and_then(|stack| self.intern(&stack, symbols));
                    PendingWhat::Other {
                        kind,
                        row: OtherRow { stack, ..row },
                    }
                }
                None => match self.collection_row(other) {
                    Some((kind, row)) => PendingWhat::Other { kind, row },
                    None => return self.books.used(EventClass::GarbageCollection),
                },
            },
        };
        self.pending.push(Pending {
            timestamp_ns: record.at.ts_ns,
            thread_id: record.at.tid,
            what,
        });
    }

    /// The id of a stack that was read and not probed: leaf first, all but perhaps the first return addresses.
    pub(crate) fn intern_read(&mut self, pcs: &[u64], symbols: &mut dyn Symbolize) -> Option<StackId> {
        (!pcs.is_empty())
            .then(|| self.stacks.intern(pcs.iter().copied(), false, symbols))
            .flatten()
    }

    /// Bytes of the ring that were no record.
    pub fn malformed(&mut self, _error: &AbiError) {
        self.books.dropped(EventClass::Allocation, DropReason::Malformed);
    }

    /// Closes the tick that ends at `end_ns` and hands out its sections; later records wait for the next.
    pub fn close_tick(&mut self, end_ns: u64) -> TickOutput {
        let tick = end_ns.saturating_sub(1) / self.config.tick_ns;
        self.open_tick = tick as u32;
        self.settle(end_ns);
        let mut sections = Vec::new();
        loop {
            let dictionary = self.stacks.take_new(GENERATION, MAX_DICTIONARY_BYTES);
            if dictionary.is_empty() {
                break;
            }
            sections.push(Section::Dictionary(dictionary));
        }
        self.lifetime_sections(tick, &mut sections);
        sections.extend(std::mem::take(&mut self.batches).into_iter().map(Section::Events));
        self.books
            .flaw(Flaw::FrameUnresolved, std::mem::take(&mut self.stacks.unresolved));
        self.settle_goroutines();
        TickOutput {
            sections,
            first_ns: tick * self.config.tick_ns,
            last_ns: end_ns,
        }
    }

    /// Keeps the tick open because there is no room to send it: rows go on merging, event rows are shed.
    pub fn hold_tick(&mut self, end_ns: u64) {
        self.open_tick = (end_ns.saturating_sub(1) / self.config.tick_ns) as u32;
        self.settle(end_ns);
        let shed = self.batches.drain(..).map(|batch| batch.len() as u64).sum();
        self.books.flaw(Flaw::EventRowShed, shed);
    }

    /// Puts what happened before `end_ns` in order of time and into rows.
    fn settle(&mut self, end_ns: u64) {
        self.room.empty();
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by_key(|record| record.timestamp_ns);
        let later = pending.partition_point(|record| record.timestamp_ns < end_ns);
        for record in pending.drain(..later) {
            self.place(record);
        }
        self.pending = pending;
        let past = self
            .in_force
            .iter()
            .filter(|(from_ns, _)| *from_ns <= end_ns)
            .count();
        self.in_force.drain(..past.saturating_sub(1));
    }

    /// The rate of a moment. Go takes no sample at rate 0, so one that comes then was taken at the rate that
    /// was noticed only after it.
    fn rate_index_at(&self, timestamp_ns: u64) -> u32 {
        let since = self
            .in_force
            .iter()
            .rposition(|(from_ns, _)| *from_ns <= timestamp_ns)
            .unwrap_or(0);
        let rates = self.in_force.get(since..).unwrap_or_default();
        let sampling = rates.iter().find(|(_, index)| self.rate_of(*index) != 0);
        sampling.or(rates.first()).map_or(0, |(_, index)| *index)
    }

    fn rate_of(&self, index: u32) -> u64 {
        self.rates_bytes.get(index as usize).copied().unwrap_or(0)
    }

    fn place(&mut self, record: Pending) {
        let Pending {
            timestamp_ns,
            thread_id,
            what,
        } = record;
        match what {
            PendingWhat::Alloc {
                address,
                size_bytes,
                goroutine_id,
                stack,
            } => {
                if self.is_forced(timestamp_ns, thread_id) {
                    return self.books.dropped(EventClass::Allocation, DropReason::RateChange);
                }
                let rate_index = self.rate_index_at(timestamp_ns);
                if self.rate_of(rate_index) == 0 {
                    // Nobody can say how many bytes it stands for.
                    return self.books.dropped(EventClass::Allocation, DropReason::RateChange);
                }
                self.newest_sample_ns = timestamp_ns;
                let allotment = Allotment {
                    stack,
                    heap_tag: TAG_GO_HEAP,
                    size_bytes,
                    rate_index,
                };
                self.birth(address, allotment, timestamp_ns, thread_id, goroutine_id);
            }
            PendingWhat::Free { address } => match self.live.remove(address) {
                Some(object) => {
                    self.books.used(EventClass::Allocation);
                    self.death(&object);
                    if object.event_id != 0 {
                        let alloc_event_id = Some(object.event_id);
                        self.event(
                            timestamp_ns,
                            thread_id,
                            EventKind::Free,
                            EventBody::Free { alloc_event_id },
                        );
                    }
                }
                None => self
                    .books
                    .dropped(EventClass::Allocation, DropReason::UnmatchedFree),
            },
            PendingWhat::Other { kind, row } => {
                self.books.used(kernel::class_of(kind));
                if !self.room.takes(kind, self.shedding) {
                    return self.books.flaw(Flaw::EventRowShed, 1);
                }
                self.event(timestamp_ns, thread_id, kind, EventBody::Other(row));
            }
        }
    }

    fn birth(
        &mut self,
        address: u64,
        allotment: Allotment,
        timestamp_ns: u64,
        thread_id: u32,
        goroutine_id: u64,
    ) {
        let hash = self.stacks.hash(allotment.stack);
        let wanted = self.config.tiers.tier(allotment.size_bytes, hash) == Tier::EventRow;
        let event_id = if wanted && !self.shedding {
            let body = EventBody::Alloc {
                alloc_size_bytes: allotment.size_bytes,
                stack: allotment.stack,
                heap_tag: allotment.heap_tag,
                goroutine_id,
                address: self.config.addresses.then_some(address),
            };
            self.event(timestamp_ns, thread_id, EventKind::Alloc, body)
        } else {
            self.books.flaw(Flaw::EventRowShed, u64::from(wanted));
            0
        };
        let birth_tick = self.open_tick;
        match self.live.insert(
            address,
            LiveObject {
                allotment,
                birth_tick,
                event_id,
            },
        ) {
            Inserted::New => {}
            Inserted::Replaced(older) => {
                self.books.flaw(Flaw::FreeMissed, 1);
                self.death(&older);
            }
            Inserted::Full => {
                return self
                    .books
                    .dropped(EventClass::Allocation, DropReason::LiveTableFull);
            }
        }
        self.books.used(EventClass::Allocation);
        *self.births.entry(allotment).or_default() += 1;
        let rate = self.rate_of(allotment.rate_index);
        self.live_sum.add(allotment.size_bytes, rate, 1);
        let mut one = Estimator::default();
        one.add(allotment.size_bytes, rate, 1);
        self.allocated_bytes += one.bytes(rate).value;
        self.samples += 1;
    }

    fn death(&mut self, object: &LiveObject) {
        *self
            .deaths
            .entry((object.allotment, object.birth_tick))
            .or_default() += 1;
        let rate = self.rate_of(object.allotment.rate_index);
        self.live_sum.add(object.allotment.size_bytes, rate, -1);
    }

    fn event(&mut self, timestamp_ns: u64, thread_id: u32, kind: EventKind, body: EventBody) -> u64 {
        let rate = self.rate_of(self.rate_index_at(timestamp_ns));
        let addresses = self.config.addresses;
        let fits = |batch: &EventBatch| {
            batch.len() < MAX_BATCH_EVENTS
                && batch.sampling_rate_bytes == rate
                && batch.keeps_addresses() == addresses
        };
        if !self.batches.last().is_some_and(fits) {
            let id = self.next_event_id;
            self.batches
                .push(EventBatch::new(id, timestamp_ns, GENERATION, rate, addresses));
        }
        self.next_event_id += 1;
        self.batches
            .last_mut()
            .map_or(0, |batch| batch.push(timestamp_ns, thread_id, kind, body))
    }

    fn lifetime_sections(&mut self, tick: u64, sections: &mut Vec<Section>) {
        let births = std::mem::take(&mut self.births);
        let deaths = std::mem::take(&mut self.deaths);
        let births: Vec<Birth> = births
            .into_iter()
            .map(|(allotment, count)| Birth { allotment, count })
            .collect();
        let age = |born: u32| u32::try_from(tick.saturating_sub(u64::from(born))).unwrap_or(u32::MAX);
        let deaths: Vec<Death> = deaths
            .into_iter()
            .map(|((allotment, born), count)| Death {
                allotment,
                age_ticks: age(born),
                count,
            })
            .collect();
        let mut births = births.chunks(MAX_TABLE_ROWS);
        let mut deaths = deaths.chunks(MAX_TABLE_ROWS);
        // A tick in which nothing happened is told too: time goes on.
        let mut told = false;
        loop {
            let (births, deaths) = (births.next(), deaths.next());
            if births.is_none() && deaths.is_none() && told {
                return;
            }
            told = true;
            sections.push(Section::Lifetimes(LifetimeTable {
                symbol_gen: GENERATION,
                tick,
                tick_ns: self.config.tick_ns,
                newest_ns: std::mem::take(&mut self.newest_sample_ns),
                rates_bytes: self.rates_bytes.clone(),
                births: births.unwrap_or_default().to_vec(),
                deaths: deaths.unwrap_or_default().to_vec(),
            }));
        }
    }

    fn is_forced(&mut self, timestamp_ns: u64, thread_id: u32) -> bool {
        let Some((since_ns, threads)) = &mut self.forced else {
            return false;
        };
        if timestamp_ns < *since_ns {
            return false;
        }
        let first = threads.insert(thread_id);
        if threads.len() >= self.config.processors as usize {
            self.forced = None;
        }
        first
    }

    fn intern(&mut self, stack: &Stack<'_>, symbols: &mut dyn Symbolize) -> Option<StackId> {
        self.books
            .flaw(Flaw::StackTruncated, u64::from(stack.is_truncated()));
        self.books.flaw(Flaw::StackMissing, u64::from(stack.is_missing()));
        self.stacks.intern(
            stack.frames_with_caller().collect::<Vec<_>>().into_iter(),
            stack.is_truncated(),
            symbols,
        )
    }
}
