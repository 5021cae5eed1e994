//! `targets/hits`, running, and the records of a session about it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use heaptide_collector::linux::bpf::{
    BpfSession, ClassSet, MappingCall, ProbePoint, SyscallKind, TargetSpec, What, decode,
};

use crate::go::Binary;

/// Length of the program's own mappings, which the runtime never uses.
pub(crate) const MAP_LEN: u64 = 77 * 4096;

/// What the program says of itself; see its source.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Report {
    pub(crate) event: String,
    pub(crate) goid: u64,
    pub(crate) profiled_allocs: u64,
    pub(crate) profiled_frees: u64,
    pub(crate) cycles: u64,
    pub(crate) gc_pauses: u64,
    pub(crate) other_stops: u64,
    pub(crate) mapped: Option<Vec<u64>>,
    pub(crate) remapped: u64,
    pub(crate) brk: u64,
    pub(crate) advised: usize,
}

/// The program, waiting at its "ready" line at first.
pub(crate) struct Hits {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Hits {
    pub(crate) fn source() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/hits")
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .env("GOMAXPROCS", "2")
            // The runtime's own cycles only: those that the program asks for.
            .env("GOGC", "off")
            // See `settle` in its source.
            .env("GODEBUG", "asyncpreemptoff=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        report(&mut stdout, "ready");
        Self { child, stdin, stdout }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn spec(&self, binary: &Binary, sites: Vec<ProbePoint>) -> TargetSpec {
        TargetSpec {
            pid: self.pid(),
            executable: None,
            offsets: Some(binary.go.offsets().expect("a Go version of the table")),
            enabled: ClassSet::ALL,
            sites,
        }
    }

    pub(crate) fn spec_of_all(&self, binary: &Binary) -> TargetSpec {
        self.spec(binary, binary.all_sites())
    }

    /// Lets it work and reads its "done" line; it then waits until this is dropped. Drains the ring
    /// meanwhile, since the program stops for nobody.
    pub(crate) fn work(&mut self, session: &mut BpfSession, seen: &mut Seen) -> Report {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        stdin.write_all(b"go\n").expect("write to the program");
        let done = std::thread::scope(|scope| {
            let reader = scope.spawn(|| report(&mut self.stdout, "done"));
            while !reader.is_finished() {
                seen.drain(session);
                std::thread::yield_now();
            }
            reader.join().expect("the program's last line")
        });
        seen.drain(session);
        done
    }

    /// The same without draining.
    pub(crate) fn work_undrained(&mut self) -> Report {
        self.stdin
            .as_mut()
            .expect("open until dropped")
            .write_all(b"go\n")
            .expect("write to the program");
        report(&mut self.stdout, "done")
    }
}

impl Drop for Hits {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn report(stdout: &mut BufReader<ChildStdout>, event: &str) -> Report {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line from the program");
    let report: Report = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert_eq!(report.event, event);
    report
}

/// A mapping call as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappingSeen {
    pub(crate) call: MappingCall,
    pub(crate) result: i64,
    pub(crate) enter_ns: u64,
    pub(crate) exit_ns: u64,
    pub(crate) frames: Vec<u64>,
}

/// A sampled allocation as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllocSeen {
    pub(crate) ts_ns: u64,
    pub(crate) goid: Option<u64>,
    pub(crate) addr: u64,
    pub(crate) size_bytes: u64,
    pub(crate) frames: Vec<u64>,
    pub(crate) truncated: bool,
}

/// All records of a session, copied.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) records: u64,
    pub(crate) pids: std::collections::BTreeSet<u32>,
    pub(crate) allocs: Vec<AllocSeen>,
    /// Time, address, size.
    pub(crate) frees: Vec<(u64, u64, u64)>,
    pub(crate) cycle_starts: u64,
    pub(crate) mark_terminations: u64,
    /// Time and reason.
    pub(crate) stw_begins: Vec<(u64, u8)>,
    pub(crate) stw_ends: Vec<(u64, u8)>,
    pub(crate) stw_wakeps: Vec<u64>,
    pub(crate) mappings: Vec<MappingSeen>,
}

impl Seen {
    pub(crate) fn drain(&mut self, session: &mut BpfSession) {
        while session.poll(10_000, |bytes| self.take(bytes)).more {}
    }

    fn take(&mut self, bytes: &[u8]) {
        let record = decode(bytes).expect("a record of this build");
        let at = record.at;
        self.records += 1;
        self.pids.insert(at.tgid);
        match record.what {
            What::SampledAlloc {
                goid,
                addr,
                size_bytes,
                stack,
            } => self.allocs.push(AllocSeen {
                ts_ns: at.ts_ns,
                goid,
                addr,
                size_bytes,
                frames: stack.frames_with_caller().collect(),
                truncated: stack.is_truncated(),
            }),
            What::SampledFree { addr, size_bytes } => self.frees.push((at.ts_ns, addr, size_bytes)),
            What::GcCycleStart { .. } => self.cycle_starts += 1,
            What::GcMarkTermination => self.mark_terminations += 1,
            What::StwBegin { reason } => self.stw_begins.push((at.ts_ns, reason)),
            What::StwEnd { reason, .. } => self.stw_ends.push((at.ts_ns, reason)),
            What::StwEndWakep => self.stw_wakeps.push(at.ts_ns),
            What::Mapping {
                call,
                enter_ns,
                result,
                stack,
            } => self.mappings.push(MappingSeen {
                call,
                result,
                enter_ns,
                exit_ns: at.ts_ns,
                frames: stack.frames_with_caller().collect(),
            }),
            other => panic!("a record that this test does not know: {other:?}"),
        }
    }

    /// Calls of one kind that the program made itself, told by their length.
    pub(crate) fn own_mappings(&self, kind: SyscallKind) -> Vec<&MappingSeen> {
        let own = |seen: &&MappingSeen| match seen.call {
            MappingCall::Mmap { len, .. } => kind == SyscallKind::Mmap && (len == MAP_LEN || len == 0),
            MappingCall::Munmap { len, .. } => kind == SyscallKind::Munmap && len == MAP_LEN,
            MappingCall::Mremap { old_len, .. } => kind == SyscallKind::Mremap && old_len == MAP_LEN,
            MappingCall::Madvise { len, .. } => kind == SyscallKind::Madvise && len == MAP_LEN,
            MappingCall::Brk { .. } => kind == SyscallKind::Brk,
        };
        self.mappings.iter().filter(own).collect()
    }
}
