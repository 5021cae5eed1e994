//! What can go wrong with eBPF, and what the person at the keyboard can do about it.

use std::{fmt::Write as _, io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::{
    attach::Program,
    rights::{Capability, remedy},
    tracefs,
};

/// Why eBPF did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// A system call was refused.
    #[error("no right to {doing}: {remedy}")]
    NoRight {
        /// What was tried.
        doing: &'static str,
        /// Which capability is missing, and how to get it.
        remedy: String,
    },
    /// The system call tracepoints can't be found without tracefs.
    #[error(
        "tracefs is not mounted: mapping system calls can't be observed until \
         `mount -t tracefs nodev /sys/kernel/tracing` has run"
    )]
    NoTracefs,
    /// This kernel lacks something.
    #[error("kernel {release} has no {feature}; Linux 5.15 or newer is needed, built with {config}")]
    NoFeature {
        /// From uname(2).
        release: String,
        /// What it lacks.
        feature: &'static str,
        /// The kernel's build options.
        config: &'static str,
    },
    /// The kernel's verifier refused a program.
    #[error(
        "kernel {release} rejected the eBPF program {program}: {reason}; the verifier's last words: {log_tail}"
    )]
    Rejected {
        /// From uname(2).
        release: String,
        /// The program.
        program: &'static str,
        /// The error of bpf(2).
        reason: io::Error,
        /// The last lines of the verifier's log.
        log_tail: String,
    },
    /// The object file is damaged or of another version.
    #[error("not a usable eBPF object: {reason}; build it again with `cargo xtask build`")]
    BadObject {
        /// What is wrong with it.
        reason: String,
    },
    /// The process has ended or never was.
    #[error("no process {pid}: it has ended, or the id is of another pid namespace")]
    ProcessGone {
        /// The id asked for.
        pid: u32,
    },
    /// The id is that of a thread.
    #[error("{pid} is a thread of process {tgid}: attach to {tgid}")]
    NotAProcess {
        /// The id asked for.
        pid: u32,
        /// Its process.
        tgid: u32,
    },
    /// The process belongs to somebody else.
    #[error("process {pid} is not ours: its executable can't be read ({remedy})")]
    NotOurs {
        /// The id asked for.
        pid: u32,
        /// Which capability is missing, and how to get it.
        remedy: String,
    },
    /// It is attached already.
    #[error("process {pid} is attached already")]
    AlreadyAttached {
        /// The id asked for.
        pid: u32,
    },
    /// It is not attached.
    #[error("process {pid} is not attached")]
    NotAttached {
        /// The id asked for.
        pid: u32,
    },
    /// As many processes as fit are attached.
    #[error("{max} processes are watched already: detach one first")]
    TooManyTargets {
        /// How many fit.
        max: u32,
    },
    /// The bytes at a site are not those that were expected, so a breakpoint there could break the program.
    #[error(
        "refused to probe {program:?} at file offset {file_offset:#x} of {}: found bytes {found:02x?}, \
         expected {expected:02x?}; the file is not the one that the site was computed from", path.display()
    )]
    WrongSite {
        /// What was to be attached.
        program: Program,
        /// The executable.
        path: PathBuf,
        /// Where.
        file_offset: u64,
        /// What is there.
        found: Vec<u8>,
        /// What should be there.
        expected: &'static [u8],
    },
    /// The kernel can't emulate the instruction at a site.
    #[error(
        "refused to probe {program:?} at file offset {file_offset:#x} of {}: the kernel would single-step \
         the instruction there, which costs 20 to 50 times as much", path.display()
    )]
    SingleStepped {
        /// What was to be attached.
        program: Program,
        /// The executable.
        path: PathBuf,
        /// Where.
        file_offset: u64,
    },
    /// The ring buffer's size is not one that the kernel takes.
    #[error("ring of {got_bytes} bytes, expected a power of two from 4096 to 1073741824")]
    RingSize {
        /// The size asked for.
        got_bytes: u32,
    },
    /// A file could not be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that the kernel said.
    #[error("can't {doing}: {reason}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The error with its causes.
        reason: String,
    },
}

const BPF_CONFIG: &str = "CONFIG_BPF_SYSCALL, CONFIG_UPROBE_EVENTS and CONFIG_DEBUG_INFO_BTF";

impl BpfError {
    /// From an error while the object was read and its maps were made.
    pub(super) fn loading(error: &EbpfError) -> Self {
        match error {
            EbpfError::MapError(map) => Self::map("create eBPF maps", map),
            EbpfError::ProgramError(program) => Self::loading_program("", program),
            _ => Self::BadObject { reason: chain(error) },
        }
    }

    /// From an error while a program was loaded.
    pub(super) fn loading_program(program: &'static str, error: &ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log = verifier_log.to_string();
                if is_refusal(io_error) && log.trim().is_empty() {
                    return Self::NoRight {
                        doing: "load eBPF programs",
                        remedy: remedy(&[Capability::Bpf, Capability::Perfmon]),
                    };
                }
                Self::Rejected {
                    release: release(),
                    program,
                    reason: copy(io_error),
                    log_tail: tail(&log, 6),
                }
            }
            ProgramError::MapError(map) => Self::map("load eBPF programs", map),
            other => Self::Kernel {
                doing: "load eBPF programs",
                reason: chain(other),
            },
        }
    }

    /// From an error while a program was attached to a uprobe of `pid`.
    pub(super) fn attaching(pid: u32, error: &io::Error) -> Self {
        if is_refusal(error) {
            return Self::NoRight {
                doing: "attach a uprobe",
                remedy: remedy(&[Capability::SysAdmin, Capability::DacReadSearch]),
            };
        }
        match error.raw_os_error() {
            // ESRCH: perf_event_open(2) finds no such process.
            Some(3) => Self::ProcessGone { pid },
            _ => Self::Kernel {
                doing: "attach a uprobe",
                reason: chain(error),
            },
        }
    }

    /// When the kernel doesn't say how uprobes are asked for.
    pub(super) fn no_uprobes() -> Self {
        Self::NoFeature {
            release: release(),
            feature: "uprobes",
            config: BPF_CONFIG,
        }
    }

    /// From an error while a program was attached to a tracepoint.
    pub(super) fn attaching_tracepoint(error: &ProgramError) -> Self {
        match io_error(error) {
            Some(io_error) if is_refusal(io_error) => Self::NoRight {
                doing: "attach to the tracepoints of mapping system calls",
                remedy: remedy(&[Capability::SysAdmin, Capability::DacReadSearch]),
            },
            Some(io_error) if io_error.kind() == io::ErrorKind::NotFound => Self::NoFeature {
                release: release(),
                feature: "system call tracepoints",
                config: "CONFIG_FTRACE_SYSCALLS",
            },
            _ => Self::Kernel {
                doing: "attach to a tracepoint",
                reason: chain(error),
            },
        }
    }

    /// When the kernel lacks a tracepoint, or has another one of that name.
    pub(super) fn no_tracepoint(feature: &'static str, config: &'static str) -> Self {
        Self::NoFeature {
            release: release(),
            feature,
            config,
        }
    }

    /// From an error while a program was attached to a tracepoint that is on demand.
    pub(super) fn attaching_event(feature: &'static str, config: &'static str, error: &ProgramError) -> Self {
        match io_error(error) {
            Some(io_error) if is_refusal(io_error) => Self::NoRight {
                doing: "attach to tracepoints",
                remedy: remedy(&[Capability::SysAdmin, Capability::DacReadSearch]),
            },
            Some(io_error) if io_error.kind() == io::ErrorKind::NotFound => {
                Self::no_tracepoint(feature, config)
            }
            _ => Self::Kernel {
                doing: "attach to a tracepoint",
                reason: chain(error),
            },
        }
    }

    /// When tracefs can't be read: it is not mounted, or not for us.
    pub(super) fn no_tracefs() -> Self {
        if !tracefs::is_mounted() {
            return Self::NoTracefs;
        }
        Self::NoRight {
            doing: "read tracefs, where the system call tracepoints are",
            remedy: remedy(&[Capability::DacReadSearch]),
        }
    }

    /// From an error of a map.
    pub(super) fn map(doing: &'static str, error: &MapError) -> Self {
        let io_error = match error {
            MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => Some(io_error),
            MapError::SyscallError(call) => Some(&call.io_error),
            _ => None,
        };
        match io_error {
            Some(io_error) if is_refusal(io_error) => Self::NoRight {
                doing,
                remedy: remedy(&[Capability::Bpf, Capability::Perfmon]),
            },
            // ENOSYS: no bpf(2) at all; EINVAL: no such type of map.
            Some(io_error) if matches!(io_error.raw_os_error(), Some(38 | 22)) => Self::NoFeature {
                release: release(),
                feature: "eBPF ring buffers",
                config: BPF_CONFIG,
            },
            _ => Self::Kernel {
                doing,
                reason: chain(error),
            },
        }
    }
}

/// EPERM and EACCES.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn io_error(error: &ProgramError) -> Option<&io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io_error) = error.downcast_ref::<io::Error>() {
            return Some(io_error);
        }
        cause = error.source();
    }
    // Transparent variants skip themselves in the chain of sources.
    match error {
        ProgramError::SyscallError(call) => Some(&call.io_error),
        ProgramError::IOError(io_error) => Some(io_error),
        _ => None,
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::other(error.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The last lines of a text, on one line.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join(" | ")
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
