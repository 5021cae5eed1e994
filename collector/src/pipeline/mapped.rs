//! Which call made a mapping: recent `mmap` calls by the addresses that they gave.
//!
//! The kernel joins neighbours of one kind, so a region can be of several calls; the one with most of it is
//! told. Calls from before the watch are not known.

use crate::linux::bpf::MappingCall;
use heaptide_protocol::StackId;
use std::collections::BTreeMap;

/// 24 bytes each. Beyond it the smallest is forgotten.
const MAX_MAPPED: usize = 8_192;

/// Address ranges that don't overlap, by start.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    ranges: BTreeMap<u64, (u64, StackId)>,
    /// Forgotten for lack of room.
    pub(crate) forgotten: u64,
}

impl Mapped {
    /// Takes in a call and what it returned.
    pub(crate) fn record(&mut self, call: &MappingCall, result: i64, stack: Option<StackId>) {
        // A negative result is an error number (syscall(2)).
        let Ok(address) = u64::try_from(result) else {
            return;
        };
        match *call {
            MappingCall::Mmap { len, .. } => {
                let end = address.saturating_add(len);
                self.cut(address, end);
                if let Some(stack) = stack {
                    self.insert(address, end, stack);
                }
            }
            MappingCall::Munmap { addr, len } => self.cut(addr, addr.saturating_add(len)),
            MappingCall::Mremap {
                old_addr,
                old_len,
                new_len,
                ..
            } => {
                let made = self.most_of(old_addr, old_addr.saturating_add(old_len)).or(stack);
                self.cut(old_addr, old_addr.saturating_add(old_len));
                self.cut(address, address.saturating_add(new_len));
                if let Some(stack) = made {
                    self.insert(address, address.saturating_add(new_len), stack);
                }
            }
            MappingCall::Madvise { .. } | MappingCall::Brk { .. } => {}
        }
    }

    /// The call that made most of what lies between the two.
    pub(crate) fn most_of(&self, start: u64, end: u64) -> Option<StackId> {
        let before = self.ranges.range(..start).next_back();
        let mut bytes: BTreeMap<StackId, u64> = BTreeMap::new();
        for (from, (to, stack)) in before.into_iter().chain(self.ranges.range(start..end)) {
            let overlap = (*to).min(end).saturating_sub((*from).max(start));
            if overlap > 0 {
                *bytes.entry(*stack).or_default() += overlap;
            }
        }
        bytes
            .into_iter()
            .max_by_key(|(_, bytes)| *bytes)
            .map(|(stack, _)| stack)
    }

    fn insert(&mut self, start: u64, end: u64, stack: StackId) {
        if start >= end {
            return;
        }
        self.ranges.insert(start, (end, stack));
        if self.ranges.len() > MAX_MAPPED {
            let smallest = self.ranges.iter().min_by_key(|(start, (end, _))| end - **start);
            if let Some(start) = smallest.map(|(start, _)| *start) {
                self.ranges.remove(&start);
                self.forgotten += 1;
            }
        }
    }

    /// Takes a range out of those that it touches.
    fn cut(&mut self, start: u64, end: u64) {
        let before = self.ranges.range(..start).next_back();
        let touched: Vec<(u64, u64, StackId)> = before
            .into_iter()
            .chain(self.ranges.range(start..end.max(start)))
            .filter(|(_, (to, _))| *to > start)
            .map(|(from, (to, stack))| (*from, *to, *stack))
            .collect();
        for (from, to, stack) in touched {
            self.ranges.remove(&from);
            if from < start {
                self.ranges.insert(from, (start, stack));
            }
            if to > end {
                self.ranges.insert(end, (to, stack));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mmap(mapped: &mut Mapped, address: i64, len: u64, stack: u32) {
        let call = MappingCall::Mmap {
            addr: 0,
            len,
            prot: 3,
            flags: 0x22,
            fd: -1,
            offset: 0,
        };
        mapped.record(&call, address, Some(StackId(stack)));
    }

    #[test]
    fn the_call_with_most_of_a_region_is_told_until_it_is_unmapped() {
        let mut mapped = Mapped::default();
        mmap(&mut mapped, 0x1000, 0x3000, 1);
        mmap(&mut mapped, 0x4000, 0x1000, 2);
        assert_eq!(mapped.most_of(0x1000, 0x5000), Some(StackId(1)));
        assert_eq!(mapped.most_of(0x4000, 0x5000), Some(StackId(2)));
        assert_eq!(mapped.most_of(0x5000, 0x9000), None);

        // A hole in the middle leaves both ends.
        mapped.record(
            &MappingCall::Munmap {
                addr: 0x2000,
                len: 0x1000,
            },
            0,
            None,
        );
        assert_eq!(mapped.most_of(0x2000, 0x3000), None);
        assert_eq!(mapped.most_of(0x1000, 0x2000), Some(StackId(1)));
        assert_eq!(mapped.most_of(0x3000, 0x4000), Some(StackId(1)));

        // A call that failed changes nothing; one at the same place replaces.
        mmap(&mut mapped, -12, 0x1000, 3);
        mmap(&mut mapped, 0x3800, 0x1000, 4);
        assert_eq!(mapped.most_of(0x3000, 0x3800), Some(StackId(1)));
        assert_eq!(mapped.most_of(0x3800, 0x4800), Some(StackId(4)));
        assert_eq!(mapped.most_of(0x4800, 0x5000), Some(StackId(2)));
    }

    #[test]
    fn the_smallest_is_forgotten_when_it_is_full() {
        let mut mapped = Mapped::default();
        for at in 0..MAX_MAPPED as i64 + 10 {
            mmap(&mut mapped, at << 20, if at == 5 { 0x1000 } else { 0x2000 }, 1);
        }
        assert_eq!((mapped.ranges.len(), mapped.forgotten), (MAX_MAPPED, 10));
        assert_eq!(mapped.most_of(5 << 20, 6 << 20), None);
    }
}
