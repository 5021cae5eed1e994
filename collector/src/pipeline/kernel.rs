//! Rows of the kernel's own events: page faults, huge pages, waits, and what goroutines do for the collector.

use super::TAG_MAP_UNKNOWN;
use crate::linux::bpf::{Record, Stack, What};
use heaptide_protocol::events::{EventKind, GcWorkDetail, HugePageDetail, OffCpuDetail, OtherRow};
use heaptide_protocol::session::EventClass;

/// On amd64.
const HUGE_BYTES: u64 = 2 << 20;

/// The row of a record, without its stack's id; `None` if it is of another kind.
pub(super) fn row<'a>(record: &Record<'a>) -> Option<(EventKind, OtherRow, Option<Stack<'a>>)> {
    let length_ns = |begin_ns: u64| record.at.ts_ns.saturating_sub(begin_ns);
    let work = |kind: GcWorkDetail, goid: Option<u64>, begin_ns| OtherRow {
        size_bytes: length_ns(begin_ns),
        detail: kind as u64,
        goroutine_id: goid.unwrap_or(0),
        ..OtherRow::default()
    };
    Some(match record.what {
        What::PageFault {
            addr,
            error_code,
            one_in,
            stack,
        } => {
            let row = OtherRow {
                size_bytes: one_in,
                address: addr,
                detail: error_code,
                heap_tag: TAG_MAP_UNKNOWN,
                ..OtherRow::default()
            };
            (EventKind::PageFault, row, Some(stack))
        }
        What::HugePage {
            addr,
            succeeded,
            stack,
        } => {
            let detail = if succeeded {
                HugePageDetail::Collapsed
            } else {
                HugePageDetail::CollapseFailed
            };
            let row = OtherRow {
                size_bytes: HUGE_BYTES,
                address: addr.unwrap_or(0),
                detail: detail as u64,
                heap_tag: TAG_MAP_UNKNOWN,
                ..OtherRow::default()
            };
            (EventKind::HugePage, row, stack)
        }
        What::GcAssist {
            goid,
            begin_ns,
            stack,
        } => {
            let row = work(GcWorkDetail::Assist, goid, begin_ns);
            (EventKind::GcWork, row, Some(stack))
        }
        What::GcSweep {
            goid,
            begin_ns,
            stack,
        } => {
            let row = work(GcWorkDetail::Sweep, goid, begin_ns);
            (EventKind::GcWork, row, Some(stack))
        }
        What::Wait { begin_ns } => {
            let row = OtherRow {
                size_bytes: length_ns(begin_ns),
                detail: OffCpuDetail::Preempted as u64,
                ..OtherRow::default()
            };
            (EventKind::OffCpu, row, None)
        }
        _ => return None,
    })
}

/// Rows of these kinds in one tick. They are as many as the program makes them, so they are bounded by themselves.
const MAX_ROWS_A_TICK: u32 = 30_000;

/// Room for rows in the open tick.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: u32,
}

impl Room {
    /// Whether a row of this kind is kept: not while event rows are shed, nor beyond the bound.
    pub(super) fn takes(&mut self, kind: EventKind, is_shedding: bool) -> bool {
        let bounded = [
            EventKind::PageFault,
            EventKind::GcWork,
            EventKind::OffCpu,
            EventKind::Goroutine,
        ];
        if !bounded.contains(&kind) {
            return true;
        }
        if is_shedding || self.taken >= MAX_ROWS_A_TICK {
            return false;
        }
        self.taken += 1;
        true
    }

    pub(super) fn empty(&mut self) {
        self.taken = 0;
    }
}

/// Under which class an event that is no allocation is booked.
pub(super) const fn class_of(kind: EventKind) -> EventClass {
    match kind {
        EventKind::Alloc | EventKind::Free => EventClass::Allocation,
        EventKind::Goroutine => EventClass::Goroutine,
        EventKind::GcStart
        | EventKind::GcEnd
        | EventKind::StopTheWorldBegin
        | EventKind::StopTheWorldEnd
        | EventKind::GcWork
        | EventKind::OffCpu => EventClass::GarbageCollection,
        EventKind::Mmap
        | EventKind::Munmap
        | EventKind::Mremap
        | EventKind::Madvise
        | EventKind::Brk
        | EventKind::PageFault
        | EventKind::HugePage => EventClass::Mapping,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::bpf::At;

    #[test]
    fn only_what_can_be_many_is_bounded() {
        let mut room = Room::default();
        for row in 0..MAX_ROWS_A_TICK + 10 {
            assert_eq!(room.takes(EventKind::PageFault, false), row < MAX_ROWS_A_TICK);
        }
        assert!(!room.takes(EventKind::OffCpu, false) && room.takes(EventKind::HugePage, true));
        room.empty();
        assert!(room.takes(EventKind::OffCpu, false) && !room.takes(EventKind::GcWork, true));
    }

    #[test]
    fn rows_say_what_the_protocol_says() {
        let stack = Stack::of_bytes(&[1; 8]);
        let base = OtherRow::default();
        let map = OtherRow {
            heap_tag: TAG_MAP_UNKNOWN,
            ..base
        };
        let cases = [
            (
                What::PageFault {
                    addr: 0x5000,
                    error_code: 6,
                    one_in: 10,
                    stack,
                },
                Some((
                    EventKind::PageFault,
                    OtherRow {
                        size_bytes: 10,
                        address: 0x5000,
                        detail: 6,
                        ..map
                    },
                    true,
                )),
            ),
            (
                What::HugePage {
                    addr: None,
                    succeeded: false,
                    stack: None,
                },
                Some((
                    EventKind::HugePage,
                    OtherRow {
                        size_bytes: HUGE_BYTES,
                        detail: 1,
                        ..map
                    },
                    false,
                )),
            ),
            (
                What::GcAssist {
                    goid: Some(5),
                    begin_ns: 70,
                    stack,
                },
                Some((
                    EventKind::GcWork,
                    OtherRow {
                        size_bytes: 30,
                        goroutine_id: 5,
                        ..base
                    },
                    true,
                )),
            ),
            (
                What::GcSweep {
                    goid: None,
                    begin_ns: 99,
                    stack,
                },
                Some((
                    EventKind::GcWork,
                    OtherRow {
                        size_bytes: 1,
                        detail: 1,
                        ..base
                    },
                    true,
                )),
            ),
            (
                What::Wait { begin_ns: 40 },
                Some((
                    EventKind::OffCpu,
                    OtherRow {
                        size_bytes: 60,
                        ..base
                    },
                    false,
                )),
            ),
            (What::GcMarkTermination, None),
        ];
        for (what, expected) in cases {
            let at = At {
                ts_ns: 100,
                tgid: 1,
                tid: 2,
                cpu: 0,
            };
            let got = row(&Record { at, what }).map(|(kind, row, stack)| (kind, row, stack.is_some()));
            assert_eq!(got, expected, "{what:?}");
        }
    }
}
