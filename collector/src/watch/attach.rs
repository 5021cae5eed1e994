//! From a pid or a command to a program with probes in it.

use super::TargetChoice;
use super::kernel::KernelClasses;
use crate::CollectorError;
use crate::linux::bpf::{
    BpfError, BpfOptions, BpfSession, ClassSet, Helper, ProbeSource, Program, TargetSpec, mount_tracefs,
    tracefs_path,
};
use crate::linux::{self, GoTarget, ProbePlan, Process};
use heaptide_policy::{Labels, Policy, Sources};
use heaptide_protocol::session::{Capability, CapabilityState, PlatformSignature};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command};

/// A program under watch.
#[derive(Debug)]
pub struct Target {
    pub(super) process: Process,
    pub(super) go: GoTarget,
    pub(super) plan: ProbePlan,
    pub(super) source: ProbeSource,
    /// `None` where nothing may be probed: then only memory and `/proc` are read.
    pub(super) bpf: Option<BpfSession>,
    pub(super) kernel: KernelClasses,
    pub(super) child: Option<Child>,
    pub(super) signature: PlatformSignature,
    pub(super) labels: Labels,
    pub(super) capabilities: Vec<Capability>,
    no_bpf: Option<NoProbes>,
    pub(super) warnings: Vec<String>,
}

impl Target {
    /// Attaches; a command is started stopped, and runs once the probes are in place. Without an object nothing
    /// is probed. With an executable that answers to [`crate::linux::bpf::HELPER_COMMAND`], probes are put in by a
    /// helper if that holds more rights than are kept here.
    pub fn attach(
        choice: &TargetChoice,
        bpf_object: Option<&[u8]>,
        helper: Option<&Path>,
    ) -> Result<Self, CollectorError> {
        if bpf_object.is_some_and(<[u8]>::is_empty) {
            return Err(CollectorError::NoObject);
        }
        match choice {
            TargetChoice::Attach { pid } => {
                Self::attach_process(Process::open(*pid)?, None, bpf_object, helper)
            }
            TargetChoice::Run { command } => {
                let mut child = start(command)?;
                let pid = child.id();
                let attached = Process::open(pid)
                    .and_then(|process| Self::attach_process(process, None, bpf_object, helper));
                match attached {
                    Ok(mut target) => {
                        linux::release(pid)
                            .map_err(|source| CollectorError::io("can't let the program go on", source))?;
                        target.child = Some(child);
                        Ok(target)
                    }
                    Err(error) => {
                        let _ = child.kill();
                        let _ = child.wait();
                        Err(error)
                    }
                }
            }
        }
    }

    fn attach_process(
        process: Process,
        child: Option<Child>,
        object: Option<&[u8]>,
        helper: Option<&Path>,
    ) -> Result<Self, CollectorError> {
        let go = GoTarget::load(&process)?;
        let plan = go.plan();
        let source = probe_source(&process, helper.filter(|_| object.is_some()))?;
        let mut warnings = Vec::new();
        warnings.extend(go.limits());
        let (mut bpf, no_bpf) = match object.map(|object| probe(object, &source, &plan)) {
            None => (None, Some(NoProbes::asked())),
            Some(Ok(bpf)) => (Some(bpf), None),
            Some(Err(error)) => match NoProbes::because(&error) {
                Some(reason) => (None, Some(reason)),
                None => return Err(error.into()),
            },
        };
        if let Some(reason) = &no_bpf {
            warnings.push(format!(
                "nothing is probed ({}): the heap is told by Go's own profile, read from the program's memory",
                reason.whole
            ));
        }
        let mappings = match &mut bpf {
            Some(bpf) => attach_mappings(bpf).map_err(|error| error.to_string()),
            None => Err(String::new()),
        };
        if let (Err(why), Some(_)) = (&mappings, &bpf) {
            warnings.push(format!("mappings are not observed: {why}"));
        }
        for (program, why) in &plan.refused {
            warnings.push(format!("{} is not observed: {why}", program.symbol()));
        }
        let rate = go
            .rate_address()
            .and_then(|address| process.read_word(address).ok());
        let capabilities = linux::capabilities(&plan, mappings, rate);
        let signature = linux::signature(&process, &go);
        let labels = linux::labels(&signature, &go);
        let kernel = KernelClasses::new(
            process.pid(),
            go.sites(&Program::GC_WORK),
            plan.goroutines.clone(),
        );
        Ok(Self {
            kernel,
            process,
            go,
            plan,
            source,
            bpf,
            child,
            signature,
            labels,
            capabilities,
            no_bpf,
            warnings,
        })
    }

    /// What a person says goes before what was found.
    pub(super) fn name(&mut self, given: &Labels) {
        let found = std::mem::replace(&mut self.labels, given.clone());
        for (key, value) in found.iter() {
            self.labels.suggest(key, value);
        }
    }

    /// Rows of what needs probes say why there are none.
    pub(super) fn tell_what_is_not_probed(&mut self) {
        if let Some(reason) = &self.no_bpf {
            reason.tell(&mut self.capabilities);
        }
    }

    /// Where nothing is probed, the policy says so from the start, and Go's own heap profile steps in.
    pub(super) fn startable(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        if self.bpf.is_none() {
            policy.sources = Sources {
                bucket_heap: true,
                goroutine_census_ms: policy.sources.goroutine_census_ms,
                ledger_ms: policy.sources.ledger_ms,
                ..Sources::NO_PROBES
            };
        }
        policy
    }

    /// `MemProfileRate` as it is now.
    pub(super) fn rate_bytes(&self) -> Option<u64> {
        let address = self.go.rate_address()?;
        self.process.read_word(address).ok()
    }

    pub(super) fn wakep_site(&self) -> bool {
        self.plan
            .points
            .iter()
            .any(|point| point.program == Program::StwEndWakep)
    }

    pub(super) fn sees_heap(&self) -> bool {
        let attached = |wanted| self.plan.points.iter().any(|point| point.program == wanted);
        self.bpf.is_some() && attached(Program::ProfileAlloc) && attached(Program::FreeSpecial)
    }
}

fn probe_source(process: &Process, helper: Option<&Path>) -> Result<ProbeSource, CollectorError> {
    let pid = process.pid();
    let source = match helper.filter(|_| Helper::is_of_use()) {
        Some(executable) => {
            let helper = Helper::start(executable, process)
                .map_err(|source| CollectorError::io("can't start the attach helper", source))?;
            ProbeSource::by(helper, pid)
        }
        None => ProbeSource::here(pid, None),
    };
    Ok(source?)
}

fn probe(object: &[u8], source: &ProbeSource, plan: &ProbePlan) -> Result<BpfSession, BpfError> {
    let mut bpf = BpfSession::load(object, &BpfOptions::default())?;
    let spec = TargetSpec {
        pid: source.pid(),
        executable: None,
        offsets: plan.offsets,
        enabled: ClassSet::ALL,
        sites: plan.points.clone(),
    };
    bpf.attach_by(&spec, source.clone())?;
    Ok(bpf)
}

/// Why nothing is probed, and what would change it.
#[derive(Debug)]
struct NoProbes {
    /// Everything, for a person.
    whole: String,
    why: String,
    remedy: &'static str,
}

impl NoProbes {
    fn asked() -> Self {
        let why = "--no-bpf was given";
        Self {
            whole: why.to_owned(),
            why: why.to_owned(),
            remedy: "sudo heaptide attach PID",
        }
    }

    /// What the person can't change from here is worked around; everything else is an error.
    fn because(error: &BpfError) -> Option<Self> {
        let whole = error.to_string();
        Some(match error {
            BpfError::NoRight { doing, .. } => Self {
                whole,
                why: format!("no right to {doing}"),
                remedy: "sudo heaptide attach PID",
            },
            BpfError::NoFeature { .. } => Self {
                why: whole.clone(),
                whole,
                remedy: "uname -r",
            },
            _ => return None,
        })
    }

    /// A source says first by what means it is seen.
    fn tell(&self, capabilities: &mut [Capability]) {
        let probed = |row: &&mut Capability| {
            let starts = |means| row.source.starts_with(means);
            starts("uprobe") || starts("tracepoint")
        };
        for row in capabilities.iter_mut().filter(probed) {
            row.state = CapabilityState::Unavailable {
                why: format!("nothing is probed: {}", self.why),
                remedy: self.remedy.to_owned(),
            };
        }
    }
}

/// Mounting tracefs changes the machine, not the program; it is what the remedy says, so it is tried first.
fn attach_mappings(bpf: &mut BpfSession) -> Result<(), BpfError> {
    if tracefs_path().is_none() {
        let _ = mount_tracefs();
    }
    bpf.attach_mappings()
}

fn start(command: &[OsString]) -> Result<Child, CollectorError> {
    let (program, arguments) = command.split_first().ok_or_else(|| CollectorError::Spawn {
        command: String::new(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "no command was given"),
    })?;
    let name = program.to_string_lossy().into_owned();
    let failed = |source| CollectorError::Spawn {
        command: name.clone(),
        source,
    };
    let child = linux::spawn_stopped(Command::new(program).args(arguments)).map_err(failed)?;
    match linux::wait_for_exec(child.id()).map_err(failed)? {
        Ok(()) => Ok(child),
        Err(status) => {
            let how = format!("{:?}", linux::describe_status(status));
            Err(CollectorError::EndedEarly { command: name, how })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::session::{EventClass, Method};

    #[test]
    fn invariant_8_without_probes_each_class_says_why() {
        let sources = [
            ("uprobes runtime.profilealloc, runtime.freeSpecial", true),
            ("tracepoint exceptions:page_fault_user", true),
            ("/proc/PID/smaps, pagemap and runtime.mheap_", false),
            ("runtime.mbuckets by process_vm_readv", false),
        ];
        let mut rows = sources.map(|(source, _)| Capability {
            class: EventClass::Allocation,
            source: source.to_owned(),
            method: Method::Exact,
            state: CapabilityState::Active,
        });
        let refused = BpfError::NoRight {
            doing: "load eBPF",
            remedy: "be root".to_owned(),
        };
        NoProbes::because(&refused).unwrap().tell(&mut rows);
        for (row, (_, expected)) in rows.iter().zip(sources) {
            let says_why = matches!(
                &row.state,
                CapabilityState::Unavailable { why, remedy }
                    if why.contains("no right to load eBPF") && !remedy.is_empty()
            );
            assert_eq!(says_why, expected, "{row:?}");
        }
    }
}
