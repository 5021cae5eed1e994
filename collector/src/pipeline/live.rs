//! Sampled objects that have not been freed, by address.

use heaptide_protocol::lifetimes::Allotment;
use std::collections::HashMap;

/// 40 bytes each. At Go's default rate that is a live heap of 150 GB.
const MAX_LIVE: usize = 300_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveObject {
    pub(crate) allotment: Allotment,
    pub(crate) birth_tick: u32,
    /// 0 if no event row was sent for it.
    pub(crate) event_id: u64,
}

#[derive(Debug, Default)]
pub(crate) struct LiveTable {
    objects: HashMap<u64, LiveObject>,
}

#[derive(Debug)]
pub(crate) enum Inserted {
    New,
    /// The address held an object whose free was not seen.
    Replaced(LiveObject),
    Full,
}

impl LiveTable {
    pub(crate) fn insert(&mut self, address: u64, object: LiveObject) -> Inserted {
        if self.objects.len() >= MAX_LIVE && !self.objects.contains_key(&address) {
            return Inserted::Full;
        }
        self.objects
            .insert(address, object)
            .map_or(Inserted::New, Inserted::Replaced)
    }

    pub(crate) fn remove(&mut self, address: u64) -> Option<LiveObject> {
        self.objects.remove(&address)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn clear(&mut self) {
        self.objects.clear();
    }
}
