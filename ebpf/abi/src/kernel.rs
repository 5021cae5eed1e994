//! What the programs of the kernel's own events know of each watched process, and what they sum up.
//!
//! Page faults, waits for a processor, assists and sweeps can be many: all are summed here, and only some are
//! sent.

/// Value of the map [`KERNEL`](crate::maps::KERNEL), by thread group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct KernelConfig {
    /// A wait that began before is not told: what came in between was not seen.
    pub armed_ns: u64,
    /// Shorter waits for a processor are summed and not sent.
    pub wait_min_ns: u64,
    /// Shorter assists and sweeps are summed and not sent.
    pub work_min_ns: u64,
    /// One page fault in so many is sent, drawn at random; 0 is none.
    pub faults_one_in: u64,
    /// A fault is sent if a random number of 32 bits is not above this; see [`fault_chance`].
    pub fault_chance: u64,
}

/// The largest random number at which a fault is sent, so that one in `one_in` is.
#[must_use]
pub const fn fault_chance(one_in: u32) -> u64 {
    match (1_u64 << 32).checked_div(one_in as u64) {
        Some(chances) => chances - 1,
        None => 0,
    }
}

/// Words in [`KernelConfig`].
pub const KERNEL_CONFIG_WORDS: usize = 5;

impl KernelConfig {
    /// The same bytes as words, for maps that are written without `unsafe`.
    #[must_use]
    pub const fn to_words(self) -> [u64; KERNEL_CONFIG_WORDS] {
        [
            self.armed_ns,
            self.wait_min_ns,
            self.work_min_ns,
            self.faults_one_in,
            self.fault_chance,
        ]
    }
}

/// Value of the map [`SUMS`](crate::maps::SUMS), by thread group id: everything that happened since the process
/// was attached and while its class was on, sent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Sums {
    /// Page faults in user mode.
    pub faults: u64,
    /// Times that a thread was runnable and waited.
    pub waits: u64,
    /// Their length together.
    pub wait_ns: u64,
    /// Mark assists that did work.
    pub assists: u64,
    /// Their length together.
    pub assist_ns: u64,
    /// Spans swept by goroutines that wanted to allocate.
    pub sweeps: u64,
    /// Their length together.
    pub sweep_ns: u64,
}

/// Words in [`Sums`].
pub const SUMS_WORDS: usize = 7;

impl Sums {
    /// From the words in the map, in the order of the fields.
    #[must_use]
    pub const fn from_words(words: [u64; SUMS_WORDS]) -> Self {
        let [faults, waits, wait_ns, assists, assist_ns, sweeps, sweep_ns] = words;
        Self {
            faults,
            waits,
            wait_ns,
            assists,
            assist_ns,
            sweeps,
            sweep_ns,
        }
    }
}

/// The one value of the map [`HUGE_LAYOUT`](crate::maps::HUGE_LAYOUT): where the running kernel keeps what the
/// tracepoint `huge_memory:mm_khugepaged_scan_pmd` and its memory descriptor tell. From the tracepoint's format
/// and from the kernel's BTF; an offset of 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct HugeLayout {
    /// Offset of `status` in the tracepoint's record.
    pub status_at: u32,
    /// `SCAN_SUCCEED`.
    pub succeeded: u32,
    /// Bit n is set if status n says that there was nothing to put together.
    pub nothing: u32,
    /// `mm_struct.owner`
    pub mm_owner: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `pid.numbers`, of `upid` structures.
    pub pid_numbers: u32,
    /// `upid.ns`; `upid.nr` is their first field.
    pub upid_ns: u32,
    /// `pid_namespace.ns.inum`
    pub ns_inum: u32,
    /// Bytes of a `upid`.
    pub upid_bytes: u32,
}

/// Words in [`HugeLayout`].
pub const HUGE_LAYOUT_WORDS: usize = 10;

impl HugeLayout {
    /// The same bytes as words, for maps that are written without `unsafe`.
    #[must_use]
    pub const fn to_words(self) -> [u32; HUGE_LAYOUT_WORDS] {
        [
            self.status_at,
            self.succeeded,
            self.nothing,
            self.mm_owner,
            self.task_tgid,
            self.task_thread_pid,
            self.pid_numbers,
            self.upid_ns,
            self.ns_inum,
            self.upid_bytes,
        ]
    }
}
