//! The two calls that aya makes in one go and that are apart here: opening a uprobe, which takes a right of its own,
//! and having a program run at it, which takes none.

#![expect(unsafe_code, reason = "perf_event_open(2) and bpf(2) have no safe form")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// include/uapi/linux/perf_event.h, `struct perf_event_attr` as of Linux 5.13.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    uprobe_path: u64,
    probe_offset: u64,
    rest: [u64; 7],
}

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// Opens a uprobe that hits in one process. `kind` is the number of the kernel's uprobe events.
pub(super) fn open_uprobe(kind: u32, executable: &CStr, file_offset: u64, pid: u32) -> io::Result<OwnedFd> {
    let attr = PerfEventAttr {
        kind,
        size: size_of::<PerfEventAttr>() as u32,
        uprobe_path: executable.as_ptr() as u64,
        probe_offset: file_offset,
        ..PerfEventAttr::default()
    };
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: the kernel reads `size` bytes of `attr` and the text that it points to; both outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            pid as libc::pid_t,
            any_cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    owned(fd)
}

/// include/uapi/linux/bpf.h, `union bpf_attr` for `BPF_LINK_CREATE` at a perf event.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PERF_EVENT: u32 = 41;

/// Has a loaded program run at an event for as long as the link is open (Linux 5.15).
pub(super) fn link(program: BorrowedFd<'_>, event: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = LinkCreate {
        program: program.as_raw_fd() as u32,
        target: event.as_raw_fd() as u32,
        attach_type: BPF_PERF_EVENT,
        ..LinkCreate::default()
    };
    // SAFETY: the kernel reads as many bytes of `attr` as it is told, which is its size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attr,
            size_of::<LinkCreate>(),
        )
    };
    owned(fd)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    // SAFETY: a new descriptor, which nobody else has.
    fd.map_or_else(
        || Err(io::Error::last_os_error()),
        |fd| Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    )
}
