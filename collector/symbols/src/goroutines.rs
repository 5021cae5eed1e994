//! Where the runtime keeps its goroutines, and the switch of its leak detector, found by the code that uses
//! them, so in stripped binaries too.
//!
//! `runtime.allgs` is a slice that only `runtime.allgadd` appends to: three words in a row that it loads and
//! stores (Go 1.19 to 1.27). `work.goroutineLeak.pending` (Go 1.27, and 1.26 built with
//! `GOEXPERIMENT=goroutineleakprofile`) is the byte that `runtime.gcStart` loads and, if it is set, answers by
//! setting the byte behind it (`enabled`) and exchanging this one for 0 (`runtime/mgc.go`).

use std::collections::BTreeSet;

use crate::binary::GoBinary;
use crate::elf::Elf;
use crate::globals::{OnlyOne, rip_relative_words};

const ALLGS_WRITER: &str = "runtime.allgadd";
const LEAK_CHECK_READER: &str = "runtime.gcStart";
const MOV_LOAD: u8 = 0x8b;
const MOV_STORE: u8 = 0x89;
/// How many bytes may lie between the load of `pending` and what answers it; 21 were seen.
const ANSWER_WITHIN_BYTES: usize = 64;

impl<B: AsRef<[u8]>> GoBinary<B> {
    /// Address of `runtime.allgs`, the slice of all goroutines: from the symbol table, else from the code that
    /// appends to it. `None` unless there is exactly one candidate.
    pub fn allgs_vaddr(&self) -> Option<u64> {
        self.symbol("runtime.allgs").or_else(|| self.scan_allgs())
    }

    /// [`Self::allgs_vaddr`] by code alone, as in a stripped binary.
    pub fn scan_allgs(&self) -> Option<u64> {
        let function = self.function(ALLGS_WRITER)?;
        slice_in(&self.elf, self.code(&function)?, function.entry_vaddr)
    }

    /// Address of `work.goroutineLeak.pending`, a byte, by the code that reads and answers it. `None` in a
    /// runtime without a leak detector, and wherever the code is not exactly what is known.
    pub fn leak_check_vaddr(&self) -> Option<u64> {
        // 1.26 has the code, and the detector only as an experiment.
        if self.go_version()?.minor < 27 {
            return None;
        }
        let function = self.function(LEAK_CHECK_READER)?;
        let pending = pending_in(self.code(&function)?, function.entry_vaddr)?;
        // Set while the program runs: never part of the file.
        self.elf.file_offset(pending).is_none().then_some(pending)
    }
}

/// The only three words in a row, outside the file, that the code both loads and stores.
fn slice_in(elf: &Elf, code: &[u8], vaddr: u64) -> Option<u64> {
    let words: BTreeSet<u64> = rip_relative_words(code, vaddr)
        .filter(|(opcode, target)| {
            matches!(*opcode, MOV_LOAD | MOV_STORE) && target % 8 == 0 && elf.file_offset(*target).is_none()
        })
        .map(|(_, target)| target)
        .collect();
    let mut found = OnlyOne::default();
    for word in &words {
        if words.contains(&(word + 8)) && words.contains(&(word + 16)) {
            found.add(*word);
        }
    }
    found.get()
}

/// The byte that is loaded, and soon after it the byte behind it set to 1 and its own address taken and
/// exchanged.
fn pending_in(code: &[u8], vaddr: u64) -> Option<u64> {
    let mut found = OnlyOne::default();
    for (at, window) in code.windows(6).enumerate() {
        // MOVB disp32(RIP), r8
        let [0x8a, modrm, displacement @ ..] = window else {
            continue;
        };
        if modrm & 0xc7 != 5 {
            continue;
        }
        let Some(pending) = target(vaddr, at + 6, displacement) else {
            continue;
        };
        let answer = code
            .get(at + 6..)
            .map_or(&[][..], |rest| rest.get(..ANSWER_WITHIN_BYTES).unwrap_or(rest));
        if sets_to_one(answer, vaddr + at as u64 + 6, pending.wrapping_add(1))
            && exchanges(answer, vaddr + at as u64 + 6, pending)
        {
            found.add(pending);
        }
    }
    found.get()
}

/// `MOVB $1, disp32(RIP)` with that target.
fn sets_to_one(code: &[u8], vaddr: u64, wanted: u64) -> bool {
    code.windows(7).enumerate().any(|(at, window)| {
        matches!(window, [0xc6, 0x05, displacement @ .., 0x01] if target(vaddr, at + 7, displacement) == Some(wanted))
    })
}

/// `LEAQ disp32(RIP), r` with that target, and a later `XCHGB r8, (r)`.
fn exchanges(code: &[u8], vaddr: u64, wanted: u64) -> bool {
    code.windows(7).enumerate().any(|(at, window)| {
        let [0x48 | 0x4c, 0x8d, modrm, displacement @ ..] = window else {
            return false;
        };
        let register = modrm >> 3 & 7;
        modrm & 0xc7 == 5
            && target(vaddr, at + 7, displacement) == Some(wanted)
            && code.get(at + 7..).is_some_and(|rest| {
                rest.windows(2)
                    .any(|window| window[0] == 0x86 && window[1] & 0xc7 == register)
            })
    })
}

/// What a displacement means that is counted from `next`, the end of its instruction.
fn target(vaddr: u64, next: usize, displacement: &[u8]) -> Option<u64> {
    let displacement = i32::from_le_bytes(*displacement.first_chunk()?);
    Some(
        vaddr
            .wrapping_add(next as u64)
            .wrapping_add_signed(i64::from(displacement)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `gcStart` of go1.27.3, lines 876 to 878 of mgc.go, at its own address.
    const GC_START: (u64, [u8; 44]) = (
        0x42_62e2,
        [
            0x8a, 0x0d, 0x38, 0x08, 0x15, 0x00, 0x84, 0xc9, 0x74, 0x26, 0xc6, 0x05, 0x2e, 0x09, 0x15, 0x00,
            0x01, 0x90, 0x90, 0x90, 0x90, 0x48, 0x8d, 0x15, 0x22, 0x09, 0x15, 0x00, 0x31, 0xdb, 0x86, 0x1a,
            0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
        ],
    );

    fn with_load(displacement: i32) -> Vec<u8> {
        let mut code = GC_START.1.to_vec();
        code[2..6].copy_from_slice(&displacement.to_le_bytes());
        code
    }

    #[test]
    fn the_switch_is_the_byte_that_is_loaded_answered_and_exchanged() {
        let pending: u64 = 0x57_6c20;
        let load = (pending as i64 - (GC_START.0 as i64 + 6)) as i32;
        let whole = with_load(load);
        let mut not_one = whole.clone();
        not_one[16] = 0;
        let mut no_exchange = whole.clone();
        no_exchange[30] = 0x88;
        let mut other_register = whole.clone();
        other_register[31] = 0x19;
        let mut twice = whole.clone();
        twice.extend([0x90; 64]);
        twice.extend(&whole);
        for (what, code, expected) in [
            ("as it is", whole.clone(), Some(pending)),
            ("another byte loaded", with_load(load + 1), None),
            ("not set to 1", not_one, None),
            ("stored, not exchanged", no_exchange, None),
            ("something else exchanged", other_register, None),
            ("two candidates", twice, None),
            ("cut off", whole[..20].to_vec(), None),
            ("nothing", Vec::new(), None),
        ] {
            assert_eq!(pending_in(&code, GC_START.0), expected, "{what}");
        }
    }
}
