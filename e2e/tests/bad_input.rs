//! What people get wrong, and what goes wrong around them: one sentence that says what to do, an exit code,
//! no stack trace; and nothing happens to the program.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::process::{Finished, Process, finish_command};
use heaptide_e2e::{Build, Go, Hub, Sites, go, machine};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `nobody` on every Linux distribution.
const NOBODY: &str = "65534";

/// A failure as a person should see it.
fn assert_sentence(what: &str, finished: &Finished, parts: &[&str]) {
    let err = &finished.err;
    let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {err}");
    for part in parts {
        assert!(errors[0].contains(part), "{what}: {:?} lacks {part:?}", errors[0]);
    }
    for trace in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!err.contains(trace), "{what}: {err}");
    }
    assert!(
        (1..=2).contains(&finished.code),
        "{what}: code {}: {err}",
        finished.code
    );
    assert_eq!(finished.out, "", "{what}");
}

fn heaptide(binary: &Path, spool: &Path, arguments: &[&str]) -> Finished {
    let (subcommand, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(binary);
    command.arg(subcommand);
    if *subcommand != "hub" {
        command.args(["--hub", "ws://127.0.0.1:9", "--spool"]).arg(spool);
    }
    finish_command(command.args(rest))
}

#[test]
fn a_request_that_can_not_be_met_gets_one_sentence() {
    let test = "bad requests";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let sleeper = Process::start(Command::new("sleep").arg("1000"));
    let sleeping = sleeper.pid().to_string();
    let mut dead = Process::start(&mut Command::new("true"));
    let dead_pid = dead.pid().to_string();
    let _ = dead.code();
    // Nobody waits for this one.
    let zombie = Process::start(&mut Command::new("true"));
    let zombie_pid = zombie.pid().to_string();
    heaptide_e2e::soon("its end", || {
        let stat = std::fs::read_to_string(format!("/proc/{zombie_pid}/stat"));
        stat.unwrap_or_default().contains(") Z ")
    });
    let text = folder.path().join("text");
    std::fs::write(&text, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&text, PermissionsExt::from_mode(0o755)).unwrap();
    let text = text.to_str().unwrap();

    let cases: [(&[&str], &[&str]); 11] = [
        (&["attach", "4194305"], &["there is no process 4194305", "pgrep"]),
        (&["attach", &dead_pid], &["there is no process", "pgrep"]),
        (&["attach", &zombie_pid], &["has ended"]),
        (
            &["attach", &sleeping],
            &["sleep", "not a program that can be watched", "Go"],
        ),
        (
            &["run", "--", "sleep", "1000"],
            &["sleep", "not a program that can be watched", "Go"],
        ),
        (&["run", "--", text], &["not a program that can be watched", "Go"]),
        (
            &["run", "--", "/nonexistent/server"],
            &["can't start", "/nonexistent/server"],
        ),
        (
            &["attach", "--sampling-rate", "10", &sleeping],
            &["sampling rate of 10 bytes", "expected 512"],
        ),
        (
            &["attach", "--tick-ms", "1", &sleeping],
            &["tick of 1 ms", "expected 20"],
        ),
        (&["attach", "pid"], &["'pid'"]),
        (&["hub", "--listen", "127.0.0.1"], &["'127.0.0.1'"]),
    ];
    for (arguments, parts) in cases {
        let finished = heaptide(&binary, &spool, arguments);
        assert_sentence(&arguments.join(" "), &finished, parts);
    }
    for url in ["ftp://x", "ws://", "ws://a b"] {
        // The program is looked at first, so this takes one that could be watched.
        let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
            return;
        };
        let sites = Sites::start(&program, "");
        let mut command = Command::new(&binary);
        command
            .args(["attach", "--hub", url, "--spool"])
            .arg(&spool)
            .arg(sites.pid.to_string());
        assert_sentence(url, &finish_command(&mut command), &[url]);
        assert_eq!(sites.finish().code, 0);
    }
    drop(sleeper);
}

/// A program that says it was built with a Go whose runtime nobody knows any more.
#[test]
fn a_go_version_that_is_too_old_is_named_with_the_oldest_that_is_known() {
    let test = "old Go version";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for version in ["go1.18", "go1.09"] {
        let patched = folder.path().join(version);
        go::copy_with_version(&program, &patched, "go1.27", version);
        let mut sites = Sites::start(&patched, "-windows 1 -window-bytes 1000000");
        let pid = sites.pid.to_string();
        let finished = heaptide(&binary, &folder.path().join("spool"), &["attach", &pid]);
        assert_sentence(version, &finished, &[version, "from Go 1.19 on", "rebuild"]);
        sites.go();
        let _ = sites.end();
        assert_eq!(sites.finish().code, 0);
    }
}

/// A program of another user, and a user without the right to load eBPF programs.
#[test]
fn a_lack_of_rights_is_named_with_the_way_out() {
    let test = "rights";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    // Where nobody may read.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let place = |from: &Path| -> PathBuf {
        let to = folder.path().join(from.file_name().unwrap());
        std::fs::copy(from, &to).unwrap();
        to
    };
    let (binary, program) = (place(&binary), place(&program));
    let spool = folder.path().join("spool");
    let as_nobody = |command: &Path| -> Command {
        let mut all = Command::new("setpriv");
        all.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(command);
        all
    };
    let attach = |command: &mut Command, pid: u32| {
        command.args(["attach", "--hub", "ws://127.0.0.1:9", "--spool"]);
        finish_command(command.arg(&spool).arg(pid.to_string()))
    };

    let ours = Sites::start(&program, "");
    let finished = attach(&mut as_nobody(&binary), ours.pid);
    assert_sentence(
        "not ours",
        &finished,
        &["belongs to user 0", "this is user 65534", "as root"],
    );
    assert_eq!(ours.finish().code, 0);

    // A program of one's own is watched all the same, without probes: `no_bpf.rs`. Here there is no place for
    // what it would show.
    let theirs = Sites::started(Process::start(&mut as_nobody(&program)));
    let finished = attach(&mut as_nobody(&binary), theirs.pid);
    assert_sentence("no place", &finished, &["spool", "ermission denied"]);
    assert_eq!(theirs.finish().code, 0);

    // Root in name, without the rights: as in a container.
    let ours = Sites::start(&program, "");
    let mut bounded = Command::new("setpriv");
    bounded
        .args(["--bounding-set", "-all", "--inh-caps", "-all", "--"])
        .arg(&binary);
    let finished = attach(&mut bounded, ours.pid);
    assert_sentence("root without rights", &finished, &["CAP_SYS_PTRACE", "as root"]);
    assert_eq!(ours.finish().code, 0);

    // A program that was to be started is not left behind, started or not.
    let mut run = as_nobody(&binary);
    run.args(["run", "--hub", "ws://127.0.0.1:9", "--spool"])
        .arg(&spool)
        .arg("--")
        .arg(&program);
    let finished = finish_command(&mut run);
    // It may have said that it is ready, and is gone all the same.
    let pid = finished.out.split_once("\"pid\":").map(|(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit());
        digits.into_iter().next().unwrap_or_default().to_owned()
    });
    if let Some(pid) = pid {
        heaptide_e2e::soon("its end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
    let finished = Finished {
        out: String::new(),
        ..finished
    };
    assert_sentence("run without a place", &finished, &["spool", "ermission denied"]);
}

#[test]
fn an_occupied_port_is_named() {
    let test = "occupied port";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let taken = hub.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("hub");
    let mut second = Command::new(&binary);
    second.args(["hub", "--listen", &taken, "--data"]).arg(&data);
    assert_sentence("hub", &finish_command(&mut second), &[&taken, "in use"]);
    let mut run = Command::new(&binary);
    run.args(["run", "--listen", &taken, "--data"])
        .arg(&data)
        .arg("--")
        .arg(&program);
    let finished = finish_command(&mut run);
    assert_sentence("run", &finished, &[&taken, "--hub"]);
    // Two hubs must not write the same data either.
    let mut same_data = Command::new(&binary);
    same_data
        .args(["hub", "--listen", "127.0.0.1:0", "--data"])
        .arg(&hub.data);
    assert_sentence("same data", &finish_command(&mut same_data), &["hub"]);
}
