//! `heaptide doctor` where everything is allowed, where little is, and where there is nothing to watch.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::process::{Finished, Process, finish, finish_command};
use heaptide_e2e::{Build, Go, Sites, machine};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// `nobody` on every Linux distribution.
const NOBODY: &str = "65534";

fn json(finished: &Finished) -> Value {
    assert_eq!(finished.err, "", "{}", finished.out);
    serde_json::from_str(&finished.out).unwrap()
}

fn fact<'a>(examination: &'a Value, name: &str) -> &'a Value {
    let facts = examination["facts"].as_array().unwrap();
    let found = facts.iter().find(|fact| fact["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {examination}"))
}

/// State of the first source of a class.
fn state<'a>(examination: &'a Value, class: &str) -> &'a Value {
    let sources = examination["sources"].as_array().unwrap();
    let found = sources.iter().find(|source| source["class"] == class);
    found.unwrap_or_else(|| panic!("no {class} in {examination}"))
}

/// Says so when it lacks something, and what would change it.
fn assert_obstacle(examination: &Value, parts: &[&str]) {
    assert_eq!(examination["sampled_heap"], false);
    let text = examination["obstacle"].to_string();
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_program_that_can_be_watched_is_told_with_its_facts() {
    let test = "doctor";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    for (go, build, profile, code) in [
        (Go::V1_27, Build::Plain, "yes", 0),
        // Without pprof nothing is sampled until somebody writes the rate.
        (Go::V1_22, Build::Stripped, "no", 2),
    ] {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let sites = Sites::start(&program, "");
        let pid = sites.pid.to_string();
        let finished = finish(&binary, ["doctor", "--json", &pid]);
        assert_eq!(finished.code, code, "{}", finished.out);
        let examination = json(&finished);
        let value = |name| fact(&examination, name)["value"].as_str().unwrap().to_owned();
        assert!(value("Go version").starts_with(&format!("go{}", go.name())));
        assert_eq!(value("runtime offsets"), "known");
        assert_eq!(value("memory"), "can be read");
        assert_eq!(value("heap profile linked in"), profile, "{build:?}");
        assert!(value("frame pointers").starts_with("yes"));
        let probed = value("probe sites");
        let (found, of) = probed.split_once(',').unwrap().0.split_once(" of ").unwrap();
        assert_eq!(found, of, "{probed}");
        assert_eq!(
            value("executable"),
            program.canonicalize().unwrap().to_str().unwrap()
        );
        assert_eq!(value("built").starts_with("stripped"), build == Build::Stripped);
        let rate = value("MemProfileRate");
        if code == 0 {
            assert_eq!(rate, "524288 bytes");
            assert_eq!(state(&examination, "allocation")["state"], "limited");
        } else {
            assert_eq!(rate, "0 bytes");
            assert_eq!(state(&examination, "allocation")["state"], "off");
            assert_obstacle(&examination, &["--allow-rate-write", &pid]);
        }
        let text = finish(&binary, ["doctor", &pid]);
        assert_eq!(text.code, code);
        for part in [
            "This host",
            &format!("Process {pid}"),
            "What can be seen",
            "tracepoints",
            "a watch keeps cap_bpf, cap_perfmon, cap_sys_ptrace",
        ] {
            assert!(text.out.contains(part), "no {part:?} in {}", text.out);
        }
        // It has only looked.
        assert_eq!(sites.first_rate(), if code == 0 { 524_288 } else { 0 });
        assert_eq!(sites.finish().code, 0);
    }
}

#[test]
fn what_is_no_go_program_and_what_is_gone_get_a_sentence() {
    let test = "doctor (nothing to watch)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let sleeper = Process::start(Command::new("sleep").arg("1000"));
    let mut dead = Process::start(&mut Command::new("true"));
    let (sleeping, gone) = (sleeper.pid().to_string(), dead.pid().to_string());
    let _ = dead.code();
    for (pid, parts) in [
        (&sleeping, ["sleep", "not a program that can be watched"]),
        (&gone, ["there is no process", "pgrep"]),
    ] {
        let finished = finish(&binary, ["doctor", "--json", pid]);
        assert_eq!(finished.code, 2);
        assert_obstacle(&json(&finished), &parts);
        let text = finish(&binary, ["doctor", pid]);
        assert!(text.out.contains("can't be watched"), "{}", text.out);
    }
    for arguments in [["doctor", "many"], ["doctor", "--what"]] {
        assert_eq!(finish(&binary, arguments).code, 1);
    }
}

#[test]
fn a_lack_of_rights_is_told_for_each_source() {
    let test = "doctor (rights)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    // Where nobody may read.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let place = |from: &Path| {
        let to = folder.path().join(from.file_name().unwrap());
        std::fs::copy(from, &to).unwrap();
        to
    };
    let (binary, program) = (place(&binary), place(&program));
    let as_nobody = |command: &Path| {
        let mut all = Command::new("setpriv");
        all.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(command);
        all
    };
    let host = finish_command(as_nobody(&binary).args(["doctor", "--json"]));
    assert_eq!(host.code, 2);
    let host = json(&host);
    assert_obstacle(&host, &["cap_bpf", "setcap"]);
    assert_eq!(fact(&host, "eBPF")["value"], "forbidden");
    for class in ["allocation", "garbage_collection", "mapping"] {
        assert_eq!(state(&host, class)["state"], "unavailable", "{class}");
    }
    assert_eq!(state(&host, "gauge")["state"], "active");

    let ours = Sites::start(&program, "");
    let pid = ours.pid.to_string();
    let finished = finish_command(as_nobody(&binary).args(["doctor", "--json", &pid]));
    assert_eq!(finished.code, 2);
    let examination = json(&finished);
    assert_obstacle(
        &examination,
        &["belongs to user 0", "this is user 65534", "sudo heaptide doctor"],
    );
    assert!(
        !fact(&examination, "executable")["value"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    assert_eq!(ours.finish().code, 0);

    // One's own process can be read, and still not be probed.
    let theirs = Sites::started(Process::start(&mut as_nobody(&program)));
    let pid = theirs.pid.to_string();
    let finished = finish_command(as_nobody(&binary).args(["doctor", "--json", &pid]));
    assert_eq!(finished.code, 2);
    let examination = json(&finished);
    assert_obstacle(&examination, &["cap_bpf", "setcap"]);
    assert_eq!(fact(&examination, "MemProfileRate")["value"], "524288 bytes");
    assert_eq!(theirs.finish().code, 0);
}

#[test]
fn without_tracefs_only_the_mappings_are_missing() {
    let test = "doctor (no tracefs)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let sites = Sites::start(&program, "");
    let script =
        "umount -l /sys/kernel/debug /sys/kernel/tracing 2>/dev/null; exec \"$0\" doctor --json \"$1\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(&binary)
        .arg(sites.pid.to_string());
    let finished = finish_command(&mut command);
    assert_eq!(finished.code, 0, "{}{}", finished.out, finished.err);
    let examination = json(&finished);
    assert_eq!(fact(&examination, "tracefs")["value"], "not mounted");
    let mapping = state(&examination, "mapping");
    assert_eq!(mapping["state"], "unavailable");
    assert!(
        mapping["remedy"].as_str().unwrap().contains("mount -t tracefs"),
        "{mapping}"
    );
    assert_eq!(state(&examination, "garbage_collection")["state"], "active");
    assert_eq!(sites.finish().code, 0);
}
