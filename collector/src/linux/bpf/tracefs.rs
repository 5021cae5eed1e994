//! Where tracefs is. The system call tracepoints are found by name there; uprobes don't need it.

use std::{io, path::Path};

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where tracefs is mounted and readable, if anywhere.
#[must_use]
pub fn tracefs_path() -> Option<&'static Path> {
    PLACES
        .iter()
        .map(Path::new)
        .find(|place| place.join("events/syscalls").is_dir())
}

/// Whether tracefs is mounted there, readable or not.
pub(super) fn is_mounted() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        // Source, place, type, options.
        let mut words = line.split(' ').skip(1);
        words.next().is_some_and(|place| PLACES.contains(&place)) && words.next() == Some("tracefs")
    })
}

/// Mounts tracefs at `/sys/kernel/tracing` if it is not mounted. Needs `CAP_SYS_ADMIN`, and changes the
/// machine: only call it when asked to. The mount stays.
///
/// # Errors
///
/// The error of mount(2), for instance `EPERM` without the capability.
pub fn mount_tracefs() -> io::Result<&'static Path> {
    if let Some(path) = tracefs_path() {
        return Ok(path);
    }
    let place = PLACES[0];
    rustix::mount::mount(
        "nodev",
        place,
        "tracefs",
        rustix::mount::MountFlags::empty(),
        None,
    )?;
    Ok(Path::new(place))
}
