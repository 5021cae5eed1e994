//! The ring buffer and its counters: classes switched off, a ring too small, stacks too deep, wake-ups.

use std::process::Command;

use heaptide_collector::linux::bpf::{BpfOptions, BpfSession, Class, ClassSet, Program};
use rustix::event::epoll;

use crate::{
    assert_nothing_vanished, built, newest, object, session,
    target::{Hits, Seen},
};

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
