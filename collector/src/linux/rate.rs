//! `runtime.MemProfileRate`, read and, if allowed, written in the running program.
//!
//! Writing is the one thing that Heaptide does to a watched program, so it is undone: at detach by
//! [`RateControl::restore`], and after a crash of the collector, `kill -9` included, by a guard: a small
//! process of its own that holds the other end of a pipe and puts the first value back when the pipe
//! closes. Neither touches a value that somebody else has written in the meantime.
//!
//! A collector that may write starts the guard before it gives up the right to start anything. Each line to it is
//! `ORIGINAL RATE` before a write, or `forget` when there is nothing to put back any more.

use super::confine::{self, Calls};
use super::process::Process;
use crate::CollectorError;
use rustix::thread::CapabilitySet;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Name of the hidden subcommand that runs [`guard`].
pub const GUARD_COMMAND: &str = "restore-guard";
/// There is nothing to put back any more.
const FORGET: &str = "forget";

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
            // The guard holds the older value. One that has ended puts nothing back either.
            let _ = self.tell_guard(FORGET);
        }
        self.original_bytes = Some(bytes);
    }

    /// Starts the guard, as long as this process may start another.
    pub fn arm(&mut self, process: &Process) -> io::Result<()> {
        if self.guard.is_none() {
            self.guard = Some(self.start_guard(process)?);
        }
        Ok(())
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
        self.arm(process)
            .and_then(|()| self.tell_guard(&format!("{original} {rate_bytes}")))
            .map_err(|source| failed("guard", source))?;
        write_word(process, self.address, rate_bytes).map_err(|source| failed("write", source))?;
        self.written_bytes = Some(rate_bytes);
        Ok(())
    }

    /// Puts the program's own value back, unless somebody else has changed ours.
    pub fn restore(&mut self, process: &Process) -> Result<(), CollectorError> {
        if let (Some(original), Some(written)) = (self.original_bytes, self.written_bytes) {
            // A process that has ended needs nothing.
            if self.read(process).is_ok_and(|now| now == written) && process.stat().is_ok() {
                write_word(process, self.address, original)
                    .map_err(|source| CollectorError::io("can't restore MemProfileRate", source))?;
            }
            self.written_bytes = None;
            // One that has ended puts nothing back either.
            let _ = self.tell_guard(FORGET);
        }
        Ok(())
    }

    fn start_guard(&self, process: &Process) -> io::Result<Child> {
        Command::new(&self.guard_executable)
            .arg(GUARD_COMMAND)
            .arg(process.pid().to_string())
            .arg(process.start_ticks().to_string())
            .arg(self.address.to_string())
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
}

impl Drop for RateControl {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // It reads the end of the pipe, puts back what has not been put back, and ends.
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// The guard's own life: reads what was written, waits for the end of the pipe, puts the first value back.
pub fn guard(pid: u32, start_ticks: u64, address: u64) -> io::Result<()> {
    let Ok(process) = Process::open(pid) else {
        return Ok(());
    };
    if process.start_ticks() != start_ticks {
        return Ok(());
    }
    confine::keep(CapabilitySet::SYS_PTRACE)?;
    let calls = Calls {
        writes: true,
        ..Calls::default()
    };
    // A kernel that has no filters needs the guard all the same.
    let _ = calls.refuse_others();
    let mut books = Books::default();
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) => books.note(&line),
            Err(_) => break,
        }
    }
    // A process that has ended needs nothing.
    if process.stat().is_ok()
        && let Some(original) = books.to_restore(process.read_word(address)?)
    {
        write_word(&process, address, original)?;
    }
    Ok(())
}

/// What the guard was told.
#[derive(Debug, Default)]
struct Books {
    original: u64,
    announced: Vec<u64>,
}

impl Books {
    fn note(&mut self, line: &str) {
        if line == FORGET {
            self.announced.clear();
        }
        let numbers = line
            .split_once(' ')
            .and_then(|(original, rate)| Some((original.parse().ok()?, rate.parse().ok()?)));
        if let Some((original, rate)) = numbers {
            self.original = original;
            self.announced.push(rate);
        }
    }

    /// What to write where this stands now, if it is ours.
    fn to_restore(&self, now: u64) -> Option<u64> {
        self.announced.contains(&now).then_some(self.original)
    }
}

/// One aligned word; Go reads it without a lock.
fn write_word(process: &Process, address: u64, value: u64) -> io::Result<()> {
    process.write_memory(address, &value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_puts_back_what_stands_there_from_us_and_nothing_else() {
        let table: [(&[&str], u64, Option<u64>); 7] = [
            (&[], 0, None),
            (&["524288 1024"], 1024, Some(524_288)),
            (&["524288 1024"], 2048, None),
            (&["524288 1024", "524288 2048"], 1024, Some(524_288)),
            (&["524288 1024", FORGET], 1024, None),
            (&["524288 1024", FORGET, "4096 1024"], 1024, Some(4096)),
            (&["nonsense", "1", " "], 1, None),
        ];
        for (lines, now, expected) in table {
            let mut books = Books::default();
            lines.iter().for_each(|line| books.note(line));
            assert_eq!(books.to_restore(now), expected, "{lines:?} {now}");
        }
    }
}
