//! Input that is not what it should be: cut off, damaged, not Go, too new. The answer
//! is always an error or a smaller answer, never a panic.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions; this reaches their helpers"
)]

mod common;

use std::fs;

use common::{Toolchain, VARIANTS, Variant};
use heaptide_symbols::{GoBinary, PcKind, ProbeInstruction, Support, SymbolError};

const FLIPS_PER_BINARY: usize = 400;

fn variant(name: &str) -> &'static Variant {
    VARIANTS.iter().find(|v| v.name == name).unwrap()
}

/// The newest toolchain's binaries: relocated and not, with symbols and without.
fn samples() -> Vec<Vec<u8>> {
    let Some(go) = Toolchain::newest() else {
        return Vec::new();
    };
    ["plain", "pie-stripped"]
        .iter()
        .map(|name| fs::read(go.build("symbols", variant(name))).unwrap())
        .collect()
}

/// Asks everything, and looks at nothing but that an answer comes. Says how many frames came.
fn ask_everything(bytes: &[u8]) -> usize {
    let Ok(binary) = GoBinary::parse(bytes) else {
        return 0;
    };
    let _ = (
        binary.support(),
        binary.offsets(),
        binary.build_id(),
        format!("{binary:?}"),
    );
    let _ = binary
        .build_info()
        .map(|b| (b.main_package().is_some(), b.setting("vcs.revision").is_some()));
    let _ = binary.probe_site("runtime.profilealloc");
    let _ = binary.call_site("runtime.startTheWorldWithSema", "runtime.wakep");
    let _ = (
        binary.mem_profile_rate_vaddr(),
        binary.scan_mem_profile_rate(),
        binary.scan_mbuckets(),
    );
    let _ = binary.allocators().len();
    for page in 0..512_u64 {
        let _ = binary.type_name(0x40_0000 + page * 4096);
    }
    let mut frames = Vec::new();
    for function in binary.functions().step_by(50).take(200) {
        let middle = function.entry_vaddr / 2 + function.end_vaddr / 2;
        binary.resolve(middle, PcKind::ReturnAddress, &mut frames);
        binary.resolve(function.entry_vaddr, PcKind::Instruction, &mut frames);
        let _ = binary.function_at(middle);
    }
    for vaddr in [0, 1, u64::MAX, 1 << 63] {
        binary.resolve(vaddr, PcKind::ReturnAddress, &mut frames);
        binary.resolve(vaddr, PcKind::Instruction, &mut frames);
        let _ = binary.type_name(vaddr);
    }
    frames.len()
}

/// A fixed sequence, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn cut_off_anywhere() {
    for sample in samples() {
        assert!(ask_everything(&sample) > 60);
        for len in (0..600)
            .chain((0..60).map(|i| sample.len() * i / 60))
            .chain(sample.len() - 100..sample.len())
        {
            ask_everything(&sample[..len]);
        }
    }
}

#[test]
fn damaged_bytes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for mut sample in samples() {
        // Where a damaged number does the most: the headers, and the tables that are followed.
        let table = position(&sample, &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
        let hot = [
            (0, 1024),
            (table, 128),
            (sample.len() - 3000, 3000),
            (table, sample.len() - table),
            (0, sample.len()),
        ];
        for _ in 0..FLIPS_PER_BINARY {
            let mut undo = Vec::new();
            let (start, len) = hot[random.below(hot.len())];
            for _ in 0..=random.below(8) {
                let at = start + random.below(len);
                undo.push((at, sample[at]));
                sample[at] = [0, 0xff, 0x7f, 0x80, random.below(256) as u8][random.below(5)];
            }
            ask_everything(&sample);
            for (at, byte) in undo.into_iter().rev() {
                sample[at] = byte;
            }
        }
        assert!(ask_everything(&sample) > 60, "the sample was not restored");
    }
}

#[test]
fn without_section_headers_it_answers_the_same() {
    for sample in samples() {
        let mut bare = sample.clone();
        bare[40..48].fill(0); // e_shoff
        bare[60..62].fill(0); // e_shnum
        let (whole, bare) = (GoBinary::parse(&sample).unwrap(), GoBinary::parse(&bare).unwrap());
        assert_eq!(bare.build_info(), whole.build_info());
        // The GNU note is in no PT_NOTE segment of these files; then the Go id is left.
        assert!(bare.build_id().is_some());
        assert_eq!(bare.scan_mem_profile_rate(), whole.scan_mem_profile_rate());
        assert_eq!(bare.mem_profile_rate_vaddr(), whole.mem_profile_rate_vaddr());
        assert!(bare.functions().eq(whole.functions()));
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        for function in whole.functions() {
            bare.resolve(function.end_vaddr - 1, PcKind::Instruction, &mut got);
            whole.resolve(function.end_vaddr - 1, PcKind::Instruction, &mut expected);
        }
        assert_eq!(got, expected);
    }
}

#[test]
fn a_version_outside_the_table_still_has_functions() {
    for mut sample in samples() {
        // In the build information; elsewhere the version does not matter.
        let at = position(&sample, b"\xff Go buildinf:\x08\x02") + 33;
        assert_eq!(sample[at..at + 4], *b"go1.");
        sample[at + 4..at + 6].copy_from_slice(b"99");
        let binary = GoBinary::parse(&sample[..]).unwrap();
        assert_eq!(binary.go_version().map(|v| v.minor), Some(99));
        let Support::UnknownVersion {
            found,
            oldest_minor: 19,
            newest_minor: 27,
        } = binary.support()
        else {
            panic!("{:?}", binary.support());
        };
        assert_eq!(found.as_ref(), binary.go_version());
        assert_eq!(binary.offsets(), None);
        let site = binary.probe_site("runtime.profilealloc").unwrap();
        assert_eq!(site.instruction, ProbeInstruction::Push);
        assert!(binary.mem_profile_rate_vaddr().is_some());
    }
}

#[test]
fn without_build_information_the_version_is_that_of_the_runtime() {
    const MAGIC: &[u8] = b"\xff Go buildinf:\x08\x02";
    for mut sample in samples() {
        let whole = GoBinary::parse(sample.clone()).unwrap();
        let at = position(&sample, MAGIC);
        sample[at..at + MAGIC.len()].fill(0);
        let binary = GoBinary::parse(&sample[..]).unwrap();
        assert_eq!(binary.build_info(), None);
        assert_eq!(binary.go_version(), whole.go_version());
        assert_eq!(
            (binary.support(), binary.offsets()),
            (Support::Full, whole.offsets())
        );
        // Inlined calls too, whose place depends on the version.
        let function = whole.function("runtime.gcStart").unwrap();
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        for vaddr in function.entry_vaddr..function.end_vaddr {
            binary.resolve(vaddr, PcKind::Instruction, &mut got);
            whole.resolve(vaddr, PcKind::Instruction, &mut expected);
        }
        assert!(got == expected && got.iter().any(|frame| frame.inlined));
    }
}

#[test]
fn files_that_are_not_go() {
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut arm = own.clone();
    arm[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let mut narrow = own.clone();
    narrow[4] = 1;
    let mut object = own.clone();
    object[16] = 1;
    for (what, bytes, expect) in [
        ("empty", &[][..], SymbolError::NotElf { found: vec![] }),
        (
            "script",
            b"#!/bin/sh",
            SymbolError::NotElf {
                found: b"#!/b".to_vec(),
            },
        ),
        ("rust", &own, SymbolError::NotGo),
        (
            "arm64",
            &arm,
            SymbolError::UnsupportedElf {
                field: "machine",
                expected: 62,
                found: 183,
            },
        ),
        (
            "32-bit",
            &narrow,
            SymbolError::UnsupportedElf {
                field: "class",
                expected: 2,
                found: 1,
            },
        ),
        (
            "object",
            &object,
            SymbolError::UnsupportedElf {
                field: "type",
                expected: 2,
                found: 1,
            },
        ),
        (
            "cut",
            &own[..30],
            SymbolError::Corrupt {
                what: "ELF header",
                offset: 0,
                len: 30,
            },
        ),
    ] {
        assert_eq!(GoBinary::parse(bytes).unwrap_err(), expect, "{what}");
    }
}

fn position(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes
        .chunks_exact(8)
        .position(|c| pattern.starts_with(c) && c == &pattern[..8])
        .unwrap()
        * 8
}
