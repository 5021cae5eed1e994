//! Go's own leak detector, asked for from outside.

use heaptide_collector::linux::goroutines::{Census, status};
use heaptide_collector::linux::leak_check::LeakCheck;

use crate::builds;
use crate::target::Program;

fn leaked(census: &Census) -> Vec<u64> {
    let mut leaked: Vec<u64> = census
        .members
        .iter()
        .filter(|member| census.groups[member.group as usize].status == status::LEAKED)
        .map(|member| member.goid)
        .collect();
    leaked.sort_unstable();
    leaked
}

#[test]
fn just_the_leaked_goroutines_are_found() {
    for (what, _dir, binary, minor) in builds(false) {
        let (mut program, report) = Program::start(&binary);
        let address = program.go.leak_check_address();
        if minor < 27 {
            let why = address.expect_err("a runtime without a detector");
            assert!(why.contains(&format!("go1.{minor}")), "{what}: {why}");
            continue;
        }
        let mut check = LeakCheck::new(address, true);
        // Collections find nothing unless they are asked.
        program.ask("gc");
        assert_eq!(leaked(&program.census()), [0_u64; 0], "{what}");
        // Asked and taken back before one came.
        check.ask(&program.process).expect("may be asked");
        check.undo(&program.process).expect("can be taken back");
        program.ask("gc");
        assert_eq!(leaked(&program.census()), [0_u64; 0], "{what}");

        check.ask(&program.process).expect("may be asked");
        program.ask("gc");
        let mut expected = report.leaked.clone();
        expected.sort_unstable();
        assert_eq!(leaked(&program.census()), expected, "{what}");
        eprintln!("{what}: {} leaked", expected.len());
        // Answered: there is nothing to take back, and the program goes on.
        check.undo(&program.process).expect("nothing to do");
        assert_eq!(program.ask("look").count, report.count, "{what}");
    }
}
