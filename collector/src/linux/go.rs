//! A Go program as a target: its binary, where its code was loaded, and where the probes go.

use super::bpf::{ProbePoint, Program};
use super::process::{MappedPart, Process};
use super::sys::MappedFile;
use crate::CollectorError;
use crate::pipeline::{Symbol, Symbolize};
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};
use heaptide_symbols::{
    Frame, GoBinary, GoVersion, NEWEST_MINOR, OLDEST_MINOR, PcKind, ProbeSite, RuntimeOffsets, Support,
    SymbolError,
};
use std::path::Path;

/// What the sampled heap can't be.
pub(crate) const SEEN_FROM_ATTACH: &str =
    "seen from attach on; a free is seen at sweep, up to two GC cycles after death";

#[derive(Debug)]
pub struct GoTarget {
    binary: GoBinary<MappedFile>,
    /// Loaded address less the file's.
    bias: u64,
    /// The program's own code, as loaded.
    text: std::ops::Range<u64>,
    /// Other mapped code: C libraries, the vDSO.
    others: Vec<MappedPart>,
    /// An address was met that no known part holds: code may have been loaded since.
    met_unknown: bool,
}

/// Where the probes go, and what can't be probed and why.
#[derive(Debug)]
pub struct ProbePlan {
    pub points: Vec<ProbePoint>,
    pub refused: Vec<(Program, String)>,
    /// Where goroutines are followed one by one, when a policy asks for it; or why they can't be.
    pub goroutines: Result<Vec<ProbePoint>, String>,
    /// `None` for a Go version outside the table: no goroutine ids then, and frees come unfiltered.
    pub offsets: Option<&'static RuntimeOffsets>,
    /// Whether the runtime tells its probes why it stops the world.
    pub stop_reasons: bool,
}

impl GoTarget {
    pub fn load(process: &Process) -> Result<Self, CollectorError> {
        let path = process.executable();
        let unreadable = |source| CollectorError::io(format!("can't read {}", path.display()), source);
        let file = process.open_executable().map_err(unreadable)?;
        let mapped = MappedFile::open(&file).map_err(unreadable)?;
        let binary = GoBinary::parse(mapped).map_err(|source| CollectorError::NotWatchable {
            path: path.clone(),
            source,
        })?;
        if let Some(version) = binary.go_version().filter(|version| version.is_too_old()) {
            return Err(CollectorError::GoVersion {
                path,
                found: version.text.clone(),
                oldest_minor: OLDEST_MINOR,
            });
        }
        let parts = process.mapped_parts().map_err(|source| {
            CollectorError::io(format!("can't read the map of process {}", process.pid()), source)
        })?;
        // Any function will do: it tells how file offsets and addresses belong together.
        let site = binary
            .probe_site(Program::ProfileAlloc.symbol())
            .or_else(|_| binary.probe_site(Program::StwBegin.symbol()))
            .map_err(|source| CollectorError::NotWatchable {
                path: path.clone(),
                source,
            })?;
        let (bias, text) = locate(&site, &parts, &path)?;
        let others = parts
            .into_iter()
            .filter(|part| part.executable && part.start != text.start)
            .collect();
        Ok(Self {
            binary,
            bias,
            text,
            others,
            met_unknown: false,
        })
    }

    pub(crate) fn binary(&self) -> &GoBinary<MappedFile> {
        &self.binary
    }

    /// The address that the file has for one in the running program, of code or data.
    pub(crate) fn unrelocated_data(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    /// Loaded addresses less the file's.
    pub(crate) fn load_bias(&self) -> u64 {
        self.bias
    }

    /// Where `runtime.MemProfileRate` lies in the running program.
    pub fn rate_address(&self) -> Option<u64> {
        self.binary
            .mem_profile_rate_vaddr()
            .map(|vaddr| vaddr.wrapping_add(self.bias))
    }

    /// Where the list of goroutines lies in the running program, and how to read it; or why that is not known.
    pub fn goroutines(&self) -> Result<(u64, &'static RuntimeOffsets, GoVersion), String> {
        let version = self.binary.go_version();
        let (Some(offsets), Some(version)) = (self.binary.offsets(), version) else {
            return Err("no offsets for this Go version".to_owned());
        };
        let allgs = self
            .binary
            .allgs_vaddr()
            .ok_or("the address of runtime.allgs is not in the code that should use it")?;
        Ok((allgs.wrapping_add(self.bias), offsets, version.clone()))
    }

    /// Where the switch of Go's leak detector is in the running program, or why there is none.
    pub fn leak_check_address(&self) -> Result<u64, String> {
        let vaddr = self.binary.leak_check_vaddr().ok_or_else(|| {
            let version = self.binary.go_version().map_or("unknown", |version| &version.text);
            format!(
                "this program's runtime ({version}) has no leak detector whose switch could be found; Go 1.27 has \
                 one"
            )
        })?;
        Ok(vaddr.wrapping_add(self.bias))
    }

    /// What a person must know of a Go version that the table of offsets doesn't hold.
    pub fn limits(&self) -> Option<String> {
        let support = self.binary.support();
        (support != Support::Full).then(|| {
            format!(
                "{support}. Probe sites are found by their names all the same; goroutine ids are not told, an \
                 object with a finalizer counts as freed when that is queued, and register arguments are taken \
                 to be those of go1.{NEWEST_MINOR}"
            )
        })
    }

    /// Whether `stopTheWorldWithSema` is told why (Go 1.21 on).
    pub(crate) fn tells_stop_reasons(&self) -> bool {
        self.binary.go_version().is_none_or(|version| version.minor >= 21)
    }

    pub fn plan(&self) -> ProbePlan {
        let mut points = Vec::new();
        let mut refused = Vec::new();
        for program in Program::ALL {
            match probe_point(program, ProbePoint::find(&self.binary, program)) {
                Ok(point) => points.push(point),
                Err(why) => refused.push((program, why)),
            }
        }
        ProbePlan {
            points,
            refused,
            goroutines: self.sites(&Program::GOROUTINES),
            stop_reasons: self.tells_stop_reasons(),
            offsets: self.binary.offsets(),
        }
    }

    /// Sites of programs that are attached on demand: all of them, or why not.
    pub(crate) fn sites(&self, programs: &[Program]) -> Result<Vec<ProbePoint>, String> {
        programs
            .iter()
            .map(|program| {
                probe_point(*program, ProbePoint::find(&self.binary, *program))
                    .map_err(|why| format!("{}: {why}", program.symbol()))
            })
            .collect()
    }

    /// Reads the map again if it proved to be old. Not otherwise: the kernel holds a lock of the process
    /// while it writes its map out.
    pub fn refresh(&mut self, process: &Process) {
        if !std::mem::take(&mut self.met_unknown) {
            return;
        }
        if let Ok(parts) = process.mapped_parts() {
            let text = self.text.start;
            self.others = parts
                .into_iter()
                .filter(|part| part.executable && part.start != text)
                .collect();
        }
    }
}

impl Symbolize for GoTarget {
    fn symbolize(&mut self, pc: u64, is_return_address: bool, emit: &mut dyn FnMut(Symbol<'_>)) -> bool {
        if self.text.contains(&pc) {
            let kind = if is_return_address {
                PcKind::ReturnAddress
            } else {
                PcKind::Instruction
            };
            let mut frames: Vec<Frame<'_>> = Vec::new();
            self.binary.resolve(pc.wrapping_sub(self.bias), kind, &mut frames);
            for frame in &frames {
                emit(Symbol {
                    function: frame.function,
                    file: frame.file,
                    line: frame.line,
                    inlined: frame.inlined,
                });
            }
            return !frames.is_empty();
        }
        match self
            .others
            .iter()
            .find(|part| (part.start..part.end).contains(&pc))
        {
            Some(part) => {
                let name = Path::new(&part.path)
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy();
                emit(Symbol {
                    function: &format!("[{name}]"),
                    file: &part.path,
                    line: 0,
                    inlined: false,
                });
                true
            }
            // Past the root of a cgo callback the frame pointer chain leads into data: no frame at all.
            None => {
                self.met_unknown = true;
                true
            }
        }
    }

    fn unrelocated(&self, pc: u64) -> u64 {
        if self.text.contains(&pc) {
            pc.wrapping_sub(self.bias)
        } else {
            pc
        }
    }
}

fn locate(
    site: &ProbeSite,
    parts: &[MappedPart],
    path: &Path,
) -> Result<(u64, std::ops::Range<u64>), CollectorError> {
    let part = parts
        .iter()
        .filter(|part| part.executable && Path::new(&part.path) == path)
        .find(|part| {
            (part.file_offset..part.file_offset + (part.end - part.start)).contains(&site.file_offset)
        })
        .ok_or_else(|| {
            CollectorError::io(
                format!("can't find the code of {} in its process", path.display()),
                std::io::ErrorKind::NotFound.into(),
            )
        })?;
    let loaded = part.start + (site.file_offset - part.file_offset);
    Ok((loaded.wrapping_sub(site.vaddr), part.start..part.end))
}

/// Of [`RuntimeOffsets::g_parent_goid`].
pub(crate) const NO_CREATOR: &str = "; Go before 1.21 doesn't keep which goroutine created another";

fn probe_point(program: Program, point: Result<ProbePoint, SymbolError>) -> Result<ProbePoint, String> {
    let point = point.map_err(|error| error.to_string())?;
    if !point.instruction.is_emulated() {
        return Err(format!(
            "the kernel would single-step each call of {} (17 to 59 µs instead of about 1): refused",
            program.symbol()
        ));
    }
    Ok(point)
}

/// What can be seen of this program, before anything is attached.
pub(crate) fn capabilities(
    plan: &ProbePlan,
    mappings: Result<(), String>,
    rate: Option<u64>,
) -> Vec<Capability> {
    let refused = |programs: &[Program]| {
        let (program, why) = plan
            .refused
            .iter()
            .find(|(program, _)| programs.contains(program))?;
        Some(format!("{}: {why}", program.symbol()))
    };
    let unavailable = |why: String, remedy: &str| CapabilityState::Unavailable {
        why,
        remedy: remedy.to_owned(),
    };
    let heap = match (refused(&[Program::ProfileAlloc, Program::FreeSpecial]), rate) {
        (Some(why), _) => unavailable(why, "report this binary's Go version"),
        (None, Some(0)) => CapabilityState::Off {
            why: "MemProfileRate is 0 (pprof is not linked in): a policy that allows writing it turns it on"
                .to_owned(),
        },
        (None, None) => CapabilityState::Limited {
            why: "the address of MemProfileRate is not known, so 512 KiB is assumed and it can't be changed"
                .to_owned(),
        },
        (None, Some(_)) => CapabilityState::Limited {
            why: match plan.offsets {
                Some(_) => SEEN_FROM_ATTACH,
                None => {
                    "this Go version is outside the table: frees are matched by address alone, and an object \
                     with a finalizer counts as freed when that is queued"
                }
            }
            .to_owned(),
        },
    };
    let collections = match refused(&Program::ALL[2..6]) {
        Some(why) => CapabilityState::Limited { why },
        None if !plan.stop_reasons => CapabilityState::Limited {
            why: "Go before 1.21 doesn't say why it stops the world: the two pauses of a collection are known by \
                  what comes between them, all others have no reason"
                .to_owned(),
        },
        None => CapabilityState::Active,
    };
    let knows_creator = plan.offsets.is_some_and(|offsets| offsets.g_parent_goid != 0);
    let goroutines = match &plan.goroutines {
        _ if plan.offsets.is_none() => unavailable(
            "this Go version is outside the table, so the place of a goroutine's id is not known".to_owned(),
            "upgrade heaptide, or rebuild the program with a Go version that it knows",
        ),
        Ok(_) => CapabilityState::Off {
            why: format!(
                "a policy turns it on: creation with its whole stack, exit and stack growth of each goroutine, \
                 at about 3 µs a creation; coroutines (iter.Pull) are seen to end only{}",
                if knows_creator { "" } else { NO_CREATOR }
            ),
        },
        Err(why) => unavailable(why.clone(), "report this binary's Go version"),
    };
    let mapping_state = match mappings {
        Ok(()) => CapabilityState::Active,
        Err(why) => unavailable(why, "mount -t tracefs nodev /sys/kernel/tracing"),
    };
    let rate_bytes = rate.filter(|rate| *rate > 0).unwrap_or(524_288);
    let row = |class, source: &str, method, state| Capability {
        class,
        source: source.to_owned(),
        method,
        state,
    };
    vec![
        row(
            EventClass::Allocation,
            "uprobes runtime.profilealloc, runtime.freeSpecial",
            Method::Sampled { rate_bytes },
            heap,
        ),
        row(
            EventClass::Goroutine,
            "uprobes runtime.newproc, gdestroy (goexit0), copystack",
            Method::Exact,
            goroutines,
        ),
        row(
            EventClass::GarbageCollection,
            "uprobes startCycle, gcMarkTermination, stopTheWorldWithSema, startTheWorldWithSema",
            Method::Exact,
            collections,
        ),
        row(
            EventClass::Mapping,
            "tracepoints sys_{enter,exit}_{mmap,munmap,mremap,madvise,brk}",
            Method::Exact,
            mapping_state,
        ),
        row(
            EventClass::Gauge,
            "/proc/PID/statm, stat, smaps_rollup",
            Method::Census,
            CapabilityState::Active,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(refused: &[Program]) -> ProbePlan {
        let version = GoVersion::parse("go1.27.3").unwrap();
        ProbePlan {
            points: Vec::new(),
            refused: refused
                .iter()
                .map(|program| (*program, "single-stepped".to_owned()))
                .collect(),
            goroutines: Ok(Vec::new()),
            stop_reasons: true,
            offsets: RuntimeOffsets::of(&version),
        }
    }

    /// Each class is always there, and whatever is not fully observed says why; what can be mended says how.
    #[test]
    fn invariant_8_what_cannot_be_seen_says_why() {
        let cases = [
            (plan(&[]), Ok(()), Some(524_288), "active limited"),
            (plan(&[]), Ok(()), Some(0), "off"),
            (plan(&[]), Ok(()), None, "limited"),
            (
                plan(&[Program::ProfileAlloc]),
                Ok(()),
                Some(524_288),
                "unavailable",
            ),
            (plan(&[Program::StwEnd]), Ok(()), Some(524_288), "limited"),
            (
                ProbePlan {
                    offsets: None,
                    ..plan(&[])
                },
                Ok(()),
                Some(524_288),
                "active limited unavailable",
            ),
            (
                ProbePlan {
                    stop_reasons: false,
                    offsets: RuntimeOffsets::of(&GoVersion::parse("go1.19.8").unwrap()),
                    ..plan(&[])
                },
                Ok(()),
                Some(524_288),
                "limited off",
            ),
            (
                plan(&[]),
                Err("tracefs is not mounted".to_owned()),
                Some(524_288),
                "unavailable",
            ),
        ];
        for (plan, mappings, rate, expected) in cases {
            let rows = capabilities(&plan, mappings.clone(), rate);
            let classes: Vec<EventClass> = rows.iter().map(|row| row.class).collect();
            let all = [
                EventClass::Allocation,
                EventClass::Goroutine,
                EventClass::GarbageCollection,
                EventClass::Mapping,
                EventClass::Gauge,
            ];
            assert_eq!(classes, all);
            let mut states = Vec::new();
            for row in &rows {
                states.push(match &row.state {
                    CapabilityState::Active => "active",
                    CapabilityState::Limited { why } | CapabilityState::Off { why } if why.is_empty() => {
                        "silent"
                    }
                    CapabilityState::Unavailable { why, remedy } if why.is_empty() || remedy.is_empty() => {
                        "silent"
                    }
                    CapabilityState::Limited { .. } => "limited",
                    CapabilityState::Off { .. } => "off",
                    CapabilityState::Unavailable { .. } => "unavailable",
                });
            }
            assert!(!states.contains(&"silent"), "{rows:?}");
            assert!(
                expected.split(' ').all(|state| states.contains(&state)),
                "{expected} not in {states:?}"
            );
        }
    }
}
