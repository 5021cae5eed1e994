//! Who is attached to, who is not, and what is said when it can't be.

use std::process::Command;

use heaptide_collector::linux::bpf::{BpfError, BpfOptions, BpfSession, Class, Program};
use heaptide_symbols::ProbeInstruction;

use crate::{
    built, newest, object, session, skip,
    target::{Hits, Seen},
};

#[test]
fn only_the_attached_process_is_hit() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let mut watched = Hits::start(&mut Command::new(&binary.path));
    let mut neighbour = Hits::start(&mut Command::new(&binary.path));
    session.attach(&watched.spec_of_all(&binary)).expect("attach");

    neighbour.work_undrained();
    drop(neighbour);
    let mut seen = Seen::default();
    seen.drain(&mut session);
    assert_eq!(seen.records, 0);
    // Not even the program ran: the breakpoint is in the one process.
    let counters = session.counters().expect("read counters");
    assert_eq!(counters.of(Class::Alloc).filtered, 0, "{counters:?}");

    let done = watched.work(&mut session, &mut seen);
    assert_eq!(seen.allocs.len() as u64, done.profiled_allocs);

    // Detached, it runs on without a probe; nothing is left in its code.
    let pid = watched.pid();
    session.detach(pid).expect("detach");
    assert!(matches!(session.detach(pid), Err(BpfError::NotAttached { .. })));
}

#[test]
fn programs_in_another_mount_namespace_and_deleted_ones_are_attached() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (dir, binary) = built(&go, &[]);

    // The binary is on a tmpfs that only the new namespace has mounted.
    let hidden = dir.path().join("hidden");
    std::fs::create_dir(&hidden).expect("a folder");
    let script = "mount -t tmpfs none \"$1\" && cp \"$0\" \"$1/hits\" && exec \"$1/hits\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh", "-c", script])
        .arg(&binary.path)
        .arg(&hidden);

    let copy = dir.path().join("copy");
    std::fs::copy(&binary.path, &copy).expect("copy");
    let mut unlinked = Command::new(&copy);

    for (name, command) in [("mount namespace", &mut unshare), ("deleted", &mut unlinked)] {
        let mut session = session(&object);
        let mut target = Hits::start(command);
        assert!(!hidden.join("hits").exists());
        if name == "deleted" {
            std::fs::remove_file(&copy).expect("delete");
        }
        session.attach(&target.spec_of_all(&binary)).expect(name);
        let mut seen = Seen::default();
        let done = target.work(&mut session, &mut seen);
        assert_eq!(seen.allocs.len() as u64, done.profiled_allocs, "{name}");
    }
}

#[test]
fn what_can_not_be_attached_is_refused_with_a_reason() {
    let Some(object) = object() else { return };
    let Some(go) = newest() else { return };
    let (_dir, binary) = built(&go, &[]);
    let mut session = session(&object);
    let target = Hits::start(&mut Command::new(&binary.path));
    let site = binary.site(Program::ProfileAlloc);
    let spec = |pid: u32, site| {
        let mut spec = target.spec(&binary, vec![site]);
        spec.pid = pid;
        spec
    };
    let thread = std::fs::read_dir(format!("/proc/{}/task", target.pid()))
        .expect("threads")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|&tid: &u32| tid != target.pid())
        .expect("a Go program has several threads");

    let shifted = |by: u64| {
        let mut site = site;
        site.file_offset += by;
        site
    };
    let instead = |instruction| {
        let mut site = site;
        site.instruction = instruction;
        site
    };
    let pid = target.pid();
    let cases = [
        (
            "no such process",
            spec(0x7fff_fff0, site),
            "no process 2147483632",
        ),
        ("process 0", spec(0, site), "no process 0"),
        ("a thread", spec(thread, site), "is a thread of process"),
        ("a kernel thread", spec(2, site), "no process 2"),
        (
            "the middle of an instruction",
            spec(pid, shifted(1)),
            "refused to probe ProfileAlloc",
        ),
        (
            "another instruction",
            spec(pid, instead(ProbeInstruction::CallRel32)),
            "found bytes [55], expected [e8]",
        ),
        (
            "a single-stepped instruction",
            spec(pid, instead(ProbeInstruction::SingleStepped)),
            "would single-step",
        ),
        ("beyond the file", spec(pid, shifted(1 << 40)), "found bytes []"),
    ];
    for (name, spec, expected) in cases {
        let error = session.attach(&spec).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(session.attached().count(), 0, "{name}");
    }

    session.attach(&spec(pid, site)).expect("attach");
    let twice = session.attach(&spec(pid, site));
    assert!(
        matches!(twice, Err(BpfError::AlreadyAttached { .. })),
        "{twice:?}"
    );

    let mut damaged = object.clone();
    damaged.truncate(object.len() / 2);
    for (name, bytes) in [("empty", &[][..]), ("text", b"no object"), ("half", &damaged)] {
        let error = BpfSession::load(bytes, &BpfOptions::default()).expect_err(name);
        assert!(matches!(error, BpfError::BadObject { .. }), "{name}: {error}");
    }
    let size = BpfSession::load(&object, &BpfOptions { ring_bytes: 5000 });
    assert!(
        matches!(size, Err(BpfError::RingSize { got_bytes: 5000 })),
        "{size:?}"
    );
}

#[test]
fn without_rights_the_missing_capability_is_named() {
    if std::env::var_os("HEAPTIDE_TEST_WITHOUT_RIGHTS").is_some() {
        // In the child below: no capability at all.
        let path = std::env::var_os("HEAPTIDE_BPF_OBJECT").expect("given by the parent");
        let error = BpfSession::load(&std::fs::read(path).expect("the object"), &BpfOptions::default())
            .expect_err("no right")
            .to_string();
        assert!(
            error.contains("no right to") && error.contains("missing cap_bpf,cap_perfmon"),
            "{error}"
        );
        return;
    }
    let Some(_object) = object() else { return };
    let child = Command::new("setpriv")
        // The same user, so that it may still read this test and the object.
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "attach::without_rights_the_missing_capability_is_named",
            "--nocapture",
        ])
        .env("HEAPTIDE_TEST_WITHOUT_RIGHTS", "1")
        .output();
    match child {
        Err(error) => skip(&format!("setpriv can't be run: {error}")),
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
}

#[test]
fn processes_are_found_in_a_pid_namespace_of_ones_own() {
    let Some(_object) = object() else { return };
    if newest().is_none() {
        return;
    }
    // Ids in there are not those that the kernel uses by itself.
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "attach::only_the_attached_process_is_hit",
            "--nocapture",
        ])
        .output()
        .expect("run unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
