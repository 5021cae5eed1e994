//! The collector's books: every record that came from the ring is used or dropped for a reason.

use heaptide_protocol::loss::{DropCount, DropReason, Flaw, FlawCount, Hop, HopCount};
use heaptide_protocol::session::EventClass;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub struct Books {
    classes: BTreeMap<EventClass, Class>,
    flaws: BTreeMap<Flaw, u64>,
}

#[derive(Debug, Clone, Default)]
struct Class {
    seen: u64,
    used: u64,
    dropped: BTreeMap<DropReason, u64>,
}

impl Books {
    pub(crate) fn used(&mut self, class: EventClass) {
        let entry = self.classes.entry(class).or_default();
        entry.seen += 1;
        entry.used += 1;
    }

    pub(crate) fn dropped(&mut self, class: EventClass, reason: DropReason) {
        let entry = self.classes.entry(class).or_default();
        entry.seen += 1;
        *entry.dropped.entry(reason).or_default() += 1;
    }

    pub(crate) fn flaw(&mut self, flaw: Flaw, count: u64) {
        if count > 0 {
            *self.flaws.entry(flaw).or_default() += count;
        }
    }

    pub fn seen(&self) -> u64 {
        self.classes.values().map(|class| class.seen).sum()
    }

    pub fn hops(&self) -> Vec<HopCount> {
        self.classes
            .iter()
            .map(|(class, counts)| HopCount {
                hop: Hop::Collector,
                class: *class,
                seen: counts.seen,
                sent: counts.used,
                dropped: counts
                    .dropped
                    .iter()
                    .map(|(reason, count)| DropCount {
                        reason: *reason,
                        count: *count,
                    })
                    .collect(),
            })
            .collect()
    }

    pub fn flaws(&self) -> Vec<FlawCount> {
        self.flaws
            .iter()
            .map(|(flaw, count)| FlawCount {
                flaw: *flaw,
                count: *count,
            })
            .collect()
    }
}
