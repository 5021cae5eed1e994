//! What can stop a collector from watching a program, and what to do about it.

use crate::linux::bpf::BpfError;
use crate::uplink::{SpoolError, UplinkError};
use heaptide_protocol::ProtocolError;
use heaptide_symbols::SymbolError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    #[error("there is no process {pid}; `pgrep -a NAME` lists process ids")]
    NoProcess { pid: u32 },
    #[error("process {pid} has ended and waits for its parent; there is nothing left to watch")]
    Zombie { pid: u32 },
    #[error("process {pid} belongs to user {owner}, and this is user {user}: run as that user or as root")]
    NotOurs { pid: u32, owner: u32, user: u32 },
    #[error(
        "can't read the memory of process {pid} ({source}): run as root with CAP_SYS_PTRACE, which a container \
         has to be given; for a program of your own, `sysctl kernel.yama.ptrace_scope=0` does"
    )]
    MemoryDenied { pid: u32, source: io::Error },
    #[error("{} is not a program that can be watched: {source}", path.display())]
    NotWatchable { path: PathBuf, source: SymbolError },
    #[error(
        "{} was built with Go {found}, and Heaptide knows the runtime from Go 1.{oldest_minor} on: rebuild it \
         with that or a newer one", path.display()
    )]
    GoVersion {
        path: PathBuf,
        found: String,
        oldest_minor: u32,
    },
    #[error("can't start {command:?}: {source}")]
    Spawn { command: String, source: io::Error },
    #[error("{command:?} ended before it could be watched: {how}")]
    EndedEarly { command: String, how: String },
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error(transparent)]
    Bpf(#[from] BpfError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the hub refused this collector: {message}")]
    Refused { message: String },
    #[error("can't write {}: {source}; make room there, or name another file", path.display())]
    Recording { path: PathBuf, source: io::Error },
    #[error("{} exists: name another file, or say --force to write over it", path.display())]
    RecordingExists { path: PathBuf },
    #[error("the eBPF programs are not in this binary: build it with `cargo xtask build`")]
    NoObject,
}

impl CollectorError {
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }
}
