//! Uprobes in one process: opened here, or by a helper that holds the right which that takes.
//!
//! The executable is opened once. What is checked and what the kernel puts breakpoints into are then the same file,
//! whatever happens to its name.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::programs::UProbe;

use super::{
    attach::{ProbePoint, check_process, check_sites},
    error::BpfError,
    helper::Helper,
    rights::{Capability, remedy},
    sys,
};

/// Says that uprobes are there, and by what number they are asked for.
const KIND_FILE: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Where the uprobes of a process come from. Clones share it.
#[derive(Debug, Clone)]
pub struct ProbeSource(Arc<Source>);

#[derive(Debug)]
struct Source {
    pid: u32,
    /// For messages.
    path: PathBuf,
    executable: File,
    helper: Option<Helper>,
}

/// A program at a uprobe, until it is dropped.
#[derive(Debug)]
pub(super) struct UprobeLink(#[expect(dead_code, reason = "closing it takes the breakpoint off")] OwnedFd);

impl ProbeSource {
    /// Uprobes in a process, opened by this one. Without a path in the executable that it runs, which
    /// `/proc/PID/exe` finds in any mount namespace and after it was deleted or replaced.
    ///
    /// # Errors
    ///
    /// The process is gone, is a thread, or is not ours.
    pub fn here(pid: u32, executable: Option<&Path>) -> Result<Self, BpfError> {
        Self::open(pid, executable, None)
    }

    /// As [`Self::here`], opened by a helper of this process.
    ///
    /// # Errors
    ///
    /// As those of [`Self::here`].
    pub fn by(helper: Helper, pid: u32) -> Result<Self, BpfError> {
        Self::open(pid, None, Some(helper))
    }

    fn open(pid: u32, executable: Option<&Path>, helper: Option<Helper>) -> Result<Self, BpfError> {
        check_process(pid)?;
        let path = executable.map_or_else(|| PathBuf::from(format!("/proc/{pid}/exe")), Path::to_owned);
        let executable = File::open(&path).map_err(|source| match source.kind() {
            // A zombie or kernel thread has a status but no executable.
            io::ErrorKind::NotFound if path.starts_with("/proc") => BpfError::ProcessGone { pid },
            io::ErrorKind::PermissionDenied => BpfError::NotOurs {
                pid,
                remedy: remedy(&[Capability::SysPtrace, Capability::DacReadSearch]),
            },
            _ => BpfError::Read {
                path: path.clone(),
                source,
            },
        })?;
        Ok(Self(Arc::new(Source {
            pid,
            path,
            executable,
            helper,
        })))
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// That a breakpoint at these sites breaks nothing and costs little.
    pub(super) fn check(&self, sites: &[ProbePoint]) -> Result<(), BpfError> {
        check_sites(&self.0.executable, &self.0.path, sites)
    }

    /// Has a loaded program run at an offset in the executable.
    pub(super) fn attach(&self, program: &UProbe, file_offset: u64) -> Result<UprobeLink, BpfError> {
        let Source {
            pid,
            executable,
            helper,
            ..
        } = &*self.0;
        let failed = |error: io::Error| BpfError::attaching(*pid, &error);
        let program = program.fd().map_err(|error| failed(io::Error::other(error)))?;
        let event = match helper {
            Some(helper) => helper.open(file_offset).map_err(failed)?,
            None => {
                let path = path_of(executable).map_err(failed)?;
                sys::open_uprobe(kind()?, &path, file_offset, *pid).map_err(failed)?
            }
        };
        sys::link(program.as_fd(), event.as_fd())
            .map(UprobeLink)
            .map_err(failed)
    }
}

/// A path to an open file, for the kernel in a call of this process.
pub(super) fn path_of(file: &impl AsRawFd) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?)
}

/// The number of the kernel's uprobe events.
pub(super) fn kind() -> Result<u32, BpfError> {
    let text = std::fs::read_to_string(KIND_FILE).map_err(|_| BpfError::no_uprobes())?;
    text.trim().parse().map_err(|_| BpfError::no_uprobes())
}
