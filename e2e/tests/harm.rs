//! First, do no harm: a watched program does and prints what it would without, and its end is told as it was.

use heaptide_e2e::process::{self, Process};
use heaptide_e2e::{Build, Go, Hub, Sites, Watcher, heaptide, machine};
use rustix::process::Signal;
use std::path::Path;

/// What the program printed, less what time and the machine put into it: with one worker the rest follows
/// from the seed.
fn counted(out: &str) -> Vec<String> {
    let of_window = |line: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        (value["event"] == "window").then(|| format!("{} {}", value["window"], value["sites"]))
    };
    out.lines().filter_map(of_window).collect()
}

fn alone(program: &Path, flags: &str) -> Vec<String> {
    let mut sites = Sites::start(program, flags);
    sites.go();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    counted(&finished.out)
}

#[test]
fn invariant_4_twenty_rounds_of_attaching_leave_the_program_as_it_was() {
    let test = "attach rounds";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    const ROUNDS: usize = 20;
    for (go, build) in [(Go::V1_27, Build::Plain), (Go::V1_22, Build::Stripped)] {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let hub = Hub::start(&binary);
        let flags = "-windows 0 -window-bytes 20000000";
        let mut sites = Sites::start(&program, flags);
        let first = sites.first_rate();
        sites.go();
        for round in 0..ROUNDS / 2 {
            let options = "--allow-rate-write --sampling-rate 16384 --all-events";
            let watcher = hub.attach(options, sites.pid);
            watcher.process.says("connected to the hub");
            assert!(!sites.process.has_ended(), "round {round}");
            assert_eq!(watcher.detach(), 0, "round {round}");
        }
        sites.process.close_stdin();
        assert_eq!(sites.end().mem_profile_rate, first);
        let finished = sites.finish();
        assert_eq!((finished.code, finished.err.as_str()), (0, ""));
        let watched = counted(&finished.out);
        let flags = format!("-windows {} -window-bytes 20000000", watched.len());
        assert_eq!(watched, alone(&program, &flags), "Go {}", go.name());
    }
}

#[test]
fn a_program_under_run_prints_what_it_prints_alone() {
    let test = "run prints";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let flags = "-windows 3 -window-bytes 20000000 -rate 16384";
    let hub = Hub::start(&binary);
    let mut sites = Sites::started(hub.run("", &program, flags));
    sites.go();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    // Nothing of Heaptide's own on standard output.
    assert!(
        finished.out.lines().all(|line| line.starts_with('{')),
        "{}",
        finished.out
    );
    assert_eq!(counted(&finished.out), alone(&program, flags));
}

/// How a program can end, and what is to be said of it.
#[derive(Debug, Clone, Copy)]
enum End {
    Exit0,
    /// `-heap-profile` to a folder that isn't there: `os.Exit(1)`.
    Exit1,
    Signal(Signal, i32),
}

const ENDS: [End; 5] = [
    End::Exit0,
    End::Exit1,
    End::Signal(Signal::KILL, 9),
    End::Signal(Signal::TERM, 15),
    End::Signal(Signal::INT, 2),
];

impl End {
    fn flags(self) -> &'static str {
        match self {
            Self::Exit0 => "-windows 2 -window-bytes 10000000",
            Self::Exit1 => "-windows 2 -window-bytes 10000000 -heap-profile /nonexistent/profile",
            Self::Signal(..) => "-windows 0 -window-bytes 10000000",
        }
    }

    fn told(self) -> String {
        match self {
            Self::Exit0 => "exited with code 0".to_owned(),
            Self::Exit1 => "exited with code 1".to_owned(),
            Self::Signal(_, number) => format!("killed by signal {number}"),
        }
    }

    fn code(self) -> i32 {
        match self {
            Self::Exit0 => 0,
            Self::Exit1 => 1,
            Self::Signal(_, number) => 128 + number,
        }
    }

    fn bring_about(self, sites: &mut Sites, send: impl FnOnce(&Process, Signal)) {
        sites.go();
        match self {
            Self::Exit0 | Self::Exit1 => sites.process.close_stdin(),
            Self::Signal(signal, _) => {
                heaptide_e2e::soon("a window", || !sites.windows().is_empty());
                send(&sites.process, signal);
            }
        }
    }
}

#[test]
fn under_run_the_end_is_told_and_the_exit_code_passed_on() {
    let test = "run ends";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let console = hub.console();
    for end in ENDS {
        let mut sites = Sites::started(hub.run("", &program, end.flags()));
        let session = heaptide::session_of(&sites.process);
        let pid = sites.pid;
        end.bring_about(&mut sites, |process, signal| match signal {
            // Ctrl-C reaches both, SIGTERM Heaptide alone, which passes it on.
            Signal::INT => process.signal_group(signal),
            Signal::TERM => process.signal(signal),
            signal => {
                let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
                rustix::process::kill_process(pid, signal).unwrap();
            }
        });
        if let End::Signal(..) = end {
            // At the end of its input, which comes next, the program would end by itself.
            let _ = sites.process.code();
        }
        let finished = sites.finish();
        assert_eq!(finished.code, end.code(), "{end:?}: {}", finished.err);
        let told = console.until_ended(session);
        assert!(told.contains(&end.told()), "{end:?}: {told:?}");
    }
}

#[test]
fn under_attach_the_end_is_told_whether_its_parent_waits_for_it_or_not() {
    let test = "attach ends";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let console = hub.console();
    for end in ENDS {
        for is_reaped_at_once in [true, false] {
            let mut sites = Sites::start(&program, end.flags());
            let mut watcher: Watcher = hub.attach("", sites.pid);
            end.bring_about(&mut sites, Process::signal);
            if is_reaped_at_once {
                assert_eq!(sites.process.code(), end.code(), "{end:?}");
            }
            let told = console.until_ended(watcher.session);
            assert!(
                told.contains(&end.told()),
                "{end:?}, reaped at once: {is_reaped_at_once}: {told:?}"
            );
            assert_eq!(watcher.process.code(), 0, "{end:?}");
            assert_eq!(sites.process.code(), end.code(), "{end:?}");
        }
    }
}

/// Without a hub at hand `run` brings its own; the program doesn't notice.
#[test]
fn run_brings_a_hub_of_its_own() {
    let test = "own hub";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let finished = process::finish_command(
        std::process::Command::new(&binary)
            .args(["run", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("hub"))
            .arg("--spool")
            .arg(folder.path().join("spool"))
            .arg("--")
            .arg(&program),
    );
    // Standard input is at its end, so the program stops before it begins.
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(
        finished.err.contains("console: http://127.0.0.1:"),
        "{}",
        finished.err
    );
    assert!(finished.err.contains("exited with code 0"), "{}", finished.err);
    assert_eq!(finished.out.lines().count(), 1, "{}", finished.out);
}
