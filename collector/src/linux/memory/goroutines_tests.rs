//! This process's own memory holds made-up goroutines: real reads of known bytes.

use super::*;
use heaptide_symbols::GoVersion;

/// A `g` and its stack, at the offsets of Go 1.27.
struct Made {
    g: Box<[u64; 64]>,
    stack: Box<[u64; 256]>,
}

fn offsets() -> &'static RuntimeOffsets {
    RuntimeOffsets::of(&GoVersion::parse("go1.27.3").unwrap()).unwrap()
}

impl Made {
    /// Its frames lie `frames` apart from each other, the leaf at the bottom.
    fn new(goid: u64, status: u32, wait_reason: u8, frames: &[u64]) -> Self {
        let mut made = Self {
            g: Box::new([0; 64]),
            stack: Box::new([0; 256]),
        };
        let lo = made.stack.as_ptr() as u64;
        let hi = lo + 256 * 8;
        let (pc, returns) = frames.split_first().unwrap_or((&0, &[]));
        // From the top of the stack downwards, a frame pointer and a return address each 100 words.
        let mut bp = 0;
        let mut at = 256;
        for return_pc in returns.iter().rev() {
            at -= if returns.len() > 2 { 10 } else { 100 };
            made.stack[at] = bp;
            made.stack[at + 1] = *return_pc;
            bp = lo + at as u64 * 8;
        }
        let sp = lo + (at as u64 - 6) * 8;
        let o = offsets();
        for (offset, value) in [
            (o.g_stack_lo, lo),
            (o.g_stack_hi, hi),
            (o.g_sched_sp, sp),
            (o.g_sched_pc, *pc),
            (o.g_sched_bp, bp),
            (o.g_atomicstatus, u64::from(status)),
            (o.g_goid, goid),
            (o.g_waitreason, u64::from(wait_reason)),
            (o.g_gopc, 0x1000),
            (o.g_startpc, 0x2000),
        ] {
            made.g[offset as usize / 8] = value;
        }
        made
    }

    fn set(mut self, offset: u32, value: u64) -> Self {
        self.g[offset as usize / 8] = value;
        self
    }
}

fn census(made: &[Made], walk_ns: u64) -> Census {
    let pointers: Vec<u64> = made.iter().map(|made| made.g.as_ptr() as u64).collect();
    let header = [
        pointers.as_ptr() as u64,
        pointers.len() as u64,
        pointers.len() as u64,
    ];
    let process = Process::open(std::process::id()).unwrap();
    let plan = Plan {
        allgs: header.as_ptr() as u64,
        offsets: offsets(),
        walk_ns,
    };
    Census::take(&process, &plan).unwrap()
}

fn stacks(census: &Census) -> Vec<(u64, Vec<u64>)> {
    let mut stacks: Vec<_> = census
        .members
        .iter()
        .map(|member| (member.goid, census.groups[member.group as usize].stack.to_vec()))
        .collect();
    stacks.sort();
    stacks
}

#[test]
fn every_state_is_read_as_what_it_is() {
    use status::{DEAD, DEAD_EXTRA, LEAKED, PREEMPTED, RUNNABLE, RUNNING, SYSCALL, WAITING};
    let o = offsets();
    let made = [
        Made::new(1, WAITING, 19, &[11, 12, 13]),
        Made::new(2, WAITING | SCAN, 19, &[11, 12, 13]),
        Made::new(3, LEAKED, 19, &[11, 12, 13]),
        Made::new(4, RUNNING, 19, &[11, 12, 13]),
        Made::new(5, SYSCALL, 0, &[21, 22]),
        // Never started.
        Made::new(6, RUNNABLE, 0, &[0x2000]),
        Made::new(7, PREEMPTED, 0, &[31, 32, 33, 34, 35]),
        Made::new(8, DEAD, 0, &[1]),
        Made::new(0, DEAD_EXTRA, 0, &[1]),
        // Torn: no id, a stack upside down, one without end.
        Made::new(0, WAITING, 19, &[1]),
        Made::new(9, WAITING, 19, &[1]).set(o.g_stack_hi, 8),
        Made::new(10, WAITING, 19, &[1]).set(o.g_stack_lo, 8),
        // A frame pointer that leads out of the stack ends it.
        Made::new(11, WAITING, 19, &[11]).set(o.g_sched_bp, 0x30),
    ];
    let census = census(&made, 1 << 40);
    assert_eq!(
        (
            census.alive,
            census.dead,
            census.torn,
            census.ungrouped,
            census.unwalked
        ),
        (11, 2, 3, 0, 0),
        "{census:?}"
    );
    let expected: [(u64, &[u64]); 8] = [
        (1, &[10, 12, 13]),
        (2, &[10, 12, 13]),
        (3, &[10, 12, 13]),
        (4, &[]),
        (5, &[20, 22]),
        (6, &[0x2000]),
        (7, &[30, 32, 33, 34, 35]),
        (11, &[10]),
    ];
    assert_eq!(
        stacks(&census),
        expected.map(|(goid, stack)| (goid, stack.to_vec()))
    );
    // The scan bit makes no other state; a leaked one is a group of its own.
    assert_eq!(census.groups.len(), 7, "{:?}", census.groups);
    for group in &census.groups {
        let waits = matches!(group.status, WAITING | LEAKED);
        assert_eq!(group.wait_reason, if waits { 19 } else { 0 }, "{group:?}");
        assert_eq!((group.gopc, group.startpc), (0x1000, 0x2000));
    }
    assert!(census.members.iter().all(|member| member.stack_bytes == 2048));
}

#[test]
fn of_a_kind_only_some_are_walked_unless_they_differ() {
    let mut made: Vec<Made> = (1..=3_000)
        .map(|goid| {
            Made::new(
                goid,
                status::WAITING,
                if goid <= 1_000 { 18 } else { 19 },
                &[11, 12, 13],
            )
        })
        .collect();
    let same = census(&made, 1 << 40);
    assert_eq!(
        (same.alive, same.torn, same.unwalked, same.groups.len()),
        (3_000, 0, 0, 2)
    );
    // 64 of each of the two kinds, and each 64th of the others.
    let walked = 64 + (1_000 - 64) / 64 + 64 + (2_000 - 64) / 64;
    let got = same.alive - same.inferred;
    assert!(
        got.abs_diff(walked) <= 2,
        "{got} were walked, expected about {walked}"
    );

    // The one with the lowest address is walked first. Another pc in its last frame, at no other depth.
    let first = made.iter_mut().min_by_key(|made| made.g.as_ptr() as u64).unwrap();
    assert_eq!(std::mem::replace(&mut first.stack[157], 14), 13);
    let waits_for = first.g[offsets().g_waitreason as usize / 8];
    let mixed = census(&made, 1 << 40);
    assert_eq!(
        (mixed.alive, mixed.torn, mixed.unwalked, mixed.groups.len()),
        (3_000, 0, 0, 3)
    );
    // Of its kind none is inferred.
    let of_the_other_kind = if waits_for == 18 { 2_000 } else { 1_000 };
    assert!(mixed.inferred < of_the_other_kind, "{}", mixed.inferred);
    let alone = mixed
        .groups
        .iter()
        .position(|group| *group.stack == [10, 12, 14])
        .unwrap();
    let members = mixed
        .members
        .iter()
        .filter(|member| member.group as usize == alone);
    assert_eq!(members.count(), 1);
}

#[test]
fn without_time_one_of_each_kind_is_walked() {
    let made: Vec<Made> = (1..=3_000)
        .map(|goid| {
            let reason = if goid % 3 == 0 { 18 } else { 19 };
            Made::new(goid, status::WAITING, reason, &[11, 12, 13])
        })
        .collect();
    let few = census(&made, 0);
    assert_eq!(
        (few.alive, few.torn, few.unwalked, few.inferred),
        (3_000, 0, 0, 2_998)
    );
    assert_eq!(few.groups.len(), 2);
    assert!(few.groups.iter().all(|group| *group.stack == [10, 12, 13]));
}

#[test]
fn what_is_no_list_is_refused() {
    let process = Process::open(std::process::id()).unwrap();
    for (what, header) in [
        ("longer than its room", [8_u64, 9, 8]),
        ("at an odd address", [9, 1, 1]),
        ("at no address", [8, 1, 1]),
    ] {
        let plan = Plan {
            allgs: header.as_ptr() as u64,
            offsets: offsets(),
            walk_ns: 0,
        };
        let got = Census::take(&process, &plan);
        assert!(got.is_err(), "{what}: {got:?}");
    }
    let empty = [0_u64, 0, 0];
    let plan = Plan {
        allgs: empty.as_ptr() as u64,
        offsets: offsets(),
        walk_ns: 0,
    };
    let got = Census::take(&process, &plan).unwrap();
    assert_eq!((got.alive, got.dead), (0, 0));
}
