//! `targets/exact`, running.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::go::Binary;

/// What one site allocates.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Site {
    pub(crate) function: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) class: u32,
    pub(crate) size: u64,
    pub(crate) count: u64,
}

/// What the program says of itself; see its source.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Report {
    pub(crate) mallocs: u64,
    pub(crate) checksum: i64,
    pub(crate) sites: Vec<Site>,
    pub(crate) samples: u64,
}

/// The program, waiting at its "ready" line at first.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn source() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/exact")
    }

    pub(crate) fn start(binary: &Binary, arguments: &[&str]) -> Self {
        let mut child = Command::new(&binary.path)
            .args(arguments)
            .env("GOMAXPROCS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut program = Self { child, stdin, stdout };
        assert_eq!(program.line(), "ready\n");
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it allocate, without waiting for it.
    pub(crate) fn go(&mut self) {
        self.say("go\n");
    }

    /// Waits until it has allocated.
    pub(crate) fn done(&mut self) {
        assert_eq!(self.line(), "done\n");
    }

    /// What it counted.
    pub(crate) fn report(&mut self) -> Report {
        self.say("report\n");
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// From beginning to end with nobody watching.
    pub(crate) fn alone(binary: &Binary, arguments: &[&str]) -> Report {
        let mut program = Self::start(binary, arguments);
        program.go();
        program.done();
        program.report()
    }

    /// Ends it; it must end well.
    pub(crate) fn end(mut self) {
        self.stdin = None;
        let status = self.child.wait().expect("wait for the program");
        assert!(status.success(), "{status}");
    }

    fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("open until the end");
        stdin.write_all(text.as_bytes()).expect("write to the program");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line from the program");
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
