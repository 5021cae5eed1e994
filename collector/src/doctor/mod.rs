//! `heaptide doctor`: what this host, and one process on it, allow to be seen, why not, and the one command
//! that would change it.
//!
//! It only looks: nothing is attached, mounted or written, and the process is not stopped. The one thing it
//! makes is an eBPF ring buffer of one page that is closed at once, because no file says whether bpf(2) is
//! allowed.
//!
//! The matrix of sources is the one that travels with a session ([`crate::linux::capabilities`]), with what
//! the host forbids put in.

mod host;
mod matrix;
mod target;

use heaptide_protocol::session::{Capability, CapabilityState, EventClass};

/// What keeps something from working, and the command that would change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub why: String,
    /// A command, or the one thing to do where there is none.
    pub remedy: String,
}

/// Something that was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub about: About,
    pub name: &'static str,
    pub value: String,
    /// `None` if it is as it should be.
    pub obstacle: Option<Obstacle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Host,
    Process,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    pub facts: Vec<Fact>,
    /// Per event class and source.
    pub sources: Vec<Capability>,
    /// Whether a session can be watched with at least the sampled heap; if not, the first thing in the way.
    pub verdict: Result<(), Obstacle>,
}

/// Looks at the host and, if there is one, at a process.
pub fn examine(pid: Option<u32>) -> Examination {
    let host = host::look();
    let target = pid.map(|pid| target::look(pid, &host));
    let sources = matrix::sources(&host, target.as_ref());
    let verdict = verdict(&sources, pid);
    let mut facts = host.facts;
    facts.extend(target.into_iter().flat_map(|target| target.facts));
    Examination {
        facts,
        sources,
        verdict,
    }
}

/// The sampled heap is the first source of allocations that works, now and without a change.
fn verdict(sources: &[Capability], pid: Option<u32>) -> Result<(), Obstacle> {
    let of_heap = || {
        sources
            .iter()
            .filter(|source| source.class == EventClass::Allocation && source.source.contains("profilealloc"))
    };
    let works = |source: &Capability| {
        matches!(
            source.state,
            CapabilityState::Active | CapabilityState::Limited { .. }
        )
    };
    if of_heap().any(works) {
        return Ok(());
    }
    let obstacle = of_heap().find_map(|source| match &source.state {
        CapabilityState::Unavailable { why, remedy } => Some(Obstacle {
            why: why.clone(),
            remedy: remedy.clone(),
        }),
        CapabilityState::Off { why } => Some(Obstacle {
            why: why.clone(),
            remedy: format!(
                "heaptide attach --allow-rate-write {}",
                pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string())
            ),
        }),
        CapabilityState::Active | CapabilityState::Limited { .. } => None,
    });
    Err(obstacle.unwrap_or_else(|| Obstacle {
        why: "no source of allocations is known here".to_owned(),
        remedy: "report this".to_owned(),
    }))
}

impl Obstacle {
    fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl Fact {
    fn new(about: About, name: &'static str, value: impl Into<String>, obstacle: Option<Obstacle>) -> Self {
        Self {
            about,
            name,
            value: value.into(),
            obstacle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn fact<'a>(of: &'a Examination, name: &str) -> &'a Fact {
        of.facts
            .iter()
            .find(|fact| fact.name == name)
            .unwrap_or_else(|| panic!("no {name} in {of:?}"))
    }

    /// Each class has a row, and every row that is not active says why.
    #[test]
    fn the_matrix_is_whole_whatever_was_asked() {
        let mut other = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let own = std::process::id();
        for pid in [None, Some(own), Some(other.id()), Some(4_194_305)] {
            let examination = examine(pid);
            for class in [
                EventClass::Allocation,
                EventClass::Goroutine,
                EventClass::GarbageCollection,
                EventClass::Mapping,
                EventClass::Gauge,
            ] {
                assert!(
                    examination.sources.iter().any(|row| row.class == class),
                    "{pid:?}: {class:?}"
                );
            }
            for row in &examination.sources {
                let is_told = match &row.state {
                    CapabilityState::Active => true,
                    CapabilityState::Limited { why } | CapabilityState::Off { why } => !why.is_empty(),
                    CapabilityState::Unavailable { why, remedy } => !why.is_empty() && !remedy.is_empty(),
                };
                assert!(is_told, "{pid:?}: {row:?}");
            }
            if pid.is_some() {
                // None of these is a Go program.
                let obstacle = examination.verdict.unwrap_err();
                assert!(!obstacle.why.is_empty() && !obstacle.remedy.is_empty());
            }
        }
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn what_a_process_is_not_is_said() {
        let dead = examine(Some(4_194_305));
        assert!(
            dead.verdict
                .unwrap_err()
                .why
                .contains("there is no process 4194305")
        );
        let own = examine(Some(std::process::id()));
        assert!(fact(&own, "executable").value.contains("heaptide_collector"));
        let go = fact(&own, "Go program");
        assert_eq!(go.value, "no");
        assert!(go.obstacle.is_some());
    }

    #[test]
    fn the_host_is_told_without_a_process() {
        let host = examine(None);
        assert!(host.facts.iter().all(|fact| fact.about == About::Host));
        let kernel = fact(&host, "kernel");
        assert!(
            kernel.value.starts_with(|c: char| c.is_ascii_digit()),
            "{kernel:?}"
        );
        for name in [
            "eBPF",
            "uprobes",
            "tracefs",
            "capabilities",
            "transparent huge pages",
        ] {
            assert!(!fact(&host, name).value.is_empty(), "{name}");
        }
    }
}
