//! The host: kernel, rights, tracefs, uprobes. Each fact names what it was read from in the kernel.

use super::{About, Fact, Obstacle};
use crate::linux::bpf::{Capability, missing_capabilities, setcap_command, tracefs_path};
use aya::maps::MapType;
use std::fs;
use std::path::Path;

/// The oldest kernel that the programs were made for: ring buffers (5.8) and `bpf_get_attach_cookie` (5.15).
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the first pid namespace.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

#[derive(Debug)]
pub(super) struct Host {
    pub(super) facts: Vec<Fact>,
    /// What is in the way of programs at Go's functions.
    pub(super) uprobes: Option<Obstacle>,
    /// What is in the way of programs at the kernel's tracepoints.
    pub(super) tracepoints: Option<Obstacle>,
}

pub(super) fn look() -> Host {
    let mut facts = Vec::new();
    let mut add = |name: &'static str, value: String, obstacle: Option<Obstacle>| {
        facts.push(Fact::new(About::Host, name, value, obstacle.clone()));
        obstacle
    };
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let kernel = add("kernel", release.clone(), kernel_obstacle(&release));
    let architecture = (machine != "x86_64").then(|| {
        Obstacle::new(
            format!("Heaptide knows x86-64, and this is {machine}"),
            "run it on an x86-64 host",
        )
    });
    let architecture = add("architecture", machine, architecture);
    let missing = missing_capabilities(&Capability::ALL);
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    let rights = (!missing.is_empty()).then(|| {
        let why = format!("this user lacks {}", names.join(", "));
        Obstacle::new(why, setcap_command())
    });
    let user = rustix::process::geteuid().as_raw();
    let value = if missing.is_empty() {
        format!(
            "all that are needed, as user {user}; a watch keeps {}",
            names_of_kept()
        )
    } else {
        format!(
            "{} of {} missing, as user {user}",
            missing.len(),
            Capability::ALL.len()
        )
    };
    let rights = add("capabilities", value, rights);
    let (value, obstacle) = bpf();
    let bpf = add("eBPF", value, obstacle);
    let lockdown = read("/sys/kernel/security/lockdown");
    let lockdown = add(
        "kernel lockdown",
        lockdown.as_deref().map_or("none", chosen_word).to_owned(),
        lockdown.as_deref().and_then(lockdown_obstacle),
    );
    let has_btf = Path::new("/sys/kernel/btf/vmlinux").is_file();
    let btf = (!has_btf).then(|| {
        Obstacle::new(
            "the kernel describes its types nowhere (CONFIG_DEBUG_INFO_BTF)",
            "install a kernel that is built with it: Debian's and Ubuntu's are",
        )
    });
    add(
        "BTF",
        if has_btf {
            "/sys/kernel/btf/vmlinux"
        } else {
            "none"
        }
        .to_owned(),
        btf,
    );
    let has_uprobes = Path::new("/sys/bus/event_source/devices/uprobe/type").is_file();
    let uprobes = (!has_uprobes).then(|| {
        Obstacle::new(
            "the kernel has no uprobes (CONFIG_UPROBE_EVENTS)",
            "install a kernel that is built with them: Debian's and Ubuntu's are",
        )
    });
    let uprobes = add("uprobes", yes_no(has_uprobes), uprobes);
    let (value, obstacle) = tracefs();
    let tracefs = add("tracefs", value, obstacle);
    let paranoid = read("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    add(
        "perf_event_paranoid",
        format!("{}: binds only users without cap_perfmon", paranoid.trim()),
        None,
    );
    let namespace = pid_namespace();
    let namespace = add(
        "pid namespace",
        if namespace.is_none() {
            "the first"
        } else {
            "a container's"
        }
        .to_owned(),
        namespace,
    );
    let ptrace = read("/proc/sys/kernel/yama/ptrace_scope");
    let (value, obstacle) = ptrace_scope(ptrace.as_deref(), !missing.contains(&Capability::SysPtrace));
    add("ptrace_scope", value, obstacle);
    let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
    add(
        "transparent huge pages",
        huge.as_deref().map_or("not built in", chosen_word).to_owned(),
        None,
    );
    let programs = [kernel, architecture, rights, bpf, lockdown, namespace]
        .into_iter()
        .flatten()
        .next();
    Host {
        facts,
        uprobes: programs.clone().or(uprobes),
        tracepoints: programs.or(tracefs),
    }
}

/// What a watch keeps of them.
fn names_of_kept() -> String {
    let kept = Capability::ALL.into_iter().filter(|one| one.is_kept());
    let names: Vec<&str> = kept.map(Capability::name).collect();
    names.join(", ")
}

pub(super) fn yes_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// `[none] integrity confidentiality` chooses the bracketed word.
pub(super) fn chosen_word(text: &str) -> &str {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text, |(word, _)| word)
}

fn kernel_obstacle(release: &str) -> Option<Obstacle> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|word| word.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    (version < OLDEST_KERNEL).then(|| {
        Obstacle::new(
            format!(
                "Linux {}.{} is needed, and this is {release}",
                OLDEST_KERNEL.0, OLDEST_KERNEL.1
            ),
            "upgrade the kernel",
        )
    })
}

/// Whether bpf(2) makes a ring buffer for us.
fn bpf() -> (String, Option<Obstacle>) {
    match aya::sys::is_map_supported(MapType::RingBuf) {
        Ok(true) => ("ring buffers can be made".to_owned(), None),
        Ok(false) => (
            "no ring buffers".to_owned(),
            Some(Obstacle::new(
                "the kernel has no eBPF ring buffers (CONFIG_BPF_SYSCALL, Linux 5.8)",
                "upgrade the kernel",
            )),
        ),
        Err(error) if error.io_error.kind() == std::io::ErrorKind::PermissionDenied => {
            let obstacle = if missing_capabilities(&[Capability::Bpf]).is_empty() {
                Obstacle::new(
                    "bpf(2) is forbidden although the capabilities are there: a seccomp filter or a container's \
                     rules do that",
                    "docker run --privileged --pid=host, or run heaptide outside the container",
                )
            } else {
                Obstacle::new("bpf(2) is forbidden to this user", setcap_command())
            };
            ("forbidden".to_owned(), Some(obstacle))
        }
        Err(error) => (
            "not known".to_owned(),
            Some(Obstacle::new(
                format!("bpf(2) says: {}", error.io_error),
                "sudo dmesg",
            )),
        ),
    }
}

/// From `confidentiality` on, programs may not read memory (security/lockdown/lockdown.c,
/// `LOCKDOWN_BPF_READ_KERNEL`).
fn lockdown_obstacle(text: &str) -> Option<Obstacle> {
    (chosen_word(text) == "confidentiality").then(|| {
        Obstacle::new(
            "the kernel is locked down to confidentiality, so eBPF programs may not read memory",
            "boot without lockdown=confidentiality",
        )
    })
}

fn tracefs() -> (String, Option<Obstacle>) {
    if let Some(path) = tracefs_path() {
        return (path.display().to_string(), None);
    }
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let is_mounted = mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("tracefs"));
    if is_mounted {
        let why = "tracefs is mounted, but this user can't read it";
        return (
            "not readable".to_owned(),
            Some(Obstacle::new(why, setcap_command())),
        );
    }
    let why = "tracefs is not mounted; `heaptide attach` mounts it where it may";
    let remedy = "sudo mount -t tracefs nodev /sys/kernel/tracing";
    ("not mounted".to_owned(), Some(Obstacle::new(why, remedy)))
}

/// The kernel's programs see process ids of the first namespace.
fn pid_namespace() -> Option<Obstacle> {
    let own = fs::read_link("/proc/self/ns/pid").ok()?;
    (own != Path::new(FIRST_PID_NAMESPACE)).then(|| {
        Obstacle::new(
            "process ids here are a container's own, and the kernel's programs see those of the host",
            "docker run --pid=host, or run heaptide outside the container",
        )
    })
}

/// What Yama (Documentation/admin-guide/LSM/Yama.rst) allows: memory is read by the rules for ptrace(2).
fn ptrace_scope(scope: Option<&str>, may_trace: bool) -> (String, Option<Obstacle>) {
    let sentence = |text: &str| format!("{}: {text}", scope.unwrap_or_default());
    match scope {
        None => ("no Yama: own processes can be read".to_owned(), None),
        Some("0") => (sentence("own processes can be read"), None),
        Some("3") => (
            sentence("nobody may read another process's memory"),
            Some(Obstacle::new(
                "kernel.yama.ptrace_scope is 3, which holds until the next boot",
                "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and boot",
            )),
        ),
        Some(_) if may_trace => (sentence("binds only users without cap_sys_ptrace"), None),
        Some(_) => (
            sentence("own processes can't be read without cap_sys_ptrace"),
            Some(Obstacle::new(
                "kernel.yama.ptrace_scope keeps this user from reading memory of processes that it did not start",
                "sudo sysctl kernel.yama.ptrace_scope=0",
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_are_too_old_are_seen() {
        for (release, is_old) in [
            ("6.18.44", false),
            ("5.15.0-91-generic", false),
            ("5.14.21", true),
            ("4.19.0-26-amd64", true),
            ("10.0", false),
            ("strange", false),
        ] {
            assert_eq!(kernel_obstacle(release).is_some(), is_old, "{release}");
        }
    }

    #[test]
    fn lockdown_is_in_the_way_only_when_it_hides_memory() {
        for (text, is_in_the_way) in [
            ("[none] integrity confidentiality", false),
            ("none [integrity] confidentiality", false),
            ("none integrity [confidentiality]", true),
        ] {
            assert_eq!(lockdown_obstacle(text).is_some(), is_in_the_way, "{text}");
        }
    }

    #[test]
    fn yama_is_told_by_what_it_means_for_this_user() {
        for (scope, may_trace, is_in_the_way) in [
            (None, false, false),
            (Some("0"), false, false),
            (Some("1"), true, false),
            (Some("1"), false, true),
            (Some("2"), true, false),
            (Some("3"), true, true),
        ] {
            let (value, obstacle) = ptrace_scope(scope, may_trace);
            assert_eq!(obstacle.is_some(), is_in_the_way, "{scope:?} {may_trace}");
            assert!(!value.is_empty());
        }
    }
}
