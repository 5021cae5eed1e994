//! A started program with its output as lines, and its end whatever happens here.

use crate::tools::pass;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Whatever has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// In a group of its own, which is killed when this is dropped: what `heaptide run` started goes too.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) out: Receiver<String>,
    pub(crate) err: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            stdin: child.stdin.take(),
            out: lines(out.context("no standard output")?),
            err: lines(err.context("no standard error")?),
            name,
            child,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not read", self.name))
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line on standard error that holds `text`.
    pub(crate) fn says(&self, text: &str) -> Result<String> {
        self.find(&self.err, text)
    }

    /// The next line on standard output that holds `text`.
    pub(crate) fn prints(&self, text: &str) -> Result<String> {
        self.find(&self.out, text)
    }

    /// Ctrl-C, for this process alone.
    pub(crate) fn interrupt(&self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
    }

    /// Ctrl-C as a terminal sends it: for this process and what it started.
    pub(crate) fn interrupt_group(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::INT);
    }

    /// Waits for its end; an exit code other than 0 is an error with its last words.
    pub(crate) fn wait(mut self) -> Result<()> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                let words: Vec<String> = self.err.try_iter().collect();
                bail!("{} ended with {status}: {}", self.name, words.join(" / "));
            }
            if since.elapsed() > PATIENCE {
                bail!("{} does not end", self.name);
            }
            pass(Duration::from_millis(20));
        }
    }

    fn find(&self, lines: &Receiver<String>, text: &str) -> Result<String> {
        let mut seen = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => seen.push(line),
                Err(_) => bail!("{} never said {text:?}, only: {}", self.name, seen.join(" / ")),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
