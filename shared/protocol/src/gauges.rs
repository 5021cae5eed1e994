//! Gauges: figures read off the process, the kernel or the collector at one moment.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    pub timestamp_ns: u64,
    pub values: Vec<GaugeValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeValue {
    pub gauge: Gauge,
    pub value: u64,
}

/// The number is the wire's; a reader keeps one that it doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gauge(pub u16);

macro_rules! gauges {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $source:literal;)*) => {
        impl Gauge {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every gauge of this version.
            pub const ALL: &[Self] = &[$(Self($number)),*];

            pub fn label(self) -> &'static str {
                match self.0 { $($number => $label,)* _ => "unknown gauge" }
            }

            /// Where the figure is read.
            pub fn source(self) -> &'static str {
                match self.0 { $($number => $source,)* _ => "unknown" }
            }
        }
    };
}

gauges! {
    RSS_BYTES = 1, "Resident set (RSS)", "/proc/PID/statm resident";
    PSS_BYTES = 2, "Proportional set (PSS)", "/proc/PID/smaps_rollup Pss";
    PSS_ANON_BYTES = 3, "PSS, anonymous", "/proc/PID/smaps_rollup Pss_Anon";
    PSS_FILE_BYTES = 4, "PSS, file-backed", "/proc/PID/smaps_rollup Pss_File";
    PSS_SHMEM_BYTES = 5, "PSS, shared memory", "/proc/PID/smaps_rollup Pss_Shmem";
    ANONYMOUS_BYTES = 6, "Anonymous", "/proc/PID/smaps_rollup Anonymous";
    LAZY_FREE_BYTES = 7, "Lazily freed", "/proc/PID/smaps_rollup LazyFree";
    ANON_HUGE_PAGES_BYTES = 8, "Anonymous huge pages", "/proc/PID/smaps_rollup AnonHugePages";
    /// Exact, where statm counts per CPU and lags.
    ROLLUP_RSS_BYTES = 16, "Resident set by smaps", "/proc/PID/smaps_rollup Rss";
    SWAP_BYTES = 9, "Swapped", "/proc/PID/smaps_rollup Swap";
    VIRTUAL_BYTES = 10, "Virtual size", "/proc/PID/statm size";
    THREADS = 11, "Threads", "/proc/PID/stat num_threads";
    MINOR_FAULTS = 12, "Minor page faults since start", "/proc/PID/stat minflt";
    MAJOR_FAULTS = 13, "Major page faults since start", "/proc/PID/stat majflt";
    /// User and system time of the watched process since its start.
    TARGET_CPU_NS = 14, "CPU time of the program", "/proc/PID/stat utime + stime";
    SAMPLING_RATE_BYTES = 15, "MemProfileRate in force", "runtime.MemProfileRate by process_vm_readv";
    THROTTLED_PERIODS = 48, "Periods in which the CPU quota was used up", "cpu.stat nr_throttled of the control group";
    /// Summed over processors, since the group was made.
    THROTTLED_NS = 49, "Time kept off the CPU by the quota", "cpu.stat throttled_usec of the control group";
    CPU_WAITS = 50, "Waits of threads for a CPU", "tracepoints sched:sched_switch, sched_wakeup";
    CPU_WAIT_NS = 51, "Time that threads waited for a CPU", "tracepoints sched:sched_switch, sched_wakeup";
    ASSISTS = 52, "Mark assists", "uprobes runtime.gcAssistAlloc1";
    ASSIST_NS = 53, "Time in mark assists", "uprobes runtime.gcAssistAlloc1";
    SWEEPS = 54, "Spans swept before an allocation", "uprobes runtime.deductSweepCredit";
    SWEEP_NS = 55, "Time in sweeps before an allocation", "uprobes runtime.deductSweepCredit";
    PAGE_FAULTS = 56, "Page faults in user mode, while watched", "tracepoint exceptions:page_fault_user";
    /// What the kernel reckons can be given without swapping.
    HOST_AVAILABLE_BYTES = 17, "Memory available on the host", "/proc/meminfo MemAvailable";
    HOST_TOTAL_BYTES = 18, "Memory of the host", "/proc/meminfo MemTotal";
    COLLECTOR_CPU_NS = 32, "CPU time of the collector", "CLOCK_THREAD_CPUTIME_ID of the watching thread";
    COLLECTOR_RSS_BYTES = 33, "Resident set of the collector", "/proc/self/statm resident";
    SPOOL_BYTES = 34, "Frames waiting for the hub", "collector spool";
    LIVE_SAMPLES = 35, "Sampled objects held as live", "collector pairing table";
    /// `MemStats.TotalAlloc`, with what the processors' caches have not told yet.
    GO_ALLOCATED_BYTES = 64, "Allocated since start", "runtime.memstats.heapStats + mcache";
    /// `MemStats.Mallocs`.
    GO_ALLOCATED_OBJECTS = 65, "Objects allocated since start", "runtime.memstats.heapStats + mcache";
    /// Known when it is swept.
    GO_FREED_BYTES = 66, "Freed since start", "runtime.memstats.heapStats";
    GO_FREED_OBJECTS = 67, "Objects freed since start", "runtime.memstats.heapStats + mcache";
    GO_HEAP_IN_USE_BYTES = 68, "Heap in use", "runtime.memstats.heapStats.inHeap";
    /// Free and not returned to the system: `HeapIdle - HeapReleased`.
    GO_HEAP_IDLE_BYTES = 69, "Heap idle", "runtime.memstats.heapStats.committed";
    GO_HEAP_RELEASED_BYTES = 70, "Heap returned to the system", "runtime.memstats.heapStats.released";
    GO_STACKS_BYTES = 71, "Goroutine stacks", "runtime.memstats.heapStats.inStacks";
    GO_METADATA_BYTES = 72, "Runtime metadata", "runtime.memstats mspan, mcache, buckhash, gcMisc, other";
    STEP_COLLECTIONS = 80, "Collections in the step", "GC events that the step stands for";
    STEP_PAUSES = 81, "Pauses in the step", "stop-the-world events that the step stands for";
    STEP_PAUSE_NS = 82, "Time paused in the step", "stop-the-world events that the step stands for";
    STEP_LONGEST_PAUSE_NS = 83, "Longest pause in the step", "stop-the-world events that the step stands for";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gauge_has_one_number_and_a_name() {
        let mut numbers: Vec<u16> = Gauge::ALL.iter().map(|gauge| gauge.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Gauge::ALL.len());
        assert!(Gauge::ALL.iter().all(|gauge| gauge.label() != "unknown gauge"));
    }
}
