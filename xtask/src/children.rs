//! Children that end with us: every process started here gets a process group of its own, and a signal to
//! xtask ends the groups, last started first, and waits for each.
//!
//! Last first, because in the demo the collector must put the watched program's sampling rate back before
//! the hub goes. A group gets SIGTERM and then, after [`GRACE`], SIGKILL. What this can't cover: `kill -9`
//! of xtask itself.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a group may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

static LIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();
static STOPPING: AtomicBool = AtomicBool::new(false);

/// A running child and its process group; dropping it ends the group.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) child: Child,
    group: Option<Pid>,
    reaped: Option<ExitStatus>,
}

impl Managed {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let program = command.get_program().to_string_lossy().into_owned();
        // The lock is held over the start, so that a signal either finds the child or stops it here.
        let mut live = lock();
        if STOPPING.load(Ordering::SeqCst) {
            anyhow::bail!("interrupted");
        }
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {program}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        live.extend(group);
        Ok(Self {
            child,
            group,
            reaped: None,
        })
    }

    /// Waits for the child, then ends whatever is left of its group.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.reaped {
            return Ok(status);
        }
        let status = self.child.wait()?;
        self.forget(status);
        Ok(status)
    }

    /// Ends the child's group if it is still there after this long.
    pub(crate) fn end_after(&self, limit: Duration) {
        let Some(group) = self.group else { return };
        thread::spawn(move || {
            if wait_for(group, limit) {
                return;
            }
            eprintln!("\nstill running after {} s: ending it", limit.as_secs());
            let _ = kill_process_group(group, Signal::TERM);
            if !wait_for(group, GRACE) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
    }

    /// The child's status if it has ended.
    pub(crate) fn poll(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.reaped.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.forget(status);
        }
        Ok(self.reaped)
    }

    fn forget(&mut self, status: ExitStatus) {
        self.reaped = Some(status);
        if let Some(group) = self.group {
            // Fails when the group is empty, which is the usual case.
            let _ = kill_process_group(group, Signal::KILL);
            lock().retain(|live| *live != group);
            ENDED.notify_all();
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if self.reaped.is_some() {
            return;
        }
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::TERM);
            // `child.wait` has no time limit, so a watcher makes the group's end certain.
            thread::spawn(move || {
                if !wait_for(group, GRACE) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
            });
        }
        let _ = self.wait();
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end every child's group and then this process.
pub(crate) fn watch_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("can't watch for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            STOPPING.store(true, Ordering::SeqCst);
            eprintln!("\nstopping …");
            stop_all();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Parks the caller for good when a signal is being dealt with; returns at once otherwise.
pub(crate) fn wait_if_stopping() {
    while STOPPING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Ends all groups, last started first.
fn stop_all() {
    loop {
        let Some(group) = lock().last().copied() else {
            return;
        };
        let _ = kill_process_group(group, Signal::TERM);
        if !wait_for(group, GRACE) {
            let _ = kill_process_group(group, Signal::KILL);
            wait_for(group, Duration::from_secs(1));
            lock().retain(|other| *other != group);
        }
    }
}

/// Whether the group's child was reaped within the time.
fn wait_for(group: Pid, limit: Duration) -> bool {
    let (live, _) = ENDED
        .wait_timeout_while(lock(), limit, |live| live.contains(&group))
        .unwrap_or_else(PoisonError::into_inner);
    !live.contains(&group)
}

fn lock() -> MutexGuard<'static, Vec<Pid>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use super::*;

    /// A shell that starts a process of its own; that process's number is its first line.
    fn family() -> (Managed, u32) {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped());
        let mut child = Managed::spawn(&mut command).unwrap();
        let mut line = String::new();
        BufReader::new(child.child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        (child, line.trim().parse().unwrap())
    }

    /// Returns when the process is gone or only waits to be reaped; hangs (and is ended by the harness's
    /// caller) if it never goes.
    fn wait_until_gone(pid: u32) {
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            match stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z')) {
                None | Some(true) => return,
                Some(false) => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_dropped_child_takes_its_own_children_along() {
        let (child, grandchild) = family();
        let own = child.child.id();
        drop(child);
        wait_until_gone(own);
        wait_until_gone(grandchild);
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended() {
        let (mut child, grandchild) = family();
        child.end_after(Duration::from_millis(1));
        assert!(!child.wait().unwrap().success());
        wait_until_gone(grandchild);
    }
}
