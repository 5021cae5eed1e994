//! Resident pages of address ranges: by `PAGEMAP_SCAN`, or on older kernels word by word from
//! `/proc/PID/pagemap`, which can't tell the zero page from others nor which pages are huge.

use super::sys::{PageRegion, scan};
use crate::linux::Process;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Regions asked for in one call.
const BATCH: usize = 4096;
/// Words of the old interface read in one call.
const WORDS: u64 = 8192;
/// Documentation/admin-guide/mm/pagemap.rst.
const PRESENT: u64 = 1 << 63;

/// Resident, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Mapped by a huge page; `false` too where that is not known.
    pub(super) huge: bool,
}

#[derive(Debug)]
pub(super) struct Pagemap {
    file: File,
    page_bytes: u64,
    regions: Vec<PageRegion>,
    /// The kernel has no `PAGEMAP_SCAN`.
    old: bool,
}

impl Pagemap {
    pub(super) fn open(process: &Process) -> io::Result<Self> {
        Ok(Self {
            file: process.pagemap()?,
            page_bytes: rustix::param::page_size() as u64,
            regions: vec![PageRegion::default(); BATCH],
            old: false,
        })
    }

    /// Whether huge pages are told from others.
    pub(super) fn knows_huge(&self) -> bool {
        !self.old
    }

    pub(super) fn resident(
        &mut self,
        start: u64,
        end: u64,
        each: &mut dyn FnMut(Resident),
    ) -> io::Result<()> {
        let mut at = start;
        // When a call has no room for more, Linux (6.18 does) can tell pages again that it has told before.
        let mut told = start;
        while at < end && !self.old {
            match scan(&self.file, at, end, &mut self.regions) {
                Ok((filled, walked)) => {
                    for region in self.regions.iter().take(filled) {
                        let (start, end) = (region.start.max(told), region.end.min(end));
                        if start < end {
                            told = end;
                            each(Resident {
                                start,
                                end,
                                huge: region.is_huge(),
                            });
                        }
                    }
                    if walked <= at {
                        break;
                    }
                    at = walked;
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
                    self.old = true;
                }
                Err(error) => return Err(error),
            }
        }
        if self.old {
            self.resident_by_word(at, end, each)
        } else {
            Ok(())
        }
    }

    fn resident_by_word(&self, start: u64, end: u64, each: &mut dyn FnMut(Resident)) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let pages = ((end - at) / self.page_bytes).clamp(1, WORDS);
            let mut bytes = vec![0; pages as usize * 8];
            self.file.read_exact_at(&mut bytes, at / self.page_bytes * 8)?;
            for (page, word) in bytes.chunks_exact(8).enumerate() {
                let word = word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
                if word & PRESENT != 0 {
                    let start = at + page as u64 * self.page_bytes;
                    each(Resident {
                        start,
                        end: start + self.page_bytes,
                        huge: false,
                    });
                }
            }
            at += pages * self.page_bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways see the same pages of our own memory.
    #[test]
    fn both_ways_agree() {
        let process = Process::open(std::process::id()).unwrap();
        let page = rustix::param::page_size();
        // More resident regions than one call can tell: every third page of a mapping of its own.
        const PAGES: usize = 6 * BATCH;
        let mut memory = vec![0_u8; PAGES * page];
        for at in (0..memory.len()).step_by(3 * page) {
            memory[at] = 1;
        }
        let start = (memory.as_ptr() as usize).next_multiple_of(page) as u64;
        let end = start + (PAGES - 1) as u64 * page as u64;
        let mut pagemap = Pagemap::open(&process).unwrap();
        let mut seen = [0, 0];
        for (way, bytes) in seen.iter_mut().enumerate() {
            pagemap.old |= way == 1;
            pagemap
                .resident(start, end, &mut |resident| {
                    *bytes += resident.end - resident.start;
                })
                .unwrap();
        }
        assert!(seen[0] >= (PAGES / 3 - 1) as u64 * page as u64, "{seen:?}");
        assert_eq!(seen[0], seen[1]);
    }
}
