//! Addresses of runtime variables in stripped binaries, found by the code that
//! uses them.

use crate::elf::Elf;

/// On-disk value of `runtime.MemProfileRate` (`runtime/mprof.go`).
const DEFAULT_MEM_PROFILE_RATE: u64 = 512 * 1024;

/// Functions that read `MemProfileRate` in Go 1.19 to 1.27.
pub(crate) const MEM_PROFILE_RATE_READERS: [&str; 3] =
    ["runtime.profilealloc", "runtime.nextSample", "runtime.mallocgc"];

/// Function that sets `runtime.buildVersion` to the text `unknown` if the linker left it empty.
pub(crate) const BUILD_VERSION_WRITER: &str = "runtime.schedinit";
const UNKNOWN_VERSION_BYTES: u32 = 7;

/// Function that loads the head of the bucket list, `runtime.mbuckets`.
pub(crate) const MBUCKETS_READER: &str = "runtime.mProf_FlushLocked";

/// Collects addresses that must all be the same.
#[derive(Debug, Default)]
pub(crate) struct OnlyOne {
    found: Option<u64>,
    ambiguous: bool,
}

impl OnlyOne {
    pub(crate) fn add(&mut self, vaddr: u64) {
        self.ambiguous |= self.found.is_some_and(|other| other != vaddr);
        self.found = Some(vaddr);
    }

    pub(crate) fn get(&self) -> Option<u64> {
        if self.ambiguous { None } else { self.found }
    }
}

/// Words that `code` at `vaddr` compares or loads and that hold the default rate on disk.
pub(crate) fn add_mem_profile_rates(found: &mut OnlyOne, bytes: &[u8], elf: &Elf, code: &[u8], vaddr: u64) {
    for (opcode, target) in rip_relative_words(code, vaddr) {
        let is_read = matches!(opcode, MOV_LOAD | CMP);
        if is_read && target % 8 == 0 && elf.word_on_disk(bytes, target) == Some(DEFAULT_MEM_PROFILE_RATE) {
            found.add(target);
        }
    }
}

/// Words that `code` at `vaddr` loads and that lie in zeroed memory, outside the file.
pub(crate) fn add_loads_of_zeroed(found: &mut OnlyOne, elf: &Elf, code: &[u8], vaddr: u64) {
    for (opcode, target) in rip_relative_words(code, vaddr) {
        if opcode == MOV_LOAD && target % 8 == 0 && elf.file_offset(target).is_none() {
            found.add(target);
        }
    }
}

/// As [`add_mem_profile_rates`] for Go 1.19, where the variable is zero on disk and set when the
/// program starts: words in zeroed memory that are loaded and then compared with 1, the rate at which
/// everything is sampled (`runtime.nextSample`).
pub(crate) fn add_rates_set_at_start(found: &mut OnlyOne, elf: &Elf, code: &[u8], vaddr: u64) {
    for (at, window) in code.windows(LOAD_BYTES).enumerate() {
        let Some((MOV_LOAD, target)) = rip_relative_word(window, vaddr, at) else {
            continue;
        };
        // REX.R and the middle of modrm are the register of the load; REX.B and the end that of the comparison.
        let (high, low) = (window[0] >> 2 & 1, window[2] >> 3 & 7);
        let compare = [0x48 | high, 0x83, 0xf8 | low, 1];
        let soon = code.get(at + LOAD_BYTES..).unwrap_or_default();
        let soon = soon.get(..COMPARED_WITHIN_BYTES).unwrap_or(soon);
        let is_compared = soon.windows(compare.len()).any(|bytes| bytes == compare);
        if is_compared && target % 8 == 0 && elf.file_offset(target).is_none() {
            found.add(target);
        }
    }
}

/// Address of the length of `runtime.buildVersion`: compared with 0 and set to that of `unknown`.
pub(crate) fn add_build_version_lengths(found: &mut OnlyOne, code: &[u8], vaddr: u64) {
    let compared: Vec<u64> = code
        .windows(8)
        .enumerate()
        .filter_map(|(at, window)| match window {
            [0x48, 0x83, 0x3d, displacement @ .., 0] => relative(displacement, vaddr, at + 8),
            _ => None,
        })
        .collect();
    for (at, window) in code.windows(11).enumerate() {
        let [0x48, 0xc7, 0x05, displacement @ .., a, b, c, d] = window else {
            continue;
        };
        if u32::from_le_bytes([*a, *b, *c, *d]) == UNKNOWN_VERSION_BYTES
            && let Some(target) = relative(displacement, vaddr, at + 11)
            && compared.contains(&target)
        {
            found.add(target);
        }
    }
}

/// The compiler puts at most some padding between the two.
const COMPARED_WITHIN_BYTES: usize = 24;
const LOAD_BYTES: usize = 7;
const MOV_LOAD: u8 = 0x8b;
const CMP: u8 = 0x3b;

/// Opcode and target of everything that looks like a 64-bit `op disp32(RIP), reg`.
pub(crate) fn rip_relative_words(code: &[u8], vaddr: u64) -> impl Iterator<Item = (u8, u64)> {
    code.windows(LOAD_BYTES)
        .enumerate()
        .filter_map(move |(at, window)| rip_relative_word(window, vaddr, at))
}

fn rip_relative_word(window: &[u8], vaddr: u64, at: usize) -> Option<(u8, u64)> {
    let [0x48 | 0x4c, opcode, modrm, displacement @ ..] = window else {
        return None;
    };
    if modrm & 0xc7 != 5 {
        return None;
    }
    Some((*opcode, relative(displacement, vaddr, at + LOAD_BYTES)?))
}

/// What a 32-bit displacement means in an instruction that ends `end` bytes into code at `vaddr`.
fn relative(displacement: &[u8], vaddr: u64, end: usize) -> Option<u64> {
    let next = vaddr.checked_add(end as u64)?;
    let displacement = i32::from_le_bytes(*displacement.first_chunk()?);
    Some(next.wrapping_add_signed(i64::from(displacement)))
}
