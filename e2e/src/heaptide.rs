//! The binary under test: a hub, and collectors.

use crate::console::Console;
use crate::process::Process;
use crate::wait::until;
use heaptide_protocol::SessionId;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `heaptide hub` on a free port, with its data in a folder of its own.
#[derive(Debug)]
pub struct Hub {
    pub process: Process,
    pub address: SocketAddr,
    pub data: PathBuf,
    binary: PathBuf,
    folder: tempfile::TempDir,
}

impl Hub {
    #[must_use]
    pub fn start(binary: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the hub");
        let data = folder.path().join("hub");
        Self::start_in(binary, &data, folder)
    }

    /// With its data in this folder.
    #[must_use]
    pub fn start_at(binary: &Path, data: &Path) -> Self {
        Self::start_in(binary, data, tempfile::tempdir().expect("a folder for spools"))
    }

    /// On this address, with more options.
    #[must_use]
    pub fn start_with(binary: &Path, listen: SocketAddr, options: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the hub");
        let data = folder.path().join("hub");
        Self::start_so(binary, listen, &data, folder, options)
    }

    fn start_in(binary: &Path, data: &Path, folder: tempfile::TempDir) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_so(binary, free, data, folder, &[])
    }

    fn start_so(
        binary: &Path,
        listen: SocketAddr,
        data: &Path,
        folder: tempfile::TempDir,
        options: &[String],
    ) -> Self {
        let (process, address) = start(binary, listen, data, options);
        Self {
            process,
            address,
            binary: binary.to_owned(),
            data: data.to_owned(),
            folder,
        }
    }

    /// `kill -9`, and a new one on the same port and data.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.restart();
    }

    /// A new one on the same port and data, after the old one has gone.
    pub fn restart(&mut self) {
        let (process, address) = start(&self.binary, self.address, &self.data, &[]);
        assert_eq!(address, self.address);
        self.process = process;
    }

    /// Where this hub's collectors spool.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    #[must_use]
    pub fn console(&self) -> Console {
        Console::connect(self.address)
    }

    /// `heaptide run`, with more options, of a program with its flags, both between blanks.
    #[must_use]
    pub fn run(&self, options: &str, program: &Path, flags: &str) -> Process {
        let mut command = self.collector("run");
        command
            .args(options.split_whitespace())
            .arg("--")
            .arg(program)
            .args(flags.split_whitespace());
        Process::start(&mut command)
    }

    /// `heaptide attach`, with more options, in force.
    #[must_use]
    pub fn attach(&self, options: &str, pid: u32) -> Watcher {
        let mut command = self.collector("attach");
        command.args(options.split_whitespace()).arg(pid.to_string());
        Watcher::new(Process::start(&mut command))
    }

    /// A collector of this hub, without its last arguments.
    #[must_use]
    pub fn collector(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args([subcommand, "--hub", &self.url(), "--spool"])
            .arg(self.spool());
        command
    }
}

fn start(binary: &Path, listen: SocketAddr, data: &Path, options: &[String]) -> (Process, SocketAddr) {
    let mut command = Command::new(binary);
    let process = Process::start(
        command
            .args(["hub", "--listen", &listen.to_string(), "--data"])
            .arg(data)
            .args(options),
    );
    let address = until("the hub's address", || {
        process
            .out
            .find(|line| line.strip_prefix("http://")?.trim_end_matches('/').parse().ok())
            .ok_or_else(|| process.err.text())
    });
    (process, address)
}

/// A collector that watches a program.
#[derive(Debug)]
pub struct Watcher {
    pub process: Process,
    pub session: SessionId,
}

impl Watcher {
    /// Waits until the collector watches.
    #[must_use]
    pub fn new(process: Process) -> Self {
        let session = session_of(&process);
        Self { process, session }
    }

    /// Ctrl-C: detaches, and waits for its end.
    pub fn detach(mut self) -> i32 {
        self.process.signal(rustix::process::Signal::INT);
        self.process.code()
    }
}

/// The session that a collector has announced, with the address of its console.
#[must_use]
pub fn session_of(collector: &Process) -> SessionId {
    let line = collector.says("console: ");
    line.rsplit('/')
        .next()
        .and_then(|id| id.trim().parse().ok())
        .unwrap_or_else(|| panic!("no session in {line:?}"))
}
