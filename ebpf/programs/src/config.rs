//! Which processes are watched, and what is known of each.
//!
//! The kernel tells process ids of the first pid namespace. A collector in another one sees other ids, so
//! it leaves its namespace's device and inode in `PID_NS_*` and the programs ask for ids in that namespace.
//! The kernel answers that only for processes that live in exactly this namespace: from a container one
//! can watch one's neighbours in it, not containers nested in it.

use aya_ebpf::{
    Global,
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_pid_tgid, bpf_get_ns_current_pid_tgid},
    macros::map,
    maps::HashMap,
};
use heaptide_ebpf_abi::{Class, TARGETS_MAX, TargetConfig};

use crate::counters::{Counter, count};

#[map]
static TARGETS: HashMap<u32, TargetConfig> = HashMap::with_max_entries(TARGETS_MAX, 0);

#[unsafe(no_mangle)]
static PID_NS_DEV: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static PID_NS_INO: Global<u64> = Global::new(0);

/// A thread of a watched process whose class is on.
pub struct Watched {
    pub tgid: u32,
    pub tid: u32,
    pub config: &'static TargetConfig,
}

impl Watched {
    /// The current thread, if its process is watched and the class is on; counts it otherwise.
    #[inline(always)]
    pub fn current(class: Class) -> Option<Self> {
        let (tgid, tid) = ids();
        Self::of(tgid, tid, class)
    }

    /// A thread by its ids; counts it if it is not to be told of.
    #[inline(always)]
    pub fn of(tgid: u32, tid: u32, class: Class) -> Option<Self> {
        // SAFETY: an entry is written whole by the loader; a racing update changes single fields only.
        let Some(config) = (unsafe { TARGETS.get(tgid) }) else {
            count(class, Counter::Filtered);
            return None;
        };
        if config.enabled & class.bit() == 0 {
            count(class, Counter::Disabled);
            return None;
        }
        Some(Self { tgid, tid, config })
    }

    /// As [`Self::current`] where almost every hit is of another process, so that not even counting it is cheap.
    #[inline(always)]
    pub fn current_uncounted(class: Class) -> Option<Self> {
        let (tgid, tid) = ids();
        // SAFETY: as above.
        let config = unsafe { TARGETS.get(tgid) }?;
        (config.enabled & class.bit() != 0).then_some(Self { tgid, tid, config })
    }
}

/// Inode of the collector's pid namespace, 0 for the first one.
#[inline(always)]
pub fn namespace_inode() -> u64 {
    PID_NS_INO.load()
}

/// Process and thread id in the collector's pid namespace; (0, 0) for a process outside it.
#[inline(always)]
pub fn ids() -> (u32, u32) {
    let ino = PID_NS_INO.load();
    if ino == 0 {
        let both = bpf_get_current_pid_tgid();
        return ((both >> 32) as u32, both as u32);
    }
    let mut info = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: `info` is as large as the size passed; the helper zeroes it when it fails.
    let failed = unsafe {
        bpf_get_ns_current_pid_tgid(
            PID_NS_DEV.load(),
            ino,
            &raw mut info,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    if failed != 0 {
        (0, 0)
    } else {
        (info.tgid, info.pid)
    }
}
