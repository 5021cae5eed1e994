//! Classes that cost every process on the machine something, or a hot path of the watched one: attached while a
//! policy wants them, gone otherwise. A class that is off has no tracepoint and no uprobe.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
    programs::{ProgramError, trace_point::TracePointLink},
};
use heaptide_ebpf_abi::{
    Class, HUGE_LAYOUT_WORDS, HugeLayout, KERNEL_CONFIG_WORDS, KernelConfig, SUMS_WORDS, Sums, maps, programs,
};

use super::{
    attach::ProbePoint,
    btf::Btf,
    error::BpfError,
    format::Format,
    session::{BpfSession, take, tracepoint},
    uprobes::UprobeLink,
};

/// Types of the running kernel.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Results that say that there was nothing to put together: it is one already, or nothing is there.
const NOTHING: [&str; 3] = ["pmd_null", "pmd_none", "page_pmd_mapped"];

/// What is attached on demand, and the maps that belong to it.
pub(super) struct OnDemand {
    kernel: HashMap<MapData, u32, [u64; KERNEL_CONFIG_WORDS]>,
    sums: HashMap<MapData, u32, [u64; SUMS_WORDS]>,
    huge_layout: Array<MapData, [u32; HUGE_LAYOUT_WORDS]>,
    tracepoints: BTreeMap<Class, Vec<TracePointLink>>,
    uprobes: Vec<(u32, Class, UprobeLink)>,
}

/// A tracepoint and where the programs expect its fields.
struct Point {
    program: &'static str,
    category: &'static str,
    name: &'static str,
    /// Name, offset and size of each field that is read.
    fields: &'static [(&'static str, u32, u32)],
    /// For messages.
    feature: &'static str,
    config: &'static str,
}

const fn points(class: Class) -> &'static [Point] {
    match class {
        Class::PageFault => &[Point {
            program: programs::PAGE_FAULT,
            category: "exceptions",
            name: "page_fault_user",
            fields: &[("address", 8, 8), ("error_code", 24, 8)],
            feature: "tracepoint exceptions:page_fault_user as it is known",
            config: "CONFIG_FTRACE on amd64",
        }],
        Class::HugePage => &[
            Point {
                program: programs::HUGE_MADVISE,
                category: "syscalls",
                name: "sys_enter_madvise",
                fields: &[],
                feature: "system call tracepoints",
                config: "CONFIG_FTRACE_SYSCALLS",
            },
            Point {
                program: programs::HUGE_SCAN,
                category: "huge_memory",
                name: "mm_khugepaged_scan_pmd",
                fields: &[("mm", 8, 8)],
                feature: "tracepoint huge_memory:mm_khugepaged_scan_pmd as it is known",
                config: "CONFIG_TRANSPARENT_HUGEPAGE",
            },
        ],
        // Wake-ups first: one that is missed would leave a thread asleep that runs.
        Class::OffCpu => &[
            Point {
                program: programs::SCHED_WAKEUP,
                category: "sched",
                name: "sched_wakeup",
                fields: &[("pid", 24, 4)],
                feature: "tracepoint sched:sched_wakeup as it is known",
                config: "CONFIG_FTRACE",
            },
            Point {
                program: programs::SCHED_SWITCH,
                category: "sched",
                name: "sched_switch",
                fields: &[("prev_pid", 24, 4), ("prev_state", 32, 8), ("next_pid", 56, 4)],
                feature: "tracepoint sched:sched_switch as it is known",
                config: "CONFIG_FTRACE",
            },
        ],
        _ => &[],
    }
}

impl OnDemand {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            kernel: take(ebpf, maps::KERNEL)?,
            sums: take(ebpf, maps::SUMS)?,
            huge_layout: take(ebpf, maps::HUGE_LAYOUT)?,
            tracepoints: BTreeMap::new(),
            uprobes: Vec::new(),
        })
    }

    /// Begins to sum for a process.
    pub(super) fn begin(&mut self, pid: u32) -> Result<(), BpfError> {
        let failed = |error| BpfError::map("begin the sums of a process", &error);
        self.sums.insert(pid, [0; SUMS_WORDS], 0).map_err(failed)?;
        self.kernel
            .insert(pid, KernelConfig::default().to_words(), 0)
            .map_err(failed)
    }

    /// Takes everything off a process.
    pub(super) fn end(&mut self, pid: u32) {
        self.uprobes.retain(|(of, ..)| *of != pid);
        // Fails only if there is none.
        let _ = self.kernel.remove(&pid);
        let _ = self.sums.remove(&pid);
    }
}

impl BpfSession {
    /// Attaches the tracepoints of [`Class::PageFault`], [`Class::HugePage`] or [`Class::OffCpu`], for every
    /// attached process. Does nothing the second time, or for a class without any.
    ///
    /// # Errors
    ///
    /// [`BpfError::NoTracefs`], no right, or a kernel that lacks the tracepoint or has another one of that name.
    pub fn attach_class(&mut self, class: Class) -> Result<(), BpfError> {
        if self.on_demand.tracepoints.contains_key(&class) {
            return Ok(());
        }
        // A failed attempt may have left programs loaded.
        self.detach_class(class);
        for point in points(class) {
            let format = Format::read(point.category, point.name)?;
            let Some(format) = format.filter(|format| {
                let found =
                    |(name, offset, size): &(&str, u32, u32)| format.field(name) == Some((*offset, *size));
                point.fields.iter().all(found)
            }) else {
                return Err(BpfError::no_tracepoint(point.feature, point.config));
            };
            if point.program == programs::HUGE_SCAN {
                self.tell_huge_layout(point, &format)?;
            }
        }
        let mut links = Vec::new();
        for point in points(class) {
            let program = tracepoint(&mut self.ebpf, point.program)?;
            let link = program
                .load()
                .map_err(|error| BpfError::loading_program(point.program, &error))
                .and_then(|()| {
                    program
                        .attach(point.category, point.name)
                        .and_then(|id| program.take_link(id))
                        .map_err(|error| BpfError::attaching_event(point.feature, point.config, &error))
                });
            match link {
                Ok(link) => links.push(link),
                Err(error) => {
                    drop(links);
                    self.detach_class(class);
                    return Err(error);
                }
            }
        }
        if !links.is_empty() {
            self.on_demand.tracepoints.insert(class, links);
        }
        Ok(())
    }

    /// Detaches the tracepoints of a class.
    pub fn detach_class(&mut self, class: Class) {
        drop(self.on_demand.tracepoints.remove(&class));
        // Loaded anew the next time, for the reason that `detach_mappings` gives.
        for point in points(class) {
            if let Ok(program) = tracepoint(&mut self.ebpf, point.program) {
                // The only error is that it was not loaded.
                let _ = program.unload();
            }
        }
    }

    /// Detaches those of all classes.
    pub fn detach_classes(&mut self) {
        for class in Class::ALL {
            self.detach_class(class);
        }
    }

    /// Whether tracepoints of the class are attached.
    #[must_use]
    pub fn is_class_attached(&self, class: Class) -> bool {
        self.on_demand.tracepoints.contains_key(&class)
    }

    /// Attaches further sites of an attached process: all of them or, after an error, none. Does nothing if
    /// sites of their class are attached.
    ///
    /// # Errors
    ///
    /// As those of [`BpfSession::attach`].
    pub fn attach_sites(&mut self, pid: u32, class: Class, sites: &[ProbePoint]) -> Result<(), BpfError> {
        let source = self
            .attached
            .get(&pid)
            .map(|attached| attached.source.clone())
            .ok_or(BpfError::NotAttached { pid })?;
        if self.has_sites(pid, class) {
            return Ok(());
        }
        source.check(sites)?;
        for site in sites {
            let program = self.uprobe(site.program)?;
            match program.load() {
                Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
                Err(error) => {
                    self.detach_sites(pid, class);
                    return Err(BpfError::loading_program(site.program.name(), &error));
                }
            }
            match source.attach(program, site.file_offset) {
                Ok(link) => self.on_demand.uprobes.push((pid, class, link)),
                Err(error) => {
                    self.detach_sites(pid, class);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether [`BpfSession::attach_sites`] has attached sites of this class.
    #[must_use]
    pub fn has_sites(&self, pid: u32, class: Class) -> bool {
        let mut there = self.on_demand.uprobes.iter();
        there.any(|(of, its, _)| *of == pid && *its == class)
    }

    /// Detaches what [`BpfSession::attach_sites`] has attached.
    pub fn detach_sites(&mut self, pid: u32, class: Class) {
        self.on_demand
            .uprobes
            .retain(|(of, its, _)| *of != pid || *its != class);
    }

    /// Sets thresholds and shares for one process.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotAttached`], or an error of bpf(2).
    pub fn set_kernel(&mut self, pid: u32, config: KernelConfig) -> Result<(), BpfError> {
        if !self.attached.contains_key(&pid) {
            return Err(BpfError::NotAttached { pid });
        }
        self.on_demand
            .kernel
            .insert(pid, config.to_words(), 0)
            .map_err(|error| BpfError::map("set what of the kernel's events is sent", &error))
    }

    /// What was summed up since the process was attached.
    ///
    /// # Errors
    ///
    /// An error of bpf(2), for instance when it is not attached.
    pub fn sums(&self, pid: u32) -> Result<Sums, BpfError> {
        let words = self.on_demand.sums.get(&pid, 0);
        words
            .map(Sums::from_words)
            .map_err(|error| BpfError::map("read the sums of a process", &error))
    }

    fn tell_huge_layout(&mut self, point: &Point, format: &Format) -> Result<(), BpfError> {
        let layout =
            huge_layout(format).ok_or_else(|| BpfError::no_tracepoint(point.feature, point.config))?;
        self.on_demand
            .huge_layout
            .set(0, layout.to_words(), 0)
            .map_err(|error| BpfError::map("tell the kernel's layout", &error))
    }
}

/// Why huge pages that khugepaged puts together can't be told by process here, if they can't.
#[must_use]
pub fn khugepaged_blindness() -> Option<String> {
    let format = Format::read("huge_memory", "mm_khugepaged_scan_pmd").ok()??;
    let layout = huge_layout(&format)?;
    (layout.mm_owner == 0).then(|| {
        format!(
            "whose memory khugepaged works on is not known: {BTF_PATH} is missing, or the kernel was built \
             without CONFIG_MEMCG"
        )
    })
}

fn huge_layout(format: &Format) -> Option<HugeLayout> {
    let (status_at, 4) = format.field("status")? else {
        return None;
    };
    let known = HugeLayout {
        status_at,
        succeeded: format.number_of("succeeded")?,
        nothing: NOTHING
            .iter()
            .filter_map(|word| format.number_of(word))
            .filter(|number| *number < u32::BITS)
            .fold(0, |bits, number| bits | 1 << number),
        ..HugeLayout::default()
    };
    let bytes = std::fs::read(BTF_PATH).unwrap_or_default();
    let owner = Btf::parse(&bytes).and_then(|btf| {
        Some(HugeLayout {
            mm_owner: btf.offset("mm_struct.owner")?,
            task_tgid: btf.offset("task_struct.tgid")?,
            task_thread_pid: btf.offset("task_struct.thread_pid")?,
            pid_numbers: btf.offset("pid.numbers")?,
            upid_ns: btf.offset("upid.ns")?,
            ns_inum: btf.offset("pid_namespace.ns.inum")?,
            upid_bytes: btf.size("upid")?,
            ..known
        })
    });
    Some(owner.unwrap_or(known))
}
