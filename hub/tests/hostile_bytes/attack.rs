//! Inputs that lie, and what they may cost.
//!
//! Each is one of the seeds, changed at a few places: bits, lengths that lie, parts cut out, doubled or taken from
//! another. A frame's checksum is put right again, so that what lies behind it is reached. `HEAPTIDE_FULL=1` makes it ten
//! million inputs of each, `HEAPTIDE_FUZZ` any other number, and `HEAPTIDE_SEED` starts elsewhere. What writes to a disk gets
//! one in so many of them.

#[path = "sys.rs"]
mod sys;

use heaptide_protocol::frame::{HEAD_BYTES, MAX_RAW_BYTES};
use heaptide_protocol::{Frame, checksum, varint};
use std::panic::{AssertUnwindSafe, catch_unwind};
use sys::Counting;

/// A list of what a session keeps that doubles, or what serde reserves on the word of a length.
const AT_MOST_ONCE_BYTES: usize = 4 << 20;
/// Rows that share one value in all their columns are the densest thing that the wire knows.
const AT_MOST_PER_BYTE: usize = 96;

/// The most that a call has taken at once, in bytes.
#[allow(dead_code, reason = "not all who include this measure single calls")]
pub(crate) fn taken_by(call: impl FnOnce()) -> usize {
    let before_bytes = Counting::start();
    call();
    Counting::peak_bytes() - before_bytes
}

pub(crate) fn attack(seeds: &[&[u8]], framed: bool, one_in: u64, mut target: impl FnMut(&[u8])) {
    let full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let inputs: u64 = number("HEAPTIDE_FUZZ").unwrap_or(if full { 10_000_000 } else { 100_000 });
    let inputs = inputs.div_ceil(one_in);
    let seed: u64 = number("HEAPTIDE_SEED").unwrap_or(1);
    let mut random = Random(seed);
    let mut most_bytes = 0;
    for input in 0..inputs {
        let mut bytes = seeds[random.below(seeds.len())].to_vec();
        for _ in 0..1 + random.below(4) {
            change(&mut bytes, seeds, framed, &mut random);
        }
        if framed && bytes.len() > HEAD_BYTES {
            let crc = checksum::crc32(&bytes[HEAD_BYTES..]);
            bytes[4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        let before_bytes = Counting::start();
        let survived = catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_ok();
        let taken_bytes = Counting::peak_bytes() - before_bytes;
        most_bytes = most_bytes.max(taken_bytes);
        assert!(survived, "input {input} of seed {seed} panicked: {bytes:02x?}");
        let raw_bytes = Frame::parse(&bytes).map_or(bytes.len(), |frame| {
            (frame.envelope.raw_bytes as usize).clamp(bytes.len(), MAX_RAW_BYTES)
        });
        assert!(
            taken_bytes <= AT_MOST_ONCE_BYTES + AT_MOST_PER_BYTE * raw_bytes,
            "input {input} of seed {seed}: {taken_bytes} bytes taken for {raw_bytes}: {bytes:02x?}"
        );
    }
    eprintln!("{inputs} inputs, at most {most_bytes} bytes taken for one");
}

/// In a frame the magic and the version stay.
fn change(bytes: &mut Vec<u8>, seeds: &[&[u8]], framed: bool, random: &mut Random) {
    let start = if framed { HEAD_BYTES } else { 0 };
    if bytes.len() <= start {
        return;
    }
    let at = start + random.below(bytes.len() - start);
    let length = 1 + random.below(8);
    let end = (at + length).min(bytes.len());
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9'][random.below(8)],
        2 => {
            // A length that lies.
            let mut long = Vec::new();
            varint::put(&mut long, u64::MAX >> random.below(64));
            bytes.splice(at..end.min(at + 1), long);
        }
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            let times = 1 + random.below(40);
            bytes.splice(at..at, part.repeat(times));
        }
        5 => {
            let other = seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let to = (from + random.below(64)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
