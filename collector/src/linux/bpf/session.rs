//! A loaded object: its maps, its ring buffer and what is attached.

use std::{
    collections::BTreeMap,
    fmt,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        linux::fs::MetadataExt as _,
    },
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{TracePoint, UProbe, trace_point::TracePointLink},
};
use heaptide_ebpf_abi::{
    CLASS_COUNT, COUNTER_WORDS, Class, ClassCounters, SyscallKind, TARGET_WORDS, TARGETS_MAX, maps, programs,
};

use super::{
    attach::{Attached, Program, TargetSpec},
    error::BpfError,
    on_demand::OnDemand,
    tracefs::tracefs_path,
};

/// The inode of the first pid namespace (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// How to load.
#[derive(Debug, Clone)]
pub struct BpfOptions {
    /// Size of the ring buffer: a power of two, at least a page. It is kernel memory that can't be swapped.
    pub ring_bytes: u32,
}

impl Default for BpfOptions {
    /// 8 MiB: at 300 bytes a record and a tick of 100 ms that is room for 280,000 records a second.
    fn default() -> Self {
        Self { ring_bytes: 8 << 20 }
    }
}

/// A set of event classes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClassSet(u32);

impl ClassSet {
    /// No class.
    pub const NONE: Self = Self(0);
    /// Every class.
    pub const ALL: Self = Self((1 << CLASS_COUNT) - 1);

    /// With this class too.
    #[must_use]
    pub const fn with(self, class: Class) -> Self {
        Self(self.0 | class.bit())
    }

    /// Without this class.
    #[must_use]
    pub const fn without(self, class: Class) -> Self {
        Self(self.0 & !class.bit())
    }

    /// Whether the class is in it.
    #[must_use]
    pub const fn contains(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Class::ALL.iter().filter(|&&class| self.contains(class)))
            .finish()
    }
}

/// What [`BpfSession::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polled {
    /// Records handed out.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Whether it stopped at its limit, so that there may be more.
    pub more: bool,
}

/// Counters by class, summed over the CPUs, since the session was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([ClassCounters; CLASS_COUNT as usize]);

impl Counters {
    /// Those of one class.
    #[must_use]
    pub const fn of(&self, class: Class) -> ClassCounters {
        self.0[class as usize]
    }

    /// Every class with its counters.
    pub fn iter(&self) -> impl Iterator<Item = (Class, ClassCounters)> {
        Class::ALL.into_iter().map(|class| (class, self.of(class)))
    }
}

/// Loaded programs, their maps and their attachments. Dropping it detaches everything.
pub struct BpfSession {
    pub(super) ebpf: Ebpf,
    ring: RingBuf<MapData>,
    pub(super) targets: HashMap<MapData, u32, [u32; TARGET_WORDS]>,
    counters: PerCpuArray<MapData, [u64; COUNTER_WORDS]>,
    pub(super) attached: BTreeMap<u32, Attached>,
    /// Entries, then returns.
    mapping_links: Vec<TracePointLink>,
    pub(super) on_demand: OnDemand,
}

impl fmt::Debug for BpfSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BpfSession")
            .field("attached", &self.attached.keys())
            .field("mappings_attached", &!self.mapping_links.is_empty())
            .finish_non_exhaustive()
    }
}

impl BpfSession {
    /// Loads the object into the kernel: maps and the programs for Go. Nothing runs until it is attached.
    ///
    /// # Errors
    ///
    /// No right, a kernel that lacks something, an object that is no object, a ring size that is no size.
    pub fn load(object: &[u8], options: &BpfOptions) -> Result<Self, BpfError> {
        let ring_bytes = options.ring_bytes;
        if !(ring_bytes.is_power_of_two() && (4096..=1 << 30).contains(&ring_bytes)) {
            return Err(BpfError::RingSize {
                got_bytes: ring_bytes,
            });
        }
        let (pid_ns_dev, pid_ns_ino) = pid_namespace()?;
        let mut ebpf = EbpfLoader::new()
            // Types of the running kernel are for relocations, and there are none in the object.
            .btf(None)
            .map_max_entries(maps::EVENTS, ring_bytes)
            .override_global(maps::PID_NS_DEV, &pid_ns_dev, true)
            .override_global(maps::PID_NS_INO, &pid_ns_ino, true)
            .load(&aligned(object))
            .map_err(|error| BpfError::loading(&error))?;

        for program in Program::ALL.into_iter().chain(Program::GOROUTINES) {
            let name = program.name();
            uprobe(&mut ebpf, name)?
                .load()
                .map_err(|error| BpfError::loading_program(name, &error))?;
        }
        Ok(Self {
            on_demand: OnDemand::new(&mut ebpf)?,
            ring: take(&mut ebpf, maps::EVENTS)?,
            targets: take(&mut ebpf, maps::TARGETS)?,
            counters: take(&mut ebpf, maps::COUNTERS)?,
            ebpf,
            attached: BTreeMap::new(),
            mapping_links: Vec::new(),
        })
    }

    /// Attaches to the mapping system calls; from now on those of every attached process are sent whose
    /// class [`Class::Mapping`] is on. Does nothing the second time.
    ///
    /// # Errors
    ///
    /// [`BpfError::NoTracefs`], no right, or a kernel without system call tracepoints.
    pub fn attach_mappings(&mut self) -> Result<(), BpfError> {
        if !self.mapping_links.is_empty() {
            return Ok(());
        }
        if tracefs_path().is_none() {
            return Err(BpfError::no_tracefs());
        }
        // A failed attempt may have left them loaded.
        self.detach_mappings();
        // Entries first: a return without its entry counts as unpaired, an entry without its return as nothing.
        for (name, side) in [
            (programs::MAPPING_ENTER, "enter"),
            (programs::MAPPING_EXIT, "exit"),
        ] {
            let program = tracepoint(&mut self.ebpf, name)?;
            program
                .load()
                .map_err(|error| BpfError::loading_program(name, &error))?;
            for call in SyscallKind::ALL {
                let link = program
                    .attach("syscalls", &format!("sys_{side}_{}", call.name()))
                    .and_then(|id| program.take_link(id));
                match link {
                    Ok(link) => self.mapping_links.push(link),
                    Err(error) => {
                        self.detach_mappings();
                        return Err(BpfError::attaching_tracepoint(&error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Detaches from the mapping system calls, which takes their cost off every process on the machine.
    pub fn detach_mappings(&mut self) {
        // Returns first, for the reason given above.
        while self.mapping_links.pop().is_some() {}
        // Next time with programs loaded anew: while another thread forks, its child holds the links open
        // until it executes something, and the kernel takes a program only once per tracepoint.
        for name in [programs::MAPPING_ENTER, programs::MAPPING_EXIT] {
            if let Ok(program) = tracepoint(&mut self.ebpf, name) {
                // The only error is that it was not loaded.
                let _ = program.unload();
            }
        }
    }

    /// Switches classes on and off for one process, without detaching anything.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotAttached`].
    pub fn set_enabled(&mut self, pid: u32, classes: ClassSet) -> Result<(), BpfError> {
        let attached = self.attached.get_mut(&pid).ok_or(BpfError::NotAttached { pid })?;
        attached.config.enabled = classes.bits();
        let words = attached.config.to_words();
        self.targets
            .insert(pid, words, 0)
            .map_err(|error| BpfError::map("configure a process", &error))
    }

    /// Hands out the records that are in the ring, at most `max_records`, oldest first. The bytes are the
    /// ring's own and valid during the call only; see [`decode`](super::decode).
    ///
    /// Records of different CPUs are in the order in which they were written, which is not always that of
    /// their timestamps.
    pub fn poll(&mut self, max_records: usize, mut on_record: impl FnMut(&[u8])) -> Polled {
        let mut polled = Polled::default();
        while polled.records < max_records {
            let Some(record) = self.ring.next() else {
                return polled;
            };
            polled.records += 1;
            polled.bytes += record.len();
            on_record(&record);
        }
        polled.more = true;
        polled
    }

    /// What was seen, sent and lost so far.
    ///
    /// # Errors
    ///
    /// An error of bpf(2).
    pub fn counters(&self) -> Result<Counters, BpfError> {
        let mut counters = Counters::default();
        for class in Class::ALL {
            let per_cpu = self
                .counters
                .get(&(class as u32), 0)
                .map_err(|error| BpfError::map("read eBPF counters", &error))?;
            counters.0[class as usize] = per_cpu
                .iter()
                .map(|words| ClassCounters::from_words(*words))
                .fold(ClassCounters::default(), ClassCounters::plus);
        }
        Ok(counters)
    }

    /// The processes attached to.
    pub fn attached(&self) -> impl Iterator<Item = u32> {
        self.attached.keys().copied()
    }

    pub(super) fn uprobe(&mut self, program: Program) -> Result<&mut UProbe, BpfError> {
        uprobe(&mut self.ebpf, program.name())
    }

    pub(super) fn check_room(&self, spec: &TargetSpec) -> Result<(), BpfError> {
        if self.attached.contains_key(&spec.pid) {
            return Err(BpfError::AlreadyAttached { pid: spec.pid });
        }
        if self.attached.len() >= TARGETS_MAX as usize {
            return Err(BpfError::TooManyTargets { max: TARGETS_MAX });
        }
        Ok(())
    }
}

/// For edge-triggered epoll, as tokio's `AsyncFd` does it: an edge comes when the ring passes a quarter of
/// its size; below that, come by on a tick. Level-triggered, it is readable as soon as there is a record.
impl AsFd for BpfSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for BpfSession {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

pub(super) fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, BpfError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| missing(name))
}

pub(super) fn tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut TracePoint, BpfError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| missing(name))
}

pub(super) fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M, BpfError> {
    ebpf.take_map(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(|error| BpfError::BadObject {
            reason: format!("map {name}: {error}"),
        })
}

fn missing(name: &str) -> BpfError {
    BpfError::BadObject {
        reason: format!("no {name} in it"),
    }
}

/// Device and inode of this process's pid namespace, or zeros for the first one, whose ids the kernel tells
/// without being asked for a namespace.
fn pid_namespace() -> Result<(u64, u64), BpfError> {
    let path = "/proc/self/ns/pid";
    let namespace = std::fs::metadata(path).map_err(|source| BpfError::Read {
        path: path.into(),
        source,
    })?;
    Ok(match namespace.st_ino() {
        FIRST_PID_NAMESPACE => (0, 0),
        ino => (namespace.st_dev(), ino),
    })
}

/// The object at an address that ELF structures can be read from, whatever the caller's was.
pub(super) fn aligned(object: &[u8]) -> AlignedObject {
    const ALIGN: usize = 16;
    let mut bytes = vec![0; object.len() + ALIGN];
    let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
    let range = start..start + object.len();
    bytes[range.clone()].copy_from_slice(object);
    AlignedObject { bytes, range }
}

pub(super) struct AlignedObject {
    bytes: Vec<u8>,
    range: std::ops::Range<usize>,
}

impl std::ops::Deref for AlignedObject {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}
