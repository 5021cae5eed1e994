//! Capabilities (capabilities(7)): which a watch keeps, and how the others are given up.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::fs;
use std::io;
use std::path::Path;

/// What a watch keeps until its end.
///
/// - `CAP_BPF` and `CAP_PERFMON`: a policy has further programs loaded and tracepoints attached at any time.
/// - `CAP_SYS_PTRACE`: memory and maps of a program are read by the rules for ptrace(2). They ask for it if the
///   program is another user's, and if it has a capability that this process has not (`cap_ptrace_access_check`,
///   security/commoncap.c), as every other program of root has now.
///
/// Not in it is `CAP_SYS_ADMIN`, which perf_event_open(2) asks for a uprobe: that is for
/// [`crate::linux::bpf::Helper`].
pub const WATCHING: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE);

/// What opens files whatever their permissions say.
const OVERRIDING: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Gives up all capabilities but these, for good: permitted, effective, inheritable, ambient, and as far as it may
/// also bounding. For the calling thread, and for the threads that it starts from now on.
///
/// # Errors
///
/// Those of capset(2) and prctl(2); giving up is not refused.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    lower(kept, CapabilitySet::empty())
}

/// As [`keep`], for one that starts others which need the same.
///
/// # Errors
///
/// As those of [`keep`].
pub fn keep_with_children(kept: CapabilitySet) -> io::Result<()> {
    lower(kept, kept)
}

fn lower(kept: CapabilitySet, inherited: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    // First, because it takes CAP_SETPCAP. Who has not got it was given a bounding set by somebody else.
    if before.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    // The ambient set follows: it is never more than the permitted and the inheritable one.
    set_capabilities(
        None,
        CapabilitySets {
            effective: before.effective & kept,
            permitted: before.permitted & kept,
            inheritable: before.inheritable & inherited,
        },
    )?;
    Ok(())
}

fn bound(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The name of a thread of this process that holds others than these, if there is one.
pub(super) fn thread_with_more(kept: CapabilitySet) -> io::Result<Option<String>> {
    for task in fs::read_dir("/proc/self/task")? {
        // A thread can end meanwhile.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let permitted = field("CapPrm:").and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
        let Some(permitted) = permitted else {
            return Err(io::Error::other("/proc/self/task/TID/status has an unknown form"));
        };
        if permitted & !kept.bits() != 0 {
            return Ok(Some(field("Name:").unwrap_or_default().trim().to_owned()));
        }
    }
    Ok(None)
}

/// Whether files can be made in this folder, or in the nearest one above it that exists, only by overriding its
/// permissions, as root does in another user's folder.
///
/// # Errors
///
/// Those of capset(2).
pub fn needs_override(folder: &Path) -> io::Result<bool> {
    let before = capabilities(None)?;
    if !before.effective.intersects(OVERRIDING) {
        return Ok(false);
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: before.effective - OVERRIDING,
            ..before
        },
    )?;
    let is_refused = folder
        .ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find_map(|path| {
            // With the effective capabilities: access(2) takes root's permitted ones.
            match accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
                Err(Errno::NOENT) => None,
                result => Some(result == Err(Errno::ACCESS)),
            }
        });
    set_capabilities(None, before)?;
    Ok(is_refused.unwrap_or(false))
}
