//! A small process that opens uprobes for a collector, so that the collector itself has no right to.
//!
//! Since July 2025 (Linux 6.16, and the stable series from 5.10 on; CVE-2025-38466) perf_event_open(2) asks
//! `CAP_SYS_ADMIN` for a uprobe, and that is nearly all that root can do. A collector has probes put in at any time,
//! when a policy says so. So this capability, and no other, stays in a process that opens uprobes in one executable
//! of one process, does what else its loop needs (see [`crate::linux::confine`]), and passes descriptors on. What is
//! run at them, the collector says.
//!
//! Asked are eight bytes, the offset in the executable; answered are four, an errno or 0, with the descriptor.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    thread::CapabilitySet,
};

use super::{sys, uprobes};
use crate::linux::{Process, confine};

/// Name of the hidden subcommand that runs [`serve`].
pub const HELPER_COMMAND: &str = "attach-helper";

const REQUEST_BYTES: usize = size_of::<u64>();
const ANSWER_BYTES: usize = size_of::<i32>();

/// The helper as a collector sees it. Dropped, it ends.
#[derive(Debug)]
pub struct Helper {
    /// `None` while it is dropped.
    socket: Mutex<Option<OwnedFd>>,
    child: Child,
}

impl Helper {
    /// Starts it for a process. `executable` must answer to [`HELPER_COMMAND`].
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub fn start(executable: &Path, process: &Process) -> io::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let child = Command::new(executable)
            .arg(HELPER_COMMAND)
            .arg(process.pid().to_string())
            .arg(process.start_ticks().to_string())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Away from the terminal's Ctrl-C.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            socket: Mutex::new(Some(ours)),
            child,
        })
    }

    /// Whether this process has the right that a helper is for.
    #[must_use]
    pub fn is_of_use() -> bool {
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
    }

    /// A uprobe at this offset in the executable.
    pub(super) fn open(&self, file_offset: u64) -> io::Result<OwnedFd> {
        // One at a time: a window of its own thread asks, too.
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the attach helper has ended");
        let socket = socket.as_ref().ok_or_else(gone)?;
        rustix::net::send(socket, &file_offset.to_le_bytes(), SendFlags::NOSIGNAL)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut passed = RecvAncillaryBuffer::new(&mut space);
        let mut answer = [0; ANSWER_BYTES];
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut answer)],
            &mut passed,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.bytes != ANSWER_BYTES {
            return Err(gone());
        }
        match i32::from_le_bytes(answer) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        let fds = passed.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        fds.flatten().next().ok_or_else(gone)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let socket = self.socket.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It reads the end of the stream and ends.
        drop(socket.take());
        let _ = self.child.wait();
    }
}

/// The helper's own life: opens what it is asked for on standard input until that ends.
///
/// # Errors
///
/// The process is not there; this one can't be confined; a request is none.
pub fn serve(pid: u32, start_ticks: u64) -> io::Result<()> {
    let process = Process::open(pid).map_err(io::Error::other)?;
    if process.start_ticks() != start_ticks {
        return Err(io::ErrorKind::NotFound.into());
    }
    let executable = File::open(format!("/proc/{pid}/exe"))?;
    drop(process);
    let path = uprobes::path_of(&executable)?;
    let kind = uprobes::kind().map_err(io::Error::other)?;
    confine::keep(CapabilitySet::SYS_ADMIN)?;
    confine::leave_only_probes()?;
    let socket = io::stdin();
    loop {
        let mut request = [0; REQUEST_BYTES];
        let length = match rustix::io::read(&socket, &mut request) {
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        match length {
            0 => return Ok(()),
            REQUEST_BYTES => {}
            other => return Err(io::Error::other(format!("request of {other} bytes, expected 8"))),
        }
        answer(
            &socket,
            &sys::open_uprobe(kind, &path, u64::from_le_bytes(request), pid),
        )?;
    }
}

fn answer(socket: &io::Stdin, opened: &io::Result<OwnedFd>) -> io::Result<()> {
    let errno = match opened {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let fds: Vec<_> = opened.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        // There is room for one.
        passed.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let bytes = errno.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut passed, SendFlags::NOSIGNAL)?;
    Ok(())
}
