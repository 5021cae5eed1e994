//! The target `sites`, running: the program's own exact count, as it prints it.

use crate::process::{Finished, Process};
use crate::wait::until;
use heaptide_analysis::views::Window;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What the program says of one window.
#[derive(Debug, Clone)]
pub struct ExactWindow {
    pub begin_ns: u64,
    pub end_ns: u64,
    /// Bytes allocated in this window, by function.
    pub bytes: BTreeMap<String, u64>,
}

/// What it says after its last window.
#[derive(Debug, Clone)]
pub struct ExactEnd {
    pub now_ns: u64,
    pub total_alloc_bytes: u64,
    pub num_gc: u64,
    pub pause_total_ns: u64,
    /// Reachable at the end, by function.
    pub live_bytes: BTreeMap<String, u64>,
    /// Allocated since the start, by function.
    pub bytes: BTreeMap<String, u64>,
    pub mem_profile_rate: u64,
}

/// The program itself, or `heaptide run -- program`, whose standard streams are the program's.
#[derive(Debug)]
pub struct Sites {
    pub process: Process,
    pub pid: u32,
    states: usize,
}

impl Sites {
    /// Starts the program alone and waits until it is ready.
    #[must_use]
    pub fn start(program: &Path, flags: &str) -> Self {
        Self::started(Process::start(
            Command::new(program).args(flags.split_whitespace()),
        ))
    }

    /// Takes over a process that runs the program, and waits until that is ready.
    #[must_use]
    pub fn started(process: Process) -> Self {
        let ready = until("the program to be ready", || {
            find(&process, "ready").ok_or_else(|| process.err.text())
        });
        Self {
            pid: number(&ready, "pid") as u32,
            process,
            states: 0,
        }
    }

    /// `MemProfileRate` when the program was ready.
    #[must_use]
    pub fn first_rate(&self) -> u64 {
        let ready = find(&self.process, "ready").unwrap_or_default();
        number(&ready, "mem_profile_rate")
    }

    /// Lets it begin to allocate.
    pub fn go(&mut self) {
        self.process.say("go");
    }

    /// Waits for the last window.
    #[must_use]
    pub fn end(&self) -> ExactEnd {
        let line = until("the program's last window", || {
            find(&self.process, "end")
                .ok_or_else(|| format!("{} windows; {}", self.windows().len(), self.process.err.text()))
        });
        let site = |field| sites(&line).map(|(name, of)| (name, number(of, field))).collect();
        ExactEnd {
            now_ns: number(&line, "now_ns"),
            total_alloc_bytes: number(&line, "total_alloc_bytes"),
            num_gc: number(&line, "num_gc"),
            pause_total_ns: number(&line, "pause_total_ns"),
            live_bytes: site("live_bytes"),
            bytes: site("bytes"),
            mem_profile_rate: number(&line, "mem_profile_rate"),
        }
    }

    /// The windows so far, each with its own bytes.
    #[must_use]
    pub fn windows(&self) -> Vec<ExactWindow> {
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        let lines = self.process.out.all();
        lines
            .iter()
            .filter_map(|line| event(line, "window"))
            .map(|line| {
                let now: BTreeMap<_, _> = sites(&line)
                    .map(|(name, of)| (name, number(of, "bytes")))
                    .collect();
                let bytes = now
                    .iter()
                    .map(|(name, bytes)| (name.clone(), bytes - before.get(name).unwrap_or(&0)))
                    .collect();
                before = now;
                ExactWindow {
                    begin_ns: number(&line, "begin_ns"),
                    end_ns: number(&line, "end_ns"),
                    bytes,
                }
            })
            .collect()
    }

    /// Asks a program whose windows are over for `runtime.MemProfileRate`.
    #[must_use]
    pub fn rate(&mut self) -> u64 {
        self.process.say("state");
        self.states += 1;
        until("the program's state", || {
            let lines = self.process.out.all();
            lines
                .iter()
                .filter_map(|line| event(line, "state"))
                .nth(self.states - 1)
                .map(|line| number(&line, "mem_profile_rate"))
                .ok_or_else(|| self.process.err.text())
        })
    }

    /// Lets it end, and returns how it did.
    pub fn finish(mut self) -> Finished {
        self.process.close_stdin();
        self.process.finish()
    }
}

/// From each window's begin to the next one's: the program pauses between them, so a tick that the collector
/// closes late still falls into the right one.
#[must_use]
pub fn spans(windows: &[ExactWindow], tick_ns: u64) -> Vec<Window> {
    let floor = |at: u64| at - at % tick_ns;
    let begins: Vec<u64> = windows.iter().map(|window| floor(window.begin_ns)).collect();
    let last_ns = windows.last().map_or(0, |window| window.end_ns + 1_000_000_000);
    let ends = begins.iter().skip(1).copied().chain([last_ns]);
    begins
        .iter()
        .zip(ends)
        .map(|(&from_ns, to_ns)| Window { from_ns, to_ns })
        .collect()
}

/// Flags for windows in which each site gets about 400 samples at this rate: 5 % standard error.
#[must_use]
pub fn window_bytes(rate_bytes: u64) -> u64 {
    const SAMPLES: u64 = 400;
    // Shares of targets/sites/sites.go: 26 in all, the smallest 4.
    SAMPLES * rate_bytes * 26 / 4
}

fn find(process: &Process, name: &str) -> Option<Value> {
    process.out.find(|line| event(line, name))
}

fn event(line: &str, name: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["event"] == name).then_some(value)
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {field:?} in {value}"))
}

fn sites(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    let sites = value["sites"].as_object().expect("an object of sites");
    sites.iter().map(|(name, of)| (name.clone(), of))
}
