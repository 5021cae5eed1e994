//! Addresses of two runtime variables in stripped binaries, found by the code that
//! uses them.

use crate::elf::Elf;

/// On-disk value of `runtime.MemProfileRate` (`runtime/mprof.go`).
const DEFAULT_MEM_PROFILE_RATE: u64 = 512 * 1024;

/// Functions that read `MemProfileRate` in Go 1.21 to 1.27.
pub(crate) const MEM_PROFILE_RATE_READERS: [&str; 3] =
    ["runtime.profilealloc", "runtime.nextSample", "runtime.mallocgc"];

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

const MOV_LOAD: u8 = 0x8b;
const CMP: u8 = 0x3b;

/// Opcode and target of everything that looks like a 64-bit `op disp32(RIP), reg`.
pub(crate) fn rip_relative_words(code: &[u8], vaddr: u64) -> impl Iterator<Item = (u8, u64)> {
    code.windows(7).enumerate().filter_map(move |(at, window)| {
        let [0x48 | 0x4c, opcode, modrm, displacement @ ..] = window else {
            return None;
        };
        if modrm & 0xc7 != 5 {
            return None;
        }
        let next = vaddr.checked_add(at as u64 + 7)?;
        let displacement = i32::from_le_bytes(*displacement.first_chunk()?);
        Some((*opcode, next.wrapping_add_signed(i64::from(displacement))))
    })
}
