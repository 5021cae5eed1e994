//! Lifetime rows: the heart of a session. Per tick: what was born, and what died, born when.
//!
//! Counts are of sampled objects, with the exact size and the sampling rate that each was born under, so
//! that estimates and their errors can be computed for any window, also across a change of the rate. Rows
//! of neighbouring ticks merge by adding counts.

use crate::error::ColumnError;
use crate::ids::{StackId, SymbolGen, TagId};
use crate::varint::{self, Reader};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifetimeTable {
    pub symbol_gen: SymbolGen,
    /// `[tick * tick_ns, (tick + 1) * tick_ns)` on the session's clock.
    pub tick: u64,
    pub tick_ns: u64,
    /// Time of the newest record in this tick, 0 if there is none.
    pub newest_ns: u64,
    /// Sampling rates that rows refer to by index.
    pub rates_bytes: Vec<u64>,
    pub births: Vec<Birth>,
    pub deaths: Vec<Death>,
}

/// What was allocated: the part of a row that births and deaths share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allotment {
    pub stack: StackId,
    pub heap_tag: TagId,
    pub size_bytes: u64,
    /// Into [`LifetimeTable::rates_bytes`].
    pub rate_index: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    pub allotment: Allotment,
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    pub allotment: Allotment,
    /// Whole ticks since birth: it was born in tick `tick - age_ticks`.
    pub age_ticks: u32,
    pub count: u32,
}

impl LifetimeTable {
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, u64::from(self.symbol_gen.0));
        varint::put(out, self.tick);
        varint::put(out, self.tick_ns);
        varint::put(out, self.newest_ns);
        varint::put(out, self.rates_bytes.len() as u64);
        for rate in &self.rates_bytes {
            varint::put(out, *rate);
        }
        varint::put(out, self.births.len() as u64);
        varint::put(out, self.deaths.len() as u64);
        encode_allotments(out, &self.births.iter().map(|birth| &birth.allotment));
        for birth in &self.births {
            varint::put(out, u64::from(birth.count));
        }
        encode_allotments(out, &self.deaths.iter().map(|death| &death.allotment));
        for death in &self.deaths {
            varint::put(out, u64::from(death.age_ticks));
        }
        for death in &self.deaths {
            varint::put(out, u64::from(death.count));
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ColumnError> {
        let mut reader = Reader::new(bytes, "lifetime table");
        let symbol_gen = SymbolGen(reader.varint_u32()?);
        let (tick, tick_ns, newest_ns) = (reader.varint()?, reader.varint()?, reader.varint()?);
        if tick_ns == 0
            || tick
                .checked_add(1)
                .and_then(|end| end.checked_mul(tick_ns))
                .is_none()
        {
            return Err(reader.malformed());
        }
        let rates = reader.count(1)?;
        let mut rates_bytes = Vec::with_capacity(rates);
        for _ in 0..rates {
            rates_bytes.push(reader.varint()?);
        }
        // A birth has five varints, a death six.
        let birth_count = reader.count(5)?;
        let death_count = reader.count(6)?;
        let allotments = decode_allotments(&mut reader, birth_count, rates)?;
        let mut births = Vec::with_capacity(birth_count);
        for allotment in allotments {
            births.push(Birth {
                allotment,
                count: reader.varint_u32()?,
            });
        }
        let allotments = decode_allotments(&mut reader, death_count, rates)?;
        let mut deaths = Vec::with_capacity(death_count);
        for allotment in allotments {
            let age_ticks = reader.varint_u32()?;
            if u64::from(age_ticks) > tick {
                return Err(reader.malformed());
            }
            deaths.push(Death {
                allotment,
                age_ticks,
                count: 0,
            });
        }
        for death in &mut deaths {
            death.count = reader.varint_u32()?;
        }
        reader.finish()?;
        Ok(Self {
            symbol_gen,
            tick,
            tick_ns,
            newest_ns,
            rates_bytes,
            births,
            deaths,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.births.is_empty() && self.deaths.is_empty()
    }
}

/// Four columns, each against the row before. Rows sorted by stack and size code best.
fn encode_allotments<'a>(out: &mut Vec<u8>, rows: &(impl Iterator<Item = &'a Allotment> + Clone)) {
    let columns: [fn(&Allotment) -> u64; 4] = [
        |row| u64::from(row.stack.0),
        |row| u64::from(row.heap_tag.0),
        |row| row.size_bytes,
        |row| u64::from(row.rate_index),
    ];
    for column in columns {
        let mut last = 0_u64;
        for row in rows.clone() {
            let value = column(row);
            varint::put_signed(out, value.wrapping_sub(last) as i64);
            last = value;
        }
    }
}

fn decode_allotments(
    reader: &mut Reader<'_>,
    count: usize,
    rates: usize,
) -> Result<Vec<Allotment>, ColumnError> {
    if count.saturating_mul(4) > reader.remaining() {
        return Err(reader.truncated());
    }
    let empty = Allotment {
        stack: StackId(0),
        heap_tag: TagId(0),
        size_bytes: 0,
        rate_index: 0,
    };
    let mut rows = vec![empty; count];
    let columns: [fn(&mut Allotment, u64) -> Option<()>; 4] = [
        |row, value| u32::try_from(value).ok().map(|id| row.stack = StackId(id)),
        |row, value| u32::try_from(value).ok().map(|id| row.heap_tag = TagId(id)),
        |row, value| {
            row.size_bytes = value;
            Some(())
        },
        |row, value| u32::try_from(value).ok().map(|index| row.rate_index = index),
    ];
    for column in columns {
        let mut last = 0_u64;
        for row in &mut rows {
            last = last.wrapping_add(reader.signed()? as u64);
            column(row, last).ok_or_else(|| reader.malformed())?;
        }
    }
    if rows.iter().any(|row| row.rate_index as usize >= rates) {
        return Err(reader.malformed());
    }
    Ok(rows)
}
