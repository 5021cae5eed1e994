//! Checked little-endian reads. Each gives `None` outside the slice, so that no
//! number in a corrupt file can make a later line panic.

/// No Go name or path is longer; a longer one means a corrupt table.
const MAX_STRING_BYTES: usize = 1 << 16;

pub(crate) fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(start..end)
}

pub(crate) fn tail(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

fn array<const N: usize>(bytes: &[u8], offset: u64) -> Option<[u8; N]> {
    tail(bytes, offset)?.first_chunk::<N>().copied()
}

pub(crate) fn u8_at(bytes: &[u8], offset: u64) -> Option<u8> {
    array::<1>(bytes, offset).map(|[b]| b)
}

pub(crate) fn u16_at(bytes: &[u8], offset: u64) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], offset: u64) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(crate) fn i32_at(bytes: &[u8], offset: u64) -> Option<i32> {
    array(bytes, offset).map(i32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], offset: u64) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

/// The bytes up to a NUL, without it.
pub(crate) fn c_bytes(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = tail(bytes, offset)?;
    let rest = rest.get(..MAX_STRING_BYTES).unwrap_or(rest);
    let end = rest.iter().position(|&b| b == 0)?;
    rest.get(..end)
}

pub(crate) fn c_str(bytes: &[u8], offset: u64) -> Option<&str> {
    std::str::from_utf8(c_bytes(bytes, offset)?).ok()
}

/// True if a NUL-terminated string equal to `text` starts here; reads no further than that.
pub(crate) fn c_str_is(bytes: &[u8], offset: u64, text: &str) -> bool {
    tail(bytes, offset).is_some_and(|rest| {
        rest.get(text.len()) == Some(&0) && rest.get(..text.len()) == Some(text.as_bytes())
    })
}

/// Reads an unsigned LEB128 number of at most 32 bits and moves `bytes` past it.
pub(crate) fn uvarint32(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
