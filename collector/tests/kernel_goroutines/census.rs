//! The census against the runtime's dump, and many goroutines while the program runs.

use std::collections::BTreeMap;

use heaptide_collector::linux::goroutines::{Census, status};
use heaptide_symbols::wait_reason;

use crate::builds;
use crate::dump::{Told, parse};
use crate::target::Program;

/// What the census says, in the dump's words; without the runtime's own goroutines, which no dump shows.
pub(crate) fn told(program: &mut Program, census: &Census) -> BTreeMap<u64, Told> {
    let (_, _, version) = program.go.goroutines().expect("the list of goroutines");
    // Each group once: a hundred thousand goroutines can be few of them.
    let groups: Vec<Option<Told>> = census
        .groups
        .iter()
        .map(|group| {
            let entry = program.calls(group.startpc, false);
            let entry = &entry.last().expect("a function that it starts with").0;
            // As `runtime.isSystemGoroutine`.
            if entry.starts_with("runtime.") && entry != "runtime.main" {
                return None;
            }
            let state = match group.status {
                status::WAITING | status::LEAKED => wait_reason(&version, group.wait_reason),
                status::SYSCALL => "syscall",
                status::RUNNING => "running",
                _ => "runnable",
            };
            let stack = program.stack(&group.stack).into_iter();
            Some(Told {
                state: state.to_owned(),
                // The wrapper of a `go` statement with arguments is in no dump.
                calls: stack
                    .filter(|(function, _)| function.starts_with("main.") && !function.contains(".gowrap"))
                    .collect(),
                creator: program
                    .calls(group.gopc.wrapping_sub(1), false)
                    .into_iter()
                    .next(),
            })
        })
        .collect();
    let members = census.members.iter();
    members
        .filter_map(|member| Some((member.goid, groups[member.group as usize].clone()?)))
        .collect()
}

#[test]
fn every_goroutine_is_what_the_runtime_says() {
    for (what, _dir, binary, minor) in builds(false) {
        let (mut program, report) = Program::start(&binary);
        let mut census = program.census();
        // The main goroutine may still be on its way from the report to its wait for a line.
        for _ in 0..10 {
            if census.torn == 0 {
                break;
            }
            census = program.census();
        }
        let mut expected = parse(&report.dump);
        let mut got = told(&mut program, &census);
        assert_eq!(
            (census.torn, census.ungrouped, census.unwalked),
            (0, 0, 0),
            "{what}"
        );
        assert_eq!(census.alive, census.members.len() as u64, "{what}");
        assert_eq!(got.len() as u64, report.count, "{what}");
        // The main goroutine ran while it wrote the dump, and waits for a line now.
        expected.remove(&report.main);
        let main = got.remove(&report.main).expect("the main goroutine");
        let functions: Vec<_> = main.calls.iter().map(|(function, _)| &**function).collect();
        // Before Go 1.23 a system call leaves no frame pointer to begin with.
        if minor >= 23 || !functions.is_empty() {
            assert_eq!(functions, ["main.main"], "{what}");
        }
        if minor < 23 {
            for told in expected.values_mut().filter(|told| told.state == "syscall") {
                told.calls.clear();
            }
        }
        // Before Go 1.22 the wrapper of a `go` statement with arguments has a name like any other closure.
        if minor < 22 {
            for told in got.values_mut() {
                if let (Some((function, line)), Some((creator, at))) = (told.calls.last(), &told.creator)
                    && line == at
                    && function
                        .strip_prefix(&**creator)
                        .is_some_and(|rest| rest.starts_with(".func"))
                {
                    told.calls.pop();
                }
            }
        }
        for (goid, expected) in &expected {
            assert_eq!(got.get(goid), Some(expected), "{what}: goroutine {goid}");
        }
        assert_eq!(got.len(), expected.len(), "{what}");
        let states: BTreeMap<&str, usize> = got.values().fold(BTreeMap::new(), |mut states, told| {
            *states.entry(&*told.state).or_default() += 1;
            states
        });
        eprintln!(
            "{what}: {} goroutines, {} dead, {states:?}",
            census.alive, census.dead
        );
    }
}

/// Of this thread; unlike the time that passes, other programs hardly change it.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[test]
fn a_hundred_thousand_are_counted_while_the_program_runs() {
    const MANY: u64 = 100_000;
    for (what, _dir, binary, _) in builds(true) {
        let (mut program, before) = Program::start(&binary);
        let report = program.ask(&format!("many {MANY}"));
        assert_eq!(report.count, before.count + MANY, "{what}");
        let before_ns = cpu_ns();
        let census = program.census();
        let cpu_ns = cpu_ns() - before_ns;
        let got = told(&mut program, &census);
        assert_eq!(got.len() as u64, report.count, "{what}");
        let idle = got
            .values()
            .filter(|told| told.calls.len() == 1 && told.calls[0].0 == "main.idle");
        assert_eq!(idle.count() as u64, MANY, "{what}");
        eprintln!(
            "{what}: {} goroutines in {:.1} ms, {:.1} ms of CPU",
            census.alive,
            census.took_ns as f64 / 1e6,
            cpu_ns as f64 / 1e6
        );
    }
}
