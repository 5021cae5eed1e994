//! The CPU clocks of other processes, for which std and rustix have no safe door.

#![expect(unsafe_code, reason = "clock_gettime with the id of another process's clock")]

use anyhow::{Result, bail};

/// CPU time of a process in nanoseconds: all its threads, those that have ended included (POSIX CPU clock;
/// kernel: kernel/time/posix-cpu-timers.c). Exact to the moment, where `/proc/PID/stat` counts in 10 ms.
pub(crate) fn process_cpu_ns(pid: u32) -> Result<u64> {
    // `(~pid << 3) | CPUCLOCK_SCHED`, as glibc's clock_getcpuclockid(3) makes it.
    const CPUCLOCK_SCHED: i32 = 2;
    let clock = (!(pid as i32) << 3) | CPUCLOCK_SCHED;
    match read(clock) {
        Some(ns) => Ok(ns),
        None => bail!("process {pid} is gone"),
    }
}

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live, writable timespec; any clock id is allowed and an unknown one refused.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_shows_on_both_clocks() {
        let (process, thread) = (process_cpu_ns(std::process::id()).unwrap(), thread_cpu_ns());
        let mut sum = 0_u64;
        while thread_cpu_ns() < thread + 5_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let spent = process_cpu_ns(std::process::id()).unwrap() - process;
        assert!(spent >= 5_000_000, "{spent}");
        assert!(process_cpu_ns(u32::MAX >> 4).is_err());
    }
}
