//! Gauges read off `/proc`: what the kernel says of the process, and what we cost.

use super::proc;
use super::process::Process;
use heaptide_protocol::gauges::{Gauge, GaugeValue};
use std::io;
use std::time::Duration;

/// The kernel's clock tick in `/proc/PID/stat`: USER_HZ, 100 on every Linux architecture in use.
const TICK_NS: u64 = 10_000_000;

/// How large the process is: no page walk, no file opened.
pub(crate) fn size(process: &Process, page_bytes: u64) -> io::Result<Vec<GaugeValue>> {
    let [virtual_pages, resident_pages] = process.pages()?;
    // A process that has just ended has given its memory back; that is no figure of the program.
    if resident_pages == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(values(&[
        (Gauge::RSS_BYTES, resident_pages * page_bytes),
        (Gauge::VIRTUAL_BYTES, virtual_pages * page_bytes),
    ]))
}

/// What it has used so far.
pub(crate) fn usage(process: &Process) -> io::Result<Vec<GaugeValue>> {
    let stat = process.stat()?;
    Ok(values(&[
        (Gauge::THREADS, stat.threads),
        (Gauge::MINOR_FAULTS, stat.minor_faults),
        (Gauge::MAJOR_FAULTS, stat.major_faults),
        (Gauge::TARGET_CPU_NS, stat.cpu_ticks * TICK_NS),
    ]))
}

/// The smaps roll-up. The kernel walks every page table of the process for it, holding the lock that its
/// `mmap` calls need, so a large process is asked rarely: see [`Pacer`].
pub(crate) fn rollup(process: &Process) -> io::Result<Vec<GaugeValue>> {
    let text = proc::read(format!("/proc/{}/smaps_rollup", process.pid()))?;
    Ok(parse_rollup(&text))
}

/// One of a list; 0 if it is not there.
pub(crate) fn value_of(values: &[GaugeValue], gauge: Gauge) -> u64 {
    let found = values.iter().find(|value| value.gauge == gauge);
    found.map_or(0, |found| found.value)
}

/// What the collector itself uses.
pub(crate) fn own(page_bytes: u64) -> Vec<GaugeValue> {
    let statm = proc::read("/proc/self/statm").unwrap_or_default();
    let resident = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok())
        .unwrap_or(0);
    values(&[
        (Gauge::COLLECTOR_CPU_NS, own_cpu_ns()),
        (Gauge::COLLECTOR_RSS_BYTES, resident * page_bytes),
    ])
}

/// Memory of the host, as the kernel counts it; a control group's limit is not in it. 0 is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostMemory {
    pub(crate) available_bytes: u64,
    pub(crate) total_bytes: u64,
}

impl HostMemory {
    pub(crate) fn read() -> Self {
        Self::parse(&proc::read("/proc/meminfo").unwrap_or_default())
    }

    pub(crate) fn gauges(self) -> Vec<GaugeValue> {
        let mut known = values(&[
            (Gauge::HOST_AVAILABLE_BYTES, self.available_bytes),
            (Gauge::HOST_TOTAL_BYTES, self.total_bytes),
        ]);
        known.retain(|gauge| gauge.value != 0);
        known
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
            kib.checked_mul(1024)
        };
        Self {
            available_bytes: field("MemAvailable:").unwrap_or(0),
            total_bytes: field("MemTotal:").unwrap_or(0),
        }
    }
}

/// Of this thread, which does all the watching; a hub in the same process has others.
pub(crate) fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Spaces out a dear reading so that it takes at most a quarter of a thousandth of the time.
#[derive(Debug)]
pub(crate) struct Pacer {
    next_ns: u64,
}

impl Pacer {
    const SHARE: u64 = 4000;
    const AT_LEAST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self { next_ns: 0 }
    }

    pub(crate) fn due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    pub(crate) fn took(&mut self, start_ns: u64, end_ns: u64) {
        let pause = (end_ns.saturating_sub(start_ns) * Self::SHARE).max(Self::AT_LEAST.as_nanos() as u64);
        self.next_ns = start_ns + pause;
    }
}

fn parse_rollup(text: &str) -> Vec<GaugeValue> {
    const FIELDS: [(&str, Gauge); 9] = [
        ("Rss:", Gauge::ROLLUP_RSS_BYTES),
        ("Pss:", Gauge::PSS_BYTES),
        ("Pss_Anon:", Gauge::PSS_ANON_BYTES),
        ("Pss_File:", Gauge::PSS_FILE_BYTES),
        ("Pss_Shmem:", Gauge::PSS_SHMEM_BYTES),
        ("Anonymous:", Gauge::ANONYMOUS_BYTES),
        ("LazyFree:", Gauge::LAZY_FREE_BYTES),
        ("AnonHugePages:", Gauge::ANON_HUGE_PAGES_BYTES),
        ("Swap:", Gauge::SWAP_BYTES),
    ];
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let name = words.next()?;
            let (_, gauge) = FIELDS.iter().find(|(field, _)| *field == name)?;
            let kib: u64 = words.next()?.parse().ok()?;
            Some(GaugeValue {
                gauge: *gauge,
                value: kib * 1024,
            })
        })
        .collect()
}

fn values(pairs: &[(Gauge, u64)]) -> Vec<GaugeValue> {
    pairs
        .iter()
        .map(|(gauge, value)| GaugeValue {
            gauge: *gauge,
            value: *value,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_is_read_by_name() {
        let text = "MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n";
        for (text, available_bytes, total_bytes) in [
            (text, 2_048_000, 8_192_000),
            ("", 0, 0),
            ("MemTotal: x kB\n", 0, 0),
        ] {
            let expected = HostMemory {
                available_bytes,
                total_bytes,
            };
            assert_eq!(HostMemory::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn rollup_is_read_by_name() {
        let text =
            "00400000-7ffe [rollup]\nRss: 12 kB\nPss: 8 kB\nPss_Dirty: 1 kB\nAnonymous: 4 kB\nSwap: 0 kB\n";
        let got: Vec<(Gauge, u64)> = parse_rollup(text)
            .iter()
            .map(|value| (value.gauge, value.value))
            .collect();
        let expected = [
            (Gauge::ROLLUP_RSS_BYTES, 12_288),
            (Gauge::PSS_BYTES, 8_192),
            (Gauge::ANONYMOUS_BYTES, 4_096),
            (Gauge::SWAP_BYTES, 0),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn a_dear_reading_is_spaced_out() {
        let mut pacer = Pacer::new();
        assert!(pacer.due(0));
        pacer.took(1_000, 2_000);
        assert!(!pacer.due(999_000_000) && pacer.due(1_000_001_000));
        pacer.took(0, 50_000_000);
        assert!(!pacer.due(199_000_000_000) && pacer.due(200_000_000_000));
    }

    #[test]
    fn our_own_process_has_figures() {
        let process = Process::open(std::process::id()).unwrap();
        let page = rustix::param::page_size() as u64;
        let value =
            |list: &[GaugeValue], gauge| list.iter().find(|value| value.gauge == gauge).unwrap().value;
        assert!(value(&size(&process, page).unwrap(), Gauge::RSS_BYTES) > 0);
        assert!(value(&usage(&process).unwrap(), Gauge::THREADS) > 0);
        assert!(value(&rollup(&process).unwrap(), Gauge::PSS_BYTES) > 0);
        assert!(value(&own(page), Gauge::COLLECTOR_RSS_BYTES) > 0);
    }
}
