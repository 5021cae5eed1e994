//! The few calls that need `unsafe`: a child that stops at its first instruction, the exit of a process that
//! isn't ours, many parts of its memory at once, a word written to it, and a file seen as memory.

#![expect(
    unsafe_code,
    reason = "ptrace(2), ioctl(2), process_vm_readv(2), process_vm_writev(2) and mmap(2) have no safe form"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use tokio::io::unix::AsyncFd;

/// Starts a command that stops right behind its `execve`, before its first instruction.
///
/// The calling thread is its tracer and must also call [`wait_for_exec`] and [`release`].
pub(crate) fn spawn_stopped(command: &mut Command) -> io::Result<Child> {
    // SAFETY: the closure runs in the child between fork and exec and makes one system call, which is
    // async-signal-safe; it touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    command.spawn()
}

/// Waits until a child of [`spawn_stopped`] stands behind its exec; otherwise returns its wait status.
pub(crate) fn wait_for_exec(pid: u32) -> io::Result<Result<(), i32>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, 0) };
    if waited < 0 {
        return Err(io::Error::last_os_error());
    }
    let stopped = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP;
    Ok(if stopped { Ok(()) } else { Err(status) })
}

/// Lets a child of [`spawn_stopped`] run, untraced.
pub(crate) fn release(pid: u32) -> io::Result<()> {
    // SAFETY: PTRACE_DETACH reads neither address nor data.
    match unsafe { libc::ptrace(libc::PTRACE_DETACH, pid as libc::pid_t, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// include/uapi/linux/pidfd.h, `struct pidfd_info`, first version with the exit code.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` with the size above.
const PIDFD_GET_INFO: libc::c_ulong =
    3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xff << 8 | 11;

/// Wait status of a process that has ended, ours or not. Linux 6.15 and newer; `None` before.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel writes at most the size that the request carries, which is that of `info`.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Waits for a file descriptor that the value owns.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `AsyncFd` owns the descriptor, so it stays open and the same for as long as it is registered.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Parts of another process's memory as (address, bytes), one behind the other into `into`, in one system
/// call. Says how many bytes came: fewer if a part can't be read. At most [`MAX_PARTS`].
pub(crate) fn read_parts(pid: u32, parts: &[(u64, usize)], into: &mut [u8]) -> io::Result<usize> {
    let wanted: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: wanted.min(into.len()),
    };
    let remote: Vec<libc::iovec> = parts
        .iter()
        .map(|(address, bytes)| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(*address as usize),
            iov_len: *bytes,
        })
        .collect();
    // SAFETY: the kernel writes at most `iov_len` bytes into `into`, which is that long and borrowed for this
    // call; the remote addresses are of the other process, and checked by the kernel.
    let got = unsafe {
        libc::process_vm_readv(
            pid as libc::pid_t,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Writes to another process's memory, all or an error. The kernel copies an aligned word in one move.
///
/// By process_vm_writev(2), which asks for `CAP_SYS_PTRACE` at most; `/proc/PID/mem` also asks for the right to
/// write a file of that user.
pub(crate) fn write_part(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel reads `iov_len` bytes of `bytes`, which is that long and borrowed for this call, and writes
    // none of them; the remote address is of the other process, and checked by the kernel.
    let put =
        unsafe { libc::process_vm_writev(pid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(put) {
        Ok(put) if put == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// `UIO_MAXIOV` of the kernel.
pub(crate) const MAX_PARTS: usize = 1024;

/// An executable in memory, shared with the page cache, so that a large one costs nothing.
#[derive(Debug)]
pub(crate) struct MappedFile {
    address: *mut libc::c_void,
    len: usize,
}

impl MappedFile {
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        // SAFETY: a private read-only mapping of `len` bytes; the result is checked before use.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { address, len })
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: mapped for `len` bytes until drop. The kernel refuses writes to a running executable
        // (ETXTBSY); one that is truncated all the same ends the collector with SIGBUS, as it does for perf.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows it any more.
        unsafe { libc::munmap(self.address, self.len) };
    }
}

// SAFETY: the mapping is private and never written.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}
