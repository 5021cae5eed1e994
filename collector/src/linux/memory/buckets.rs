//! Go's own heap profile, read from the list that starts at `runtime.mbuckets`.
//!
//! A bucket is one stack and size with what was sampled of it: allocations and frees of four cycles (one
//! published, three to come; `runtime/mprof.go`, `memRecord`), which are added up here, so that nothing waits
//! for two collections as in `runtime.MemProfile`. Buckets are put in at the head and never freed, so each is
//! walked to once, and from then on only its counts are read, many at a time.
//!
//! The program goes on meanwhile: counts read while Go moves them from one cycle to the next can be too large
//! or too small once; totals only grow, so the next reading is right again.

use super::layout::{HeapLayout, word_at, words};
use super::scattered::Scattered;
use crate::linux::Process;
use std::io;

/// `bucket`: next, allnext, typ, hash, size, nstk; then the stack, then the counts.
const HEADER_BYTES: u64 = 48;
const ALLNEXT: usize = 1;
const SIZE: usize = 4;
const NSTK: usize = 5;
/// One published cycle and three to come.
const CYCLES: u32 = 4;
/// `maxProfStackDepth`, go1.23 (128 before it can be set by GODEBUG).
const MAX_FRAMES: u64 = 1024;
/// About 40 MB of our memory.
const MAX_BUCKETS: usize = 100_000;

/// One stack and size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    pub size_bytes: u64,
    /// Return addresses, leaf first, one for each call that the source has: inlined ones too.
    pub pcs: Vec<u64>,
    /// Sampled objects since the program's start.
    pub allocs: u64,
    pub frees: u64,
    counts_at: u64,
}

/// All buckets of a program, the oldest first; an index stays what it is.
#[derive(Debug, Default)]
pub struct Buckets {
    known: Vec<Bucket>,
    /// The newest one.
    head: u64,
    /// There were too many to keep.
    pub full: bool,
}

impl Buckets {
    pub fn known(&self) -> &[Bucket] {
        &self.known
    }

    /// Reads new buckets and the counts of all.
    pub fn read(&mut self, process: &Process, layout: &HeapLayout) -> io::Result<()> {
        let Some(mbuckets) = layout.mbuckets else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let head = process.read_word(mbuckets)?;
        let mut fresh = Vec::new();
        let mut at = head;
        while at != 0 && at != self.head {
            if self.known.len() + fresh.len() >= MAX_BUCKETS {
                self.full = true;
                break;
            }
            let header = words(process, at, HEADER_BYTES / 8)?;
            let frames = header[NSTK];
            if frames > MAX_FRAMES {
                let what = format!("a bucket with {frames} frames: expected at most {MAX_FRAMES}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            fresh.push(Bucket {
                size_bytes: header[SIZE],
                pcs: words(process, at + HEADER_BYTES, frames)?,
                allocs: 0,
                frees: 0,
                counts_at: at + HEADER_BYTES + frames * 8,
            });
            at = header[ALLNEXT];
        }
        if !self.full {
            self.head = head;
        }
        self.known.extend(fresh.into_iter().rev());
        self.read_counts(process, layout.offsets.mem_record_cycle_bytes);
        Ok(())
    }

    fn read_counts(&mut self, process: &Process, cycle_bytes: u32) {
        let bytes = (cycle_bytes * CYCLES) as usize;
        let mut places: Vec<(u64, usize)> = self
            .known
            .iter()
            .enumerate()
            .map(|(index, bucket)| (bucket.counts_at, index))
            .collect();
        places.sort_unstable();
        let addresses: Vec<u64> = places.iter().map(|(at, _)| *at).collect();
        let known = &mut self.known;
        Scattered::default().read_close(process, &addresses, bytes, |place, bytes| {
            let bucket = places.get(place).and_then(|(_, index)| known.get_mut(*index));
            let (Some(bytes), Some(bucket)) = (bytes, bucket) else {
                return;
            };
            let sum = |at: u32| {
                (0..CYCLES).fold(0_u64, |sum, cycle| {
                    sum.wrapping_add(word_at(bytes, cycle * cycle_bytes + at))
                })
            };
            (bucket.allocs, bucket.frees) = (sum(0), sum(8));
        });
    }
}

/// One return address for each frame that is really there: `depth(pc)` is how many calls, inlined ones with
/// their caller, lie at a return address. Go writes each of them down by itself.
pub fn physical(pcs: &[u64], mut depth: impl FnMut(u64) -> usize) -> Vec<u64> {
    let mut kept = Vec::with_capacity(pcs.len());
    let mut rest = pcs;
    while let [pc, callers @ ..] = rest {
        kept.push(*pc);
        let inlined = depth(*pc).saturating_sub(1);
        // Its callers, each one call less deep; anything else is another frame.
        let same = callers
            .iter()
            .take(inlined)
            .enumerate()
            .take_while(|(at, caller)| depth(**caller) == inlined - at)
            .count();
        rest = &callers[same..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::physical;

    #[test]
    fn inlined_calls_are_written_down_once() {
        // (pc, calls there)
        let depths = [(10, 3), (11, 2), (12, 1), (20, 1), (30, 2), (31, 1), (40, 2)];
        let depth = |pc: u64| {
            depths
                .iter()
                .find(|(at, _)| *at == pc)
                .map_or(0, |(_, depth)| *depth)
        };
        for (pcs, expected) in [
            (&[10, 11, 12, 20, 30, 31][..], &[10, 20, 30][..]),
            // The leaf was skipped, the root cut off.
            (&[11, 12, 20, 40], &[11, 20, 40]),
            // A frame that should be there is not: nothing of another is taken for it.
            (&[10, 20, 12], &[10, 20, 12]),
            (&[], &[]),
        ] {
            assert_eq!(physical(pcs, depth), expected, "{pcs:?}");
        }
    }
}
