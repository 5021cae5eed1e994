//! `runtime.firstmoduledata`: where the text starts and where function data lies.
//!
//! The pclntab header no longer says (Go 1.26 stopped filling in `textStart`), and
//! `.text` may begin earlier, with C code. Layout: `runtime/symtab.go` `moduledata`;
//! its words up to 31 are the same in Go 1.18 to 1.27.

use crate::bytes::{slice, u64_at};
use crate::elf::Elf;
use crate::pclntab::Pclntab;

/// Places where the pclntab's address may stand by chance or as another symbol.
const MAX_CANDIDATES: usize = 64;
const WORDS: usize = 45;
const WORD_FUNCNAMETAB: usize = 1;
const WORD_FTAB: usize = 16;
const WORD_FTAB_LEN: usize = 17;
const WORD_MINPC: usize = 20;
const WORD_TEXT: usize = 22;
const WORD_TYPES_1_18: usize = 35;
const WORD_ETYPES_1_18: usize = 36;
/// 1.20 added covctrs and ecovctrs before them.
const WORD_TYPES: usize = 37;
const WORD_ETYPES: usize = 38;
/// 1.27 put typedesclen before it.
const WORD_ETYPES_1_27: usize = 39;
const WORD_GOFUNC_1_18: usize = 38;
/// As above.
const WORD_GOFUNC_1_20: usize = 40;
/// 1.27 added typedesclen, itaboffset and itabsize before it.
const WORD_GOFUNC_1_27: usize = 43;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ModuleData {
    /// Address that function entries count from.
    pub(crate) text: u64,
    /// Address that funcdata offsets count from (`go:func.*`).
    pub(crate) gofunc: Option<u64>,
    /// Where type descriptors and their names lie.
    pub(crate) types: Option<TypeRange>,
}

/// `types` to `etypes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ModuleData {
    pub(crate) fn find(bytes: &[u8], elf: &Elf, table: &Pclntab, minor: Option<u32>) -> Option<Self> {
        // Go 1.26 gave it a section of its own.
        let section = elf
            .section(bytes, ".go.module")
            .and_then(|s| Self::read(bytes, elf, table, s.vaddr, minor));
        section
            .or_else(|| Self::find_by_relocation(bytes, elf, table, minor))
            .or_else(|| Self::find_by_pointer(bytes, elf, table, minor))
    }

    fn find_by_relocation(bytes: &[u8], elf: &Elf, table: &Pclntab, minor: Option<u32>) -> Option<Self> {
        let pointers = elf
            .relative_relocations(bytes)
            .filter(|&(_, value)| value == table.vaddr);
        pointers
            .take(MAX_CANDIDATES)
            .find_map(|(at, _)| Self::read(bytes, elf, table, at, minor))
    }

    fn find_by_pointer(bytes: &[u8], elf: &Elf, table: &Pclntab, minor: Option<u32>) -> Option<Self> {
        elf.segments.iter().filter(|s| s.writable).find_map(|segment| {
            let words = slice(bytes, segment.offset, segment.file_bytes)?.chunks_exact(8);
            let places = words
                .enumerate()
                .filter(|(_, word)| u64_at(word, 0) == Some(table.vaddr));
            places.take(MAX_CANDIDATES).find_map(|(i, _)| {
                Self::read(bytes, elf, table, segment.vaddr.checked_add(i as u64 * 8)?, minor)
            })
        })
    }

    fn read(bytes: &[u8], elf: &Elf, table: &Pclntab, vaddr: u64, minor: Option<u32>) -> Option<Self> {
        let words = elf.words::<WORDS>(bytes, vaddr)?;
        let is_module = words[0] == table.vaddr
            && words[WORD_FUNCNAMETAB] == table.vaddr.checked_add(table.names)?
            && words[WORD_FTAB] == table.vaddr.checked_add(table.functions)?
            && words[WORD_FTAB_LEN] == table.function_count() + 1
            && words[WORD_MINPC] == words[WORD_TEXT];
        if !is_module {
            return None;
        }
        let gofunc = match minor {
            Some(18 | 19) => Some(words[WORD_GOFUNC_1_18]),
            Some(20..27) => Some(words[WORD_GOFUNC_1_20]),
            Some(27..) => Some(words[WORD_GOFUNC_1_27]),
            _ => None,
        };
        let gofunc = gofunc.filter(|&vaddr| elf.file_offset(vaddr).is_some());
        let types = match minor {
            Some(18 | 19) => Some((WORD_TYPES_1_18, WORD_ETYPES_1_18)),
            Some(20..27) => Some((WORD_TYPES, WORD_ETYPES)),
            Some(27..) => Some((WORD_TYPES, WORD_ETYPES_1_27)),
            _ => None,
        };
        let types = types
            .map(|(start, end)| TypeRange {
                start: words[start],
                end: words[end],
            })
            .filter(|types| types.start < types.end && elf.file_offset(types.start).is_some());
        Some(Self {
            text: words[WORD_TEXT],
            gofunc,
            types,
        })
    }
}
