//! One process: whether it can be read, which Go made it, where its probes would go, how it samples.

use super::host::{Host, yes_no};
use super::{About, Fact, Obstacle};
use crate::CollectorError;
use crate::linux::bpf::Program;
use crate::linux::{GoTarget, ProbePlan, Process};
use heaptide_protocol::session::Capability;
use heaptide_symbols::{NEWEST_MINOR, OLDEST_MINOR, ProbeInstruction};
use std::fs;
use std::path::Path;

/// Functions that only a program with a heap profile has. Where the linker keeps none of them, it lets the
/// program start with `MemProfileRate` 0 (cmd/link/internal/ld/deadcode.go,
/// `runtime.disableMemoryProfiling`).
const PROFILE_READERS: [&str; 3] = [
    "runtime.MemProfile",
    "runtime.memProfileInternal",
    "runtime.pprof_memProfileInternal",
];
const CGROUPS: &str = "/sys/fs/cgroup";

#[derive(Debug)]
pub(super) struct Target {
    pub(super) facts: Vec<Fact>,
    pub(super) plan: Result<ProbePlan, Obstacle>,
    /// Rows of what is read, or attached when a policy asks for it.
    pub(super) on_demand: Vec<Capability>,
    pub(super) rate_bytes: Option<u64>,
}

pub(super) fn look(pid: u32, host: &Host) -> Target {
    let mut facts = Facts::default();
    let process = match Process::open(pid) {
        Ok(process) => process,
        Err(error) => {
            let obstacle = obstacle_of(&error, pid);
            if Path::new(&format!("/proc/{pid}")).exists() {
                facts.outside(pid);
            }
            facts.add("memory", "can't be read", Some(obstacle.clone()));
            return facts.ended(obstacle);
        }
    };
    facts.outside(pid);
    facts.add("memory", "can be read", None);
    let go = match GoTarget::load(&process) {
        Ok(go) => go,
        Err(error) => {
            let obstacle = obstacle_of(&error, pid);
            let (name, value) = match &error {
                CollectorError::GoVersion { found, .. } => ("Go version", found.as_str()),
                CollectorError::NotWatchable { .. } => ("Go program", "no"),
                _ => ("Go program", "not known"),
            };
            facts.add(name, value, Some(obstacle.clone()));
            return facts.ended(obstacle);
        }
    };
    facts.binary(&go);
    let rate_bytes = facts.rate(&go, &process);
    let plan = facts.plan(&go, host);
    let on_demand = crate::watch::on_demand_capabilities(&go, &plan, pid, rate_bytes);
    Target {
        facts: facts.list,
        plan: Ok(plan),
        on_demand,
        rate_bytes,
    }
}

#[derive(Debug, Default)]
struct Facts {
    list: Vec<Fact>,
}

impl Facts {
    fn add(&mut self, name: &'static str, value: impl Into<String>, obstacle: Option<Obstacle>) {
        self.list.push(Fact::new(About::Process, name, value, obstacle));
    }

    fn ended(self, obstacle: Obstacle) -> Target {
        Target {
            facts: self.list,
            plan: Err(obstacle),
            on_demand: Vec::new(),
            rate_bytes: None,
        }
    }

    /// What `/proc` says to everybody.
    fn outside(&mut self, pid: u32) {
        let executable = fs::read_link(format!("/proc/{pid}/exe"));
        let name = executable.map_or_else(
            |_| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                format!("{} (the path is hidden from this user)", name.trim())
            },
            |path| path.display().to_string(),
        );
        self.add("executable", name, None);
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let value = path.map_or_else(|| "none of version 2".to_owned(), cgroup);
        self.add("cgroup", value, None);
    }

    fn binary(&mut self, go: &GoTarget) {
        let binary = go.binary();
        let version = binary
            .go_version()
            .map_or_else(String::new, |version| version.text.clone());
        self.add("Go version", version, None);
        let offsets = binary.offsets().is_some();
        self.add(
            "runtime offsets",
            if offsets { "known" } else { "not known" },
            (!offsets).then(|| {
                Obstacle::new(
                    format!("offsets are known for Go 1.{OLDEST_MINOR} to 1.{NEWEST_MINOR}"),
                    "upgrade heaptide",
                )
            }),
        );
        let cgo = binary.build_info().and_then(|info| info.setting("CGO_ENABLED"));
        let words = [
            (
                binary.symbol("runtime.main").is_none(),
                "stripped",
                "with symbols",
            ),
            (binary.is_position_independent(), "PIE", "fixed address"),
            (cgo == Some("1"), "cgo", "without cgo"),
        ];
        let words: Vec<&str> = words
            .into_iter()
            .map(|(is, yes, no)| if is { yes } else { no })
            .collect();
        self.add("built", words.join(", "), None);
        let is_linked = PROFILE_READERS.iter().any(|name| binary.function(name).is_some());
        self.add("heap profile linked in", yes_no(is_linked), None);
    }

    fn rate(&mut self, go: &GoTarget, process: &Process) -> Option<u64> {
        let Some(address) = go.rate_address() else {
            let why = "its address is not to be told from the code, so 512 KiB is assumed";
            let remedy = "build the program without -ldflags=-s";
            self.add("MemProfileRate", "not known", Some(Obstacle::new(why, remedy)));
            return None;
        };
        let rate_bytes = process.read_word(address).ok()?;
        let obstacle = (rate_bytes == 0).then(|| {
            Obstacle::new(
                "the program takes no samples: no heap profile is linked in, or it has set the rate to 0",
                format!("heaptide attach --allow-rate-write {}", process.pid()),
            )
        });
        self.add("MemProfileRate", format!("{rate_bytes} bytes"), obstacle);
        Some(rate_bytes)
    }

    fn plan(&mut self, go: &GoTarget, host: &Host) -> ProbePlan {
        let plan = go.plan();
        let has_frame = plan.points.iter().any(|point| {
            point.program == Program::ProfileAlloc && point.instruction == ProbeInstruction::Push
        });
        self.add(
            "frame pointers",
            if has_frame {
                "yes: PUSHQ BP in runtime.profilealloc"
            } else {
                "not seen in runtime.profilealloc"
            },
            None,
        );
        let refused: Vec<String> = plan
            .refused
            .iter()
            .map(|(program, why)| format!("{}: {why}", program.symbol()))
            .collect();
        let all = plan.points.len() + plan.refused.len();
        let obstacle = (!refused.is_empty())
            .then(|| Obstacle::new(refused.join("; "), "report this binary's Go version"));
        let blocked = host
            .uprobes
            .as_ref()
            .map_or("", |_| ", which this host does not allow");
        self.add(
            "probe sites",
            format!("{} of {all}, none single-stepped{blocked}", plan.points.len()),
            obstacle,
        );
        plan
    }
}

fn cgroup(path: &str) -> String {
    let limit = |file: &str| {
        let text = fs::read_to_string(format!("{CGROUPS}{path}/{file}")).ok()?;
        let text = text.trim();
        (!text.is_empty() && !text.starts_with("max")).then(|| format!(", {file} {text}"))
    };
    let limits: String = ["memory.max", "memory.high", "cpu.max"]
        .iter()
        .filter_map(|file| limit(file))
        .collect();
    format!("{path}{limits}")
}

/// An error's sentence says what to do as well; here the two are apart.
fn obstacle_of(error: &CollectorError, pid: u32) -> Obstacle {
    match error {
        CollectorError::NoProcess { .. } => {
            Obstacle::new(format!("there is no process {pid}"), "pgrep -a NAME")
        }
        CollectorError::Zombie { .. } => Obstacle::new(
            format!("process {pid} has ended and waits for its parent"),
            "start the program again",
        ),
        CollectorError::NotOurs { owner, user, .. } => Obstacle::new(
            format!("process {pid} belongs to user {owner}, and this is user {user}"),
            format!("sudo heaptide doctor {pid}"),
        ),
        CollectorError::MemoryDenied { source, .. } => Obstacle::new(
            format!("the memory of process {pid} can't be read ({source})"),
            if rustix::process::geteuid().is_root() {
                // Root without the right to trace: a container.
                "docker run --privileged --pid=host, or run heaptide outside the container".to_owned()
            } else {
                format!("sudo heaptide doctor {pid}")
            },
        ),
        CollectorError::NotWatchable { path, source } => Obstacle::new(
            format!(
                "{} is not a program that can be watched: {source}",
                path.display()
            ),
            "pgrep -a NAME, to find a Go program",
        ),
        CollectorError::GoVersion {
            found, oldest_minor, ..
        } => Obstacle::new(
            format!("it was built with Go {found}, and the runtime is known from 1.{oldest_minor} on"),
            "rebuild it with one of those, or upgrade heaptide",
        ),
        other => Obstacle::new(other.to_string(), format!("sudo heaptide doctor {pid}")),
    }
}
