//! `targets/goroutines`, running, with its answers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use heaptide_collector::linux::{GoTarget, Process, goroutines};
use heaptide_collector::pipeline::Symbolize as _;

use crate::go::Binary;

/// What the program says of itself; see its source.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Report {
    pub(crate) main: u64,
    pub(crate) dump: String,
    pub(crate) count: u64,
    pub(crate) leaked: Vec<u64>,
    pub(crate) created: Option<Vec<u64>>,
    pub(crate) grown: Option<Vec<u64>>,
}

/// The program, waiting for a line.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub(crate) process: Process,
    pub(crate) go: GoTarget,
}

pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/goroutines")
}

impl Program {
    /// With the answer that it begins with.
    pub(crate) fn start(binary: &Binary) -> (Self, Report) {
        let mut child = Command::new(&binary.path)
            .env("GOMAXPROCS", "2")
            // No collection but those that are asked for: none of these halves a stack unseen.
            .env("GOGC", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        // Until it speaks it may still be the process that was forked for it.
        let report = answer(&mut stdout);
        let process = Process::open(child.id()).expect("the process");
        let go = GoTarget::load(&process).expect("a Go program");
        let program = Self {
            child,
            stdin,
            stdout,
            process,
            go,
        };
        (program, report)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ask(&mut self, line: &str) -> Report {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        writeln!(stdin, "{line}").expect("write to the program");
        self.answer()
    }

    fn answer(&mut self) -> Report {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line from the program");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn census(&self) -> goroutines::Census {
        let (allgs, offsets, _) = self.go.goroutines().expect("the list of goroutines");
        let plan = goroutines::Plan {
            allgs,
            offsets,
            walk_ns: 60_000_000_000,
        };
        goroutines::Census::take(&self.process, &plan).expect("a census")
    }

    /// Function and line of each call at an address, innermost first.
    pub(crate) fn calls(&mut self, pc: u64, is_return: bool) -> Vec<(String, u32)> {
        let mut calls = Vec::new();
        self.go.symbolize(pc, is_return, &mut |symbol| {
            calls.push((symbol.function.to_owned(), symbol.line));
        });
        calls
    }

    /// Of a whole stack: an instruction, then return addresses.
    pub(crate) fn stack(&mut self, pcs: &[u64]) -> Vec<(String, u32)> {
        let mut calls = Vec::new();
        for (at, pc) in pcs.iter().enumerate() {
            calls.extend(self.calls(*pc, at > 0));
        }
        calls
    }
}

fn answer(stdout: &mut BufReader<ChildStdout>) -> Report {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line from the program");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
