//! The real kernel, real Go programs: what the probes hit is what Go itself counted.
//!
//! Needs the eBPF object (`HEAPTIDE_BPF_OBJECT`), Go toolchains (`HEAPTIDE_GO_1_21` to `HEAPTIDE_GO_1_27`),
//! and the right to load and attach. What is missing is skipped loudly, and fails under
//! `HEAPTIDE_REQUIRE_ALL=1`.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a test that can't be set up has failed")]

mod support;

use std::{
    collections::{HashMap, HashSet},
    process::Command,
};

use heaptide_collector::linux::bpf::{
    BpfError, BpfOptions, BpfSession, Class, ClassSet, MappingCall, Program, SyscallKind, tracefs_path,
};
use heaptide_symbols::ProbeInstruction;
use rustix::event::epoll;
use support::{
    go::{Binary, Code, Go},
    skip,
    target::{Hits, MAP_LEN, Report, Seen},
};

const ALLOCS: u64 = 20_000;

/// An object and a toolchain, or a skip.
fn object() -> Option<Vec<u8>> {
    let Some(path) = std::env::var_os("HEAPTIDE_BPF_OBJECT") else {
        skip("no eBPF object: set HEAPTIDE_BPF_OBJECT");
        return None;
    };
    let object = std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    match BpfSession::load(&object, &BpfOptions::default()) {
        Err(BpfError::NoRight { doing, remedy }) => {
            skip(&format!("no right to {doing}: {remedy}"));
            None
        }
        Err(error) => panic!("{error}"),
        Ok(_) => Some(object),
    }
}

fn toolchains() -> Vec<Go> {
    let all = Go::all();
    if all.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go, and others from HEAPTIDE_GO_1_21 on");
    }
    all
}

fn newest() -> Option<Go> {
    toolchains().pop()
}

fn session(object: &[u8]) -> BpfSession {
    // As large as the records of a whole run, so that nothing is lost however slow this machine is.
    BpfSession::load(object, &BpfOptions { ring_bytes: 64 << 20 }).expect("load")
}

fn built(go: &Go, flags: &[&str]) -> (tempfile::TempDir, Binary) {
    let dir = tempfile::tempdir().expect("a folder");
    let binary = go.build(&Hits::source(), flags, dir.path().join("hits"));
    (dir, binary)
}

/// Every version as it comes; the newest and an old one also without symbols and at a random address.
fn builds() -> Vec<(Go, &'static [&'static str])> {
    let stripped: &[&str] = &["-ldflags=-s -w"];
    let anywhere: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
    let mut builds = Vec::new();
    for go in toolchains() {
        builds.push((go.clone(), &[][..]));
        if matches!(go.minor, 22 | 27) {
            builds.push((go.clone(), stripped));
            builds.push((go, anywhere));
        }
    }
    builds
}

/// Nothing vanishes: seen = sent + dropped in each class, and each record sent was read.
fn assert_nothing_vanished(session: &BpfSession, records: u64) {
    let counters = session.counters().expect("read counters");
    for (class, counted) in counters.iter() {
        assert_eq!(
            counted.seen,
            counted.sent + counted.dropped(),
            "{class:?}: {counted:?}"
        );
    }
    assert_eq!(
        counters.iter().map(|(_, counted)| counted.sent).sum::<u64>(),
        records
    );
}

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
    let gc_begins = seen
        .stw_begins
        .iter()
        .filter(|(_, reason)| matches!(reason, 1 | 2))
        .count() as u64;
    assert_eq!(gc_begins, done.gc_pauses, "{name}: pauses of the GC");
    assert_eq!(gc_begins, 2 * done.cycles, "{name}: two pauses a cycle");
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
fn only_the_attached_process_is_hit() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let mut watched = Hits::start(&mut Command::new(&binary.path));
    let mut neighbour = Hits::start(&mut Command::new(&binary.path));
    session.attach(&watched.spec_of_all(&binary)).expect("attach");

    neighbour.work_undrained();
    drop(neighbour);
    let mut seen = Seen::default();
    seen.drain(&mut session);
    assert_eq!(seen.records, 0);
    // Not even the program ran: the breakpoint is in the one process.
    let counters = session.counters().expect("read counters");
    assert_eq!(counters.of(Class::Alloc).filtered, 0, "{counters:?}");

    let done = watched.work(&mut session, &mut seen);
    assert_eq!(seen.allocs.len() as u64, done.profiled_allocs);

    // Detached, it runs on without a probe; nothing is left in its code.
    let pid = watched.pid();
    session.detach(pid).expect("detach");
    assert!(matches!(session.detach(pid), Err(BpfError::NotAttached { .. })));
}

#[test]
fn a_class_is_switched_off_and_counted() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let mut target = Hits::start(&mut Command::new(&binary.path));
    session.attach(&target.spec_of_all(&binary)).expect("attach");
    session
        .set_enabled(target.pid(), ClassSet::ALL.without(Class::Alloc))
        .expect("switch");

    let mut seen = Seen::default();
    let done = target.work(&mut session, &mut seen);
    assert_eq!(seen.allocs.len(), 0);
    assert_eq!(seen.frees.len() as u64, done.profiled_frees);
    assert_eq!(seen.cycle_starts, done.cycles);
    let counters = session.counters().expect("read counters").of(Class::Alloc);
    assert_eq!((counters.seen, counters.disabled), (0, done.profiled_allocs));
    assert_nothing_vanished(&session, seen.records);
}

#[test]
fn a_full_ring_drops_and_counts() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = BpfSession::load(&object, &BpfOptions { ring_bytes: 4096 }).expect("load");
    let mut target = Hits::start(&mut Command::new(&binary.path));
    session.attach(&target.spec_of_all(&binary)).expect("attach");

    let done = target.work_undrained();
    let mut seen = Seen::default();
    seen.drain(&mut session);
    let allocs = session.counters().expect("read counters").of(Class::Alloc);
    assert_eq!(allocs.seen, done.profiled_allocs);
    assert!(allocs.dropped_ring_full > 0 && allocs.sent > 0, "{allocs:?}");
    assert_nothing_vanished(&session, seen.records);
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

#[test]
fn the_reader_is_woken_when_the_ring_fills_and_not_before() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    // (allocations, whether they fill a quarter of the ring)
    for (allocs, fill) in [("10", false), ("20000", true)] {
        let mut session = BpfSession::load(&object, &BpfOptions { ring_bytes: 1 << 20 }).expect("load");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &session, epoll::EventData::new_u64(0), edge).expect("epoll");
        let mut target = Hits::start(Command::new(&binary.path).args(["-allocs", allocs]));
        session.attach(&target.spec_of_all(&binary)).expect("attach");
        target.work_undrained();

        let mut events = [epoll::Event {
            flags: edge,
            data: epoll::EventData::new_u64(0),
        }; 1];
        let at_once = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let woken = epoll::wait(&epoll, &mut events[..], Some(&at_once)).expect("epoll");
        assert_eq!(woken, usize::from(fill), "{allocs} allocations");
        let mut seen = Seen::default();
        seen.drain(&mut session);
        assert!(seen.records > 0);
    }
}

#[test]
fn deep_stacks_are_cut_at_127_frames_and_say_so() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let mut target = Hits::start(Command::new(&binary.path).args(["-depth", "200", "-allocs", "100"]));
    session
        .attach(&target.spec(&binary, vec![binary.site(Program::ProfileAlloc)]))
        .expect("attach");

    let mut seen = Seen::default();
    target.work(&mut session, &mut seen);
    let cut = seen
        .allocs
        .iter()
        .filter(|alloc| alloc.truncated)
        .collect::<Vec<_>>();
    assert_eq!(cut.len(), 100);
    assert!(cut.iter().all(|alloc| alloc.frames.len() == 127), "{:?}", cut[0]);
    assert_eq!(
        session
            .counters()
            .expect("read counters")
            .of(Class::Alloc)
            .stack_truncated,
        100
    );
}

#[test]
fn programs_in_another_mount_namespace_and_deleted_ones_are_attached() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (dir, binary) = built(&go, &[]);

    // The binary is on a tmpfs that only the new namespace has mounted.
    let hidden = dir.path().join("hidden");
    std::fs::create_dir(&hidden).expect("a folder");
    let script = "mount -t tmpfs none \"$1\" && cp \"$0\" \"$1/hits\" && exec \"$1/hits\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh", "-c", script])
        .arg(&binary.path)
        .arg(&hidden);

    let copy = dir.path().join("copy");
    std::fs::copy(&binary.path, &copy).expect("copy");
    let mut unlinked = Command::new(&copy);

    for (name, command) in [("mount namespace", &mut unshare), ("deleted", &mut unlinked)] {
        let mut session = session(&object);
        let mut target = Hits::start(command);
        assert!(!hidden.join("hits").exists());
        if name == "deleted" {
            std::fs::remove_file(&copy).expect("delete");
        }
        session.attach(&target.spec_of_all(&binary)).expect(name);
        let mut seen = Seen::default();
        let done = target.work(&mut session, &mut seen);
        assert_eq!(seen.allocs.len() as u64, done.profiled_allocs, "{name}");
    }
}

#[test]
fn what_can_not_be_attached_is_refused_with_a_reason() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let target = Hits::start(&mut Command::new(&binary.path));
    let site = binary.site(Program::ProfileAlloc);
    let spec = |pid: u32, site| {
        let mut spec = target.spec(&binary, vec![site]);
        spec.pid = pid;
        spec
    };
    let thread = std::fs::read_dir(format!("/proc/{}/task", target.pid()))
        .expect("threads")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|&tid: &u32| tid != target.pid())
        .expect("a Go program has several threads");

    let shifted = |by: u64| {
        let mut site = site;
        site.file_offset += by;
        site
    };
    let instead = |instruction| {
        let mut site = site;
        site.instruction = instruction;
        site
    };
    let pid = target.pid();
    let cases = [
        (
            "no such process",
            spec(0x7fff_fff0, site),
            "no process 2147483632",
        ),
        ("process 0", spec(0, site), "no process 0"),
        ("a thread", spec(thread, site), "is a thread of process"),
        ("a kernel thread", spec(2, site), "no process 2"),
        (
            "the middle of an instruction",
            spec(pid, shifted(1)),
            "refused to probe ProfileAlloc",
        ),
        (
            "another instruction",
            spec(pid, instead(ProbeInstruction::CallRel32)),
            "found bytes [55], expected [e8]",
        ),
        (
            "a single-stepped instruction",
            spec(pid, instead(ProbeInstruction::SingleStepped)),
            "would single-step",
        ),
        ("beyond the file", spec(pid, shifted(1 << 40)), "found bytes []"),
    ];
    for (name, spec, expected) in cases {
        let error = session.attach(&spec).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(session.attached().count(), 0, "{name}");
    }

    session.attach(&spec(pid, site)).expect("attach");
    let twice = session.attach(&spec(pid, site));
    assert!(
        matches!(twice, Err(BpfError::AlreadyAttached { .. })),
        "{twice:?}"
    );

    let mut damaged = object.clone();
    damaged.truncate(object.len() / 2);
    for (name, bytes) in [("empty", &[][..]), ("text", b"no object"), ("half", &damaged)] {
        let error = BpfSession::load(bytes, &BpfOptions::default()).expect_err(name);
        assert!(matches!(error, BpfError::BadObject { .. }), "{name}: {error}");
    }
    let size = BpfSession::load(&object, &BpfOptions { ring_bytes: 5000 });
    assert!(
        matches!(size, Err(BpfError::RingSize { got_bytes: 5000 })),
        "{size:?}"
    );
}

#[test]
fn without_rights_the_missing_capability_is_named() {
    if std::env::var_os("HEAPTIDE_TEST_WITHOUT_RIGHTS").is_some() {
        // In the child below: no capability at all.
        let path = std::env::var_os("HEAPTIDE_BPF_OBJECT").expect("given by the parent");
        let error = BpfSession::load(&std::fs::read(path).expect("the object"), &BpfOptions::default())
            .expect_err("no right")
            .to_string();
        assert!(
            error.contains("no right to") && error.contains("missing cap_bpf,cap_perfmon"),
            "{error}"
        );
        return;
    }
    let Some(_object) = object() else { return };
    let child = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ])
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "without_rights_the_missing_capability_is_named",
            "--nocapture",
        ])
        .env("HEAPTIDE_TEST_WITHOUT_RIGHTS", "1")
        .output();
    match child {
        Err(error) => skip(&format!("setpriv can't be run: {error}")),
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
}

#[test]
fn processes_are_found_in_a_pid_namespace_of_ones_own() {
    let Some(_object) = object() else { return };
    if newest().is_none() {
        return;
    }
    // Ids in there are not those that the kernel uses by itself.
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "only_the_attached_process_is_hit", "--nocapture"])
        .output()
        .expect("run unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
