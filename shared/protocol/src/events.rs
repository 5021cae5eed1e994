//! Event rows as columns: delta and varint coded, about 6 bytes an event before compression.
//!
//! The batch stays columnar after decoding: columns that only allocations have are as long as there are
//! allocations. [`EventBatch::iter`] puts rows together for those who want them.
//!
//! A free names its allocation by event id and repeats none of its fields. Order of the columns, their
//! coding and their bounds: `docs/protocol.md`, section "Event batch".

use crate::error::ProtocolError;
use crate::ids::{StackId, SymbolGen, TagId};
use crate::varint::{self, Reader, zigzag};
use std::collections::HashMap;

/// The low four bits of a head byte. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    Alloc = 0,
    Free = 1,
    GcStart = 2,
    GcEnd = 3,
    StopTheWorldBegin = 4,
    StopTheWorldEnd = 5,
    Mmap = 6,
    Munmap = 7,
    Mremap = 8,
    Madvise = 9,
    Brk = 10,
}

/// One event, put together from the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub event_id: u64,
    pub timestamp_ns: u64,
    pub thread_id: u32,
    pub kind: EventKind,
    pub body: EventBody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventBody {
    Alloc {
        alloc_size_bytes: u64,
        stack: StackId,
        heap_tag: TagId,
        goroutine_id: u64,
        /// `None` if the policy leaves addresses out.
        address: Option<u64>,
    },
    /// `alloc_event_id` is `None` if the allocation was not sent as an event.
    Free {
        alloc_event_id: Option<u64>,
    },
    Other(OtherRow),
}

/// Collection and mapping events: rare, so rows. Meaning of the fields by kind:
///
/// | kind | `size_bytes` | `address` | `detail` |
/// |---|---|---|---|
/// | `GcStart` | processors | Go's own mark start time, ns | trigger: 0 heap, 1 time, 2 cycle |
/// | `GcEnd` | 0 | 0 | 0 |
/// | `StopTheWorldBegin`, `…End` | 0 | 0 | Go's `stwReason` |
/// | `Mmap` | length | result | `prot << 32 \| flags` |
/// | `Munmap` | length | address | 0 |
/// | `Mremap` | new length | result | old length |
/// | `Madvise` | length | address | advice |
/// | `Brk` | 0 | new break | 0 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherRow {
    pub size_bytes: u64,
    pub address: u64,
    pub detail: u64,
    pub goroutine_id: u64,
    /// `None` if no stack was taken.
    pub stack: Option<StackId>,
    pub heap_tag: TagId,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventBatch {
    /// Events are numbered from here, by one each.
    pub first_event_id: u64,
    pub base_timestamp_ns: u64,
    pub symbol_gen: SymbolGen,
    /// Mean distance of heap samples while this batch was taken; 1 means that every allocation is here.
    pub sampling_rate_bytes: u64,
    threads: Vec<u32>,
    heads: Vec<u8>,
    timestamps_ns: Vec<u64>,
    /// Thread indices of events whose head has no room for theirs.
    far_threads: Vec<u32>,
    sizes_bytes: Vec<u64>,
    stacks: Vec<StackId>,
    goroutine_ids: Vec<u64>,
    addresses: Vec<u64>,
    /// `(tag, how many allocations in a row)`.
    tag_runs: Vec<(TagId, u32)>,
    /// Event ids of the allocations; 0 if not known.
    freed: Vec<u64>,
    others: Vec<OtherRow>,
    keeps_addresses: bool,
}

const FAR: u8 = 15;
const FLAG_ADDRESSES: u64 = 1;

impl EventBatch {
    pub fn new(
        first_event_id: u64,
        base_timestamp_ns: u64,
        symbol_gen: SymbolGen,
        sampling_rate_bytes: u64,
        keeps_addresses: bool,
    ) -> Self {
        Self {
            first_event_id,
            base_timestamp_ns,
            symbol_gen,
            sampling_rate_bytes,
            keeps_addresses,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub fn keeps_addresses(&self) -> bool {
        self.keeps_addresses
    }

    pub fn allocations(&self) -> usize {
        self.sizes_bytes.len()
    }

    /// Appends an event and returns its id. Timestamps must not fall; one that does is held at the last.
    pub fn push(&mut self, timestamp_ns: u64, thread_id: u32, kind: EventKind, body: EventBody) -> u64 {
        let event_id = self.first_event_id + self.heads.len() as u64;
        let floor = self
            .timestamps_ns
            .last()
            .copied()
            .unwrap_or(self.base_timestamp_ns);
        self.timestamps_ns.push(timestamp_ns.max(floor));
        let thread = self.thread_index(thread_id);
        let nibble = if thread < u32::from(FAR) {
            thread as u8
        } else {
            self.far_threads.push(thread);
            FAR
        };
        self.heads.push(kind as u8 | nibble << 4);
        match body {
            EventBody::Alloc {
                alloc_size_bytes,
                stack,
                heap_tag,
                goroutine_id,
                address,
            } => {
                self.sizes_bytes.push(alloc_size_bytes);
                self.stacks.push(stack);
                self.goroutine_ids.push(goroutine_id);
                if self.keeps_addresses {
                    self.addresses.push(address.unwrap_or(0));
                }
                match self.tag_runs.last_mut() {
                    Some((tag, run)) if *tag == heap_tag => *run += 1,
                    _ => self.tag_runs.push((heap_tag, 1)),
                }
            }
            EventBody::Free { alloc_event_id } => self.freed.push(alloc_event_id.unwrap_or(0)),
            EventBody::Other(row) => self.others.push(row),
        }
        event_id
    }

    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        let mut far = self.far_threads.iter();
        let mut allocs = 0_usize;
        let mut freed = self.freed.iter();
        let mut others = self.others.iter();
        let mut tags = self
            .tag_runs
            .iter()
            .flat_map(|(tag, run)| std::iter::repeat_n(*tag, *run as usize));
        self.heads
            .iter()
            .zip(&self.timestamps_ns)
            .zip(self.first_event_id..)
            .filter_map(move |((head, timestamp_ns), event_id)| {
                let kind = EventKind::from_wire(head & 0x0f)?;
                let thread = match head >> 4 {
                    FAR => *far.next()?,
                    near => u32::from(near),
                };
                let body = match kind {
                    EventKind::Alloc => {
                        let at = allocs;
                        allocs += 1;
                        EventBody::Alloc {
                            alloc_size_bytes: *self.sizes_bytes.get(at)?,
                            stack: *self.stacks.get(at)?,
                            heap_tag: tags.next()?,
                            goroutine_id: *self.goroutine_ids.get(at)?,
                            address: self.addresses.get(at).copied(),
                        }
                    }
                    EventKind::Free => EventBody::Free {
                        alloc_event_id: freed.next().copied().filter(|id| *id != 0),
                    },
                    _ => EventBody::Other(*others.next()?),
                };
                let thread_id = *self.threads.get(thread as usize)?;
                Some(Event {
                    event_id,
                    timestamp_ns: *timestamp_ns,
                    thread_id,
                    kind,
                    body,
                })
            })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.first_event_id);
        varint::put(out, self.base_timestamp_ns);
        varint::put(out, u64::from(self.symbol_gen.0));
        varint::put(out, self.sampling_rate_bytes);
        varint::put(out, if self.keeps_addresses { FLAG_ADDRESSES } else { 0 });
        varint::put(out, self.heads.len() as u64);
        varint::put(out, self.threads.len() as u64);
        for thread in &self.threads {
            varint::put(out, u64::from(*thread));
        }
        out.extend_from_slice(&self.heads);
        let mut last = self.base_timestamp_ns;
        for timestamp in &self.timestamps_ns {
            varint::put(out, timestamp - last);
            last = *timestamp;
        }
        for thread in &self.far_threads {
            varint::put(out, u64::from(*thread));
        }
        self.encode_allocations(out);
        for (id, free_at) in self.freed.iter().zip(self.positions(EventKind::Free)) {
            let own = self.first_event_id + free_at as u64;
            varint::put(out, if *id == 0 || *id >= own { 0 } else { own - id });
        }
        for row in &self.others {
            varint::put(out, row.size_bytes);
            varint::put(out, row.address);
            varint::put(out, row.detail);
            varint::put(out, row.goroutine_id);
            varint::put(out, row.stack.map_or(0, |stack| u64::from(stack.0) + 1));
            varint::put(out, u64::from(row.heap_tag.0));
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(bytes, "event batch");
        let mut batch = Self {
            first_event_id: reader.varint()?,
            base_timestamp_ns: reader.varint()?,
            symbol_gen: SymbolGen(reader.varint_u32()?),
            sampling_rate_bytes: reader.varint()?,
            ..Self::default()
        };
        let flags = reader.varint()?;
        batch.keeps_addresses = flags & FLAG_ADDRESSES != 0;
        if flags & !FLAG_ADDRESSES != 0 {
            return Err(ProtocolError::Unknown {
                what: "event batch flags",
                got: flags,
            });
        }
        // Every event has a head and at least one byte of time.
        let count = reader.count(2)?;
        let threads = reader.count(1)?;
        batch.threads = collect(threads, || reader.varint_u32())?;
        batch.heads = reader.take(count)?.to_vec();
        let mut tally = [0_usize; 16];
        let mut far = 0;
        for head in &batch.heads {
            tally[usize::from(head & 0x0f)] += 1;
            match head >> 4 {
                FAR => far += 1,
                near if usize::from(near) < threads => {}
                _ => return Err(reader.malformed()),
            }
        }
        if let Some(got) = (EventKind::Brk as usize + 1..16).find(|kind| tally[*kind] > 0) {
            return Err(ProtocolError::Unknown {
                what: "event kind",
                got: got as u64,
            });
        }
        let mut clock = batch.base_timestamp_ns;
        batch.timestamps_ns = Vec::with_capacity(count);
        for _ in 0..count {
            clock = clock.wrapping_add(reader.varint()?);
            batch.timestamps_ns.push(clock);
        }
        if batch.timestamps_ns.first().is_some_and(|first| clock < *first) {
            return Err(reader.malformed());
        }
        batch.far_threads = collect(far, || {
            reader.varint_u32().and_then(|index| {
                if (index as usize) < threads {
                    Ok(index)
                } else {
                    Err(reader.malformed())
                }
            })
        })?;
        let (allocs, frees) = (tally[EventKind::Alloc as usize], tally[EventKind::Free as usize]);
        batch.decode_allocations(&mut reader, allocs)?;
        if frees > reader.remaining() {
            return Err(reader.truncated());
        }
        batch.freed = Vec::with_capacity(frees);
        for (at, head) in batch.heads.iter().enumerate() {
            if head & 0x0f == EventKind::Free as u8 {
                let back = reader.varint()?;
                let own = batch.first_event_id.wrapping_add(at as u64);
                batch
                    .freed
                    .push(if back == 0 { 0 } else { own.wrapping_sub(back) });
            }
        }
        let others = count - allocs - frees;
        if others.saturating_mul(6) > reader.remaining() {
            return Err(reader.truncated());
        }
        batch.others = collect(others, || read_other(&mut reader))?;
        reader.finish()?;
        Ok(batch)
    }

    /// Stacks by local index, hottest first; sizes against the last one of the same stack.
    fn encode_allocations(&self, out: &mut Vec<u8>) {
        let mut uses: HashMap<StackId, u32> = HashMap::new();
        for stack in &self.stacks {
            *uses.entry(*stack).or_default() += 1;
        }
        let mut table: Vec<(StackId, u32)> = uses.into_iter().collect();
        table.sort_unstable_by_key(|(stack, uses)| (std::cmp::Reverse(*uses), *stack));
        let index: HashMap<StackId, usize> = table
            .iter()
            .enumerate()
            .map(|(at, (stack, _))| (*stack, at))
            .collect();
        varint::put(out, table.len() as u64);
        for (stack, _) in &table {
            varint::put(out, u64::from(stack.0));
        }
        let local: Vec<usize> = self
            .stacks
            .iter()
            .map(|stack| index.get(stack).copied().unwrap_or(0))
            .collect();
        for at in &local {
            varint::put(out, *at as u64);
        }
        put_deltas_by_stack(out, &self.sizes_bytes, &local, table.len());
        let mut last = 0_u64;
        for goroutine in &self.goroutine_ids {
            varint::put_signed(out, goroutine.wrapping_sub(last) as i64);
            last = *goroutine;
        }
        if self.keeps_addresses {
            put_deltas_by_stack(out, &self.addresses, &local, table.len());
        }
        varint::put(out, self.tag_runs.len() as u64);
        for (tag, run) in &self.tag_runs {
            varint::put(out, u64::from(tag.0));
            varint::put(out, u64::from(*run));
        }
    }

    fn decode_allocations(&mut self, reader: &mut Reader<'_>, count: usize) -> Result<(), ProtocolError> {
        let stacks = reader.count(1)?;
        let table = collect(stacks, || reader.varint_u32().map(StackId))?;
        // Index, size and goroutine: three bytes at least.
        if count.saturating_mul(3) > reader.remaining() {
            return Err(reader.truncated());
        }
        let mut local = Vec::with_capacity(count);
        self.stacks = Vec::with_capacity(count);
        for _ in 0..count {
            let at = reader.varint_u32()?;
            self.stacks
                .push(*table.get(at as usize).ok_or_else(|| reader.malformed())?);
            local.push(at);
        }
        self.sizes_bytes = take_deltas_by_stack(reader, &local, stacks)?;
        self.goroutine_ids = Vec::with_capacity(count);
        let mut last = 0_u64;
        for _ in 0..count {
            last = last.wrapping_add(reader.signed()? as u64);
            self.goroutine_ids.push(last);
        }
        if self.keeps_addresses {
            self.addresses = take_deltas_by_stack(reader, &local, stacks)?;
        }
        let runs = reader.count(2)?;
        let mut covered = 0_u64;
        self.tag_runs = collect(runs, || Ok((TagId(reader.varint_u32()?), reader.varint_u32()?)))?;
        for (_, run) in &self.tag_runs {
            covered += u64::from(*run);
        }
        if covered == count as u64 {
            Ok(())
        } else {
            Err(reader.malformed())
        }
    }

    fn positions(&self, kind: EventKind) -> impl Iterator<Item = usize> + '_ {
        self.heads
            .iter()
            .enumerate()
            .filter(move |(_, head)| *head & 0x0f == kind as u8)
            .map(|(position, _)| position)
    }

    fn thread_index(&mut self, thread_id: u32) -> u32 {
        // Threads are few and the last one is the likeliest.
        if let Some(at) = self.threads.iter().rposition(|known| *known == thread_id) {
            return at as u32;
        }
        self.threads.push(thread_id);
        (self.threads.len() - 1) as u32
    }
}

impl EventKind {
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Alloc,
            1 => Self::Free,
            2 => Self::GcStart,
            3 => Self::GcEnd,
            4 => Self::StopTheWorldBegin,
            5 => Self::StopTheWorldEnd,
            6 => Self::Mmap,
            7 => Self::Munmap,
            8 => Self::Mremap,
            9 => Self::Madvise,
            10 => Self::Brk,
            _ => return None,
        })
    }
}

fn put_deltas_by_stack(out: &mut Vec<u8>, values: &[u64], local: &[usize], stacks: usize) {
    let mut last = vec![0_u64; stacks];
    for (value, at) in values.iter().zip(local) {
        varint::put(out, zigzag(value.wrapping_sub(last[*at]) as i64));
        last[*at] = *value;
    }
}

fn take_deltas_by_stack(
    reader: &mut Reader<'_>,
    local: &[u32],
    stacks: usize,
) -> Result<Vec<u64>, ProtocolError> {
    let mut last = vec![0_u64; stacks];
    let mut values = Vec::with_capacity(local.len());
    for at in local {
        let value = last[*at as usize].wrapping_add(reader.signed()? as u64);
        last[*at as usize] = value;
        values.push(value);
    }
    Ok(values)
}

fn read_other(reader: &mut Reader<'_>) -> Result<OtherRow, ProtocolError> {
    let (size_bytes, address, detail) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let goroutine_id = reader.varint()?;
    let stack = match reader.varint()? {
        0 => None,
        id => Some(StackId(u32::try_from(id - 1).map_err(|_| reader.malformed())?)),
    };
    let heap_tag = TagId(reader.varint_u32()?);
    Ok(OtherRow {
        size_bytes,
        address,
        detail,
        goroutine_id,
        stack,
        heap_tag,
    })
}

/// `count` has been checked against the bytes left.
fn collect<T>(
    count: usize,
    mut read: impl FnMut() -> Result<T, ProtocolError>,
) -> Result<Vec<T>, ProtocolError> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read()?);
    }
    Ok(values)
}
