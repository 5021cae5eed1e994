//! `/proc/PID/smaps`: the mappings of a process, what of them is resident, and what they are.

use crate::linux::{Process, proc};
use heaptide_protocol::ledger::LedgerKind;
use std::io;

/// `VmFlags` that say something of a region's memory (Documentation/filesystems/proc.rst).
const FLAGS: [&str; 12] = [
    "hg", "nh", "ht", "lo", "io", "pf", "dc", "dd", "mg", "um", "uw", "wf",
];

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) permissions: String,
    pub(super) name: String,
    pub(super) rss_bytes: u64,
    pub(super) anon_huge_bytes: u64,
    pub(super) swap_bytes: u64,
    pub(super) lazy_free_bytes: u64,
    pub(super) flags: String,
    /// Behind the data of the program's own file: its variables that start as zeros.
    pub(super) is_program_data: bool,
}

impl Mapping {
    /// What it is by itself; `None` for anonymous memory, which more has to be known of.
    pub(super) fn kind(&self) -> Option<LedgerKind> {
        let name = self.name.as_str();
        let shared = ["/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "[anon_shmem"];
        if self.is_program_data || name.starts_with("[v") || name == "[uprobes-trampoline]" {
            Some(LedgerKind::FILES)
        } else if shared.iter().any(|prefix| name.starts_with(prefix)) {
            Some(LedgerKind::SHARED)
        } else if name.starts_with("[stack") {
            Some(LedgerKind::THREAD_STACKS)
        } else if name == "[heap]" {
            Some(LedgerKind::NATIVE)
        } else if name.is_empty() || name.starts_with("[anon:") {
            None
        } else {
            Some(LedgerKind::FILES)
        }
    }

    /// Go names its own mappings since 1.25, where the kernel can (CONFIG_ANON_VMA_NAME).
    pub(super) fn is_named_by_go(&self) -> bool {
        self.name.starts_with("[anon: Go:")
    }
}

pub(super) fn read(process: &Process) -> io::Result<Vec<Mapping>> {
    let text = proc::read(format!("/proc/{}/smaps", process.pid()))?;
    Ok(parse(&text, &process.executable().to_string_lossy()))
}

/// Resident bytes, by the same walk of the page tables, without the list.
pub(super) fn rss_bytes(process: &Process) -> io::Result<u64> {
    let text = proc::read(format!("/proc/{}/smaps_rollup", process.pid()))?;
    let rss = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    rss.and_then(kilobytes)
        .ok_or_else(|| io::Error::other("smaps_rollup has no Rss"))
}

fn parse(text: &str, executable: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mut mapping) = header(line) {
            let follows = |last: &Mapping| {
                last.end == mapping.start && (last.name == executable || last.is_program_data)
            };
            mapping.is_program_data = mapping.name.is_empty() && mappings.last().is_some_and(follows);
            mappings.push(mapping);
            continue;
        }
        let Some((mapping, (field, value))) = mappings.last_mut().zip(line.split_once(':')) else {
            continue;
        };
        let bytes = || kilobytes(value).unwrap_or(0);
        match field {
            "Rss" => mapping.rss_bytes = bytes(),
            "AnonHugePages" => mapping.anon_huge_bytes = bytes(),
            "Swap" => mapping.swap_bytes = bytes(),
            "LazyFree" => mapping.lazy_free_bytes = bytes(),
            "VmFlags" => {
                let flags = value.split_ascii_whitespace().filter(|flag| FLAGS.contains(flag));
                mapping.flags = flags.collect::<Vec<_>>().join(" ");
            }
            _ => {}
        }
    }
    mappings
}

/// `start-end rights offset device inode   name`; the fields below it have a colon in their first word.
fn header(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?.to_owned();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        permissions,
        name: fields.skip(3).collect::<Vec<_>>().join(" "),
        ..Mapping::default()
    })
}

fn kilobytes(value: &str) -> Option<u64> {
    value
        .split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_with_what_they_are() {
        let text = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/my server
Rss:                  12 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me
00452000-00460000 rw-p 00052000 08:02 173521      /usr/bin/my server
Rss:                   4 kB
00460000-00480000 rw-p 00000000 00:00 0
Rss:                   8 kB
00490000-004b0000 rw-p 00000000 00:00 0           [heap]
Rss:                  16 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Rss:                4096 kB
AnonHugePages:      2048 kB
Swap:                 64 kB
LazyFree:              8 kB
VmFlags: rd wr mr mw me ac sd hg
7f0000000000-7f0000010000 rw-s 00000000 00:01 7   /dev/zero (deleted)
7f0000020000-7f0000030000 rw-p 00000000 00:00 0   [anon: Go: immortal metadata]
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0   [stack]
7ffc00030000-7ffc00032000 r-xp 00000000 00:00 0   [vdso]
";
        let mappings = parse(text, "/usr/bin/my server");
        let kinds: Vec<_> = mappings.iter().map(Mapping::kind).collect();
        let expected = [
            Some(LedgerKind::FILES),
            Some(LedgerKind::FILES),
            Some(LedgerKind::FILES),
            Some(LedgerKind::NATIVE),
            None,
            Some(LedgerKind::SHARED),
            None,
            Some(LedgerKind::THREAD_STACKS),
            Some(LedgerKind::FILES),
        ];
        assert_eq!(kinds, expected);
        let heap = &mappings[4];
        assert_eq!((heap.start, heap.end), (0xc0_0000_0000, 0xc0_0400_0000));
        assert_eq!(
            (
                heap.rss_bytes,
                heap.anon_huge_bytes,
                heap.swap_bytes,
                heap.lazy_free_bytes
            ),
            (4096 << 10, 2048 << 10, 64 << 10, 8 << 10)
        );
        assert_eq!(heap.flags, "hg");
        assert!(mappings[6].is_named_by_go() && !heap.is_named_by_go());
        assert_eq!(kilobytes(" x"), None);
    }
}
