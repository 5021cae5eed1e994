//! What a collector can still do while it watches, and what the program that it started never notices.
//!
//! `/proc` says it of every thread: capabilities, new privileges, system call filters.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::report::{Cell, ReportKind, ReportQuery};
use heaptide_analysis::views::Window;
use heaptide_e2e::heaptide::session_of;
use heaptide_e2e::process::finish_command;
use heaptide_e2e::{Build, Console, Go, Hub, Process, Sites, Watcher, machine, until};
use heaptide_policy::ExactRequest;
use heaptide_protocol::SessionId;
use heaptide_protocol::session::CapabilityState;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "collector/tests/targets/goroutines";
/// `root`, and `nobody` of every distribution.
const USERS: [u32; 2] = [0, 65_534];
const RATE_BYTES: u64 = 65_536;

// include/uapi/linux/capability.h
const KILL: u64 = 1 << 5;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const BPF_AND_PERFMON: u64 = 1 << 39 | 1 << 38;
const WATCHING: u64 = BPF_AND_PERFMON | SYS_PTRACE;

/// What `/proc/PID/task/TID/status` says of rights.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rights {
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    bounding: u64,
    no_new_privs: u64,
    seccomp: u64,
}

impl Rights {
    fn parse(status: &str) -> Option<Self> {
        let text = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let set = |name| u64::from_str_radix(text(name)?, 16).ok();
        Some(Self {
            effective: set("CapEff:")?,
            permitted: set("CapPrm:")?,
            inheritable: set("CapInh:")?,
            ambient: set("CapAmb:")?,
            bounding: set("CapBnd:")?,
            no_new_privs: text("NoNewPrivs:")?.parse().ok()?,
            seccomp: text("Seccomp:")?.parse().ok()?,
        })
    }

    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        Self::parse(&status).unwrap()
    }

    /// Of a process that was confined to these capabilities.
    fn confined(capabilities: u64) -> Self {
        Self {
            effective: capabilities,
            permitted: capabilities,
            inheritable: 0,
            ambient: 0,
            bounding: capabilities,
            no_new_privs: 1,
            seccomp: 2,
        }
    }
}

/// Each thread's, with its name. One that ends meanwhile is left out.
fn threads(pid: u32) -> Vec<(String, Rights)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let all: Vec<_> = tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let name = status.lines().next()?.split_ascii_whitespace().last()?.to_owned();
            Some((name, Rights::parse(&status)?))
        })
        .collect();
    assert!(!all.is_empty());
    all
}

fn assert_all(pid: u32, what: &str, expected: &[Rights]) {
    for (thread, rights) in threads(pid) {
        assert!(
            expected.contains(&rights),
            "{what}, thread {thread}: {rights:#x?}"
        );
    }
}

/// Processes that it started, by their hidden subcommands.
fn children(pid: u32) -> Vec<(String, u32)> {
    let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut found: Vec<_> = all
        .split_ascii_whitespace()
        .filter_map(|child| {
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
            Some((line.split('\0').nth(1)?.to_owned(), child.parse().ok()?))
        })
        .collect();
    found.sort();
    found
}

/// A copy that every user can run.
fn copy_for_all(folder: &Path, program: &Path) -> PathBuf {
    let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    open(folder);
    let to = folder.join(program.file_name().unwrap());
    if !to.exists() {
        std::fs::copy(program, &to).unwrap();
        open(&to);
    }
    to
}

/// Goroutines that were seen to be created, each by its own event.
fn goroutines_created(console: &Console, session: SessionId) -> f64 {
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
    let tables = report.tables.into_iter();
    let rows = tables
        .filter(|table| table.title == "Goroutine events")
        .flat_map(|table| table.rows);
    let created = rows.filter(|row| matches!(&row.cells[0], Cell::Text(text) if text.contains("created")));
    let seen = created.map(|row| match row.cells[1] {
        Cell::Value(seen) => seen,
        _ => 0.0,
    });
    seen.sum()
}

#[test]
fn a_watch_keeps_three_capabilities_and_does_all_it_is_asked_for() {
    let test = "rights (attach)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.target(test, Build::Plain, TARGET) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let program = copy_for_all(folder.path(), &program);
    let hub = Hub::start(&binary);
    for user in USERS {
        let mut command = Command::new(&program);
        let mut target = Process::start(command.uid(user).gid(user));
        until("the program to be ready", || {
            target.out.all().pop().ok_or("nothing yet")
        });
        // A program that only its owner may read, while it runs.
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&program, Some(user), Some(user)).unwrap();
        let before = Rights::of(target.pid());
        let watcher = hub.attach("--allow-rate-write", target.pid());
        let (console, session) = (hub.console(), watcher.session);
        console.subscribe(session);
        watcher.process.says("connected to the hub");
        let look = |when: &str| {
            let what = format!("target of user {user}, {when}");
            assert_all(watcher.process.pid(), &what, &[Rights::confined(WATCHING)]);
            for ((name, pid), (expected, capabilities)) in children(watcher.process.pid())
                .into_iter()
                .zip([("attach-helper", SYS_ADMIN), ("restore-guard", SYS_PTRACE)])
            {
                assert_eq!(name, expected, "{what}");
                assert_all(pid, &format!("{what}, {name}"), &[Rights::confined(capabilities)]);
            }
            assert_eq!(children(watcher.process.pid()).len(), 2, "{what}");
        };
        look("at first");

        // What takes rights again: a write, further probes, tracepoints, an object of its own.
        console
            .propose(session, |policy| {
                policy.sampling_rate_bytes = Some(RATE_BYTES);
                policy.allow_rate_write = true;
                policy.sources.goroutine_events = true;
                policy.sources.scheduling = true;
                policy.sources.page_faults_one_in = 1;
                policy.sources.huge_pages = true;
                policy.sources.gc_work = true;
                policy.sources.ledger_ms = 1_000;
                policy.exact = Some(ExactRequest {
                    number: 1,
                    seconds: 1,
                    max_cost_permille: 1_000,
                });
            })
            .unwrap();
        console.until_sampling(session, RATE_BYTES);
        target.say("churn");
        until("500 goroutines by their events", || {
            let seen = goroutines_created(&console, session);
            (seen >= 500.0).then_some(()).ok_or(seen)
        });
        watcher.process.says("exact window of");
        look("after an exact window");
        let said = watcher.process.err.text();
        assert!(!said.contains("warning: exact"), "{said}");
        assert!(!said.contains("can't"), "{said}");
        assert_eq!(Rights::of(target.pid()), before);
        assert_eq!(watcher.detach(), 0);
        target.close_stdin();
        assert_eq!(target.code(), 0);
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_program_under_run_has_the_rights_of_a_shells_child() {
    let test = "rights (run)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let of_child = {
        let sleeper = Process::start(Command::new("sleep").arg("1000"));
        Rights::of(sleeper.pid())
    };
    let hub = Hub::start(&binary);
    let console = hub.console();
    let mut sites = Sites::started(hub.run("", &program, "-windows 0 -window-bytes 10000000 -rate 16384"));
    let session = session_of(&sites.process);
    sites.process.says("connected to the hub");
    assert_eq!((of_child.no_new_privs, of_child.seccomp), (0, 0));
    for (thread, rights) in threads(sites.pid) {
        assert_eq!(rights, of_child, "{thread}");
    }
    // Signals are passed on.
    assert_all(sites.process.pid(), "run", &[Rights::confined(WATCHING | KILL)]);
    console.subscribe(session);
    sites.go();
    until("samples", || {
        let live = console.headline(session).live.value;
        (live > 0.0).then_some(()).ok_or(live)
    });
    sites.process.signal(rustix::process::Signal::TERM);
    assert_eq!(sites.finish().code, 128 + 15);
}

#[test]
fn an_own_hub_has_no_rights_and_serves() {
    let test = "rights (own hub)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sites = Sites::start(&program, "");
    let mut command = Command::new(&binary);
    command
        .args(["attach", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("hub"))
        .arg("--spool")
        .arg(folder.path().join("spool"))
        .arg(sites.pid.to_string());
    let watcher = Watcher::new(Process::start(&mut command));
    watcher.process.says("connected to the hub");
    let pid = watcher.process.pid();
    assert_all(pid, "own hub", &[Rights::confined(WATCHING), Rights::confined(0)]);
    let of_hub = threads(pid)
        .into_iter()
        .filter(|(_, rights)| rights.effective == 0);
    assert!(of_hub.count() >= 3, "{:?}", threads(pid));
    let console = watcher.process.says("console: http://");
    let address = console
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let console = Console::connect(address.parse().unwrap());
    console.until("the session", |state| {
        let is_listed = state.sessions.iter().any(|one| one.session == watcher.session);
        is_listed
            .then_some(())
            .ok_or_else(|| format!("{} sessions", state.sessions.len()))
    });
    assert_eq!(watcher.detach(), 0);
}

#[test]
fn collect_and_what_it_starts_are_confined() {
    let test = "rights (collect)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let name = format!("hr{}", std::process::id());
    let unique = folder.path().join(&name);
    std::fs::copy(&program, &unique).unwrap();
    let sites = Sites::start(&unique, "");
    let hub = Hub::start(&binary);
    let console = hub.console();
    let mut command = hub.collector("collect");
    let mut collect = Process::start(command.args(["--match", &name]));
    console.until("the session", |state| {
        let is_live = state.sessions.iter().any(|one| one.signature.pid == sites.pid);
        is_live.then_some(()).ok_or_else(|| "not live".to_owned())
    });
    const DAC_READ_SEARCH: u64 = 1 << 2;
    let starting = WATCHING | SYS_ADMIN | DAC_READ_SEARCH;
    assert_all(collect.pid(), "collect", &[Rights::confined(starting)]);
    let started = children(collect.pid());
    assert_eq!(started.len(), 1, "{started:?}");
    assert_eq!(started[0].0, "attach");
    // What bounds it was set by `collect`, and nobody after that has the right to narrow it.
    let expected = Rights {
        bounding: starting,
        ..Rights::confined(WATCHING)
    };
    assert_all(started[0].1, "attach by collect", &[expected]);
    collect.signal(rustix::process::Signal::INT);
    assert_eq!(collect.code(), 0, "{}", collect.err.text());
}

#[test]
fn who_has_no_rights_is_confined_all_the_same() {
    let test = "rights (no root)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (binary, program) = (
        copy_for_all(folder.path(), &binary),
        copy_for_all(folder.path(), &program),
    );
    let [_, nobody] = USERS;
    let as_nobody = |program: &Path| {
        let mut command = Command::new(program);
        command.uid(nobody).gid(nobody);
        command
    };
    let sites = Sites::started(Process::start(&mut as_nobody(&program)));
    let hub = Hub::start(&binary);
    let spool = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(spool.path(), Some(nobody), Some(nobody)).unwrap();
    let mut command = as_nobody(&binary);
    command
        .args(["attach", "--no-bpf", "--hub", &hub.url(), "--spool"])
        .arg(spool.path())
        .arg(sites.pid.to_string());
    let watcher = Watcher::new(Process::start(&mut command));
    watcher.process.says("connected to the hub");
    let bounding = Rights::of(sites.pid).bounding;
    let expected = Rights {
        bounding,
        ..Rights::confined(0)
    };
    assert_all(watcher.process.pid(), "no root", &[expected]);
    assert_eq!(watcher.detach(), 0);
}

/// As systemd and Kubernetes start it.
#[test]
fn the_rights_of_the_deploy_files_are_enough() {
    let test = "rights (deploy)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let deploy = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
        std::fs::read_to_string(path).unwrap()
    };
    let unit = deploy("systemd/heaptide-collector.service");
    let of_unit = |key: &str| -> Vec<String> {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let names = line
            .split(' ')
            .map(|name| name.trim_start_matches("CAP_").to_owned());
        names.collect()
    };
    let bounding = of_unit("CapabilityBoundingSet=");
    assert_eq!(of_unit("AmbientCapabilities="), bounding);
    let added: Vec<String> = bounding.iter().map(|name| format!("\"{name}\"")).collect();
    let added = format!("add: [{}]", added.join(", "));
    assert!(deploy("kubernetes/collector.yaml").contains(&added), "{added}");

    let folder = tempfile::tempdir().unwrap();
    let name = format!("hd{}", std::process::id());
    let unique = copy_for_all(folder.path(), &program).with_file_name(&name);
    std::fs::rename(folder.path().join(program.file_name().unwrap()), &unique).unwrap();
    let [_, nobody] = USERS;
    let mut command = Command::new(&unique);
    let sites = Sites::started(Process::start(command.uid(nobody).gid(nobody)));
    let hub = Hub::start(&binary);
    let console = hub.console();
    let only: String = bounding
        .iter()
        .map(|name| format!(",+{}", name.to_lowercase()))
        .collect();
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--bounding-set=-all{only}"), "--no-new-privs", "--"])
        .arg(&binary)
        .args([
            "collect",
            "--hub",
            &hub.url(),
            "--match",
            &name,
            "--allow-rate-write",
            "--sampling-rate",
        ])
        .arg(RATE_BYTES.to_string())
        .arg("--spool")
        .arg(hub.spool());
    let mut collect = Process::start(&mut command);
    let session = console.until("the session", |state| {
        let found = state.sessions.iter().find(|one| one.signature.pid == sites.pid);
        found.map(|one| one.session).ok_or_else(|| "not there".to_owned())
    });
    // Written to a program of another user, and probed.
    console.until_sampling(session, RATE_BYTES);
    let summary = console.listed(session, "its sources", |summary| !summary.capabilities.is_empty());
    let heap = summary
        .capabilities
        .iter()
        .find(|row| row.source.contains("profilealloc"))
        .unwrap();
    let is_seen = matches!(
        heap.state,
        CapabilityState::Active | CapabilityState::Limited { .. }
    );
    assert!(is_seen, "{heap:?}");
    collect.signal(rustix::process::Signal::INT);
    assert_eq!(collect.code(), 0, "{}", collect.err.text());
}

/// `sudo` in another user's folder: what is needed to write there is kept, and told.
#[test]
fn folders_of_others_are_written_to() {
    let test = "rights (folders)";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    const DAC_OVERRIDE: u64 = 1 << 1;
    let [_, nobody] = USERS;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(nobody), Some(nobody)).unwrap();
    let sites = Sites::start(&program, "");
    let hub = Hub::start(&binary);
    let pid = sites.pid.to_string();
    let mut command = Command::new(&binary);
    command
        .args(["attach", "--hub", &hub.url(), "--spool"])
        .arg(folder.path().join("spool"))
        .arg(&pid);
    let watcher = Watcher::new(Process::start(&mut command));
    watcher.process.says("cap_dac_override is kept");
    watcher.process.says("connected to the hub");
    assert_all(
        watcher.process.pid(),
        "spool",
        &[Rights::confined(WATCHING | DAC_OVERRIDE)],
    );
    assert_eq!(watcher.detach(), 0);

    // A recording is one file, which is open before anything is given up.
    let mut command = Command::new(&binary);
    command
        .args(["record", "--for", "1", "-o"])
        .arg(folder.path().join("a.htl"))
        .arg(&pid);
    let finished = finish_command(&mut command);
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(folder.path().join("a.htl").is_file());
}
