//! What a confined process can do and what it can't: each call is made, in a child of the test.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]
#![expect(clippy::print_stdout, reason = "the child tells its parent so")]

#[path = "confine/sys.rs"]
mod sys;

use heaptide_collector::linux::confine::{Calls, keep};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::process::Command;
use std::sync::mpsc::channel;

/// What the child is to do, as letters: `serves`, `signals`, `writes`, `starts`.
const CALLS: &str = "HEAPTIDE_TEST_CALLS";
/// The test below, which is also what its children run.
const TEST: &str = "calls_that_no_watch_needs_are_refused_and_those_of_a_watch_are_not";
/// A port on which something listens.
const PORT: &str = "HEAPTIDE_TEST_PORT";

/// By what it belongs to.
const TRIED: [(&str, &[libc::c_long]); 5] = [
    (
        "always",
        &[
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_open_by_handle_at,
            libc::SYS_setuid,
            libc::SYS_setresgid,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_pidfd_getfd,
        ],
    ),
    ("starts", &[libc::SYS_execve, libc::SYS_execveat]),
    ("serves", &[libc::SYS_listen, libc::SYS_accept4]),
    (
        "signals",
        &[libc::SYS_pidfd_send_signal, libc::SYS_rt_sigqueueinfo],
    ),
    ("writes", &[libc::SYS_process_vm_writev]),
];

/// What the child says, by name.
fn confined(calls: &str) -> BTreeMap<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(CALLS, calls)
        .env(PORT, port.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    assert!(child.status.success(), "{calls}: {text}{:?}", child.stderr);
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, told)| (name.to_owned(), told.to_owned()))
        .collect()
}

/// Says what became of each call, and does what a watch goes on to do.
fn child(wanted: &str) {
    let calls = Calls {
        serves: wanted.contains("serves"),
        signals: wanted.contains("signals"),
        writes: wanted.contains("writes"),
        starts: wanted.contains("starts"),
    };
    let folder = tempfile::tempdir().unwrap();
    // One that was there before, as those of a hub are.
    let (go, wait) = channel::<()>();
    let other = std::thread::spawn(move || {
        wait.recv().unwrap();
        sys::error_of(libc::SYS_ptrace)
    });
    calls.refuse_others().unwrap();
    go.send(()).unwrap();
    println!("\nolder thread: {}", other.join().unwrap());
    for (_, numbers) in TRIED {
        for number in numbers {
            println!("{number}: {}", sys::error_of(*number));
        }
    }
    println!("clone3: {}", sys::error_of(libc::SYS_clone3));
    let started = Command::new("true").status();
    println!(
        "true: {}",
        started.map_or_else(|error| error.kind().to_string(), |_| "ran".to_owned())
    );

    // What a watch goes on to do.
    let port = std::env::var(PORT).unwrap();
    assert!(!("localhost", 1).to_socket_addrs().unwrap().as_slice().is_empty());
    TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let mut file = std::fs::File::create(&first).unwrap();
    file.write_all(b"frame").unwrap();
    file.sync_all().unwrap();
    std::fs::rename(&first, &second).unwrap();
    assert_eq!(std::fs::read(&second).unwrap(), b"frame");
    assert_ne!(sys::error_of(libc::SYS_process_vm_readv), libc::EPERM);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status
        .lines()
        .filter(|line| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp:"))
    {
        println!("{}", line.replace('\t', " "));
    }
}

#[test]
fn calls_that_no_watch_needs_are_refused_and_those_of_a_watch_are_not() {
    if let Ok(wanted) = std::env::var(CALLS) {
        return child(&wanted);
    }
    for calls in [
        "",
        "serves",
        "signals",
        "writes",
        "starts",
        "serves signals writes starts",
    ] {
        let told = confined(calls);
        for (of, numbers) in TRIED {
            for number in numbers {
                let errno: i32 = told[&number.to_string()].parse().unwrap();
                assert_eq!(
                    errno == libc::EPERM,
                    !calls.contains(of),
                    "{calls:?}: {of} {number}: {errno}"
                );
            }
        }
        let is_started = calls.contains("starts");
        assert_eq!(told["true"] == "ran", is_started, "{calls:?}: {}", told["true"]);
        assert_eq!(told["older thread"], libc::EPERM.to_string());
        assert_eq!(told["clone3"], libc::ENOSYS.to_string());
        assert_eq!((&*told["NoNewPrivs"], &*told["Seccomp"]), ("1", "2"));
    }
}

/// In a thread of its own: capabilities are a thread's.
#[test]
fn what_is_not_kept_is_gone_and_stays_gone() {
    let before = capabilities(None).unwrap();
    let after = std::thread::spawn(move || {
        keep(CapabilitySet::SYS_PTRACE).unwrap();
        let after = capabilities(None).unwrap();
        if before.permitted != after.permitted {
            assert_eq!(set_capabilities(None, before), Err(Errno::PERM));
        }
        after
    });
    let after = after.join().unwrap();
    assert_eq!(after.permitted, before.permitted & CapabilitySet::SYS_PTRACE);
    assert_eq!(after.effective, before.effective & CapabilitySet::SYS_PTRACE);
    assert_eq!(after.inheritable, CapabilitySet::empty());
    assert_eq!(capabilities(None).unwrap(), before);
}
