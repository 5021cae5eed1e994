//! `targets/memory`, built in several ways and spoken to.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

/// Says loudly that something could not be tested; a failure when `HEAPTIDE_REQUIRE_ALL=1`.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, yet {why}"
    );
    eprintln!("SKIP: {why}");
}

/// One binary.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    name: String,
    path: PathBuf,
    is_plain: bool,
}

/// Ways to build; only the newest and an old version are built in all of them.
const WAYS: [(&str, &[&str]); 4] = [
    ("plain", &[]),
    ("stripped", &["-ldflags=-s -w"]),
    ("pie-stripped", &["-buildmode=pie", "-ldflags=-s -w"]),
    ("cgo-stripped", &["-tags=withcgo", "-ldflags=-s -w"]),
];

/// Built once for all tests of this file; a folder of this process's own, removed with the build folder.
pub(crate) fn builds() -> Vec<Build> {
    static BUILDS: OnceLock<Vec<Build>> = OnceLock::new();
    BUILDS.get_or_init(build_all).clone()
}

fn build_all() -> Vec<Build> {
    let mut builds = Vec::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory-targets");
    std::fs::create_dir_all(&folder).expect("a folder");
    for minor in 19..=27 {
        let Some(go) = std::env::var_os(format!("HEAPTIDE_GO_1_{minor}")) else {
            continue;
        };
        let few = !matches!(minor, 22 | 27);
        for (way, flags) in WAYS {
            if few && way != "stripped" || way.starts_with("cgo") && !has_c_compiler() {
                continue;
            }
            let name = format!("go1.{minor} {way}");
            let path = folder.join(format!("memory-{minor}-{way}"));
            let mut command = Command::new(&go);
            for (key, value) in [
                ("GOFLAGS", "-mod=mod"),
                ("GOPROXY", "off"),
                ("GOTOOLCHAIN", "local"),
                ("CGO_ENABLED", if way.starts_with("cgo") { "1" } else { "0" }),
            ] {
                command.env(key, value);
            }
            let status = command
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/memory"))
                .args(["build", "-buildvcs=false"])
                .args(flags)
                .arg("-o")
                .arg(&path)
                .arg(".")
                .status()
                .expect("run go build");
            assert!(status.success(), "go build of {name}");
            builds.push(Build {
                name,
                path,
                is_plain: way == "plain" || few,
            });
        }
    }
    if builds.is_empty() {
        skip("no Go toolchain: set HEAPTIDE_GO_1_27=/path/to/go, and others from HEAPTIDE_GO_1_19 on");
    }
    builds
}

fn has_c_compiler() -> bool {
    let found = Command::new("gcc").arg("--version").output().is_ok();
    if !found {
        skip("no gcc: cgo is not tested");
    }
    found
}

/// The program, running and waiting for a line.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) is_plain: bool,
    /// What C holds in it.
    pub(crate) native_bytes: u64,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    answer: Vec<u64>,
}

impl Program {
    pub(crate) fn start(build: Build) -> Self {
        let mut child = Command::new(&build.path)
            .env("GOMAXPROCS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut program = Self {
            name: build.name,
            is_plain: build.is_plain,
            native_bytes: 0,
            child,
            stdin,
            stdout,
            answer: Vec::new(),
        };
        program.native_bytes = program.hear()[0];
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line, and the numbers of the answer.
    pub(crate) fn ask(&mut self, line: &str) -> &[u64] {
        self.tell(line);
        self.hear()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .expect("write to the program");
    }

    pub(crate) fn hear(&mut self) -> &[u64] {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line from the program");
        let words = line.split_ascii_whitespace().skip(1);
        self.answer = words.map(|word| word.parse().expect("a number")).collect();
        &self.answer
    }

    /// It stands still from when this returns.
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        while !stat().contains(") T ") {
            std::thread::yield_now();
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signal the program");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
