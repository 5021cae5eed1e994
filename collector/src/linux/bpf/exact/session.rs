//! The object of a window: loaded, attached, opened, closed, read, gone.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
};
use heaptide_ebpf_abi::{
    EXACT_CONTROL_WORDS, EXACT_COUNT_WORDS, EXACT_SAMPLE_BYTES, ExactCounts, MAX_STACK_FRAMES,
    SIZE_CLASS_BYTES, exact_hash, maps, programs,
};

use super::{ExactPlan, PhaseBins};
use crate::linux::bpf::{
    BpfError,
    session::{aligned, take, uprobe},
    uprobes::{ProbeSource, UprobeLink},
};

/// Sizes of a window's tables. They are kernel memory: about 130 bytes a row, 1.1 KiB a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactOptions {
    pub rows_max: u32,
    pub stacks_max: u32,
    pub threads_max: u32,
    pub samples_ring_bytes: u32,
}

impl Default for ExactOptions {
    fn default() -> Self {
        Self {
            rows_max: 65_536,
            stacks_max: 16_384,
            threads_max: 4_096,
            // 43,000 samples between two looks.
            samples_ring_bytes: 1 << 20,
        }
    }
}

/// A row as the kernel left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactRowRead {
    /// Leaf first: the probed instruction, then return addresses. Empty if the stack could not be stored.
    pub pcs: Vec<u64>,
    /// Address of the element's type in the process; 0 if the allocator was told none.
    pub type_address: u64,
    /// What each object takes; 0 if large.
    pub class_bytes: u32,
    pub objects: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// All that a window counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactReadout {
    pub rows: Vec<ExactRowRead>,
    /// `seen` is the sum of the rows and `unrowed_objects`.
    pub counts: ExactCounts,
}

const STACK_WORDS: usize = MAX_STACK_FRAMES + 1;

/// A loaded and attached window. Dropping it detaches.
pub struct ExactSession {
    // Before the programs.
    links: Vec<UprobeLink>,
    plan: ExactPlan,
    control: Array<MapData, [u64; EXACT_CONTROL_WORDS]>,
    rows: HashMap<MapData, [u64; 3], [u64; 2]>,
    stacks: HashMap<MapData, u64, [u64; STACK_WORDS]>,
    threads: HashMap<MapData, u32, [u64; 2]>,
    counts: PerCpuArray<MapData, [u64; EXACT_COUNT_WORDS]>,
    samples: RingBuf<MapData>,
    _ebpf: Ebpf,
}

impl std::fmt::Debug for ExactSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactSession")
            .field("probes", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl ExactSession {
    /// Loads the object and attaches at every site of the plan, closed. `with_samples` also at Go's sampler.
    ///
    /// # Errors
    ///
    /// Those of [`BpfSession::load`](super::super::BpfSession::load) and
    /// [`BpfSession::attach`](super::super::BpfSession::attach).
    pub fn attach(
        object: &[u8],
        source: &ProbeSource,
        plan: &ExactPlan,
        with_samples: bool,
        options: &ExactOptions,
    ) -> Result<Self, BpfError> {
        let sample_site = plan.sample_site.filter(|_| with_samples);
        let sites: Vec<_> = plan.sites.iter().copied().chain(sample_site).collect();
        source.check(&sites)?;

        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries(maps::EXACT_ROWS, options.rows_max)
            .map_max_entries(maps::EXACT_STACKS, options.stacks_max)
            .map_max_entries(maps::EXACT_THREADS, options.threads_max)
            .map_max_entries(maps::EXACT_SAMPLES, options.samples_ring_bytes)
            .load(&aligned(object))
            .map_err(|error| BpfError::loading(&error))?;
        for name in [programs::EXACT_ALLOC, programs::EXACT_SAMPLE] {
            uprobe(&mut ebpf, name)?
                .load()
                .map_err(|error| BpfError::loading_program(name, &error))?;
        }
        let mut session = Self {
            links: Vec::with_capacity(sites.len()),
            plan: plan.clone(),
            control: take(&mut ebpf, maps::EXACT_CONTROL)?,
            rows: take(&mut ebpf, maps::EXACT_ROWS)?,
            stacks: take(&mut ebpf, maps::EXACT_STACKS)?,
            threads: take(&mut ebpf, maps::EXACT_THREADS)?,
            counts: take(&mut ebpf, maps::EXACT_COUNTS)?,
            samples: take(&mut ebpf, maps::EXACT_SAMPLES)?,
            _ebpf: ebpf,
        };
        for site in sites {
            let program = uprobe(&mut session._ebpf, site.program.name())?;
            let link = source.attach(program, site.file_offset)?;
            session.links.push(link);
        }
        Ok(session)
    }

    /// Functions that are probed, the sampler not among them.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.plan.sites.len()
    }

    /// Counts from now on.
    ///
    /// # Errors
    ///
    /// An error of bpf(2), as below.
    pub fn open(&mut self) -> Result<(), BpfError> {
        self.set_control(true)
    }

    /// Counts no more; the probes are still there.
    pub fn close(&mut self) -> Result<(), BpfError> {
        self.set_control(false)
    }

    /// Takes the probes off. The kernel waits for a grace period for each, so all of them wait together.
    pub fn detach(&mut self) {
        let links = std::mem::take(&mut self.links);
        std::thread::scope(|scope| {
            for link in links {
                scope.spawn(move || drop(link));
            }
        });
    }

    /// The counters of all CPUs.
    pub fn counts(&self) -> Result<ExactCounts, BpfError> {
        let per_cpu = self
            .counts
            .get(&0, 0)
            .map_err(|error| BpfError::map("read eBPF counters", &error))?;
        Ok(per_cpu
            .iter()
            .map(|words| ExactCounts::from_words(*words))
            .fold(ExactCounts::default(), ExactCounts::plus))
    }

    /// Takes the samples that are in the ring.
    pub fn drain_samples(&mut self, phase: &mut PhaseBins) {
        while let Some(record) = self.samples.next() {
            let mut words = record.chunks_exact(8).filter_map(|word| word.first_chunk::<8>());
            if record.len() == EXACT_SAMPLE_BYTES
                && let (Some(before), Some(size)) = (words.next(), words.next())
            {
                phase.sample(u64::from_ne_bytes(*before), u64::from_ne_bytes(*size));
            }
        }
    }

    /// Distances that had not ended when the window closed; once, at the end.
    pub fn drain_threads(&self, phase: &mut PhaseBins) -> Result<(), BpfError> {
        for entry in self.threads.iter() {
            let (_, [since_bytes, _]) = entry.map_err(|error| reading(&error))?;
            phase.unfinished(since_bytes);
        }
        Ok(())
    }

    /// What was counted. After [`Self::close`] and [`Self::detach`], or a row may still grow.
    pub fn read(&self) -> Result<ExactReadout, BpfError> {
        let mut rows = Vec::new();
        for entry in self.rows.iter() {
            let ([hash, type_address, class], [objects, bytes]) = entry.map_err(|error| reading(&error))?;
            let class = usize::try_from(class).ok();
            rows.push(ExactRowRead {
                pcs: self.stack(hash)?,
                type_address,
                class_bytes: class
                    .and_then(|class| SIZE_CLASS_BYTES.get(class))
                    .map_or(0, |bytes| u32::from(*bytes)),
                objects,
                bytes,
            });
        }
        Ok(ExactReadout {
            rows,
            counts: self.counts()?,
        })
    }

    /// The stack of that hash; empty if it is not there or is another's.
    fn stack(&self, hash: u64) -> Result<Vec<u64>, BpfError> {
        let words = match self.stacks.get(&hash, 0) {
            Ok(words) => words,
            Err(MapError::KeyNotFound) => return Ok(Vec::new()),
            Err(error) => return Err(reading(&error)),
        };
        let [frames, pcs @ ..] = &words;
        let pcs = usize::try_from(*frames)
            .ok()
            .and_then(|frames| pcs.get(..frames))
            .unwrap_or_default();
        let is_its = pcs.iter().fold(0, |hash, pc| exact_hash(hash, *pc)) == hash;
        Ok(if is_its { pcs.to_vec() } else { Vec::new() })
    }

    fn set_control(&mut self, is_on: bool) -> Result<(), BpfError> {
        self.control
            .set(0, self.plan.control(is_on).to_words(), 0)
            .map_err(|error| BpfError::map("open or close an exact window", &error))
    }
}

fn reading(error: &MapError) -> BpfError {
    BpfError::map("read an exact window", error)
}
