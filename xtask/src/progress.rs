//! Steps that a person can follow: `[2/7] bpf-linker … 38 s`, with the step's own output kept in a file
//! and shown, its end at least, when the step fails.
//!
//! On a terminal the seconds run; elsewhere (CI) each step prints one line when it starts and its time at
//! the end. Progress goes to standard error, results to standard output.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::children::Managed;
use crate::place::Place;

/// Lines of a failed step's output that are shown.
const TAIL_LINES: usize = 40;

/// A list of steps with a known length.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    place: &'a Place,
    done: usize,
    total: usize,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(place: &'a Place, total: usize) -> Self {
        Self {
            place,
            done: 0,
            total,
        }
    }

    /// Runs a command as the next step, its output going to the step's log.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.run_all(name, std::slice::from_mut(command))
    }

    /// Runs several commands as one step.
    pub(crate) fn run_all(&mut self, name: &str, commands: &mut [Command]) -> Result<()> {
        self.done += 1;
        let head = format!("[{}/{}] {name}", self.done, self.total);
        let ticker = Ticker::start(head);
        let outcome = commands
            .iter_mut()
            .try_for_each(|command| logged(self.place, name, command));
        ticker.stop(outcome.is_ok());
        outcome
    }

    /// Runs our own code as the next step.
    pub(crate) fn call<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.done += 1;
        let ticker = Ticker::start(format!("[{}/{}] {name}", self.done, self.total));
        let outcome = work();
        ticker.stop(outcome.is_ok());
        outcome
    }
}

/// A command as a person would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let quote = |part: &std::ffi::OsStr| {
        let text = part.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quote).collect::<Vec<_>>().join(" ")
}

/// Runs a command with its output in a log file; an error carries the end of that file.
pub(crate) fn logged(place: &Place, name: &str, command: &mut Command) -> Result<()> {
    fs::create_dir_all(place.logs()).with_context(|| format!("can't create {}", place.logs().display()))?;
    let file_name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let log_path = place.logs().join(format!("{file_name}.log"));
    let log = File::create(&log_path).with_context(|| format!("can't write {}", log_path.display()))?;
    let words = shown(command);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let status = Managed::spawn(command)?.wait()?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(&log_path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    bail!(
        "{name} failed ({status})\n  command: {words}\n  its log: {}\n{}",
        log_path.display(),
        tail(&text, TAIL_LINES)
    )
}

/// The last lines of a text, each set in a little.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all[from..].iter().map(|line| format!("  | {line}\n")).collect()
}

/// Seconds for people: `0.4 s`, `38 s`, `2 min 5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        10..=119 => format!("{whole} s"),
        _ => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// The line of the step that runs now.
struct Ticker {
    head: String,
    started: Instant,
    stop: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(head: String) -> Self {
        let started = Instant::now();
        let (stop, stopped) = mpsc::channel::<()>();
        eprint!("{head} … ");
        let _ = std::io::stderr().flush();
        let thread = std::io::stderr().is_terminal().then(|| {
            let head = head.clone();
            thread::spawn(move || {
                while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_secs(1))
                {
                    eprint!("\r{head} … {}", seconds(started.elapsed()));
                    let _ = std::io::stderr().flush();
                }
            })
        });
        Self {
            head,
            started,
            stop,
            thread,
        }
    }

    fn stop(self, good: bool) {
        let _ = self.stop.send(());
        let redraw = self.thread.is_some();
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
        let time = seconds(self.started.elapsed());
        let word = if good { "" } else { ", failed" };
        if redraw {
            eprintln!("\r{} … {time}{word}", self.head);
        } else {
            eprintln!("{time}{word}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_read_well() {
        for (millis, expect) in [
            (40, "0.0 s"),
            (9_940, "9.9 s"),
            (38_400, "38 s"),
            (125_000, "2 min 5 s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), expect);
        }
    }

    #[test]
    fn commands_are_shown_ready_to_paste() {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "a b", "it's", ""]);
        assert_eq!(shown(&command), r"apt-get install -y 'a b' 'it'\''s' ''");
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "  | b\n  | c\n");
        assert_eq!(tail("", 2), "");
    }
}
