//! The one call that needs `unsafe`: a child that dies with the thread that started it, so that a killed test
//! leaves nothing behind.

#![expect(unsafe_code, reason = "CommandExt::pre_exec has no safe form")]

use rustix::process::{Signal, set_parent_process_death_signal};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Has the kernel kill the process when the calling thread ends (`PR_SET_PDEATHSIG`, prctl(2)).
pub(crate) fn dies_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: runs between fork and exec and makes one system call, which is async-signal-safe.
    unsafe { command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)) }
}
