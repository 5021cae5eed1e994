//! What a collector gives up once a program is under watch: capabilities, new privileges, and system calls.
//!
//! A collector parses what lies in other programs' memory and what a hub sends. If one of the two took it over, it
//! should find as little as can be: the capabilities of [`rights`] and the system calls that [`calls`] leaves. What
//! was started before, the watched program above all, has none of this.
//!
//! Left out: Landlock. A process in a Landlock domain may not read the memory of one outside of it; docs/security.md
//! has what was measured.

mod calls;
mod rights;

pub use calls::Calls;
pub(crate) use calls::leave_only_probes;
pub use rights::{WATCHING, keep, keep_with_children, needs_override};

use crate::CollectorError;
use rustix::thread::CapabilitySet;
use std::io;

/// What a watch has to keep for the sake of what else is in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confinement {
    /// A hub is in this process, and goes on to take connections.
    pub serves_hub: bool,
    /// Frames are written to a folder of another user.
    pub writes_to_others_folders: bool,
}

/// What the watch itself needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// There are programs in the kernel.
    pub(crate) probes: bool,
    /// The program was started here: signals are passed on to it, also after it has become another user.
    pub(crate) signals: bool,
    /// A policy may have the program written to.
    pub(crate) writes: bool,
}

impl Confinement {
    /// Gives up everything else, in all threads of this process. Says what this kernel can't do.
    pub(crate) fn enforce(self, needs: Needs) -> Result<Option<String>, CollectorError> {
        let failed = |source| CollectorError::io("can't give up rights that are not needed", source);
        let kept = self.capabilities(needs, rustix::process::geteuid().is_root());
        rights::keep(kept).map_err(failed)?;
        // Capabilities are each thread's own.
        if let Some(thread) = rights::thread_with_more(kept).map_err(failed)? {
            let more = format!("thread {thread} holds more than {:#x}", kept.bits());
            return Err(failed(io::Error::other(more)));
        }
        let calls = Calls {
            serves: self.serves_hub,
            signals: needs.signals,
            writes: needs.writes,
            starts: false,
        };
        match calls.refuse_others() {
            Ok(()) => Ok(None),
            Err(error) if calls::is_unknown(&error) => Ok(Some(format!(
                "this kernel refuses no system calls (CONFIG_SECCOMP_FILTER): {error}"
            ))),
            Err(error) => Err(failed(error)),
        }
    }

    /// What a process needs that starts watches and not yet knows of what.
    #[must_use]
    pub fn of_collector(self) -> CapabilitySet {
        // For the helper, and for files of the programs.
        let starting = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_READ_SEARCH;
        WATCHING | starting | self.of_hub()
    }

    /// What the threads of the hub need.
    #[must_use]
    pub fn of_hub(self) -> CapabilitySet {
        if self.writes_to_others_folders {
            CapabilitySet::DAC_OVERRIDE
        } else {
            CapabilitySet::empty()
        }
    }

    fn capabilities(self, needs: Needs, is_root: bool) -> CapabilitySet {
        let mut kept = CapabilitySet::SYS_PTRACE;
        for (is_kept, capability) in [
            (needs.probes, WATCHING),
            (needs.signals, CapabilitySet::KILL),
            (self.writes_to_others_folders, CapabilitySet::DAC_OVERRIDE),
            // tracefs is root's. Files of the program are open by now.
            (!is_root, CapabilitySet::DAC_READ_SEARCH),
        ] {
            if is_kept {
                kept |= capability;
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_follow_what_is_needed() {
        let [bpf, perfmon, ptrace] = [39, 38, 19].map(|number| 1_u64 << number);
        let watching = bpf | perfmon | ptrace;
        for (probes, signals, others, is_root, expected) in [
            (true, false, false, true, watching),
            (true, true, false, true, watching | 1 << 5),
            (true, false, true, true, watching | 1 << 1),
            (true, false, false, false, watching | 1 << 2),
            (false, false, false, true, ptrace),
        ] {
            let confinement = Confinement {
                writes_to_others_folders: others,
                ..Confinement::default()
            };
            let needs = Needs {
                probes,
                signals,
                writes: false,
            };
            let kept = confinement.capabilities(needs, is_root);
            assert_eq!(kept.bits(), expected, "{probes} {signals} {others} {is_root}");
        }
    }
}
