//! Hits equal Go's own counts: allocations and frees, cycles and pauses, mapping calls.

use std::{
    collections::{HashMap, HashSet},
    process::Command,
};

use heaptide_collector::linux::bpf::{MappingCall, Program, SyscallKind, tracefs_path};

use crate::{
    ALLOCS, assert_nothing_vanished, builds, built,
    go::Code,
    newest, object, session, skip,
    target::{Hits, MAP_LEN, Report, Seen},
};

#[test]
fn hits_equal_what_go_counted() {
    let Some(object) = object() else { return };
    for (go, flags) in builds() {
        let name = format!("go1.{} {flags:?}", go.minor);
        let (_dir, binary) = built(&go, flags);
        let mut session = session(&object);
        let mut target = Hits::start(&mut Command::new(&binary.path));
        session.attach(&target.spec_of_all(&binary)).expect("attach");
        let with_mappings = tracefs_path().is_some();
        if with_mappings {
            // Off and on again is the same as on.
            session.attach_mappings().expect("attach to system calls");
            session.detach_mappings();
            session.attach_mappings().expect("attach to system calls");
        } else {
            skip("tracefs is not mounted, so mapping system calls are not tested");
        }

        let code = Code::of(&binary, target.pid());
        let mut seen = Seen::default();
        let done = target.work(&mut session, &mut seen);
        assert_eq!(seen.pids, HashSet::from([target.pid()]).into_iter().collect());
        drop(target);
        seen.drain(&mut session);

        eprintln!(
            "{name}: {} allocations, {} frees, {} cycles, {} pauses, {} mapping calls",
            seen.allocs.len(),
            seen.frees.len(),
            seen.cycle_starts,
            seen.stw_begins.len(),
            seen.mappings.len()
        );
        assert_nothing_vanished(&session, seen.records);
        for (class, counted) in session.counters().expect("read counters").iter() {
            assert_eq!(counted.dropped(), 0, "{class:?}");
            assert_eq!(counted.stack_failed, 0, "{class:?}");
        }
        assert_heap(&name, &code, &done, &seen);
        assert_gc(&name, go.minor, &done, &seen);
        if with_mappings {
            assert_mappings(&code, &done, &seen);
        }
    }
}

fn assert_heap(name: &str, code: &Code<'_>, done: &Report, seen: &Seen) {
    assert!(
        done.profiled_allocs >= ALLOCS,
        "{name}: the program profiled {}",
        done.profiled_allocs
    );
    assert_eq!(
        seen.allocs.len() as u64,
        done.profiled_allocs,
        "{name}: allocations"
    );
    assert_eq!(seen.frees.len() as u64, done.profiled_frees, "{name}: frees");

    // By pointer: a free takes away the object that lives at its address, of its size.
    let mut live: HashMap<u64, u64> = HashMap::new();
    let mut events: Vec<(u64, u64, Option<u64>, u64)> = seen
        .allocs
        .iter()
        .map(|alloc| (alloc.ts_ns, alloc.addr, Some(alloc.size_bytes), 0))
        .chain(
            seen.frees
                .iter()
                .map(|&(ts_ns, addr, size)| (ts_ns, addr, None, size)),
        )
        .collect();
    events.sort_unstable_by_key(|event| event.0);
    let mut unmatched = 0;
    for (_, addr, allocated, freed) in events {
        match allocated {
            Some(size) => {
                assert_eq!(live.insert(addr, size), None, "{name}: {addr:#x} allocated twice");
            }
            None => match live.remove(&addr) {
                Some(size) => assert_eq!(size, freed, "{name}: size at {addr:#x}"),
                None => unmatched += 1,
            },
        }
    }
    // Nothing was sampled before we attached.
    assert_eq!(unmatched, 0, "{name}: frees of unknown objects");

    let from_site: Vec<_> = seen
        .allocs
        .iter()
        .filter(|alloc| {
            alloc
                .frames
                .iter()
                .any(|&pc| code.contains("main.(*sink).allocate", pc - 1))
        })
        .collect();
    assert_eq!(
        from_site.len() as u64,
        ALLOCS,
        "{name}: stacks through main.allocate"
    );
    for alloc in from_site {
        let frames = &alloc.frames;
        assert_eq!(alloc.goid, Some(done.goid), "{name}: {alloc:?}");
        assert!(
            code.contains(Program::ProfileAlloc.symbol(), frames[0]),
            "{name}: {alloc:?}"
        );
        assert!(!alloc.truncated);
        // main.main called deep, which called itself ten times, which called allocate.
        let deep = frames
            .iter()
            .filter(|&&pc| code.contains("main.(*sink).deep", pc - 1))
            .count();
        assert_eq!(deep, 11, "{name}: {alloc:?}");
        assert!(
            frames.iter().any(|&pc| code.contains("main.main", pc - 1)),
            "{name}: {alloc:?}"
        );
        // The immediate caller of profilealloc is there too: it allocates.
        let caller = frames[1] - 1;
        let allocators = ["runtime.mallocgc", "runtime.mallocgcSmallNoscan"];
        let known = allocators.iter().any(|name| code.contains(name, caller))
            || (2..=26).any(|n| code.contains(&format!("runtime.mallocgcSmallNoScanSC{n}"), caller));
        assert!(known, "{name}: called from {caller:#x}");
    }
}

fn assert_gc(name: &str, minor: u32, done: &Report, seen: &Seen) {
    assert!(done.cycles >= 10, "{name}");
    assert_eq!(seen.cycle_starts, done.cycles, "{name}: cycles begun");
    assert_eq!(seen.mark_terminations, done.cycles, "{name}: cycles ended");
    // Before 1.21 there is no reason to tell them by.
    if minor >= 21 {
        let gc_begins = seen
            .stw_begins
            .iter()
            .filter(|(_, reason)| matches!(reason, 1 | 2))
            .count() as u64;
        assert_eq!(gc_begins, done.gc_pauses, "{name}: pauses of the GC");
    }
    assert_eq!(done.gc_pauses, 2 * done.cycles, "{name}: two pauses a cycle");
    let stops = done.gc_pauses + done.other_stops;
    assert_eq!(seen.stw_begins.len() as u64, stops, "{name}: stops of the world");
    assert_eq!(seen.stw_ends.len() as u64, stops, "{name}: starts of the world");
    assert_eq!(seen.stw_wakeps.len() as u64, stops, "{name}: ends by wakep");

    // Stops and starts take turns, and each start is followed by its wakep.
    let times = |all: &[(u64, u8)]| all.iter().map(|&(ts_ns, _)| ts_ns).collect::<Vec<_>>();
    let (mut begins, mut ends, mut wakeps) = (
        times(&seen.stw_begins),
        times(&seen.stw_ends),
        seen.stw_wakeps.clone(),
    );
    for all in [&mut begins, &mut ends, &mut wakeps] {
        all.sort_unstable();
    }
    for (index, ((begin, end), wakep)) in begins.iter().zip(&ends).zip(&wakeps).enumerate() {
        assert!(
            begin < end && end < wakep,
            "{name}: stop {index}: {begin} {end} {wakep}"
        );
        assert!(
            begins.get(index + 1).is_none_or(|next| next > wakep),
            "{name}: stop {index}"
        );
    }
    if minor >= 22 {
        let reasons = |all: &[(u64, u8)]| {
            let mut all = all.to_vec();
            all.sort_unstable();
            all.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>()
        };
        assert_eq!(
            reasons(&seen.stw_begins),
            reasons(&seen.stw_ends),
            "{name}: reasons"
        );
    }
}

fn assert_mappings(code: &Code<'_>, done: &Report, seen: &Seen) {
    let mapped = done.mapped.as_deref().expect("mappings");
    let mmaps = seen.own_mappings(SyscallKind::Mmap);
    let results: Vec<u64> = mmaps
        .iter()
        .filter(|seen| seen.result > 0)
        .map(|seen| seen.result as u64)
        .collect();
    assert_eq!(results, mapped, "addresses that mmap returned");
    // The one with length 0 failed: EINVAL.
    assert_eq!(mmaps.iter().filter(|seen| seen.result == -22).count(), 1);
    assert_eq!(mmaps.len(), mapped.len() + 1);
    for seen in mmaps.iter().filter(|seen| seen.result > 0) {
        let MappingCall::Mmap { prot, flags, fd, .. } = seen.call else {
            panic!("{seen:?}")
        };
        assert_eq!((prot, flags, fd), (3, 0x22, -1));
        assert!(seen.enter_ns < seen.exit_ns);
        let from = |name| seen.frames.iter().any(|&pc| code.contains(name, pc - 1));
        assert!(from("main.(*report).mappings") && from("main.main"), "{seen:x?}");
    }

    let advised = seen.own_mappings(SyscallKind::Madvise);
    assert_eq!(advised.len(), done.advised);
    assert!(advised.iter().zip(mapped).all(|(seen, &at)| {
        seen.call
            == MappingCall::Madvise {
                addr: at,
                len: MAP_LEN,
                advice: 4,
            }
            && seen.result == 0
    }));

    let unmapped = seen.own_mappings(SyscallKind::Munmap);
    assert_eq!(unmapped.len(), mapped.len() - 1);
    assert!(unmapped.iter().zip(&mapped[1..]).all(|(seen, &at)| {
        seen.call
            == MappingCall::Munmap {
                addr: at,
                len: MAP_LEN,
            }
            && seen.result == 0
    }));

    let [moved] = seen.own_mappings(SyscallKind::Mremap)[..] else {
        panic!("one mremap")
    };
    assert_eq!(moved.result as u64, done.remapped);
    let expected = MappingCall::Mremap {
        old_addr: mapped[0],
        old_len: MAP_LEN,
        new_len: 3 * MAP_LEN,
        flags: 1,
        new_addr: 0,
    };
    assert_eq!(moved.call, expected);

    let [brk] = seen.own_mappings(SyscallKind::Brk)[..] else {
        panic!("one brk")
    };
    assert_eq!(
        (brk.call, brk.result as u64),
        (MappingCall::Brk { addr: 0 }, done.brk)
    );
}

#[test]
fn counts_are_exact_when_all_cpus_allocate() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let mut target = Hits::start(Command::new(&binary.path).args(["-workers", "4"]));
    session.attach(&target.spec_of_all(&binary)).expect("attach");
    let mut seen = Seen::default();
    let done = target.work(&mut session, &mut seen);
    assert!(done.profiled_allocs >= 4 * ALLOCS);
    assert_eq!(seen.allocs.len() as u64, done.profiled_allocs);
    assert_eq!(seen.frees.len() as u64, done.profiled_frees);
    let goids: HashSet<_> = seen.allocs.iter().map(|alloc| alloc.goid).collect();
    assert!(goids.len() >= 4, "{goids:?}");
    assert_nothing_vanished(&session, seen.records);
}
