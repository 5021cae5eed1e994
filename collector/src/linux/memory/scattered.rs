//! Many small parts of a process's memory with few system calls.
//!
//! One `process_vm_readv(2)` reads up to 1,024 parts; where that is forbidden (seccomp), each is read by itself
//! from `/proc/PID/mem`. Parts that lie close together are read as one, gaps and all: to copy a few hundred
//! bytes more is cheaper than to find another page.

use crate::linux::process::Process;
use crate::linux::sys::{MAX_PARTS, read_parts};

/// A gap that is copied rather than skipped.
const MAX_GAP_BYTES: u64 = 1024;
const MAX_RUN_BYTES: u64 = 256 << 10;

/// Address and length.
pub(super) type Part = (u64, usize);

/// A buffer for what is read.
#[derive(Debug, Default)]
pub(super) struct Scattered {
    bytes: Vec<u8>,
    /// The call is forbidden here.
    one_by_one: bool,
}

impl Scattered {
    /// Reads `part_bytes` at each of `addresses`, which ascend, and hands each to `each` with its index; `None`
    /// if it can't be read.
    pub(super) fn read_close(
        &mut self,
        process: &Process,
        addresses: &[u64],
        part_bytes: usize,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) {
        let mut runs: Vec<Part> = Vec::new();
        // For each run the index of its first address.
        let mut firsts = Vec::new();
        for (index, &address) in addresses.iter().enumerate() {
            let end = address.saturating_add(part_bytes as u64);
            match runs.last_mut() {
                Some((start, bytes))
                    if address <= *start + *bytes as u64 + MAX_GAP_BYTES && end - *start <= MAX_RUN_BYTES =>
                {
                    *bytes = (end - *start) as usize;
                }
                _ => {
                    runs.push((address, part_bytes));
                    firsts.push(index);
                }
            }
        }
        self.read(process, &runs, |run, bytes| {
            let (Some(&(start, _)), Some(&first)) = (runs.get(run), firsts.get(run)) else {
                return;
            };
            let next = firsts.get(run + 1).copied().unwrap_or(addresses.len());
            for (index, &address) in addresses.iter().enumerate().take(next).skip(first) {
                match bytes {
                    Some(bytes) => {
                        let at = (address - start) as usize;
                        each(index, bytes.get(at..at + part_bytes));
                    }
                    // A hole somewhere in the run.
                    None => {
                        let mut part = vec![0; part_bytes];
                        let read = process.read_memory(address, &mut part);
                        each(index, read.is_ok().then_some(&*part));
                    }
                }
            }
        });
    }

    /// Reads all parts and hands each to `each` with its index; `None` if it can't be read whole.
    pub(super) fn read(
        &mut self,
        process: &Process,
        parts: &[Part],
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) {
        let mut first = 0;
        while first < parts.len() {
            let batch = &parts[first..parts.len().min(first + MAX_PARTS)];
            let bytes: usize = batch.iter().map(|(_, bytes)| bytes).sum();
            if self.bytes.len() < bytes {
                self.bytes.resize(bytes, 0);
            }
            let got = if self.one_by_one {
                0
            } else {
                match read_parts(process.pid(), batch, &mut self.bytes) {
                    Ok(got) => got,
                    Err(error) => {
                        // EFAULT says that the first part can't be read, and nothing of the call.
                        self.one_by_one = error.raw_os_error() != Some(libc::EFAULT);
                        0
                    }
                }
            };
            let mut at = 0;
            for (_, bytes) in batch {
                if at + bytes > got {
                    break;
                }
                each(first, self.bytes.get(at..at + bytes));
                at += bytes;
                first += 1;
            }
            // The one that stopped the call, if any did.
            if at < bytes
                && let Some((address, bytes)) = parts.get(first)
            {
                let part = self.bytes.get_mut(..*bytes).and_then(|bytes| {
                    process.read_memory(*address, bytes).ok()?;
                    Some(&*bytes)
                });
                each(first, part);
                first += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: u64 = 0x10;

    fn this_process() -> Process {
        Process::open(std::process::id()).unwrap()
    }

    /// Two far apart, two close together, and one that nobody has mapped.
    fn parts(near: &[u8; 64], far: &[u64; 4]) -> Vec<(u64, Option<Vec<u8>>)> {
        let near_at = near.as_ptr() as u64;
        let mut parts = vec![
            (near_at, Some(near[..8].to_vec())),
            (near_at + 40, Some(near[40..48].to_vec())),
            (far.as_ptr() as u64 + 8, Some(far[1].to_ne_bytes().to_vec())),
            (MISSING, None),
        ];
        parts.sort();
        parts
    }

    #[test]
    fn parts_come_back_in_their_places_and_a_hole_is_told() {
        let process = this_process();
        let near: Box<[u8; 64]> = Box::new(std::array::from_fn(|at| at as u8));
        let far = Box::new([1_u64, 2, 3, 4]);
        let expected = parts(&near, &far);
        let addresses: Vec<u64> = expected.iter().map(|(address, _)| *address).collect();

        let mut got = Vec::new();
        Scattered::default().read_close(&process, &addresses, 8, |index, bytes| {
            got.push((addresses[index], bytes.map(<[u8]>::to_vec)));
        });
        assert_eq!(got, expected, "close together");

        for one_by_one in [false, true] {
            let mut scattered = Scattered {
                one_by_one,
                ..Scattered::default()
            };
            // The hole first, in the middle and last.
            for rotation in 0..expected.len() {
                let mut expected = expected.clone();
                expected.rotate_left(rotation);
                let parts: Vec<Part> = expected.iter().map(|(address, _)| (*address, 8)).collect();
                let mut got = Vec::new();
                scattered.read(&process, &parts, |index, bytes| {
                    got.push((parts[index].0, bytes.map(<[u8]>::to_vec)));
                });
                assert_eq!(got, expected, "one by one: {one_by_one}, rotated by {rotation}");
            }
            assert_eq!(scattered.one_by_one, one_by_one);
        }
    }

    #[test]
    fn more_parts_than_a_call_takes_are_read() {
        let process = this_process();
        let words: Vec<u64> = (0..3_000).collect();
        let parts: Vec<Part> = words
            .iter()
            .map(|word| (std::ptr::from_ref(word) as u64, 8))
            .collect();
        let mut got = Vec::new();
        Scattered::default().read(&process, &parts, |_, bytes| {
            got.push(u64::from_ne_bytes(bytes.unwrap().try_into().unwrap()));
        });
        assert_eq!(got, words);
    }
}
