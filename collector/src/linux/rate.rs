//! `runtime.MemProfileRate`, read and, if allowed, written in the running program.
//!
//! Writing is the one thing that Heaptide does to a watched program, so it is undone: at detach by
//! [`RateControl::restore`], and after a crash of the collector, `kill -9` included, by a guard: a small
//! process of its own that holds the other end of a pipe and puts the first value back when the pipe
//! closes. Neither touches a value that somebody else has written in the meantime.

use super::process::Process;
use crate::CollectorError;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Name of the hidden subcommand that runs [`guard`].
pub const GUARD_COMMAND: &str = "restore-guard";

#[derive(Debug)]
pub struct RateControl {
    address: u64,
    /// The program's own value, before the first write.
    original_bytes: Option<u64>,
    written_bytes: Option<u64>,
    guard: Option<Child>,
    guard_executable: PathBuf,
}

impl RateControl {
    /// `guard_executable` must answer to [`GUARD_COMMAND`].
    pub fn new(address: u64, guard_executable: PathBuf) -> Self {
        Self {
            address,
            original_bytes: None,
            written_bytes: None,
            guard: None,
            guard_executable,
        }
    }

    pub fn read(&self, process: &Process) -> io::Result<u64> {
        process.read_word(self.address)
    }

    /// The program's own rate, as it was before the first write.
    pub fn original_bytes(&self) -> Option<u64> {
        self.original_bytes
    }

    pub fn written_bytes(&self) -> Option<u64> {
        self.written_bytes
    }

    /// The program has set its own value since we wrote: that is what it gets back.
    pub fn own_value_is(&mut self, bytes: u64) {
        if self.original_bytes.is_some_and(|original| original != bytes) {
            // The guard holds the older value: it ends, and the next write starts another.
            self.dismiss_guard();
        }
        self.original_bytes = Some(bytes);
    }

    /// Writes a rate. The guard knows of it before it happens.
    pub fn write(&mut self, process: &Process, rate_bytes: u64) -> Result<(), CollectorError> {
        let failed = |what: &str, source| {
            CollectorError::io(
                format!("can't {what} MemProfileRate of process {}", process.pid()),
                source,
            )
        };
        let before = self.read(process).map_err(|source| failed("read", source))?;
        let original = *self.original_bytes.get_or_insert(before);
        if self.guard.is_none() {
            self.guard = Some(
                self.start_guard(process, original)
                    .map_err(|source| failed("guard", source))?,
            );
        }
        self.tell_guard(&format!("{rate_bytes}"))
            .map_err(|source| failed("guard", source))?;
        write_word(process.pid(), self.address, rate_bytes).map_err(|source| failed("write", source))?;
        self.written_bytes = Some(rate_bytes);
        Ok(())
    }

    /// Puts the program's own value back, unless somebody else has changed ours.
    pub fn restore(&mut self, process: &Process) -> Result<(), CollectorError> {
        if let (Some(original), Some(written)) = (self.original_bytes, self.written_bytes) {
            // A process that has ended needs nothing.
            if self.read(process).is_ok_and(|now| now == written) && process.stat().is_ok() {
                write_word(process.pid(), self.address, original)
                    .map_err(|source| CollectorError::io("can't restore MemProfileRate", source))?;
            }
            self.written_bytes = None;
        }
        self.dismiss_guard();
        Ok(())
    }

    fn start_guard(&self, process: &Process, original: u64) -> io::Result<Child> {
        Command::new(&self.guard_executable)
            .arg(GUARD_COMMAND)
            .arg(process.pid().to_string())
            .arg(process.start_ticks().to_string())
            .arg(self.address.to_string())
            .arg(original.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Away from the terminal's Ctrl-C.
            .process_group(0)
            .spawn()
    }

    fn tell_guard(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.guard.as_mut().and_then(|guard| guard.stdin.as_mut());
        stdin.map_or(Ok(()), |stdin| stdin.write_all(format!("{line}\n").as_bytes()))
    }

    fn dismiss_guard(&mut self) {
        if self.tell_guard("done").is_ok()
            && let Some(mut guard) = self.guard.take()
        {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// The guard's own life: reads what was written, waits for the end of the pipe, puts the first value back.
pub fn guard(pid: u32, start_ticks: u64, address: u64, original: u64) -> io::Result<()> {
    let mut announced = Vec::new();
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) if line == "done" => return Ok(()),
            Ok(line) => announced.extend(line.parse::<u64>()),
            Err(_) => break,
        }
    }
    let Ok(process) = Process::open(pid) else {
        return Ok(());
    };
    if process.start_ticks() == start_ticks && announced.contains(&process.read_word(address)?) {
        write_word(pid, address, original)?;
    }
    Ok(())
}

/// One aligned word, copied by the kernel in one move (`access_remote_vm`); Go reads it without a lock.
fn write_word(pid: u32, address: u64, value: u64) -> io::Result<()> {
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    memory.write_all_at(&value.to_le_bytes(), address)
}
