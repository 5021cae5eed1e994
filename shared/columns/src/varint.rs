//! LEB128 varints and zigzag, as postcard uses them: 7 bits a byte, low first, high bit means "more".

use crate::ColumnError;
use crate::lanes::short_varints;

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A cursor over bytes; every read is checked.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn truncated(&self) -> ColumnError {
        ColumnError::Truncated { what: self.what }
    }

    pub fn malformed(&self) -> ColumnError {
        ColumnError::Malformed { what: self.what }
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, ColumnError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.truncated())?;
        self.at += 1;
        Ok(byte)
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], ColumnError> {
        let end = self.at.checked_add(len).ok_or_else(|| self.truncated())?;
        let slice = self.bytes.get(self.at..end).ok_or_else(|| self.truncated())?;
        self.at = end;
        Ok(slice)
    }

    /// Most varints of the columns are one or two bytes; those paths are inlined, the rest is not.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, ColumnError> {
        if let [first, rest @ ..] = &self.bytes[self.at..] {
            if *first < 0x80 {
                self.at += 1;
                return Ok(u64::from(*first));
            }
            if let [second, ..] = rest
                && *second < 0x80
            {
                self.at += 2;
                return Ok(u64::from(*first & 0x7f) | u64::from(*second) << 7);
            }
        }
        self.varint_long()
    }

    #[inline(never)]
    fn varint_long(&mut self) -> Result<u64, ColumnError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed());
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    #[inline(always)]
    pub fn signed(&mut self) -> Result<i64, ColumnError> {
        self.varint().map(unzigzag)
    }

    pub fn varint_u32(&mut self) -> Result<u32, ColumnError> {
        u32::try_from(self.varint()?).map_err(|_| self.malformed())
    }

    /// Room that [`Self::varints_into`] uses behind what it appends.
    pub const SPARE: usize = 8;

    /// A column of `count` varints.
    pub fn varints<T: Copy + From<u8> + From<u16> + TryFrom<u64>>(
        &mut self,
        count: usize,
    ) -> Result<Vec<T>, ColumnError> {
        let mut values = Vec::new();
        self.varints_into(count, &mut values)?;
        Ok(values)
    }

    /// The same behind `values`: eight bytes at a time as long as the values in them have one or two.
    pub fn varints_into<T: Copy + From<u8> + From<u16> + TryFrom<u64>>(
        &mut self,
        count: usize,
        values: &mut Vec<T>,
    ) -> Result<(), ColumnError> {
        const MORE: u64 = 0x8080_8080_8080_8080;
        if count > self.remaining() {
            return Err(self.truncated());
        }
        values.reserve(count + Self::SPARE);
        let end = values.len() + count;
        while end - values.len() >= 8
            && let Some(eight) = self.bytes[self.at..].first_chunk::<8>()
        {
            let word = u64::from_le_bytes(*eight);
            let more = word & MORE;
            if more == 0 {
                values.extend_from_slice(&eight.map(T::from));
                self.at += 8;
            } else if more & more << 8 == 0 {
                values.extend_from_slice(&short_varints(word).map(T::from));
                // A value that has two takes the place of another, and a first byte at the end waits for its second.
                values.truncate(values.len() - more.count_ones() as usize);
                self.at += 8 - usize::from(eight[7] >= 0x80);
            } else {
                values.push(self.varint_as()?);
            }
        }
        while values.len() < end {
            values.push(self.varint_as()?);
        }
        Ok(())
    }

    #[inline(always)]
    fn varint_as<T: TryFrom<u64>>(&mut self) -> Result<T, ColumnError> {
        T::try_from(self.varint()?).map_err(|_| self.malformed())
    }

    /// A count of things that take at least `min_bytes` each: never more than the bytes left allow.
    pub fn count(&mut self, min_bytes: usize) -> Result<usize, ColumnError> {
        let count = usize::try_from(self.varint()?).map_err(|_| self.malformed())?;
        if count
            .checked_mul(min_bytes)
            .is_none_or(|bytes| bytes > self.remaining())
        {
            return Err(self.truncated());
        }
        Ok(count)
    }

    pub fn finish(self) -> Result<(), ColumnError> {
        match self.remaining() {
            0 => Ok(()),
            got => Err(ColumnError::Trailing { what: self.what, got }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn edges_round_trip() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            0x3fff,
            0x4000,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut reader = Reader::new(&bytes, "test");
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    /// Long ones at every place among short ones, and at the end of the bytes.
    #[test]
    fn columns_read_as_one_by_one() {
        for count in 0..40_u64 {
            for every in 1..12 {
                let long = |at: u64| {
                    if at.is_multiple_of(every) {
                        u64::MAX >> (at % 57)
                    } else {
                        at
                    }
                };
                let mut bytes = Vec::new();
                (0..count).for_each(|at| put(&mut bytes, long(at)));
                let mut reader = Reader::new(&bytes, "test");
                let got: Vec<u64> = reader.varints(count as usize).unwrap();
                assert_eq!(got, (0..count).map(long).collect::<Vec<_>>());
                assert_eq!(reader.finish(), Ok(()));
                let cut = &bytes[..bytes.len().saturating_sub(1)];
                assert_eq!(
                    Reader::new(cut, "test").varints::<u64>(count as usize).is_ok(),
                    count == 0
                );
            }
        }
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10], "test")
                .varints::<u32>(1)
                .is_err()
        );
    }

    #[test]
    fn overlong_and_cut_varints_are_refused() {
        for bytes in [&[0x80][..], &[0xff; 10], &[0xff; 11], &[]] {
            assert!(Reader::new(bytes, "test").varint().is_err(), "{bytes:02x?}");
        }
    }
}
