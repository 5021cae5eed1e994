//! Cycles and stop-the-world pauses: from hits at five sites to rows.

use super::Pipeline;
use crate::linux::bpf::What;
use heaptide_protocol::events::{EventKind, OtherRow};

/// Go's `stwGCMarkTerm`: its own record of the pause ends before the world is started.
const MARK_TERMINATION: u8 = 1;
/// Go's `stwGCSweepTerm`.
const SWEEP_TERMINATION: u8 = 2;
/// Go's `stwUnknown`.
const UNKNOWN_REASON: u8 = 0;

impl Pipeline {
    /// Ends of pauses by the place that agrees with Go's own books: before the world is started for mark
    /// termination, after it (`CALL runtime.wakep`) for all others.
    pub(super) fn collection_row(&mut self, what: &What<'_>) -> Option<(EventKind, OtherRow)> {
        let row = |detail: u64| OtherRow {
            detail,
            ..OtherRow::default()
        };
        if !self.config.stop_reasons && self.stopping.is_some() {
            match what {
                What::GcCycleStart { .. } => self.stopping = Some(SWEEP_TERMINATION),
                What::GcMarkTermination => self.stopping = Some(MARK_TERMINATION),
                _ => {}
            }
        }
        match *what {
            What::GcCycleStart {
                mark_start_ns,
                procs,
                trigger,
            } => Some((
                EventKind::GcStart,
                OtherRow {
                    size_bytes: procs,
                    address: mark_start_ns,
                    ..row(u64::from(trigger))
                },
            )),
            What::GcMarkTermination => Some((EventKind::GcEnd, row(0))),
            What::StwBegin { reason } => {
                let reason = if self.config.stop_reasons {
                    reason
                } else {
                    UNKNOWN_REASON
                };
                self.stopping = Some(reason);
                Some((EventKind::StopTheWorldBegin, row(u64::from(reason))))
            }
            What::StwEnd { .. } if self.config.wakep_site && self.stopping != Some(MARK_TERMINATION) => None,
            What::StwEnd { .. } | What::StwEndWakep => {
                let reason = self.stopping.take()?;
                Some((EventKind::StopTheWorldEnd, row(u64::from(reason))))
            }
            _ => None,
        }
    }
}
