//! The platform signature: what has to be known to compare this session with another.

use super::go::GoTarget;
use super::process::Process;
use heaptide_policy::Labels;
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;

/// As `git` abbreviates in a large repository.
const COMMIT_LETTERS: usize = 12;
const BUILD_ID_LETTERS: usize = 16;

/// `CLOCK_MONOTONIC`: also the clock of the kernel's records and of Go's `nanotime`.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

pub fn unix_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn signature(process: &Process, target: &GoTarget) -> PlatformSignature {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let uname = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    let trimmed = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let binary = target.binary();
    PlatformSignature {
        os: release_field(&release, "NAME").unwrap_or_else(|| "Linux".to_owned()),
        os_version: release_field(&release, "VERSION_ID").unwrap_or_default(),
        kernel: text(uname.release()),
        architecture: text(uname.machine()),
        cpus: std::thread::available_parallelism().map_or(0, |count| count.get() as u32),
        page_size_bytes: rustix::param::page_size() as u32,
        huge_page_mode: chosen_word(&trimmed("/sys/kernel/mm/transparent_hugepage/enabled")),
        libc: libc_of(process),
        runtime: "go".to_owned(),
        runtime_version: binary
            .go_version()
            .map(|version| version.text.clone())
            .unwrap_or_default(),
        build_id: binary.build_id().unwrap_or_default(),
        host_name: text(uname.nodename()),
        boot_id: trimmed("/proc/sys/kernel/random/boot_id"),
        pid: process.pid(),
        executable: process.executable().to_string_lossy().into_owned(),
        command_line: process.command_line(),
        collector_version: env!("CARGO_PKG_VERSION").to_owned(),
        clock: clock(),
    }
}

/// What the program and the host are called without a person saying so.
pub(crate) fn labels(signature: &PlatformSignature, target: &GoTarget) -> Labels {
    let mut labels = Labels::default();
    let file = Path::new(&signature.executable).file_name().unwrap_or_default();
    let service = file.to_string_lossy();
    // What the kernel puts behind the name of a program that was replaced on disk.
    labels.suggest("service", service.trim_end_matches(" (deleted)"));
    labels.suggest("host", &signature.host_name);
    labels.suggest("platform", &format!("linux/{}", signature.architecture));
    let build = target.binary().build_info();
    let told = build.and_then(|build| version(build.main_version(), |key| build.setting(key)));
    // A binary without build information still differs from the one before.
    let build_id = signature.build_id.chars().take(BUILD_ID_LETTERS).collect();
    labels.suggest("version", &told.unwrap_or(build_id));
    labels
}

/// The main module's version, else the commit that it was built from.
fn version<'a>(module: Option<&str>, setting: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    if let Some(tagged) = module.filter(|version| !version.is_empty() && *version != "(devel)") {
        return Some(tagged.to_owned());
    }
    let commit: String = setting("vcs.revision")?.chars().take(COMMIT_LETTERS).collect();
    let modified = setting("vcs.modified") == Some("true");
    Some(if modified { commit + "-modified" } else { commit })
}

fn clock() -> Clock {
    let before = monotonic_ns();
    let unix_ns = unix_ns();
    let after = monotonic_ns();
    Clock {
        kind: ClockKind::LinuxMonotonic,
        session_ns: before + (after - before) / 2,
        unix_ns,
        error_ns: (after - before).div_ceil(2),
    }
}

fn libc_of(process: &Process) -> String {
    let parts = process.mapped_parts().unwrap_or_default();
    let mapped = |name: &str| parts.iter().any(|part| part.path.contains(name));
    let kind = if mapped("/ld-musl") || mapped("/libc.musl") {
        "musl"
    } else if mapped("/libc.so.6") || mapped("/libc-2") {
        "glibc"
    } else {
        "none (static)"
    };
    kind.to_owned()
}

/// `always [madvise] never` chooses the bracketed word.
fn chosen_word(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(word, _)| word).to_owned()
}

fn release_field(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_modules_or_the_commits() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (module, revision, modified, expected) in [
            (Some("v1.2.3"), Some(commit), None, Some("v1.2.3")),
            (Some("(devel)"), Some(commit), None, Some("0123456789ab")),
            (None, Some(commit), Some("true"), Some("0123456789ab-modified")),
            (None, Some("abc"), Some("false"), Some("abc")),
            (Some("(devel)"), None, None, None),
            (Some(""), None, None, None),
        ] {
            let setting = |key: &str| match key {
                "vcs.revision" => revision,
                "vcs.modified" => modified,
                _ => None,
            };
            let got = version(module, setting);
            assert_eq!(got.as_deref(), expected, "{module:?} {revision:?} {modified:?}");
        }
    }

    #[test]
    fn words_are_found() {
        for (text, expected) in [
            ("always [madvise] never", "madvise"),
            ("", ""),
            ("never", "never"),
        ] {
            assert_eq!(chosen_word(text), expected);
        }
        let release = "PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=12\n";
        assert_eq!(
            release_field(release, "NAME").as_deref(),
            Some("Debian GNU/Linux")
        );
        assert_eq!(release_field(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_field(release, "ID"), None);
    }
}
