//! Writing a batch, column after column.
//!
//! What repeats goes into a table in ascending order, and the column holds indices into it; what is noise
//! (the low byte of a time) has a column of its own, so that a compressor finds the rest unspoilt.

use super::{EventBatch, EventKind, FIRST_OTHER, FLAG_ADDRESSES, OtherRow, SAME};
use crate::ids::StackId;
use crate::varint;

impl EventBatch {
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_columns(out, |_, _| {});
    }

    /// As [`encode`](Self::encode), and tells the name of each column and the length of `out` at its end.
    pub fn encode_columns(&self, out: &mut Vec<u8>, mut end: impl FnMut(&'static str, usize)) {
        self.put_head(out);
        end("head", out.len());
        out.extend_from_slice(&self.heads);
        end("kind and thread", out.len());
        self.put_times(out, &mut end);
        for thread in &self.far_threads {
            varint::put(out, u64::from(*thread));
        }
        end("far threads", out.len());
        self.put_allocations(out, &mut end);
        self.put_freed(out);
        end("freed", out.len());
        self.put_others(out);
        end("others", out.len());
    }

    fn put_head(&self, out: &mut Vec<u8>) {
        varint::put(out, self.first_event_id);
        varint::put(out, self.base_timestamp_ns);
        varint::put(out, u64::from(self.symbol_gen.0));
        varint::put(out, self.sampling_rate_bytes);
        varint::put(out, if self.keeps_addresses { FLAG_ADDRESSES } else { 0 });
        varint::put(out, self.heads.len() as u64);
        varint::put(out, self.threads.len() as u64);
        for thread in &self.threads {
            varint::put(out, u64::from(*thread));
        }
    }

    fn put_times(&self, out: &mut Vec<u8>, end: &mut impl FnMut(&'static str, usize)) {
        let steps = || {
            let mut last = self.base_timestamp_ns;
            self.timestamps_ns.iter().map(move |timestamp| {
                let step = timestamp - last;
                last = *timestamp;
                step
            })
        };
        out.extend(steps().map(|step| step as u8));
        end("time, low byte", out.len());
        for step in steps() {
            varint::put(out, step >> 8);
        }
        end("time, rest", out.len());
    }

    fn put_allocations(&self, out: &mut Vec<u8>, end: &mut impl FnMut(&'static str, usize)) {
        let sites: Vec<(StackId, u64)> = self
            .stacks
            .iter()
            .copied()
            .zip(self.sizes_bytes.iter().copied())
            .collect();
        let (table, indices) = indexed(&sites);
        // Where in the table each stack begins; one more for the end.
        let mut starts: Vec<usize> = (0..table.len())
            .filter(|at| *at == 0 || table[*at].0 != table[*at - 1].0)
            .collect();
        let stacks = starts.len();
        starts.push(table.len());
        varint::put(out, stacks as u64);
        put_ascending(out, starts[..stacks].iter().map(|at| u64::from(table[*at].0.0)));
        for pair in starts.windows(2) {
            varint::put(out, (pair[1] - pair[0] - 1) as u64);
        }
        for pair in starts.windows(2) {
            put_ascending(out, table[pair[0]..pair[1]].iter().map(|(_, size)| *size));
        }
        end("stacks and sizes", out.len());
        let local: Vec<usize> = indices
            .iter()
            .map(|index| starts.partition_point(|start| start <= index) - 1)
            .collect();
        if stacks > 1 {
            for stack in &local {
                varint::put(out, *stack as u64);
            }
        }
        end("stack index", out.len());
        for (index, stack) in indices.iter().zip(&local) {
            if starts[stack + 1] - starts[*stack] > 1 {
                varint::put(out, (index - starts[*stack]) as u64);
            }
        }
        end("size index", out.len());
        let (table, indices) = indexed(&self.goroutine_ids);
        varint::put(out, table.len() as u64);
        put_ascending(out, table.iter().copied());
        end("goroutines", out.len());
        if table.len() > 1 {
            for index in &indices {
                varint::put(out, *index as u64);
            }
        }
        end("goroutine index", out.len());
        if self.keeps_addresses {
            let mut last = vec![0_u64; stacks];
            for (address, stack) in self.addresses.iter().zip(&local) {
                varint::put_signed(out, address.wrapping_sub(last[*stack]) as i64);
                last[*stack] = *address;
            }
        }
        end("addresses", out.len());
        varint::put(out, self.tag_runs.len() as u64);
        for (tag, run) in &self.tag_runs {
            varint::put(out, u64::from(tag.0));
            varint::put(out, u64::from(*run));
        }
        end("tags", out.len());
    }

    /// A sweep frees what was allocated together, one after the other: the steps are small.
    fn put_freed(&self, out: &mut Vec<u8>) {
        let mut last = self.first_event_id;
        let own_ids = self.heads.iter().zip(self.first_event_id..);
        let own_ids = own_ids.filter(|(head, _)| *head & 0x0f == EventKind::Free as u8);
        for (freed, (_, own_id)) in self.freed.iter().zip(own_ids) {
            if *freed == 0 || *freed >= own_id {
                varint::put(out, 0);
            } else {
                varint::put(out, freed_code(last, *freed));
                last = *freed;
            }
        }
    }

    /// Kind by kind, because rows of a kind resemble each other.
    fn put_others(&self, out: &mut Vec<u8>) {
        let kinds = self.heads.iter().map(|head| head & 0x0f);
        let kinds: Vec<u8> = kinds.filter(|kind| *kind >= FIRST_OTHER).collect();
        for wanted in FIRST_OTHER..=EventKind::LAST as u8 {
            let rows = kinds.iter().zip(&self.others);
            let rows: Vec<&OtherRow> = rows
                .filter(|(kind, _)| **kind == wanted)
                .map(|(_, row)| row)
                .collect();
            if !rows.is_empty() {
                put_steps(out, rows.iter().map(|row| row.address));
                put_rarely_changing(out, rows.iter().map(|row| row.size_bytes));
                put_rarely_changing(out, rows.iter().map(|row| row.detail));
                put_rarely_changing(out, rows.iter().map(|row| row.goroutine_id));
                put_rarely_changing(
                    out,
                    rows.iter()
                        .map(|row| row.stack.map_or(0, |id| u64::from(id.0) + 1)),
                );
                put_rarely_changing(out, rows.iter().map(|row| u64::from(row.heap_tag.0)));
            }
        }
    }
}

/// A column that is the same in all rows is its value alone.
fn put_rarely_changing(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    let mut rest = values.clone();
    let first = rest.next().unwrap_or(0);
    if rest.all(|value| value == first) {
        varint::put(out, SAME);
        varint::put(out, first);
    } else {
        put_steps(out, values);
    }
}

/// Each value less the one before, the first less 0, without the zero bits that all of these end in:
/// addresses and lengths of mappings are whole pages.
fn put_steps(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    let steps = values.scan(0_u64, |last, value| {
        let step = value.wrapping_sub(*last) as i64;
        *last = value;
        Some(step)
    });
    let shift = steps.clone().map(i64::trailing_zeros).min().unwrap_or(0) % 64;
    varint::put(out, u64::from(shift));
    for step in steps {
        varint::put_signed(out, step >> shift);
    }
}

/// 0 is kept for "not known".
fn freed_code(last: u64, freed: u64) -> u64 {
    varint::zigzag(freed.wrapping_sub(last) as i64).wrapping_add(1)
}

/// The distinct values in ascending order, and for each value its index among them.
fn indexed<T: Copy + Ord>(values: &[T]) -> (Vec<T>, Vec<usize>) {
    let mut table = values.to_vec();
    table.sort_unstable();
    table.dedup();
    let indices = values
        .iter()
        .map(|value| table.partition_point(|known| known < value))
        .collect();
    (table, indices)
}

/// Each value less the one before, the first less 0.
fn put_ascending(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut last = 0;
    for value in values {
        varint::put(out, value - last);
        last = value;
    }
}
