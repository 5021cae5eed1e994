//! Goroutines one by one: rows of their events, and what is remembered of each that lives: since when it has
//! been known, and the stack at which it was created.

use super::Pipeline;
use super::Symbolize;
use crate::linux::bpf::What;
use heaptide_protocol::StackId;
use heaptide_protocol::events::{GoroutineDetail, OtherRow};
use heaptide_protocol::loss::Flaw;
use std::collections::HashMap;

/// 9 MB. Beyond it a goroutine has no age and no whole creation stack; see [`Flaw::GoroutineUnaged`].
const MAX_REMEMBERED: usize = 200_000;

/// What is known of a goroutine from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    /// When a census or its creation first showed it.
    pub(crate) first_seen_ns: u64,
    /// The stack of the `go` statement, whole.
    pub(crate) creator: Option<StackId>,
    /// The last census that found it alive.
    census: u32,
}

/// Living goroutines by id, as far as they were seen.
#[derive(Debug, Default)]
pub(crate) struct KnownGoroutines {
    by_goid: HashMap<u64, Birth>,
    census: u32,
    began_ns: u64,
    refused: u64,
}

impl KnownGoroutines {
    pub(crate) fn begin_census(&mut self, now_ns: u64) {
        self.census += 1;
        self.began_ns = now_ns;
    }

    /// A census found it. `None` if there is no room to remember it.
    pub(crate) fn seen(&mut self, goid: u64) -> Option<Birth> {
        let (census, now_ns) = (self.census, self.began_ns);
        if let Some(known) = self.by_goid.get_mut(&goid) {
            known.census = census;
            return Some(*known);
        }
        let birth = Birth {
            first_seen_ns: now_ns,
            creator: None,
            census,
        };
        self.remember(goid, birth).then_some(birth)
    }

    /// Forgets those that the census did not find, save those that were created since it began.
    pub(crate) fn end_census(&mut self) {
        let (census, began_ns) = (self.census, self.began_ns);
        self.by_goid
            .retain(|_, birth| birth.census == census || birth.first_seen_ns >= began_ns);
    }

    /// How often one could not be remembered, since the last time that this was asked.
    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Its creation was seen, perhaps after a census already found it.
    fn created(&mut self, goid: u64, at_ns: u64, creator: Option<StackId>) {
        let census = self.by_goid.get(&goid).map_or(0, |birth| birth.census);
        let birth = Birth {
            first_seen_ns: at_ns,
            creator,
            census,
        };
        self.remember(goid, birth);
    }

    fn exited(&mut self, goid: u64) {
        self.by_goid.remove(&goid);
    }

    fn remember(&mut self, goid: u64, birth: Birth) -> bool {
        let fits = self.by_goid.len() < MAX_REMEMBERED || self.by_goid.contains_key(&goid);
        if fits {
            self.by_goid.insert(goid, birth);
        } else {
            self.refused += 1;
        }
        fits
    }
}

impl Pipeline {
    pub(crate) fn goroutines(&mut self) -> &mut KnownGoroutines {
        &mut self.goroutines
    }

    /// The row of a goroutine's event, which is also remembered; `None` if it is no such event.
    pub(super) fn goroutine_row(
        &mut self,
        what: &What<'_>,
        at_ns: u64,
        symbols: &mut dyn Symbolize,
    ) -> Option<OtherRow> {
        let row = |goid: Option<u64>, before_bytes, after_bytes, detail| OtherRow {
            size_bytes: before_bytes,
            address: after_bytes,
            detail: detail as u64,
            goroutine_id: goid.unwrap_or(0),
            ..OtherRow::default()
        };
        match *what {
            What::GoroutineCreated {
                goid,
                creator_pc,
                stack_bytes,
                stack,
            } => {
                self.books.flaw(Flaw::StackMissing, u64::from(stack.is_missing()));
                self.books
                    .flaw(Flaw::StackTruncated, u64::from(stack.is_truncated()));
                // From `newproc` down to here it is always the same.
                let mut frames = stack.frames().skip_while(|pc| *pc != creator_pc);
                let whole = frames.next().is_some();
                let mut pcs = vec![creator_pc.wrapping_sub(1)];
                pcs.extend(frames);
                let id = self
                    .stacks
                    .intern(pcs.iter().copied(), stack.is_truncated(), symbols);
                if let Some(goid) = goid {
                    self.goroutines.created(goid, at_ns, id.filter(|_| whole));
                }
                Some(OtherRow {
                    stack: id,
                    ..row(goid, 0, stack_bytes, GoroutineDetail::Created)
                })
            }
            What::GoroutineExited { goid, stack_bytes } => {
                if let Some(goid) = goid {
                    self.goroutines.exited(goid);
                }
                Some(row(goid, stack_bytes, 0, GoroutineDetail::Exited))
            }
            What::StackCopied {
                goid,
                pc,
                old_bytes,
                new_bytes,
            } => {
                let stack = self.intern_read(&[pc], symbols);
                Some(OtherRow {
                    stack,
                    ..row(goid, old_bytes, new_bytes, GoroutineDetail::StackGrown)
                })
            }
            _ => None,
        }
    }

    /// What could not be remembered goes into the books.
    pub(super) fn settle_goroutines(&mut self) {
        let refused = self.goroutines.take_refused();
        self.books.flaw(Flaw::GoroutineUnaged, refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_from_the_first_sight_and_end_with_the_goroutine() {
        let mut all = KnownGoroutines::default();
        all.created(1, 50, Some(StackId(7)));
        all.begin_census(100);
        let ages = [1, 2, 3].map(|goid| all.seen(goid).map(|birth| birth.first_seen_ns));
        assert_eq!(ages, [Some(50), Some(100), Some(100)]);
        all.end_census();

        // 2 is gone, 3's creation comes late, 4 is born while the census runs.
        all.begin_census(200);
        all.created(3, 90, Some(StackId(8)));
        all.created(4, 205, None);
        for goid in [1, 3] {
            all.seen(goid);
        }
        all.end_census();
        let known = |all: &KnownGoroutines, goid| {
            all.by_goid
                .get(&goid)
                .map(|birth| (birth.first_seen_ns, birth.creator))
        };
        assert_eq!(known(&all, 1), Some((50, Some(StackId(7)))));
        assert_eq!(known(&all, 2), None);
        assert_eq!(known(&all, 3), Some((90, Some(StackId(8)))));
        assert_eq!(known(&all, 4), Some((205, None)));
        all.exited(1);
        assert_eq!(known(&all, 1), None);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut all = KnownGoroutines::default();
        all.begin_census(1);
        for goid in 0..MAX_REMEMBERED as u64 {
            assert!(all.seen(goid).is_some());
        }
        assert_eq!(all.seen(u64::MAX), None);
        all.created(u64::MAX, 2, None);
        // A known one can still be told more of.
        all.created(5, 3, Some(StackId(1)));
        assert_eq!(all.take_refused(), 2);
        assert_eq!(all.take_refused(), 0);
    }
}
