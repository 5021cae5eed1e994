//! From a pid or a command to a program with probes in it.

use super::TargetChoice;
use crate::CollectorError;
use crate::linux::bpf::{
    BpfError, BpfOptions, BpfSession, ClassSet, Program, TargetSpec, mount_tracefs, tracefs_path,
};
use crate::linux::{self, GoTarget, ProbePlan, Process};
use heaptide_protocol::session::{Capability, PlatformSignature};
use std::ffi::OsString;
use std::process::{Child, Command};

/// A program under watch.
#[derive(Debug)]
pub struct Target {
    pub(super) process: Process,
    pub(super) go: GoTarget,
    pub(super) plan: ProbePlan,
    pub(super) bpf: BpfSession,
    pub(super) child: Option<Child>,
    pub(super) signature: PlatformSignature,
    pub(super) capabilities: Vec<Capability>,
    pub(super) warnings: Vec<String>,
}

impl Target {
    /// Attaches; a command is started stopped, and runs once the probes are in place.
    pub fn attach(choice: &TargetChoice, bpf_object: &[u8]) -> Result<Self, CollectorError> {
        if bpf_object.is_empty() {
            return Err(CollectorError::NoObject);
        }
        match choice {
            TargetChoice::Attach { pid } => Self::attach_process(Process::open(*pid)?, None, bpf_object),
            TargetChoice::Run { command } => {
                let mut child = start(command)?;
                let pid = child.id();
                let attached =
                    Process::open(pid).and_then(|process| Self::attach_process(process, None, bpf_object));
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

    fn attach_process(process: Process, child: Option<Child>, object: &[u8]) -> Result<Self, CollectorError> {
        let go = GoTarget::load(&process)?;
        let plan = go.plan();
        let mut warnings = Vec::new();
        warnings.extend(go.limits());
        let mut bpf = BpfSession::load(object, &BpfOptions::default())?;
        bpf.attach(&TargetSpec {
            pid: process.pid(),
            executable: None,
            offsets: plan.offsets,
            enabled: ClassSet::ALL,
            sites: plan.points.clone(),
        })?;
        let mappings = attach_mappings(&mut bpf).map_err(|error| error.to_string());
        if let Err(why) = &mappings {
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
        Ok(Self {
            process,
            go,
            plan,
            bpf,
            child,
            signature,
            capabilities,
            warnings,
        })
    }

    pub(super) fn wakep_site(&self) -> bool {
        self.plan
            .points
            .iter()
            .any(|point| point.program == Program::StwEndWakep)
    }

    pub(super) fn sees_heap(&self) -> bool {
        let attached = |wanted| self.plan.points.iter().any(|point| point.program == wanted);
        attached(Program::ProfileAlloc) && attached(Program::FreeSpecial)
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
