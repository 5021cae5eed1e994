//! Tests with real files, real processes, real sockets and the real hub.

pub(crate) mod hub;
mod machine;
mod resume;
mod scripted;
mod spool;
mod steps;
mod tls;
mod trouble;
mod world;

use super::*;
use heaptide_policy::Policy;
use heaptide_protocol::control::Open;
use heaptide_protocol::frame::encode;
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};
use heaptide_protocol::{Envelope, Frame, SessionId};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than any of these waits takes on a busy machine; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const MANY_BYTES: u64 = 1 << 30;

pub(crate) fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

fn open() -> Open {
    Open {
        signature: PlatformSignature {
            os: "linux".to_owned(),
            os_version: String::new(),
            kernel: String::new(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            page_size_bytes: 4096,
            huge_page_mode: String::new(),
            libc: String::new(),
            runtime: "go".to_owned(),
            runtime_version: "go1.27".to_owned(),
            build_id: String::new(),
            host_name: "test".to_owned(),
            boot_id: String::new(),
            pid: 1,
            executable: "/bin/test".to_owned(),
            command_line: vec!["test".to_owned()],
            collector_version: "0.1.0".to_owned(),
            clock: Clock {
                kind: ClockKind::LinuxMonotonic,
                session_ns: 0,
                unix_ns: 0,
                error_ns: 0,
            },
        },
        labels: Default::default(),
        capabilities: Vec::new(),
        policy: Policy::default(),
        rate_write_granted: true,
        first_seq: 1,
    }
}

pub(crate) fn head(number: u8) -> SpoolHead {
    SpoolHead {
        session: session(number),
        open: open(),
    }
}

/// A data frame whose size (up to `max_bytes` of payload) and content follow from its number.
fn data_up_to(number: u8, seq: u64, max_bytes: u64) -> Vec<u8> {
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let payload: Vec<u8> = (0..next() % max_bytes).map(|_| next() as u8).collect();
    encode(Envelope::data(session(number), seq, seq, seq), &payload).unwrap()
}

fn data(number: u8, seq: u64) -> Vec<u8> {
    data_up_to(number, seq, 3000)
}

/// All that is in a spool, in order.
fn contents(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut after = 0;
    while let Some((seq, frame)) = spool.next_after(after).unwrap() {
        all.push((seq, frame));
        after = seq;
    }
    all
}

fn seq_of(frame: &[u8]) -> u64 {
    Frame::parse(frame).unwrap().envelope.seq
}

/// Fails instead of hanging.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// Runs an ignored test of this binary, one that plays a part in another test, as a process of its own.
fn spawn_part(name: &str, dir: &Path) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("{module}::{name}"))
        .env(PART_DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The one spool whose collector is dead. Other tests start processes, and such a child holds the locks of
/// this process from its fork to its exec, so it may take a moment until a lock is free.
fn only_orphan(root: &Path) -> Orphan {
    for _ in 0..10_000 {
        let mut orphans = Spool::orphans(root).unwrap();
        assert!(orphans.len() <= 1, "{orphans:?}");
        if let Some(orphan) = orphans.pop() {
            return orphan;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("no orphan in {}", root.display());
}

/// Says loudly what can't be tested here; a failure with `HEAPTIDE_REQUIRE_ALL=1`.
fn skip(test: &str, why: &str) {
    use std::io::Write as _;
    let required = std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "HEAPTIDE_REQUIRE_ALL=1, yet {test} can't run: {why}");
    eprintln!("SKIP {test}: {why}");
    if let Some(path) = std::env::var_os("HEAPTIDE_SKIP_FILE") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // The line above has said it already.
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

const PART_DIR: &str = "HEAPTIDE_TEST_PART_DIR";

/// For a part: where it should work. `None` if someone runs all ignored tests.
fn part_dir() -> Option<std::path::PathBuf> {
    std::env::var_os(PART_DIR).map(Into::into)
}
