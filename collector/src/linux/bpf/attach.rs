//! From a process and sites in its executable to uprobes that hit in this process alone.
//!
//! The kernel puts a breakpoint at each site. In the middle of an instruction it would break the program,
//! and on an instruction that the kernel can't emulate each hit is single-stepped (17 to 59 µs instead of 1),
//! so the bytes at each site are read and checked first, whoever computed it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use heaptide_ebpf_abi::{Class, TargetConfig, programs};
use heaptide_symbols::{GoBinary, ProbeInstruction, RuntimeOffsets, SymbolError};

use super::{
    error::BpfError,
    session::{BpfSession, ClassSet, uprobe},
    uprobes::{ProbeSource, UprobeLink},
};

/// A program for a site in Go's runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// `runtime.profilealloc`
    ProfileAlloc,
    /// `runtime.freeSpecial`
    FreeSpecial,
    /// `runtime.(*gcControllerState).startCycle`
    GcStartCycle,
    /// `runtime.gcMarkTermination`
    GcMarkTermination,
    /// `runtime.stopTheWorldWithSema`
    StwBegin,
    /// `runtime.startTheWorldWithSema`
    StwEnd,
    /// `CALL runtime.wakep` in `runtime.startTheWorldWithSema`
    StwEndWakep,
    /// First `CALL runtime.nanotime1` in `runtime.gcAssistAlloc1`
    GcAssistBegin,
    /// The `CALL runtime.nanotime1` behind `CALL runtime.gcDrainN` in `runtime.gcAssistAlloc1`
    GcAssistEnd,
    /// `CALL runtime.sweepone` in `runtime.deductSweepCredit`
    GcSweepBegin,
    /// `CALL runtime.(*activeSweep).end` in `runtime.sweepone`
    GcSweepEnd,
    /// `runtime.mallocgc` or its specialised parts, for the length of an exact window
    ExactAlloc,
    /// `runtime.profilealloc`, for the length of an exact window
    ExactSample,
    /// `CALL runtime.runqput` in `runtime.newproc.func1`
    GoroutineCreated,
    /// `runtime.gdestroy`, `runtime.goexit0` before Go 1.22
    GoroutineExited,
    /// `runtime.copystack`
    StackCopied,
}

impl Program {
    /// Those on hot paths, for [`BpfSession::attach_sites`].
    pub const GC_WORK: [Self; 4] = [
        Self::GcAssistBegin,
        Self::GcAssistEnd,
        Self::GcSweepBegin,
        Self::GcSweepEnd,
    ];

    /// All that are attached from the beginning and stand for the whole watch.
    pub const ALL: [Self; 7] = [
        Self::ProfileAlloc,
        Self::FreeSpecial,
        Self::GcStartCycle,
        Self::GcMarkTermination,
        Self::StwBegin,
        Self::StwEnd,
        Self::StwEndWakep,
    ];

    /// Those that are attached while goroutines are followed one by one.
    pub const GOROUTINES: [Self; 3] = [Self::GoroutineCreated, Self::GoroutineExited, Self::StackCopied];

    /// The Go function in which its site is.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::ProfileAlloc | Self::ExactSample => "runtime.profilealloc",
            Self::FreeSpecial => "runtime.freeSpecial",
            Self::GcStartCycle => "runtime.(*gcControllerState).startCycle",
            Self::GcMarkTermination => "runtime.gcMarkTermination",
            Self::StwBegin => "runtime.stopTheWorldWithSema",
            Self::StwEnd | Self::StwEndWakep => "runtime.startTheWorldWithSema",
            Self::GcAssistBegin | Self::GcAssistEnd => "runtime.gcAssistAlloc1",
            Self::GcSweepBegin => "runtime.deductSweepCredit",
            Self::GcSweepEnd => "runtime.sweepone",
            Self::ExactAlloc => "runtime.mallocgc",
            Self::GoroutineCreated => "runtime.newproc.func1",
            Self::GoroutineExited => "runtime.gdestroy",
            Self::StackCopied => "runtime.copystack",
        }
    }

    /// The class that its records belong to.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::ProfileAlloc => Class::Alloc,
            Self::FreeSpecial => Class::Free,
            Self::GcStartCycle | Self::GcMarkTermination => Class::Gc,
            Self::StwBegin | Self::StwEnd | Self::StwEndWakep => Class::Stw,
            Self::GcAssistBegin | Self::GcAssistEnd | Self::GcSweepBegin | Self::GcSweepEnd => Class::GcWork,
            Self::ExactAlloc | Self::ExactSample => Class::Exact,
            Self::GoroutineCreated | Self::GoroutineExited | Self::StackCopied => Class::Goroutine,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ProfileAlloc => programs::PROFILE_ALLOC,
            Self::FreeSpecial => programs::FREE_SPECIAL,
            Self::GcStartCycle => programs::GC_START_CYCLE,
            Self::GcMarkTermination => programs::GC_MARK_TERMINATION,
            Self::StwBegin => programs::STW_BEGIN,
            Self::StwEnd => programs::STW_END,
            Self::StwEndWakep => programs::STW_END_WAKEP,
            Self::GcAssistBegin => programs::GC_ASSIST_BEGIN,
            Self::GcAssistEnd => programs::GC_ASSIST_END,
            Self::GcSweepBegin => programs::GC_SWEEP_BEGIN,
            Self::GcSweepEnd => programs::GC_SWEEP_END,
            Self::ExactAlloc => programs::EXACT_ALLOC,
            Self::ExactSample => programs::EXACT_SAMPLE,
            Self::GoroutineCreated => programs::GOROUTINE_CREATED,
            Self::GoroutineExited => programs::GOROUTINE_EXITED,
            Self::StackCopied => programs::STACK_COPIED,
        }
    }
}

/// Where a program is to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePoint {
    /// What runs there.
    pub program: Program,
    /// Offset of the instruction in the executable file.
    pub file_offset: u64,
    /// The instruction there, which is checked.
    pub instruction: ProbeInstruction,
}

impl ProbePoint {
    /// Where a program goes in a Go binary.
    ///
    /// # Errors
    ///
    /// That of [`GoBinary::probe_site`], [`GoBinary::call_site`] or [`GoBinary::call_site_behind`], or
    /// [`SymbolError::NoStackCheck`]: the eBPF programs tell a call from the growth of a stack by the flags of
    /// that check.
    pub fn find<B: AsRef<[u8]>>(binary: &GoBinary<B>, program: Program) -> Result<Self, SymbolError> {
        let site = match program {
            Program::StwEndWakep => binary.call_site(program.symbol(), "runtime.wakep")?,
            Program::GcAssistBegin => binary.call_site(program.symbol(), "runtime.nanotime1")?,
            Program::GcAssistEnd => {
                binary.call_site_behind(program.symbol(), "runtime.gcDrainN", "runtime.nanotime1")?
            }
            Program::GcSweepBegin => binary.call_site(program.symbol(), "runtime.sweepone")?,
            Program::GcSweepEnd => binary.call_site(program.symbol(), "runtime.(*activeSweep).end")?,
            Program::GoroutineCreated => binary.call_site(program.symbol(), "runtime.runqput")?,
            Program::GoroutineExited => binary
                .probe_site(program.symbol())
                .or_else(|_| binary.probe_site("runtime.goexit0"))?,
            _ => binary.probe_site(program.symbol())?,
        };
        if site.offset_in_function == 0 {
            return Err(SymbolError::NoStackCheck {
                name: program.symbol().to_owned(),
            });
        }
        Ok(Self {
            program,
            file_offset: site.file_offset,
            instruction: site.instruction,
        })
    }
}

/// A process and what to attach to it.
#[derive(Debug, Clone)]
pub struct TargetSpec {
    /// Process id, in the collector's pid namespace.
    pub pid: u32,
    /// The executable; `None` means `/proc/PID/exe`, which finds it in any mount namespace and after it was
    /// deleted or replaced.
    pub executable: Option<PathBuf>,
    /// Offsets in Go's runtime; without them no goroutine ids are told, and frees of unsampled objects are
    /// sent too. `None` for what is not Go.
    pub offsets: Option<&'static RuntimeOffsets>,
    /// Classes that are on from the beginning.
    pub enabled: ClassSet,
    /// Sites; may be empty, for mapping system calls only.
    pub sites: Vec<ProbePoint>,
}

/// What is attached to one process.
pub(super) struct Attached {
    pub(super) config: TargetConfig,
    pub(super) source: ProbeSource,
    links: Vec<(Class, UprobeLink)>,
}

impl BpfSession {
    /// Attaches to a process: all sites or, after an error, none.
    ///
    /// # Errors
    ///
    /// The process is gone, is a thread, is not ours; a site holds other bytes than expected; no right.
    pub fn attach(&mut self, spec: &TargetSpec) -> Result<(), BpfError> {
        self.check_room(spec)?;
        let source = ProbeSource::here(spec.pid, spec.executable.as_deref())?;
        self.attach_by(spec, source)
    }

    /// As [`Self::attach`], with probes from this source, which is the process's.
    ///
    /// # Errors
    ///
    /// As those of [`Self::attach`].
    pub fn attach_by(&mut self, spec: &TargetSpec, source: ProbeSource) -> Result<(), BpfError> {
        self.check_room(spec)?;
        let pid = spec.pid;
        source.check(&spec.sites)?;

        let config = config(spec);
        self.targets
            .insert(pid, config.to_words(), 0)
            .map_err(|error| BpfError::map("configure a process", &error))?;
        self.on_demand.begin(pid)?;
        self.attached.insert(
            pid,
            Attached {
                config,
                source,
                links: Vec::with_capacity(spec.sites.len()),
            },
        );
        let attached = self.link(pid, &spec.sites);
        if attached.is_err() {
            self.detach(pid)?;
        }
        attached
    }

    fn link(&mut self, pid: u32, sites: &[ProbePoint]) -> Result<(), BpfError> {
        for site in sites {
            let gone = || BpfError::NotAttached { pid };
            let attached = self.attached.get_mut(&pid).ok_or_else(gone)?;
            let program = uprobe(&mut self.ebpf, site.program.name())?;
            let link = attached.source.attach(program, site.file_offset)?;
            attached.links.push((site.program.class(), link));
        }
        Ok(())
    }

    /// Detaches from a process, dead or alive. For each site the kernel waits until no CPU runs in it, one
    /// after the other: some 0.1 s a site on a busy machine.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotAttached`].
    pub fn detach(&mut self, pid: u32) -> Result<(), BpfError> {
        let attached = self.attached.remove(&pid).ok_or(BpfError::NotAttached { pid })?;
        drop(attached.links);
        self.on_demand.end(pid);
        self.targets
            .remove(&pid)
            .map_err(|error| BpfError::map("forget a process", &error))
    }
}

fn config(spec: &TargetSpec) -> TargetConfig {
    let enabled = spec.enabled.bits();
    match spec.offsets {
        None => TargetConfig {
            enabled,
            ..TargetConfig::default()
        },
        Some(offsets) => TargetConfig {
            enabled,
            kind_special_profile: offsets.kind_special_profile.into(),
            g_goid: offsets.g_goid,
            g_m: offsets.g_m,
            m_curg: offsets.m_curg,
            special_kind: offsets.special_kind,
            g_gopc: offsets.g_gopc,
            g_sched_pc: offsets.g_sched_pc,
        },
    }
}

pub(super) fn check_process(pid: u32) -> Result<(), BpfError> {
    let gone = BpfError::ProcessGone { pid };
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Err(gone);
    };
    let tgid = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    match tgid {
        Some(tgid) if tgid != pid => Err(BpfError::NotAProcess { pid, tgid }),
        _ => Ok(()),
    }
}

/// How an instruction that the kernel emulates begins; empty for one that it would single-step.
const fn expected_bytes(instruction: ProbeInstruction) -> &'static [u8] {
    match instruction {
        ProbeInstruction::Push => &[0x55],
        ProbeInstruction::Nop => &[0x90],
        ProbeInstruction::Nop5 => &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        ProbeInstruction::CallRel32 => &[0xe8],
        ProbeInstruction::JumpToMorestack { near: false } => &[0x76],
        ProbeInstruction::JumpToMorestack { near: true } => &[0x0f, 0x86],
        _ => &[],
    }
}

pub(super) fn check_sites(file: &File, executable: &Path, sites: &[ProbePoint]) -> Result<(), BpfError> {
    for site in sites {
        let expected = expected_bytes(site.instruction);
        if expected.is_empty() {
            return Err(BpfError::SingleStepped {
                program: site.program,
                path: executable.to_owned(),
                file_offset: site.file_offset,
            });
        }
        let mut found = vec![0; expected.len()];
        if let Err(source) = file.read_exact_at(&mut found, site.file_offset) {
            if source.kind() != io::ErrorKind::UnexpectedEof {
                return Err(BpfError::Read {
                    path: executable.to_owned(),
                    source,
                });
            }
            found.clear();
        }
        if found != expected {
            return Err(BpfError::WrongSite {
                program: site.program,
                path: executable.to_owned(),
                file_offset: site.file_offset,
                found,
                expected,
            });
        }
    }
    Ok(())
}
