//! The wire's enumerations in a person's words.

use heaptide_analysis::views::Metric;
use heaptide_protocol::loss::{DropReason, Flaw, Hop};
use heaptide_protocol::session::{EventClass, PlatformSignature};

/// The program's file name, which is what people call a service.
pub fn service_name(signature: &PlatformSignature) -> String {
    let name = signature.executable.rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        format!("pid {}", signature.pid)
    } else {
        name.to_owned()
    }
}

pub fn class_name(class: EventClass) -> &'static str {
    match class {
        EventClass::Allocation => "Allocations and frees",
        EventClass::Goroutine => "Goroutines",
        EventClass::GarbageCollection => "Collections and pauses",
        EventClass::Mapping => "Mappings",
        EventClass::Gauge => "Gauges",
    }
}

pub fn hop_name(hop: Hop) -> &'static str {
    match hop {
        Hop::Kernel => "Kernel to collector",
        Hop::Collector => "Inside the collector",
        Hop::Spool => "Collector to hub",
    }
}

pub fn drop_words(reason: DropReason) -> &'static str {
    match reason {
        DropReason::RingFull => "the ring buffer was full",
        DropReason::Malformed => "malformed",
        DropReason::SwitchedOff => "switched off by the policy",
        DropReason::StackTableFull => "the stack table was full",
        DropReason::LiveTableFull => "the table of live samples was full",
        DropReason::UnmatchedFree => "frees of objects sampled before Heaptide came",
        DropReason::RateChange => "forced samples after a rate change",
        DropReason::SpoolFull => "the spool was full",
        DropReason::ScratchBusy => "probes interrupted each other too deeply",
        DropReason::Unpaired => "system calls seen only at their return",
    }
}

pub fn flaw_words(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::StackTruncated => "stacks cut at the kernel's 127 frames",
        Flaw::StackMissing => "samples without a stack",
        Flaw::FrameUnresolved => "frames that no symbol covers",
        Flaw::EventRowShed => "event rows left out to stay within the cost budget",
        Flaw::ClockHeld => "records whose clock ran backwards",
        Flaw::FreeMissed => "frees that were not seen",
        Flaw::GoroutineUnaged => "goroutines without a known age",
    }
}

pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "Live",
        Metric::Kept => "Kept",
        Metric::Allocated => "Allocated",
        Metric::Freed => "Freed",
    }
}

pub fn metric_words(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "Live at the end of the window, whenever it was allocated since attach.",
        Metric::Kept => "Allocated in the window and not freed by its end: where growth comes from.",
        Metric::Allocated => "Allocated in the window, freed or not: where the collector's work comes from.",
        Metric::Freed => "Freed in the window. Go frees when it sweeps, not when an object dies.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::sample_signature;

    #[test]
    fn a_service_is_called_by_its_file() {
        for (executable, expected) in [
            ("/srv/shop", "shop"),
            ("shop", "shop"),
            ("", "pid 7"),
            ("/srv/", "pid 7"),
        ] {
            let mut signature = sample_signature();
            signature.executable = executable.to_owned();
            assert_eq!(service_name(&signature), expected, "{executable}");
        }
    }
}
