//! The books of both hops before the hub: what the kernel's programs counted, and what the pipeline did.

use crate::linux::bpf::{Class, Counters};
use crate::pipeline::Books;
use heaptide_protocol::loss::{DropCount, DropReason, Hop, HopCount, LossReport};
use heaptide_protocol::session::EventClass;

pub(super) fn loss_report(counters: &Counters, books: &Books, timestamp_ns: u64) -> LossReport {
    let classes = [
        (EventClass::Allocation, &[Class::Alloc, Class::Free][..]),
        (EventClass::Goroutine, &[Class::Goroutine]),
        (
            EventClass::GarbageCollection,
            &[Class::Gc, Class::Stw, Class::GcWork, Class::OffCpu],
        ),
        (
            EventClass::Mapping,
            &[Class::Mapping, Class::HugePage, Class::PageFault],
        ),
    ];
    let kernel = classes.map(|(class, of)| {
        let sum = of
            .iter()
            .map(|class| counters.of(*class))
            .reduce(|a, b| a.plus(b))
            .unwrap_or_default();
        let dropped = [
            (DropReason::RingFull, sum.dropped_ring_full),
            (DropReason::ScratchBusy, sum.dropped_no_buffer),
            (DropReason::Unpaired, sum.dropped_unpaired),
        ];
        HopCount {
            hop: Hop::Kernel,
            class,
            seen: sum.seen,
            sent: sum.sent,
            dropped: dropped
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| DropCount { reason, count })
                .collect(),
        }
    });
    LossReport {
        timestamp_ns,
        hops: kernel.into_iter().chain(books.hops()).collect(),
        flaws: books.flaws(),
    }
}
