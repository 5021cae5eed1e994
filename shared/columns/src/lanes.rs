//! Bytes side by side: the steps of decoding that are done for eight or sixteen of them at once.
//!
//! WASM has no wide words but its vectors, and the console is where decoding must keep up, so each step is
//! written for those and once more for everything else. Both give the same for all input.

/// Bit `n` of a mask is the head at `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadMasks {
    pub(crate) allocs: u16,
    pub(crate) frees: u16,
    /// The thread is in a column of its own.
    pub(crate) far: u16,
    /// The thread is in the head, and is not in the table.
    pub(crate) unknown: u16,
}

/// Where the values begin among eight bytes, by which of these have a byte after them; one value a byte,
/// lowest first, and 16 where there is none.
#[cfg(target_feature = "simd128")]
static PLACES: [u64; 256] = places();

#[cfg(target_feature = "simd128")]
const fn places() -> [u64; 256] {
    let mut table = [0; 256];
    let mut more = 0;
    while more < 256 {
        let mut places = 0_u64;
        let (mut place, mut shift) = (0, 0);
        while shift < 64 {
            places |= (if place < 8 { place } else { 16 }) << shift;
            place += 1 + (more as u64 >> place & 1);
            shift += 8;
        }
        table[more] = places;
        more += 1;
    }
    table
}

/// The varints in a little-endian word, if none has more than two bytes. A value that does not end in it and
/// those after the last one are anything.
#[cfg(target_feature = "simd128")]
#[inline(always)]
pub(crate) fn short_varints(word: u64) -> [u16; 8] {
    use std::arch::wasm32::{
        u8x16_add, u8x16_bitmask, u8x16_splat, u8x16_swizzle, u16x8_extend_low_u8x16, u16x8_extract_lane,
        u16x8_shl, u16x8_shr, u16x8_splat, u16x8_sub, u64x2, v128_and, v128_or,
    };
    let bytes = u64x2(word, 0);
    let first = u64x2(PLACES[usize::from(u8x16_bitmask(bytes) & 0xff)], 0);
    let second = u8x16_add(first, u8x16_splat(1));
    let low = u16x8_extend_low_u8x16(u8x16_swizzle(bytes, first));
    let high = u16x8_extend_low_u8x16(u8x16_swizzle(bytes, second));
    let has_second = u16x8_sub(u16x8_splat(0), u16x8_shr(low, 7));
    let values = v128_or(
        v128_and(low, u16x8_splat(0x7f)),
        u16x8_shl(v128_and(high, has_second), 7),
    );
    [
        u16x8_extract_lane::<0>(values),
        u16x8_extract_lane::<1>(values),
        u16x8_extract_lane::<2>(values),
        u16x8_extract_lane::<3>(values),
        u16x8_extract_lane::<4>(values),
        u16x8_extract_lane::<5>(values),
        u16x8_extract_lane::<6>(values),
        u16x8_extract_lane::<7>(values),
    ]
}

/// The varints in a little-endian word, if none has more than two bytes. A value that does not end in it and
/// those after the last one are anything. Which values have two bytes is as good as random in a column of
/// times, so there is no branch.
#[cfg(not(target_feature = "simd128"))]
#[inline(always)]
pub(crate) fn short_varints(word: u64) -> [u16; 8] {
    let mut bit = 0_u32;
    std::array::from_fn(|_| {
        let pair = word.wrapping_shr(bit) as u16;
        let has_second = pair >> 7 & 1;
        bit += 8 + 8 * u32::from(has_second);
        pair & 0x7f | ((pair >> 1 & 0x3f80) * has_second)
    })
}

/// `threads` is how many the table has.
#[cfg(target_feature = "simd128")]
#[inline(always)]
pub(crate) fn head_masks(heads: &[u8; 16], threads: u8) -> HeadMasks {
    use std::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_ge, u8x16_shr, u8x16_splat, u64x2, v128_and, v128_andnot,
    };
    let wide = u128::from_le_bytes(*heads);
    let heads = u64x2(wide as u64, (wide >> 64) as u64);
    let kinds = v128_and(heads, u8x16_splat(0x0f));
    let near = u8x16_shr(heads, 4);
    let far = u8x16_eq(near, u8x16_splat(0x0f));
    HeadMasks {
        allocs: u8x16_bitmask(u8x16_eq(kinds, u8x16_splat(0))),
        frees: u8x16_bitmask(u8x16_eq(kinds, u8x16_splat(1))),
        far: u8x16_bitmask(far),
        unknown: u8x16_bitmask(v128_andnot(u8x16_ge(near, u8x16_splat(threads)), far)),
    }
}

/// `threads` is how many the table has.
#[cfg(not(target_feature = "simd128"))]
#[inline(always)]
pub(crate) fn head_masks(heads: &[u8; 16], threads: u8) -> HeadMasks {
    let mask = |is: &dyn Fn(u8) -> bool| {
        heads
            .iter()
            .enumerate()
            .fold(0, |mask, (at, head)| mask | u16::from(is(*head)) << at)
    };
    HeadMasks {
        allocs: mask(&|head| head & 0x0f == 0),
        frees: mask(&|head| head & 0x0f == 1),
        far: mask(&|head| head >> 4 == 0x0f),
        unknown: mask(&|head| head >> 4 != 0x0f && head >> 4 >= threads),
    }
}
