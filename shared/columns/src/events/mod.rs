//! Event rows as columns: about 5 bytes an event before compression, 2.5 to 3.5 after.
//!
//! The batch stays columnar after decoding: columns that only allocations have are as long as there are
//! allocations. [`EventBatch::iter`] puts rows together for those who want them.
//!
//! A free names its allocation by event id and repeats none of its fields. Order of the columns, their
//! coding and their bounds: `docs/protocol.md`, section "Event batch".

mod decode;
mod encode;

use crate::ids::{StackId, SymbolGen, TagId};

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
    PageFault = 11,
    HugePage = 12,
    Goroutine = 13,
    GcWork = 14,
    OffCpu = 15,
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
/// | `PageFault` | pages that it stands for (1 in N is sent) | address | `error_code` of the fault |
/// | `HugePage` | bytes | address | [`HugePageDetail`] |
/// | `Goroutine` | stack bytes before (growth) | stack bytes after (growth) | [`GoroutineDetail`] |
/// | `GcWork` | length, ns; the event is at its end | 0 | [`GcWorkDetail`] |
/// | `OffCpu` | length, ns; the event is at its end | 0 | [`OffCpuDetail`] |
///
/// A `Goroutine` event names the goroutine in `goroutine_id`. At its creation the stack is the creator's, and
/// the bytes are 0 before; at its exit they are 0 after. A stack that is copied to a smaller one is told as
/// growth too, with fewer bytes after than before; its one frame is where the goroutine stood.
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

/// `detail` of [`EventKind::HugePage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum HugePageDetail {
    /// khugepaged or `MADV_COLLAPSE` put a huge page in the place of small ones.
    Collapsed = 0,
    /// It tried and could not.
    CollapseFailed = 1,
}

/// `detail` of [`EventKind::Goroutine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum GoroutineDetail {
    Created = 0,
    Exited = 1,
    StackGrown = 2,
}

/// `detail` of [`EventKind::GcWork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum GcWorkDetail {
    /// A goroutine marked instead of running, because it allocated (`gcAssistAlloc`).
    Assist = 0,
    /// A goroutine swept before it could allocate (`deductSweepCredit`).
    Sweep = 1,
}

/// `detail` of [`EventKind::OffCpu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum OffCpuDetail {
    /// Runnable, and others ran: the machine or the cgroup's quota had no room.
    Preempted = 0,
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
/// The first kind that is an [`OtherRow`].
const FIRST_OTHER: u8 = EventKind::GcStart as u8;
/// In place of a shift: all values of the column are the one that follows.
const SAME: u64 = 64;

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
    /// The one with the highest number.
    pub const LAST: Self = Self::OffCpu;

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
            11 => Self::PageFault,
            12 => Self::HugePage,
            13 => Self::Goroutine,
            14 => Self::GcWork,
            15 => Self::OffCpu,
            _ => return None,
        })
    }
}
