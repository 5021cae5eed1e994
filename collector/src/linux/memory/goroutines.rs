//! A census of `runtime.allgs` while the program runs: who created each goroutine, what it does, where it waits.
//!
//! The runtime never frees a `g`, so the list can be read at leisure, in batches by address. Goroutines that do
//! not run are sorted into *kinds*: the same state, wait reason, creator, entry, pc and depths of the stack.
//! The stacks of the first 64 of a kind and of each 64th after those are walked along the frame pointers, from
//! `g.sched.bp`. As long as all of a kind stand at the same place, the others of it are taken to stand there
//! too, and counted as *inferred*; a kind in which two differ is walked whole. Walking ends when its time is up,
//! save for a kind not met before; what should have been walked is then grouped without a stack.
//!
//! What was walked is looked at again. If it moved meanwhile it is *torn*: alive and in no group. So is a `g`
//! whose numbers make no sense.
//!
//! Left out: the stack of a goroutine that runs; the immediate caller where a goroutine gave way in a function's
//! prologue, before there was a frame; frames of C.

use super::scattered::{Part, Scattered};
use crate::linux::process::Process;
use crate::linux::signature::monotonic_ns;
use heaptide_symbols::RuntimeOffsets;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

/// `_Gscan`: somebody looks at the stack (runtime2.go).
const SCAN: u32 = 0x1000;
/// `g`s looked at in one go.
const BATCH: usize = 1024;
/// More than this are counted as ungrouped without being read.
const MAX_READ: u64 = 1 << 20;
/// Kinds of goroutine and stacks kept in one census; both can be as many as there are goroutines.
const MAX_KINDS: usize = 20_000;
/// So many of a kind are walked before others are taken to stand where they do, and then one in so many.
const WALK_FIRST: u64 = 64;
const WALK_ONE_IN: u64 = 64;
/// A stack's first bytes, which hold most waiting goroutines' frames whole.
const TOP_BYTES: u64 = 768;
/// Read at once where frames lie deeper.
const DEEPER_BYTES: u64 = 8192;
/// As many as the kernel walks for a probe.
const MAX_FRAMES: usize = 127;
/// `runtime.maxstacksize` on 64-bit machines (proc.go).
const MAX_STACK_BYTES: u64 = 1 << 30;

/// `g.atomicstatus` without the scan bit, Go 1.19 to 1.27 (runtime2.go).
pub mod status {
    pub const IDLE: u32 = 0;
    pub const RUNNABLE: u32 = 1;
    pub const RUNNING: u32 = 2;
    pub const SYSCALL: u32 = 3;
    pub const WAITING: u32 = 4;
    pub const DEAD: u32 = 6;
    pub const COPYING_STACK: u32 = 8;
    pub const PREEMPTED: u32 = 9;
    /// From Go 1.26 on.
    pub const LEAKED: u32 = 10;
    /// Dead and attached to a thread that C may call from. From Go 1.26 on.
    pub const DEAD_EXTRA: u32 = 11;
}

/// All goroutines of one moment, or nearly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    pub took_ns: u64,
    /// Alive, whether or not they are among the members.
    pub alive: u64,
    pub dead: u64,
    /// Changed while they were read.
    pub torn: u64,
    /// Beyond a limit.
    pub ungrouped: u64,
    /// Not walked, and in the group of those of their kind that were.
    pub inferred: u64,
    /// Not walked because the time was up, and in groups without a stack.
    pub unwalked: u64,
    pub members: Vec<Member>,
    pub groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub goid: u64,
    /// Index into [`Census::groups`].
    pub group: u32,
    pub stack_bytes: u64,
}

/// What the members of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// See [`status`].
    pub status: u32,
    /// `g.waitreason`; 0 unless it waits.
    pub wait_reason: u8,
    /// Return address into the creator.
    pub gopc: u64,
    /// The function that it was started with.
    pub startpc: u64,
    /// Where it stands, leaf first: an instruction, then return addresses. Empty if it runs, or was not walked.
    pub stack: Box<[u64]>,
}

/// Where to read, and how long walking may take.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Address of `runtime.allgs` in the process.
    pub allgs: u64,
    pub offsets: &'a RuntimeOffsets,
    pub walk_ns: u64,
}

/// The fields of a `g` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Look {
    lo: u64,
    hi: u64,
    sp: u64,
    pc: u64,
    bp: u64,
    status: u32,
    goid: u64,
    wait_reason: u8,
    gopc: u64,
    startpc: u64,
}

/// Goroutines that very likely stand at the same place: all that `g` says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    status: u32,
    wait_reason: u8,
    gopc: u64,
    startpc: u64,
    pc: u64,
    depth_bytes: u64,
    frame_depth_bytes: u64,
}

/// What walking has shown of a kind.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// How many were met.
    met: u64,
    /// Where those that were walked stand.
    group: Option<u32>,
    /// They stand at several places.
    mixed: bool,
}

/// Kinds by something cheaper than the standard hash: a hundred thousand of them are looked up, and nobody
/// gains anything by making them collide.
type Kinds = HashMap<Kind, usize, BuildHasherDefault<WordHasher>>;

#[derive(Debug, Default)]
struct WordHasher(u64);

impl Census {
    /// Reads all goroutines.
    ///
    /// # Errors
    ///
    /// The process's memory can't be read at all, or there is no slice at `plan.allgs`.
    pub fn take(process: &Process, plan: &Plan<'_>) -> io::Result<Self> {
        let began_ns = monotonic_ns();
        let mut taking = Taking {
            process,
            plan,
            until_ns: began_ns + plan.walk_ns,
            scattered: Scattered::default(),
            kinds: Kinds::default(),
            places: Vec::new(),
            last_kind: None,
            by_group: HashMap::new(),
            census: Self::default(),
        };
        let addresses = taking.addresses()?;
        for batch in addresses.chunks(BATCH) {
            taking.batch(batch);
        }
        let mut census = taking.census;
        census.took_ns = monotonic_ns() - began_ns;
        Ok(census)
    }
}

struct Taking<'a> {
    process: &'a Process,
    plan: &'a Plan<'a>,
    until_ns: u64,
    scattered: Scattered,
    /// Index into the places of each kind.
    kinds: Kinds,
    places: Vec<Place>,
    /// The last one looked up: those that were created together lie together.
    last_kind: Option<(Kind, usize)>,
    by_group: HashMap<Group, u32>,
    census: Census,
}

impl Taking<'_> {
    /// The addresses of all `g`s, ascending.
    fn addresses(&mut self) -> io::Result<Vec<u64>> {
        let mut header = [0; 24];
        self.process.read_memory(self.plan.allgs, &mut header)?;
        let [start, len, capacity] = [0, 8, 16].map(|at| word(&header, at));
        if len > capacity || !start.is_multiple_of(8) {
            return Err(io::Error::other(format!(
                "no list of goroutines at {:#x}: start {start:#x}, length {len}, capacity {capacity}",
                self.plan.allgs
            )));
        }
        let read = len.min(MAX_READ);
        let beyond = len - read;
        self.census.alive += beyond;
        self.census.ungrouped += beyond;
        let mut bytes = vec![0; read as usize * 8];
        self.process.read_memory(start, &mut bytes)?;
        let words = bytes.as_chunks::<8>().0.iter();
        // The last one's place is counted before it is filled.
        let mut addresses: Vec<u64> = words
            .map(|bytes| u64::from_le_bytes(*bytes))
            .filter(|address| *address != 0)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    fn batch(&mut self, addresses: &[u64]) {
        let in_time = monotonic_ns() < self.until_ns;
        let looks = self.look(addresses);
        // Those to be walked, and those to be put where the others of their kind are.
        let mut walking = Vec::new();
        let mut waiting = Vec::new();
        for (&address, look) in addresses.iter().zip(looks) {
            match look {
                None => self.torn(),
                Some(look) if look.is_dead() => self.census.dead += 1,
                Some(look) if !look.makes_sense() => self.torn(),
                Some(look) if !look.can_be_walked() => self.add(&look, Vec::new()),
                Some(look) => {
                    let place = self.place(look.kind());
                    if self.is_to_be_walked(place, in_time) {
                        walking.push((address, look));
                    } else {
                        waiting.push((address, look, place));
                    }
                }
            }
        }
        self.walk_and_add(&walking);
        // Those whose kind has just proved to stand at several places.
        let mut differ = Vec::new();
        for (address, look, place) in waiting {
            match place.and_then(|place| self.places.get(place)) {
                Some(&Place {
                    group: Some(group),
                    mixed: false,
                    ..
                }) => {
                    self.census.inferred += 1;
                    self.member(&look, group);
                }
                Some(Place { mixed: true, .. }) if in_time => differ.push((address, look)),
                _ => {
                    self.census.unwalked += 1;
                    self.add(&look, Vec::new());
                }
            }
        }
        self.walk_and_add(&differ);
    }

    /// The index of a kind's place; `None` if there are too many kinds.
    fn place(&mut self, kind: Kind) -> Option<usize> {
        if let Some((last, place)) = self.last_kind
            && last == kind
        {
            return Some(place);
        }
        let full = self.places.len() >= MAX_KINDS;
        let place = match self.kinds.entry(kind) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(new) => {
                self.places.push(Place::default());
                *new.insert(self.places.len() - 1)
            }
        };
        self.last_kind = Some((kind, place));
        Some(place)
    }

    fn is_to_be_walked(&mut self, place: Option<usize>, in_time: bool) -> bool {
        let Some(place) = place.and_then(|place| self.places.get_mut(place)) else {
            return in_time;
        };
        place.met += 1;
        let wanted = place.mixed || place.met <= WALK_FIRST || place.met.is_multiple_of(WALK_ONE_IN);
        place.met == 1 || (wanted && in_time)
    }

    fn walk_and_add(&mut self, walking: &[(u64, Look)]) {
        let stacks = self.walk(walking);
        let addresses: Vec<u64> = walking.iter().map(|(address, _)| *address).collect();
        let again = self.look(&addresses);
        for (((_, first), stack), again) in walking.iter().zip(stacks).zip(again) {
            match (stack, again) {
                (Some(stack), Some(again)) if first.stands_as(&again) => self.add(first, stack),
                _ => self.torn(),
            }
        }
    }

    fn look(&mut self, addresses: &[u64]) -> Vec<Option<Look>> {
        let offsets = self.plan.offsets;
        // The last field of interest, in every version.
        let bytes = offsets.g_startpc as usize + 8;
        let mut looks = Vec::with_capacity(addresses.len());
        self.scattered
            .read_close(self.process, addresses, bytes, |_, bytes| {
                looks.push(bytes.map(|bytes| Look::of(bytes, offsets)));
            });
        looks
    }

    /// The stacks, leaf first; `None` where memory could not be read.
    fn walk(&mut self, walking: &[(u64, Look)]) -> Vec<Option<Vec<u64>>> {
        let parts: Vec<Part> = walking
            .iter()
            .map(|(_, look)| (look.sp, (look.hi - look.sp).min(TOP_BYTES) as usize))
            .collect();
        let process = self.process;
        let mut stacks = Vec::with_capacity(walking.len());
        self.scattered.read(process, &parts, |at, bytes| {
            let stack = walking
                .get(at)
                .zip(bytes)
                .and_then(|((_, look), top)| walk_one(process, look, top));
            stacks.push(stack);
        });
        stacks
    }

    /// One that lives, with its stack if it was walked.
    fn add(&mut self, look: &Look, stack: Vec<u64>) {
        let walked = !stack.is_empty();
        let Some(group) = self.group(look, stack) else {
            self.census.alive += 1;
            self.census.ungrouped += 1;
            return;
        };
        if walked
            && let Some(place) = self.place(look.kind())
            && let Some(place) = self.places.get_mut(place)
        {
            place.mixed |= place.group.is_some_and(|other| other != group);
            place.group = Some(group);
        }
        self.member(look, group);
    }

    fn member(&mut self, look: &Look, group: u32) {
        self.census.alive += 1;
        self.census.members.push(Member {
            goid: look.goid,
            group,
            stack_bytes: look.hi - look.lo,
        });
    }

    /// The group of a goroutine; `None` if there are too many.
    fn group(&mut self, look: &Look, stack: Vec<u64>) -> Option<u32> {
        let group = Group {
            status: look.status,
            wait_reason: look.kind().wait_reason,
            gopc: look.gopc,
            startpc: look.startpc,
            stack: stack.into_boxed_slice(),
        };
        if let Some(&index) = self.by_group.get(&group) {
            return Some(index);
        }
        if self.by_group.len() >= MAX_KINDS {
            return None;
        }
        let index = self.census.groups.len() as u32;
        self.census.groups.push(group.clone());
        self.by_group.insert(group, index);
        Some(index)
    }

    fn torn(&mut self) {
        self.census.alive += 1;
        self.census.torn += 1;
    }
}

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    /// As in rustc's own tables (FxHash).
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Look {
    fn of(g: &[u8], offsets: &RuntimeOffsets) -> Self {
        let at = |offset: u32| word(g, offset as usize);
        let status = at(offsets.g_atomicstatus) as u32 & !SCAN;
        Self {
            lo: at(offsets.g_stack_lo),
            hi: at(offsets.g_stack_hi),
            sp: at(offsets.g_sched_sp),
            pc: at(offsets.g_sched_pc),
            bp: if status == status::SYSCALL && !offsets.syscall_saves_bp {
                0
            } else {
                at(offsets.g_sched_bp)
            },
            status,
            goid: at(offsets.g_goid),
            wait_reason: g.get(offsets.g_waitreason as usize).copied().unwrap_or(0),
            gopc: at(offsets.g_gopc),
            startpc: at(offsets.g_startpc),
        }
    }

    fn is_dead(&self) -> bool {
        matches!(self.status, status::IDLE | status::DEAD | status::DEAD_EXTRA)
    }

    fn makes_sense(&self) -> bool {
        self.goid != 0 && self.lo < self.hi && self.hi - self.lo <= MAX_STACK_BYTES
    }

    fn can_be_walked(&self) -> bool {
        let stands = matches!(
            self.status,
            status::RUNNABLE | status::SYSCALL | status::WAITING | status::PREEMPTED | status::LEAKED
        );
        stands && self.makes_sense() && self.pc != 0 && (self.lo..self.hi).contains(&self.sp)
    }

    /// Whether it is the same goroutine, standing at the same place.
    fn stands_as(&self, other: &Self) -> bool {
        (self.status, self.goid, self.lo, self.sp, self.pc, self.bp)
            == (other.status, other.goid, other.lo, other.sp, other.pc, other.bp)
    }

    fn kind(&self) -> Kind {
        let waits = matches!(self.status, status::WAITING | status::LEAKED);
        let stands = self.can_be_walked();
        let if_it_stands = |value: u64| if stands { value } else { 0 };
        Kind {
            status: self.status,
            wait_reason: if waits { self.wait_reason } else { 0 },
            gopc: self.gopc,
            startpc: self.startpc,
            pc: if_it_stands(self.pc),
            depth_bytes: if_it_stands(self.hi.wrapping_sub(self.sp)),
            frame_depth_bytes: if_it_stands(self.hi.wrapping_sub(self.bp)),
        }
    }
}

/// Follows the frame pointers, which lie above each other within the stack. `top` are the bytes from `sp` on.
fn walk_one(process: &Process, look: &Look, top: &[u8]) -> Option<Vec<u64>> {
    // `g.sched.pc` is a return address, save in one that was never started.
    let leaf = if look.pc == look.startpc {
        look.pc
    } else {
        look.pc - 1
    };
    let mut stack = vec![leaf];
    let (mut start, mut bytes) = (look.sp, std::borrow::Cow::Borrowed(top));
    let mut bp = look.bp;
    while (look.sp..look.hi.saturating_sub(15)).contains(&bp)
        && bp.is_multiple_of(8)
        && stack.len() < MAX_FRAMES
    {
        if bp + 16 > start + bytes.len() as u64 {
            let mut deeper = vec![0; (look.hi - bp).min(DEEPER_BYTES) as usize];
            process.read_memory(bp, &mut deeper).ok()?;
            (start, bytes) = (bp, deeper.into());
        }
        let at = (bp - start) as usize;
        let (next, return_pc) = (word(&bytes, at), word(&bytes, at + 8));
        if return_pc == 0 {
            break;
        }
        stack.push(return_pc);
        if next <= bp {
            break;
        }
        bp = next;
    }
    Some(stack)
}

/// Eight bytes as the machine keeps them; 0 beyond the end, so that a mistake here can't panic.
fn word(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
#[path = "goroutines_tests.rs"]
mod tests;
