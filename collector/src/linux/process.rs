//! One process: what it is, where its code lies, whether it still lives, and how it died.

use super::{proc, sys};
use crate::CollectorError;
use heaptide_protocol::section::EndReason;
use rustix::process::{Pid, PidfdFlags};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

/// A process that can't be mistaken for a later one with the same number.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    pidfd: OwnedFd,
    memory: fs::File,
    /// Kept open, because it is read four times a second.
    statm: fs::File,
    /// Kept open, because that takes a right which is given up later if the process is another user's.
    pagemap: io::Result<fs::File>,
}

/// Fields of `/proc/PID/stat` (proc_pid_stat(5)), those after the command in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub state: char,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub cpu_ticks: u64,
    pub threads: u64,
    pub start_ticks: u64,
    /// Wait status (wait(2)) of a zombie. 0 without the right to read it, which its owner has.
    pub exit_status: i32,
}

/// A mapped part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedPart {
    pub start: u64,
    pub end: u64,
    pub file_offset: u64,
    pub executable: bool,
    pub path: String,
}

impl Process {
    pub fn open(pid: u32) -> Result<Self, CollectorError> {
        let gone = || CollectorError::NoProcess { pid };
        let raw = Pid::from_raw(i32::try_from(pid).map_err(|_| gone())?).ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK).map_err(|_| gone())?;
        let stat = read_stat(pid).map_err(|_| gone())?;
        if matches!(stat.state, 'Z' | 'X') {
            return Err(CollectorError::Zombie { pid });
        }
        let owner = fs::metadata(format!("/proc/{pid}")).map_err(|_| gone())?.uid();
        let user = rustix::process::geteuid().as_raw();
        if user != 0 && owner != user {
            return Err(CollectorError::NotOurs { pid, owner, user });
        }
        let memory = fs::File::open(format!("/proc/{pid}/mem"))
            .map_err(|source| CollectorError::MemoryDenied { pid, source })?;
        let statm = fs::File::open(format!("/proc/{pid}/statm")).map_err(|_| gone())?;
        Ok(Self {
            pid,
            start_ticks: stat.start_ticks,
            pidfd,
            memory,
            statm,
            pagemap: fs::File::open(format!("/proc/{pid}/pagemap")),
        })
    }

    /// The same process, for another thread.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            pid: self.pid,
            start_ticks: self.start_ticks,
            pidfd: self.pidfd.try_clone()?,
            memory: self.memory.try_clone()?,
            statm: self.statm.try_clone()?,
            pagemap: self.pagemap(),
        })
    }

    /// `/proc/PID/pagemap`.
    pub(crate) fn pagemap(&self) -> io::Result<fs::File> {
        match &self.pagemap {
            Ok(file) => file.try_clone(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn executable(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default()
    }

    pub fn command_line(&self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    pub fn open_executable(&self) -> io::Result<fs::File> {
        fs::File::open(format!("/proc/{}/exe", self.pid))
    }

    pub fn stat(&self) -> io::Result<Stat> {
        let stat = read_stat(self.pid)?;
        if stat.start_ticks == self.start_ticks {
            Ok(stat)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Virtual and resident pages (proc_pid_statm(5)).
    pub(crate) fn pages(&self) -> io::Result<[u64; 2]> {
        let mut text = [0_u8; 128];
        let length = self.statm.read_at(&mut text, 0)?;
        let mut pages = text
            .get(..length)
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .map_while(|word| std::str::from_utf8(word).ok()?.parse().ok());
        match (pages.next(), pages.next()) {
            (Some(virtual_pages), Some(resident)) => Ok([virtual_pages, resident]),
            _ => Err(io::Error::other("statm has an unknown form")),
        }
    }

    /// Eight bytes of its memory, little-endian. Reading stops nothing.
    pub fn read_word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Fills `bytes` from its memory. Reading stops nothing.
    pub(crate) fn read_memory(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(bytes, address)
    }

    /// Writes to its memory. Nothing is stopped for it.
    pub(crate) fn write_memory(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        sys::write_part(self.pid, address, bytes)
    }

    pub fn mapped_parts(&self) -> io::Result<Vec<MappedPart>> {
        let text = proc::read(format!("/proc/{}/maps", self.pid))?;
        Ok(text.lines().filter_map(parse_mapping).collect())
    }

    /// How it ended, if it has: as long as its parent has not waited for it, `/proc` knows; then the pidfd does,
    /// on Linux 6.15 and newer.
    pub fn end(&self) -> EndReason {
        let of_zombie = self.stat().ok().filter(|stat| stat.state == 'Z');
        of_zombie
            .map(|stat| stat.exit_status)
            .or_else(|| sys::exit_status(self.pidfd()))
            .map_or(EndReason::Gone, describe_status)
    }
}

/// A wait status (wait(2)) in words of the protocol.
pub(crate) fn describe_status(status: i32) -> EndReason {
    if libc::WIFSIGNALED(status) {
        EndReason::Signalled {
            signal: libc::WTERMSIG(status),
        }
    } else {
        EndReason::Exited {
            code: libc::WEXITSTATUS(status),
        }
    }
}

fn read_stat(pid: u32) -> io::Result<Stat> {
    let text = proc::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))
}

/// The command may hold spaces and parentheses; the last `)` ends it.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text
        .get(text.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .collect();
    // Field 3 of the manual page is the first one here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        minor_faults: number(10)?,
        major_faults: number(12)?,
        cpu_ticks: number(14)? + number(15)?,
        threads: number(20)?,
        start_ticks: number(22)?,
        exit_status: fields.get(52 - 3)?.parse().ok()?,
    })
}

fn parse_mapping(line: &str) -> Option<MappedPart> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let path = fields.skip(2).collect::<Vec<_>>().join(" ");
    Some(MappedPart {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        file_offset,
        executable: rights.as_bytes().get(2) == Some(&b'x'),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_command_with_parentheses() {
        let numbers: Vec<String> = (1..=49).map(|number| number.to_string()).collect();
        let rest = format!("S {}", numbers.join(" "));
        let stat = parse_stat(&format!("42 (a) b) (c) {rest}")).unwrap();
        let expected = Stat {
            state: 'S',
            minor_faults: 7,
            major_faults: 9,
            cpu_ticks: 23,
            threads: 17,
            start_ticks: 19,
            exit_status: 49,
        };
        assert_eq!(stat, expected);
        for bad in ["", "42", "42 (a", "42 (a) S 1"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn mappings_are_read() {
        let line = "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/my server (deleted)";
        let part = parse_mapping(line).unwrap();
        assert_eq!(
            (part.start, part.end, part.file_offset, part.executable),
            (0x40_0000, 0x45_2000, 0x1000, true)
        );
        assert_eq!(part.path, "/usr/bin/my server (deleted)");
        assert_eq!(parse_mapping("7f00-7f10 rw-p 0 00:00 0").unwrap().path, "");
        assert_eq!(parse_mapping("nonsense"), None);
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = Process::open(4_194_305).unwrap_err();
        assert!(
            matches!(error, CollectorError::NoProcess { pid: 4_194_305 }),
            "{error}"
        );
    }

    #[test]
    fn the_exit_of_a_process_is_told() {
        let cases = [
            ("exit 7", EndReason::Exited { code: 7 }),
            ("kill -9 $$", EndReason::Signalled { signal: 9 }),
        ];
        for (script, expected) in cases {
            let mut child = std::process::Command::new("sh")
                .args(["-c", &format!("read line; {script}")])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let process = Process::open(child.id()).unwrap();
            drop(child.stdin.take());
            let mut ready = [rustix::event::PollFd::new(
                &process.pidfd,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut ready, None).unwrap();
            assert_eq!(process.end(), expected, "{script}, before its parent has waited");
            child.wait().unwrap();
            // Kernels before 6.15 can't tell.
            let end = process.end();
            assert!(end == expected || end == EndReason::Gone, "{script}: {end:?}");
        }
    }
}
