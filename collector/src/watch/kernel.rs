//! Classes that are attached while a policy wants them: page faults, huge pages, waits for a processor, and what
//! goroutines do for the collector. And what is summed up of them.

use super::attach::Target;
use crate::linux::bpf::{Class, KernelConfig, ProbePoint, fault_chance, khugepaged_blindness, tracefs_path};
use crate::linux::{CpuStat, monotonic_ns};
use heaptide_policy::Sources;
use heaptide_protocol::gauges::{Gauge, GaugeValue};
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};

/// Shorter waits for a processor are summed and not sent.
const WAIT_MIN_NS: u64 = 1_000_000;
/// Shorter assists and sweeps are summed and not sent: to send one takes as long.
const WORK_MIN_NS: u64 = 10_000;

/// What is known of these classes in one program.
#[derive(Debug)]
pub(super) struct KernelClasses {
    /// Sites of [`Class::GcWork`], or why there are none.
    work_sites: Result<Vec<ProbePoint>, String>,
    /// Sites of [`Class::Goroutine`], or why there are none. They come off when they aren't wanted: even a probe
    /// that is switched off costs each goroutine 1 µs.
    goroutine_sites: Result<Vec<ProbePoint>, String>,
    throttling: Option<CpuStat>,
    config: KernelConfig,
}

/// A class that a policy wants and that can't be had.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) why: String,
}

const CLASSES: [(Class, &str); 5] = [
    (Class::PageFault, "page faults"),
    (Class::HugePage, "huge pages"),
    (Class::OffCpu, "waits for a processor"),
    (Class::GcWork, "mark assists and sweeps"),
    (Class::Goroutine, "events of single goroutines"),
];

fn wants(sources: &Sources, class: Class) -> bool {
    match class {
        Class::PageFault => sources.page_faults_one_in != 0,
        Class::HugePage => sources.huge_pages,
        Class::OffCpu => sources.scheduling,
        Class::GcWork => sources.gc_work,
        Class::Goroutine => sources.goroutine_events,
        _ => false,
    }
}

impl KernelClasses {
    pub(super) fn new(
        pid: u32,
        work_sites: Result<Vec<ProbePoint>, String>,
        goroutine_sites: Result<Vec<ProbePoint>, String>,
    ) -> Self {
        Self {
            work_sites,
            goroutine_sites,
            throttling: CpuStat::of(pid),
            config: KernelConfig::default(),
        }
    }

    /// A row for each class: how it is seen, and why not.
    pub(super) fn capabilities(&self, sources: &Sources) -> Vec<Capability> {
        let no_tracefs = tracefs_path().is_none().then(|| CapabilityState::Unavailable {
            why: "tracefs is not mounted or can't be read".to_owned(),
            remedy: "mount -t tracefs nodev /sys/kernel/tracing".to_owned(),
        });
        let limited = |why: String| CapabilityState::Limited { why };
        let state = |class: Class, how: &str| {
            let is_on = wants(sources, class);
            let state = match class {
                Class::GcWork => match &self.work_sites {
                    Err(why) => CapabilityState::Unavailable {
                        why: why.clone(),
                        remedy: "report this binary's Go version".to_owned(),
                    },
                    Ok(_) => limited(
                        "time asleep until others have marked is not in an assist; shorter ones than 10 µs are \
                         summed and not sent"
                            .to_owned(),
                    ),
                },
                _ if no_tracefs.is_some() => return no_tracefs.clone().unwrap_or(CapabilityState::Active),
                Class::HugePage => limited(khugepaged_blindness().unwrap_or_else(|| {
                    "anonymous memory only; the address is known for MADV_COLLAPSE and not for khugepaged; huge \
                     pages given at the first touch have no event, see the regions"
                        .to_owned()
                })),
                Class::PageFault => limited("faults that the kernel takes while it copies are not seen".to_owned()),
                _ => limited("waits below 1 ms are summed and not sent".to_owned()),
            };
            match state {
                CapabilityState::Limited { .. } if !is_on => CapabilityState::Off {
                    why: format!("off by policy: {how} turns it on"),
                },
                state => state,
            }
        };
        let row = |class, source: &str, method, state| Capability {
            class,
            source: source.to_owned(),
            method,
            state,
        };
        let faults = match sources.page_faults_one_in {
            0 | 1 => Method::Exact,
            _ => Method::Estimate,
        };
        vec![
            row(
                EventClass::GarbageCollection,
                "uprobes gcAssistAlloc1, deductSweepCredit, sweepone",
                Method::Exact,
                state(Class::GcWork, "gc_work"),
            ),
            row(
                EventClass::GarbageCollection,
                "tracepoints sched:sched_switch, sched_wakeup",
                Method::Exact,
                state(Class::OffCpu, "scheduling"),
            ),
            row(
                EventClass::Mapping,
                "tracepoint exceptions:page_fault_user",
                faults,
                state(Class::PageFault, "page_faults_one_in"),
            ),
            row(
                EventClass::Mapping,
                "tracepoint huge_memory:mm_khugepaged_scan_pmd",
                Method::Exact,
                state(Class::HugePage, "huge_pages"),
            ),
            row(
                EventClass::Gauge,
                "cpu.stat of the control group",
                Method::Census,
                match self.throttling {
                    Some(_) => limited("quotas of the groups above its own are not read".to_owned()),
                    None => CapabilityState::Unavailable {
                        why: "the program's control group has no cpu controller, so no quota of its own"
                            .to_owned(),
                        remedy: "none is needed unless a group above it has a quota".to_owned(),
                    },
                },
            ),
        ]
    }
}

impl Target {
    /// Attaches what the policy wants and takes off what it doesn't. What can't be had is told, the rest done.
    pub(super) fn follow_classes(&mut self, sources: &Sources) -> Vec<Refused> {
        let pid = self.process.pid();
        let Self {
            bpf: Some(bpf),
            kernel,
            ..
        } = self
        else {
            // Nothing is probed; what the policy may then want has been decided before.
            return Vec::new();
        };
        let mut refused = Vec::new();
        let config = &mut kernel.config;
        if !bpf.is_class_attached(Class::OffCpu) {
            config.armed_ns = monotonic_ns();
        }
        config.wait_min_ns = WAIT_MIN_NS;
        config.work_min_ns = WORK_MIN_NS;
        config.faults_one_in = sources.page_faults_one_in.into();
        config.fault_chance = fault_chance(sources.page_faults_one_in);
        if let Err(error) = bpf.set_kernel(pid, *config) {
            refused.push(Refused {
                what: "events of the kernel",
                why: error.to_string(),
            });
        }
        for (class, what) in CLASSES {
            let sites = match class {
                Class::GcWork => Some(&kernel.work_sites),
                Class::Goroutine => Some(&kernel.goroutine_sites),
                _ => None,
            };
            let done = match (wants(sources, class), sites) {
                (true, Some(Err(why))) => Err(why.clone()),
                (true, Some(Ok(sites))) => bpf
                    .attach_sites(pid, class, sites)
                    .map_err(|error| error.to_string()),
                (true, None) => bpf.attach_class(class).map_err(|error| error.to_string()),
                (false, Some(_)) => {
                    bpf.detach_sites(pid, class);
                    Ok(())
                }
                (false, None) => {
                    bpf.detach_class(class);
                    Ok(())
                }
            };
            if let Err(why) = done {
                refused.push(Refused { what, why });
            }
        }
        refused
    }

    /// Sums since attach, and what the control group says.
    pub(super) fn kernel_gauges(&self) -> Vec<GaugeValue> {
        let mut values = Vec::new();
        let mut add = |gauge, value| values.push(GaugeValue { gauge, value });
        if let Some(throttled) = self.kernel.throttling.as_ref().and_then(CpuStat::read) {
            add(Gauge::THROTTLED_PERIODS, throttled.periods);
            add(Gauge::THROTTLED_NS, throttled.length_ns);
        }
        let sums = self.bpf.as_ref().map(|bpf| bpf.sums(self.process.pid()));
        if let Some(Ok(sums)) = sums {
            let pairs = [
                (Gauge::PAGE_FAULTS, sums.faults, sums.faults),
                (Gauge::CPU_WAITS, sums.waits, sums.waits),
                (Gauge::CPU_WAIT_NS, sums.waits, sums.wait_ns),
                (Gauge::ASSISTS, sums.assists, sums.assists),
                (Gauge::ASSIST_NS, sums.assists, sums.assist_ns),
                (Gauge::SWEEPS, sums.sweeps, sums.sweeps),
                (Gauge::SWEEP_NS, sums.sweeps, sums.sweep_ns),
            ];
            for (gauge, count, value) in pairs {
                // A class that was never on says nothing.
                if count > 0 {
                    add(gauge, value);
                }
            }
        }
        values
    }
}
