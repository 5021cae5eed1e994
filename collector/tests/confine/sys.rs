//! Any system call by its number, which nothing else can make.

#![expect(unsafe_code, reason = "syscall(2) has no safe form")]

use std::io;

/// The error of a system call with nothing but -1; 0 if it takes that.
pub(crate) fn error_of(number: libc::c_long) -> i32 {
    // SAFETY: -1 is no address, descriptor, process or length, so no call that is tried here reads or writes memory
    // of this process, nor changes what the rest of the child depends on.
    match unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) } {
        -1 => io::Error::last_os_error().raw_os_error().unwrap_or_default(),
        _ => 0,
    }
}
