//! A class that is off costs nothing: no link to the kernel is left of it, and nothing is counted.

use heaptide_collector::linux::bpf::{Class, Program};

use crate::target::{Events, Seen};
use crate::{alone, links, session, toolchains};

#[test]
fn a_class_that_is_off_has_nothing_attached() {
    if !alone("off::a_class_that_is_off_has_nothing_attached") {
        return;
    }
    let Some(go) = toolchains().pop() else { return };
    let Some(mut session) = session() else { return };
    let mut target = Events::start(&go, &["-mode", "touch"]);
    assert_eq!(links(), 0);
    target.attach(&mut session, &[], Vec::new(), 1);
    assert_eq!(links(), 0);
    let work = Program::GC_WORK.map(|program| target.binary.site(program));
    // Off and on again is the same as on.
    for _ in 0..2 {
        for (class, expected) in [
            (Class::PageFault, 1),
            (Class::HugePage, 2),
            (Class::OffCpu, 2),
            (Class::Alloc, 0),
        ] {
            session.attach_class(class).expect("attach");
            assert_eq!(
                (links(), session.is_class_attached(class)),
                (expected, expected > 0),
                "{class:?}"
            );
            session.attach_class(class).expect("attach twice");
            assert_eq!(links(), expected, "{class:?} twice");
            session.detach_class(class);
            assert_eq!(
                (links(), session.is_class_attached(class)),
                (0, false),
                "{class:?}"
            );
        }
        session
            .attach_sites(target.pid(), Class::GcWork, &work)
            .expect("attach to assists and sweeps");
        assert_eq!(links(), work.len());
        session.detach_sites(target.pid(), Class::GcWork);
        assert_eq!(links(), 0);
    }
    let mut seen = Seen::of(&target);
    target.work(&mut session, &mut seen);
    let counters = session.counters().expect("counters");
    for (class, counted) in counters.iter() {
        assert_eq!(counted.seen, 0, "{class:?}");
    }
    assert_eq!(session.sums(target.pid()).expect("sums"), Default::default());
    assert_eq!(seen.records, 0);
    // Its sites go with the process.
    session
        .attach_sites(target.pid(), Class::GcWork, &work)
        .expect("attach again");
    session.detach(target.pid()).expect("detach");
    assert_eq!(links(), 0);
    assert!(session.sums(target.pid()).is_err());
}
