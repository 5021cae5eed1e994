//! Probes on single goroutines against what the program did.

use std::collections::{BTreeMap, BTreeSet};

use heaptide_collector::linux::bpf::{
    BpfError, BpfOptions, BpfSession, Class, ClassSet, Program as Probe, TargetSpec, What, decode,
};

use crate::target::Program;
use crate::{builds, skip};

fn session() -> Option<BpfSession> {
    let Some(path) = std::env::var_os("HEAPTIDE_BPF_OBJECT") else {
        skip("no eBPF object: set HEAPTIDE_BPF_OBJECT");
        return None;
    };
    let object = std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    match BpfSession::load(&object, &BpfOptions { ring_bytes: 64 << 20 }) {
        Err(BpfError::NoRight { doing, remedy }) => {
            skip(&format!("no right to {doing}: {remedy}"));
            None
        }
        Err(error) => panic!("{error}"),
        Ok(session) => Some(session),
    }
}

/// All goroutine records, copied.
#[derive(Debug, Default)]
struct Seen {
    /// Id, return address into the creator, stack.
    created: Vec<(u64, u64, Vec<u64>)>,
    exited: Vec<u64>,
    /// By id, bytes before and after.
    copied: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Seen {
    fn drain(&mut self, session: &mut BpfSession) {
        let mut take = |bytes: &[u8]| match decode(bytes).expect("a record of this build").what {
            What::GoroutineCreated {
                goid,
                creator_pc,
                stack,
                ..
            } => {
                assert!(!stack.is_missing());
                self.created
                    .push((goid.expect("an id"), creator_pc, stack.frames().collect()));
            }
            What::GoroutineExited { goid, .. } => self.exited.push(goid.expect("an id")),
            What::StackCopied {
                goid,
                old_bytes,
                new_bytes,
                ..
            } => {
                let ladder = self.copied.entry(goid.expect("an id")).or_default();
                ladder.push((old_bytes, new_bytes));
            }
            other => panic!("another class's record: {other:?}"),
        };
        while session.poll(10_000, &mut take).more {}
    }
}

#[test]
fn creations_exits_and_growth_are_those_of_the_program() {
    let Some(mut session) = session() else { return };
    for (what, _dir, binary, _) in builds(false) {
        let (mut program, _) = Program::start(&binary);
        let pid = program.pid();
        let plan = program.go.plan();
        let sites = plan.goroutines.expect("sites");
        assert_eq!(
            sites.iter().map(|site| site.program).collect::<Vec<_>>(),
            Probe::GOROUTINES
        );
        session
            .attach(&TargetSpec {
                pid,
                executable: None,
                offsets: plan.offsets,
                enabled: ClassSet::NONE.with(Class::Goroutine),
                sites: Vec::new(),
            })
            .expect("attach");
        assert!(!session.has_sites(pid, Class::Goroutine), "{what}");
        session
            .attach_sites(pid, Class::Goroutine, &sites)
            .expect("attach to goroutines");
        assert!(session.has_sites(pid, Class::Goroutine), "{what}");

        let report = program.ask("churn");
        let mut seen = Seen::default();
        seen.drain(&mut session);
        let churned: BTreeSet<u64> = report.created.expect("churned").into_iter().collect();
        let created: Vec<_> = seen
            .created
            .iter()
            .filter(|(goid, ..)| churned.contains(goid))
            .collect();
        assert_eq!((churned.len(), created.len()), (500, 500), "{what}");
        // Nothing else was created or ended: the program's other goroutines wait.
        let exited: BTreeSet<u64> = seen.exited.iter().copied().collect();
        assert_eq!((exited.len(), seen.exited.len()), (500, 500), "{what}");
        assert_eq!(exited, churned, "{what}");
        for (_, creator_pc, frames) in created {
            let at = frames.iter().position(|pc| pc == creator_pc);
            let at = at.unwrap_or_else(|| panic!("{what}: {creator_pc:#x} not in {frames:x?}"));
            let mut pcs = vec![creator_pc - 1];
            pcs.extend(&frames[at + 1..]);
            let calls: Vec<String> = program.stack(&pcs).into_iter().map(|(name, _)| name).collect();
            let expected = [
                "main.spawn",
                "main.middle",
                "main.churn",
                "main.main",
                "runtime.main",
                "runtime.goexit",
            ];
            assert_eq!(calls, expected, "{what}");
        }

        let report = program.ask("grow");
        seen.drain(&mut session);
        let grown: BTreeSet<u64> = report.grown.expect("grown").into_iter().collect();
        assert_eq!(grown.len(), 30, "{what}");
        let census = program.census();
        let mut largest = 0;
        for member in census
            .members
            .iter()
            .filter(|member| grown.contains(&member.goid))
        {
            let ladder = &seen.copied[&member.goid];
            for pair in ladder.windows(2) {
                assert_eq!(pair[0].1, pair[1].0, "{what}: {ladder:?}");
            }
            assert!(
                ladder.iter().all(|(before, after)| *after == before * 2),
                "{what}: {ladder:?}"
            );
            let last = ladder.last().expect("it grew").1;
            assert_eq!(member.stack_bytes, last, "{what}: {ladder:?}");
            largest = largest.max(last);
        }
        assert!(largest >= 128 << 10, "{what}: {largest}");

        let counted = session.counters().expect("read counters").of(Class::Goroutine);
        assert_eq!(counted.seen, counted.sent, "{what}: {counted:?}");
        assert_eq!(
            (counted.stack_failed, counted.dropped()),
            (0, 0),
            "{what}: {counted:?}"
        );

        // Off again: not a probe is left.
        session.detach_sites(pid, Class::Goroutine);
        let churned = program.ask("churn").created.expect("churned").len();
        let mut after = Seen::default();
        after.drain(&mut session);
        assert_eq!(
            (churned, after.created.len(), after.exited.len()),
            (500, 0, 0),
            "{what}"
        );
        let now = session.counters().expect("read counters").of(Class::Goroutine);
        assert_eq!(now, counted, "{what}");
        session.detach(pid).expect("detach");
        eprintln!(
            "{what}: {} created, {} ended, {} stacks copied",
            seen.created.len(),
            seen.exited.len(),
            seen.copied.len()
        );
    }
}
