//! `heaptide collect`: programs are found as they come, watched each by its own, and left running at the end.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::{Build, Go, Hub, Process, Sites, machine, until};
use heaptide_protocol::control::SessionState;
use std::path::Path;
use std::process::Command;

/// A program under another name.
fn named(program: &Path, folder: &Path, name: &str) -> std::path::PathBuf {
    let to = folder.join(name);
    std::fs::copy(program, &to).unwrap();
    to
}

#[test]
fn programs_are_watched_as_they_come_and_left_running() {
    let test = "collect";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Stripped) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unique = format!("hc{}", std::process::id());
    let wanted = named(&program, folder.path(), &format!("{unique}-wanted"));
    let other = named(&program, folder.path(), &format!("{unique}x"));
    let hub = Hub::start(&binary);
    let console = hub.console();
    let mut first = Sites::start(&wanted, "-windows 100000");
    let mut unwanted = Sites::start(&other, "-windows 100000");
    let mut collect: Command = hub.collector("collect");
    let mut collect = Process::start(collect.args(["--match", &format!("{unique}-*")]));
    let live = |pid: u32| {
        until(&format!("process {pid} to be live"), || {
            let found = console.with(|state| {
                state
                    .sessions
                    .iter()
                    .any(|one| one.signature.pid == pid && one.state == SessionState::Live)
            });
            found.then_some(()).ok_or_else(|| collect.err.text())
        });
    };
    live(first.pid);
    // One that comes later, and one that was never asked for.
    let mut second = Sites::start(&wanted, "-windows 100000");
    live(second.pid);
    let pids: Vec<u32> = console.with(|state| state.sessions.iter().map(|one| one.signature.pid).collect());
    assert!(!pids.contains(&unwanted.pid), "{pids:?}");
    assert_eq!(pids.len(), 2, "{pids:?}");

    collect.signal(rustix::process::Signal::INT);
    assert_eq!(collect.code(), 0, "{}", collect.err.text());
    until("both sessions to be over", || {
        let live = console.with(|state| {
            state
                .sessions
                .iter()
                .filter(|one| one.state == SessionState::Live)
                .count()
        });
        (live == 0).then_some(()).ok_or(live)
    });
    for program in [&mut first, &mut second, &mut unwanted] {
        assert!(!program.process.has_ended(), "{}", program.process.err.text());
    }
}
