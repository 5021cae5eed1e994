//! Reading a batch. Nothing in the bytes is believed: a count only as far as the bytes left can hold it, an
//! index only if the table has it. Memory is at most a small multiple of the input.

use super::{EventBatch, EventKind, FAR, FLAG_ADDRESSES, OtherRow, SAME};
use crate::error::ColumnError;
use crate::ids::{StackId, SymbolGen, TagId};
use crate::lanes::head_masks;
use crate::varint::{Reader, unzigzag};

/// The sizes that one stack allocates: `sizes[start..start + count]`.
#[derive(Debug, Clone, Copy)]
struct Site {
    stack: StackId,
    start: u32,
    count: u32,
}

impl EventBatch {
    pub fn decode(bytes: &[u8]) -> Result<Self, ColumnError> {
        let mut reader = Reader::new(bytes, "event batch");
        let mut batch = Self {
            first_event_id: reader.varint()?,
            base_timestamp_ns: reader.varint()?,
            symbol_gen: SymbolGen(reader.varint_u32()?),
            sampling_rate_bytes: reader.varint()?,
            ..Self::default()
        };
        let flags = reader.varint()?;
        batch.keeps_addresses = flags & FLAG_ADDRESSES != 0;
        if flags & !FLAG_ADDRESSES != 0 {
            return Err(ColumnError::Unknown {
                what: "event batch flags",
                got: flags,
            });
        }
        // Every event has a head and two bytes of time.
        let count = reader.count(3)?;
        let threads = reader.count(1)?;
        batch.threads = collect(threads, || reader.varint_u32())?;
        batch.heads = reader.take(count)?.to_vec();
        let tally = tally(&batch.heads, threads, &reader)?;
        batch.take_times(&mut reader)?;
        batch.far_threads = collect(tally.far, || {
            reader.varint_u32().and_then(|index| {
                ((index as usize) < threads)
                    .then_some(index)
                    .ok_or(reader.malformed())
            })
        })?;
        batch.take_allocations(&mut reader, tally.allocs)?;
        batch.take_freed(&mut reader, tally.frees)?;
        batch.take_others(&mut reader, &tally.others)?;
        reader.finish()?;
        Ok(batch)
    }

    fn take_times(&mut self, reader: &mut Reader<'_>) -> Result<(), ColumnError> {
        let low = reader.take(self.heads.len())?;
        let mut times: Vec<u64> = reader.varints(low.len())?;
        let mut clock = self.base_timestamp_ns;
        let mut any_bits = 0;
        for (time, low) in times.iter_mut().zip(low) {
            any_bits |= *time;
            clock = clock.wrapping_add(*time << 8 | u64::from(*low));
            *time = clock;
        }
        let longest = u128::from(any_bits) << 8 | 0xff;
        let end_at_most = u128::from(self.base_timestamp_ns) + longest * times.len() as u128;
        // Only a clock that has gone round is behind itself.
        let went_round = || times.first() < Some(&self.base_timestamp_ns) || !times.is_sorted();
        if any_bits >> 56 != 0 || end_at_most > u128::from(u64::MAX) && went_round() {
            return Err(reader.malformed());
        }
        self.timestamps_ns = times;
        Ok(())
    }

    fn take_allocations(&mut self, reader: &mut Reader<'_>, count: usize) -> Result<(), ColumnError> {
        let (sites, sizes) = take_sites(reader)?;
        if sites.is_empty() && count > 0 {
            return Err(reader.malformed());
        }
        let local = take_indices(reader, count, sites.len())?;
        let mut several = 0;
        let stacks = local.iter().map(|at| {
            let site = sites[*at as usize];
            several += usize::from(site.count > 1);
            site.stack
        });
        self.stacks = stacks.collect();
        self.sizes_bytes = take_sizes(reader, several, &local, &sites, &sizes)?;
        let goroutines = reader.count(1)?;
        let goroutines = take_ascending(reader, goroutines)?;
        if goroutines.is_empty() && count > 0 {
            return Err(reader.malformed());
        }
        let indices = take_indices(reader, count, goroutines.len())?;
        self.goroutine_ids = indices.iter().map(|at| goroutines[*at as usize]).collect();
        if self.keeps_addresses {
            let mut last = vec![0_u64; sites.len()];
            self.addresses = Vec::with_capacity(count);
            for at in &local {
                let address = last[*at as usize].wrapping_add(reader.signed()? as u64);
                last[*at as usize] = address;
                self.addresses.push(address);
            }
        }
        let runs = reader.count(2)?;
        self.tag_runs = collect(runs, || Ok((TagId(reader.varint_u32()?), reader.varint_u32()?)))?;
        let covered: u64 = self.tag_runs.iter().map(|(_, run)| u64::from(*run)).sum();
        if covered == count as u64 {
            Ok(())
        } else {
            Err(reader.malformed())
        }
    }

    fn take_freed(&mut self, reader: &mut Reader<'_>, count: usize) -> Result<(), ColumnError> {
        self.freed = reader.varints(count)?;
        let mut last = self.first_event_id;
        for freed in self.freed.iter_mut().filter(|code| **code != 0) {
            last = last.wrapping_add(unzigzag(*freed - 1) as u64);
            *freed = last;
        }
        Ok(())
    }

    fn take_others(&mut self, reader: &mut Reader<'_>, kinds: &[EventKind]) -> Result<(), ColumnError> {
        let mut counts = [0_usize; 16];
        for kind in kinds {
            counts[*kind as usize] += 1;
        }
        let mut columns = OtherColumns::with_capacity(kinds.len());
        let mut next = [0_usize; 16];
        for (count, next) in counts.iter().zip(&mut next).filter(|(count, _)| **count > 0) {
            *next = columns.len();
            columns.take_rows(reader, *count)?;
        }
        let in_order = kinds.iter().map(|kind| {
            let at = &mut next[*kind as usize];
            *at += 1;
            columns.row(*at - 1)
        });
        self.others = in_order.collect();
        Ok(())
    }
}

/// What the heads say about the columns that follow.
#[derive(Debug, Default)]
struct Tally {
    allocs: usize,
    frees: usize,
    far: usize,
    /// Of all others, in their order.
    others: Vec<EventKind>,
}

fn tally(heads: &[u8], threads: usize, reader: &Reader<'_>) -> Result<Tally, ColumnError> {
    let mut tally = Tally::default();
    let threads = threads.min(usize::from(FAR)) as u8;
    let (blocks, rest) = heads.as_chunks::<16>();
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let last = (&last, (1 << rest.len()) - 1);
    let mut unknown = 0;
    for (block, there) in blocks.iter().map(|block| (block, u16::MAX)).chain([last]) {
        let masks = head_masks(block, threads);
        unknown |= masks.unknown & there;
        let ones = |mask: u16| (mask & there).count_ones() as usize;
        tally.allocs += ones(masks.allocs);
        tally.frees += ones(masks.frees);
        tally.far += ones(masks.far);
        let mut others = there & !(masks.allocs | masks.frees);
        while others != 0 {
            let number = block[others.trailing_zeros() as usize] & 0x0f;
            tally
                .others
                .push(EventKind::from_wire(number).ok_or(ColumnError::Unknown {
                    what: "event kind",
                    got: u64::from(number),
                })?);
            others &= others - 1;
        }
    }
    if unknown == 0 {
        Ok(tally)
    } else {
        Err(reader.malformed())
    }
}

fn take_sites(reader: &mut Reader<'_>) -> Result<(Vec<Site>, Vec<u64>), ColumnError> {
    // An id, a count and a size at least.
    let stacks = reader.count(3)?;
    let mut id = 0_u64;
    let mut sites = collect(stacks, || {
        id = id.wrapping_add(reader.varint()?);
        let stack = u32::try_from(id).map_err(|_| reader.malformed())?;
        Ok(Site {
            stack: StackId(stack),
            start: 0,
            count: 0,
        })
    })?;
    let mut start = 0_u32;
    for site in &mut sites {
        let more = reader.varint_u32()?;
        site.start = start;
        site.count = more.checked_add(1).ok_or(reader.malformed())?;
        start = start.checked_add(site.count).ok_or(reader.malformed())?;
    }
    if start as usize > reader.remaining() {
        return Err(reader.truncated());
    }
    let mut sizes = Vec::with_capacity(start as usize);
    for site in &sites {
        let mut size = 0_u64;
        for _ in 0..site.count {
            size = size.wrapping_add(reader.varint()?);
            sizes.push(size);
        }
    }
    Ok((sites, sizes))
}

/// Indices into a table; into a table of one they are not sent.
fn take_indices(reader: &mut Reader<'_>, count: usize, table: usize) -> Result<Vec<u32>, ColumnError> {
    if table <= 1 {
        return Ok(vec![0; count]);
    }
    let indices: Vec<u32> = reader.varints(count)?;
    // The greatest of all is found several at a time; the first that is too great would not be.
    let greatest = indices.iter().fold(0_u32, |greatest, index| greatest.max(*index));
    if (greatest as usize) < table {
        Ok(indices)
    } else {
        Err(reader.malformed())
    }
}

/// Only stacks with several sizes have indices. Whether the next one has is as good as random, so the loop
/// does without a branch.
fn take_sizes(
    reader: &mut Reader<'_>,
    several: usize,
    local: &[u32],
    sites: &[Site],
    sizes: &[u64],
) -> Result<Vec<u64>, ColumnError> {
    let mut picks: Vec<u32> = reader.varints(several)?;
    picks.push(0);
    let mut next = 0;
    let mut beyond = false;
    let values = local
        .iter()
        .map(|at| {
            let site = sites[*at as usize];
            let has_pick = u32::from(site.count > 1);
            let pick = picks[next] * has_pick;
            next += has_pick as usize;
            beyond |= pick >= site.count;
            let place = site.start as usize + pick as usize;
            sizes.get(place).copied().unwrap_or(0)
        })
        .collect();
    if beyond {
        Err(reader.malformed())
    } else {
        Ok(values)
    }
}

/// `count` has been checked against the bytes left.
fn take_ascending(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, ColumnError> {
    let mut last = 0_u64;
    collect(count, || {
        last = last.wrapping_add(reader.varint()?);
        Ok(last)
    })
}

/// The columns of [`OtherRow`]s, kind after kind; they are as long as each other between two calls.
#[derive(Debug)]
struct OtherColumns {
    addresses: Vec<u64>,
    sizes: Vec<u64>,
    details: Vec<u64>,
    goroutines: Vec<u64>,
    /// An id and one more; 0 is none.
    stacks: Vec<u64>,
    tags: Vec<u64>,
}

impl OtherColumns {
    fn with_capacity(count: usize) -> Self {
        let column = || Vec::with_capacity(count + Reader::SPARE);
        Self {
            addresses: column(),
            sizes: column(),
            details: column(),
            goroutines: column(),
            stacks: column(),
            tags: column(),
        }
    }

    fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Rows of one kind, in order.
    fn take_rows(&mut self, reader: &mut Reader<'_>, count: usize) -> Result<(), ColumnError> {
        let start = self.len();
        take_steps(reader, count, &mut self.addresses)?;
        let rarely_changing = [
            &mut self.sizes,
            &mut self.details,
            &mut self.goroutines,
            &mut self.stacks,
            &mut self.tags,
        ];
        for column in rarely_changing {
            take_rarely_changing(reader, count, column)?;
        }
        let beyond = |codes: &[u64], last: u64| codes[start..].iter().any(|code| *code > last);
        if beyond(&self.stacks, 1 << 32) || beyond(&self.tags, u64::from(u32::MAX)) {
            return Err(reader.malformed());
        }
        Ok(())
    }

    fn row(&self, at: usize) -> OtherRow {
        OtherRow {
            address: self.addresses[at],
            size_bytes: self.sizes[at],
            detail: self.details[at],
            goroutine_id: self.goroutines[at],
            stack: self.stacks[at].checked_sub(1).map(|id| StackId(id as u32)),
            heap_tag: TagId(self.tags[at] as u32),
        }
    }
}

/// A column of rows of one kind.
fn take_steps(reader: &mut Reader<'_>, count: usize, column: &mut Vec<u64>) -> Result<(), ColumnError> {
    let shift = reader.varint_u32()?;
    if u64::from(shift) >= SAME {
        return Err(reader.malformed());
    }
    let start = column.len();
    reader.varints_into(count, column)?;
    let mut last = 0_u64;
    for value in &mut column[start..] {
        last = last.wrapping_add((unzigzag(*value) << shift) as u64);
        *value = last;
    }
    Ok(())
}

/// The same, or one value for all.
fn take_rarely_changing(
    reader: &mut Reader<'_>,
    count: usize,
    column: &mut Vec<u64>,
) -> Result<(), ColumnError> {
    let mut ahead = *reader;
    if ahead.varint()? == SAME {
        *reader = ahead;
        column.resize(column.len() + count, reader.varint()?);
        return Ok(());
    }
    take_steps(reader, count, column)
}

/// `count` has been checked against the bytes left.
fn collect<T>(count: usize, mut read: impl FnMut() -> Result<T, ColumnError>) -> Result<Vec<T>, ColumnError> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read()?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::varint;

    /// One allocation and one free by one thread; each part can be replaced.
    fn bytes(replaced: &str, with: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, values) in [
            ("head", &[10, 1_000, 0, 512, 0][..]),
            ("counts", &[2, 1, 77]),
            ("heads", &[0, 1]),
            ("low", &[1, 2]),
            ("high", &[0, 0]),
            ("stacks", &[2, 5, 1, 0, 1, 48, 16, 16]),
            ("stack index", &[1]),
            ("size index", &[1]),
            ("goroutines", &[1, 9]),
            ("tags", &[1, 0, 1]),
            ("freed", &[1]),
        ] {
            for value in if name == replaced { with } else { values } {
                varint::put(&mut out, *value);
            }
        }
        out
    }

    #[test]
    fn a_batch_by_hand_is_read() {
        let batch = EventBatch::decode(&bytes("", &[])).unwrap();
        let debug: Vec<String> = batch.iter().map(|event| format!("{:?}", event.body)).collect();
        assert!(
            debug[0].contains("alloc_size_bytes: 32, stack: StackId(6)"),
            "{}",
            debug[0]
        );
        assert!(debug[1].contains("Some(10)"), "{}", debug[1]);
        let times: Vec<u64> = batch.iter().map(|event| event.timestamp_ns).collect();
        assert_eq!(times, [1_001, 1_003]);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (part, values) in [
            ("head", &[10, 1_000, 0, 512, 2][..]),
            ("head", &[10, 1_000, 1 << 32, 512, 0]),
            ("head", &[10, u64::MAX, 0, 512, 0]),
            ("counts", &[1 << 40, 1, 77]),
            ("counts", &[2, 0]),
            ("heads", &[0, 11]),
            ("heads", &[0, 0x11]),
            ("high", &[1 << 56, 0]),
            ("stacks", &[0]),
            ("stacks", &[2, 1 << 32, 1, 0, 1, 48, 16, 16]),
            ("stacks", &[2, 5, 1, 0, u64::from(u32::MAX), 48, 16, 16]),
            ("stacks", &[2, 5, 1, 0, 1 << 20, 48, 16, 16]),
            ("stack index", &[2]),
            ("stack index", &[1 << 32]),
            ("size index", &[2]),
            ("goroutines", &[0]),
            ("goroutines", &[2, 9, 1, 2]),
            ("tags", &[1, 0, 2]),
            ("freed", &[]),
            ("freed", &[1, 1]),
        ] {
            assert!(
                EventBatch::decode(&bytes(part, values)).is_err(),
                "{part} {values:?}"
            );
        }
    }
}
