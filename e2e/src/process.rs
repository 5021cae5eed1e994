//! A started process with its output, and its end whatever becomes of the test.

use crate::wait::{lock, news, until};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

/// Lines that a process has written so far.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                lock(&into.lines).push(String::from_utf8_lossy(&line).into_owned());
                news();
            }
        });
        lines
    }

    #[must_use]
    pub fn all(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.lines).join("\n")
    }

    /// Takes out the first line that `wanted` has a value for; those before it stay.
    pub(crate) fn find<T>(&self, wanted: impl FnMut(&String) -> Option<T>) -> Option<T> {
        lock(&self.lines).iter().find_map(wanted)
    }
}

/// A process in a group of its own. The whole group is killed when this is dropped, so that a program that
/// was started by `heaptide run` goes too.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    pub out: Lines,
    pub err: Lines,
    ended: Option<ExitStatus>,
}

impl Process {
    /// # Panics
    /// When it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = crate::sys::dies_with_us(command)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        Self {
            name,
            stdin: child.stdin.take(),
            out: Lines::read(child.stdout.take().unwrap()),
            err: Lines::read(child.stderr.take().unwrap()),
            child,
            ended: None,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it no longer reads.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} reads no more: {error}", self.name));
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(self.raw_pid(), signal);
    }

    /// Sends a signal to it and to what it started, as a terminal does with Ctrl-C.
    pub fn signal_group(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process_group(self.raw_pid(), signal);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.ended = self.child.wait().ok();
    }

    pub fn has_ended(&mut self) -> bool {
        self.try_end().is_some()
    }

    /// Waits for its end: the exit code, or 128 and the signal, as shells tell it.
    pub fn code(&mut self) -> i32 {
        let what = format!("the end of {}", self.name);
        let status = until(&what, || self.try_end().ok_or_else(|| self.err.text()));
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Waits for its end and for all of its output.
    pub fn finish(mut self) -> Finished {
        let code = self.code();
        // A reader gives its lines up at the end of the pipe, a moment after the process has gone.
        let is_read = |lines: &Lines| Arc::strong_count(&lines.lines) == 1;
        until("the end of its output", || {
            (is_read(&self.out) && is_read(&self.err))
                .then_some(())
                .ok_or("still open")
        });
        Finished {
            code,
            out: self.out.text(),
            err: self.err.text(),
        }
    }

    /// Waits for a line on standard error with this text in it.
    pub fn says(&self, text: &str) -> String {
        until(&format!("{text:?} from {}", self.name), || {
            self.err
                .find(|line| line.contains(text).then(|| line.clone()))
                .ok_or_else(|| self.err.text())
        })
    }

    fn try_end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn raw_pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_group(rustix::process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of {}:\n{}", self.name, self.err.text());
        }
    }
}

/// Runs a command to its end: exit code, standard output, standard error.
///
/// # Panics
/// When it can't be started or doesn't end.
pub fn finish<I: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = I>,
) -> Finished {
    finish_command(Command::new(program).args(arguments))
}

/// As [`finish`], for a command with more to it.
pub fn finish_command(command: &mut Command) -> Finished {
    let mut process = Process::start(command);
    process.close_stdin();
    process.finish()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
}
