//! Goroutines as a console sees them: the census, single events by policy, and Go's own leak detector, which is
//! asked only where that was granted.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::report::{Cell, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::Window;
use heaptide_e2e::{Build, Console, Go, Hub, Process, machine, until};
use heaptide_protocol::SessionId;
use std::process::Command;

const TARGET: &str = "collector/tests/targets/goroutines";

fn table(console: &Console, session: SessionId, title: &str) -> Option<Table> {
    let query = ReportQuery {
        kind: ReportKind::Goroutines,
        window: Window {
            from_ns: 0,
            to_ns: u64::MAX,
        },
        filter: String::new(),
        limit: 1_000,
    };
    let report = console.view(session, |view| view.session.report(&query));
    report.tables.into_iter().find(|table| table.title == title)
}

/// Sums a column over the rows whose first cell holds `text`.
fn sum(table: Option<&Table>, text: &str, column: &str) -> f64 {
    let Some(table) = table else { return 0.0 };
    let at = table
        .columns
        .iter()
        .position(|known| known.label == column)
        .unwrap();
    let rows = table
        .rows
        .iter()
        .filter(|row| matches!(&row.cells[0], Cell::Text(first) if first.contains(text)));
    rows.map(|row| match row.cells[at] {
        Cell::Value(value) => value,
        _ => 0.0,
    })
    .sum()
}

fn until_sum(console: &Console, session: SessionId, title: &str, text: &str, column: &str, wanted: f64) {
    until(&format!("{wanted} of {text:?} in {title:?}, {column:?}"), || {
        let got = sum(table(console, session, title).as_ref(), text, column);
        ((got - wanted).abs() < 0.5).then_some(()).ok_or(got)
    });
}

#[test]
fn goroutines_are_counted_followed_and_checked_for_leaks() {
    let test = "goroutines";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let hub = Hub::start(&binary);
    for (go, build) in [(Go::V1_27, Build::Stripped), (Go::V1_22, Build::Plain)] {
        let Some(path) = go.target(test, build, TARGET) else {
            return;
        };
        let mut program = Process::start(&mut Command::new(&path));
        until("the program to be ready", || {
            program.out.all().pop().ok_or("nothing yet")
        });
        let watcher = hub.attach("--allow-leak-check", program.pid());
        let (console, session) = (hub.console(), watcher.session);
        console.subscribe(session);
        let creators = "Goroutines by creator";
        until_sum(&console, session, creators, "main.leak ", "Goroutines", 300.0);
        until_sum(&console, session, creators, "main.others ", "Goroutines", 135.0);

        // One by one, and more often.
        console
            .propose(session, |policy| {
                policy.sources.goroutine_events = true;
                policy.sources.goroutine_census_ms = 300;
            })
            .unwrap();
        program.say("churn");
        until_sum(&console, session, "Goroutine events", "created", "Seen", 500.0);
        until_sum(&console, session, "Goroutine events", "ended", "Seen", 500.0);
        program.say("grow");
        until_sum(&console, session, creators, "main.grow ", "Goroutines", 30.0);
        let grown = table(&console, session, creators).unwrap();
        let grown = grown
            .rows
            .iter()
            .find(|row| matches!(&row.cells[0], Cell::Text(text) if text.starts_with("main.grow ")));
        let created: Vec<&str> = grown.unwrap().stacks[0]
            .1
            .iter()
            .map(|frame| &*frame.function)
            .collect();
        assert_eq!(created[..2], ["main.grow", "main.main"], "{created:?}");
        assert_eq!(grown.unwrap().stacks[0].0, "created by");

        let asked = console.propose(session, |policy| policy.leak_check = 1);
        if go == Go::V1_27 {
            asked.unwrap();
            program.say("gc");
            until_sum(
                &console,
                session,
                creators,
                "main.leak ",
                "Leaked, says Go",
                300.0,
            );
            until_sum(
                &console,
                session,
                creators,
                "main.others ",
                "Leaked, says Go",
                0.0,
            );
        } else {
            let why = asked.unwrap_err();
            assert!(why.contains("no leak detector"), "{why}");
        }
        assert_eq!(watcher.detach(), 0);

        // Without leave nothing is written, whatever the policy says.
        let watcher = hub.attach("", program.pid());
        console.subscribe(watcher.session);
        let why = console
            .propose(watcher.session, |policy| policy.leak_check = 2)
            .unwrap_err();
        let expected = if go == Go::V1_27 {
            "--allow-leak-check"
        } else {
            "no leak detector"
        };
        assert!(why.contains(expected), "{why}");
        assert_eq!(watcher.detach(), 0);
        program.close_stdin();
        assert_eq!(program.code(), 0);
    }
}
