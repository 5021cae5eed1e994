//! A census of `runtime.allgs` while the program runs: who created each goroutine, what it does, where it waits.
//!
//! The runtime never frees a `g`, so the list can be read at leisure. It is taken in batches by address: each
//! `g` is looked at, the stacks of those that do not run are walked along their frame pointers from
//! `g.sched.bp`, and each `g` is looked at again. What was walked and has moved meanwhile is *torn*: it is alive
//! and in no group. So is a `g` whose id changed, or whose numbers make no sense.
//!
//! Walking ends when its time is up. From then on only goroutines of a kind not seen before are walked (the
//! same state, wait reason, creator, entry, pc and depths of stack make a kind); the others are grouped with
//! what their `g` says and without a stack.
//!
//! Left out: the stack of a goroutine that runs; the immediate caller where a goroutine gave way in a function's
//! prologue, before there was a frame; frames of C.

use super::scattered::{Part, Runs, Scattered};
use crate::linux::process::Process;
use crate::linux::signature::monotonic_ns;
use heaptide_symbols::RuntimeOffsets;
use std::collections::HashMap;
use std::io;

/// `_Gscan`: somebody looks at the stack (runtime2.go).
const SCAN: u32 = 0x1000;
/// `g`s looked at in one go.
const BATCH: usize = 1024;
/// More than this are counted as ungrouped without being read.
const MAX_READ: u64 = 1 << 20;
/// Kinds of goroutine and stacks kept in one census; both can be as many as there are goroutines.
const MAX_KINDS: usize = 20_000;
/// A stack's first bytes, which hold most waiting goroutines' frames whole.
const TOP_BYTES: u64 = 768;
/// Read at once where frames lie deeper.
const DEEPER_BYTES: u64 = 8192;
/// As many as the kernel walks for a probe.
const MAX_FRAMES: usize = 127;
/// `runtime.maxstacksize` on 64-bit machines (proc.go).
const MAX_STACK_BYTES: u64 = 1 << 30;

/// `g.atomicstatus` without the scan bit, Go 1.21 to 1.27 (runtime2.go).
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
    /// Not walked because the time was up.
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
            runs: Runs::default(),
            scattered: Scattered::default(),
            kinds: HashMap::new(),
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
    runs: Runs,
    scattered: Scattered,
    /// The group that the last one of its kind was put into.
    kinds: HashMap<Kind, u32>,
    by_group: HashMap<Group, u32>,
    census: Census,
}

impl Taking<'_> {
    /// The addresses of all `g`s, ascending.
    fn addresses(&mut self) -> io::Result<Vec<u64>> {
        let mut header = [0; 24];
        self.process.read_memory(self.plan.allgs, &mut header)?;
        let [start, len, capacity] = [0, 8, 16].map(|at| word(&header, at));
        let bytes = len.checked_mul(8).filter(|_| len <= capacity && start % 8 == 0);
        if bytes.is_none() {
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
        let first = self.look(addresses);
        let may_walk_all = monotonic_ns() < self.until_ns;
        let mut walking = Vec::new();
        for (index, look) in first.iter().enumerate() {
            if let Some(look) = look
                && look.can_be_walked()
            {
                let known = self.kinds.contains_key(&look.kind());
                if may_walk_all || (!known && self.kinds.len() < MAX_KINDS) {
                    walking.push((index, *look));
                } else {
                    self.census.unwalked += 1;
                }
            }
        }
        let stacks = self.walk(&walking);
        let second = self.look(addresses);
        let mut stacks = walking.iter().map(|(index, _)| *index).zip(stacks).peekable();
        for (index, (first, second)) in first.into_iter().zip(second).enumerate() {
            let stack = stacks.next_if(|(at, _)| *at == index).map(|(_, stack)| stack);
            match (first, second) {
                (Some(first), Some(second)) => self.count(&first, &second, stack),
                _ => self.torn(),
            }
        }
    }

    fn look(&mut self, addresses: &[u64]) -> Vec<Option<Look>> {
        let offsets = self.plan.offsets;
        // The last field of interest, in every version.
        let bytes = offsets.g_startpc as usize + 8;
        let mut looks = Vec::with_capacity(addresses.len());
        self.runs.read(self.process, addresses, bytes, |_, bytes| {
            looks.push(bytes.map(|bytes| Look::of(bytes, offsets)));
        });
        looks
    }

    /// The stacks, leaf first; `None` where memory could not be read.
    fn walk(&mut self, walking: &[(usize, Look)]) -> Vec<Option<Vec<u64>>> {
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

    fn count(&mut self, first: &Look, second: &Look, stack: Option<Option<Vec<u64>>>) {
        if first.is_dead() {
            // Born meanwhile: not counted, as if it had been a moment later.
            self.census.dead += 1;
            return;
        }
        let moved = first.goid != second.goid || (stack.is_some() && !first.stands_as(second));
        if moved || !first.makes_sense() {
            return self.torn();
        }
        let stack = match stack {
            None => Vec::new(),
            Some(Some(stack)) => stack,
            Some(None) => return self.torn(),
        };
        self.census.alive += 1;
        let Some(group) = self.group(first, stack) else {
            self.census.ungrouped += 1;
            return;
        };
        self.census.members.push(Member {
            goid: first.goid,
            group,
            stack_bytes: first.hi - first.lo,
        });
    }

    /// The group of a goroutine; `None` if there are too many.
    fn group(&mut self, look: &Look, stack: Vec<u64>) -> Option<u32> {
        let kind = look.kind();
        // Most stand where the last of their kind stood.
        if let Some(&known) = self.kinds.get(&kind)
            && let Some(group) = self.census.groups.get(known as usize)
            && *group.stack == *stack
        {
            return Some(known);
        }
        let group = Group {
            status: look.status,
            wait_reason: kind.wait_reason,
            gopc: look.gopc,
            startpc: look.startpc,
            stack: stack.into_boxed_slice(),
        };
        let index = match self.by_group.get(&group) {
            Some(&index) => index,
            None if self.by_group.len() >= MAX_KINDS => return None,
            None => {
                let index = self.census.groups.len() as u32;
                self.by_group.insert(group.clone(), index);
                self.census.groups.push(group);
                index
            }
        };
        if self.kinds.len() < MAX_KINDS {
            self.kinds.insert(kind, index);
        }
        Some(index)
    }

    fn torn(&mut self) {
        self.census.alive += 1;
        self.census.torn += 1;
    }
}

impl Look {
    fn of(g: &[u8], offsets: &RuntimeOffsets) -> Self {
        let at = |offset: u32| word(g, offset as usize);
        Self {
            lo: at(offsets.g_stack_lo),
            hi: at(offsets.g_stack_hi),
            sp: at(offsets.g_sched_sp),
            pc: at(offsets.g_sched_pc),
            bp: at(offsets.g_sched_bp),
            status: at(offsets.g_atomicstatus) as u32 & !SCAN,
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
    while (look.sp..look.hi - 15).contains(&bp) && bp % 8 == 0 && stack.len() < MAX_FRAMES {
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
