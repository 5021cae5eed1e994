//! As much of ELF64 as a Go binary needs: segments, sections, notes, the symbol
//! table and RELATIVE relocations. Source: System V gABI, chapters 4 and 5, and
//! the psABI for amd64.
//!
//! Section headers may be missing (`sstrip`) or cut off; then the sections are
//! empty and callers fall back to scanning the segments. Program headers must be
//! there, or the kernel could not run the file either.

use crate::bytes::{c_str_is, slice, tail, u16_at, u32_at, u64_at};
use crate::error::SymbolError;

const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const SHT_SYMTAB: u32 = 2;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const R_X86_64_RELATIVE: u32 = 8;
const NOTE_GO_BUILD_ID: u32 = 4;
const NOTE_GNU_BUILD_ID: u32 = 3;
/// A file has two or three; a hostile one could make each search long.
const MAX_NOTE_RANGES: usize = 32;
const RELA_BYTES: u64 = 24;
const SYMBOL_BYTES: u64 = 24;

/// A `PT_LOAD` segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) vaddr: u64,
    pub(crate) offset: u64,
    pub(crate) file_bytes: u64,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    name: u32,
    kind: u32,
    link: u32,
    pub(crate) vaddr: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Elf {
    pub(crate) segments: Vec<Segment>,
    pub(crate) position_independent: bool,
    sections: Vec<Section>,
    section_names: u64,
    notes: Vec<(u64, u64)>,
    /// File range of the RELA table that the loader applies.
    relocations: Option<(u64, u64)>,
}

impl Elf {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SymbolError> {
        let position_independent = check_header(bytes)?;
        let corrupt = |what, offset| SymbolError::Corrupt {
            what,
            offset,
            len: bytes.len() as u64,
        };

        let table = u64_at(bytes, 32).ok_or(corrupt("ELF header", 0))?;
        let entry_bytes = u64::from(u16_at(bytes, 54).ok_or(corrupt("ELF header", 0))?);
        let count = u64::from(u16_at(bytes, 56).ok_or(corrupt("ELF header", 0))?);
        let headers =
            slice(bytes, table, count * entry_bytes).ok_or(corrupt("program header table", table))?;
        if entry_bytes < 56 {
            return Err(corrupt("program header table", table));
        }

        let mut elf = Self {
            segments: Vec::new(),
            position_independent,
            sections: Vec::new(),
            section_names: 0,
            notes: Vec::new(),
            relocations: None,
        };
        let mut dynamic = None;
        for header in headers.chunks_exact(entry_bytes as usize) {
            let (Some(kind), Some(flags), Some(offset), Some(vaddr), Some(file_bytes)) = (
                u32_at(header, 0),
                u32_at(header, 4),
                u64_at(header, 8),
                u64_at(header, 16),
                u64_at(header, 32),
            ) else {
                continue;
            };
            match kind {
                PT_LOAD => elf.segments.push(Segment {
                    vaddr,
                    offset,
                    // A truncated file still has its first part.
                    file_bytes: file_bytes.min((bytes.len() as u64).saturating_sub(offset)),
                    executable: flags & PF_X != 0,
                    writable: flags & PF_W != 0,
                }),
                PT_DYNAMIC => dynamic = Some((offset, file_bytes)),
                PT_NOTE => elf.notes.push((offset, file_bytes)),
                _ => {}
            }
        }
        elf.read_sections(bytes);
        elf.relocations = dynamic.and_then(|range| elf.find_relocations(bytes, range));
        Ok(elf)
    }

    /// File offset of a virtual address that the file has bytes for.
    pub(crate) fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let segment = self.segment_of(vaddr)?;
        (vaddr - segment.vaddr).checked_add(segment.offset)
    }

    /// Like [`Self::file_offset`], for code only.
    pub(crate) fn code_offset(&self, vaddr: u64) -> Option<u64> {
        self.segment_of(vaddr)?
            .executable
            .then(|| self.file_offset(vaddr))?
    }

    /// From `vaddr` to the end of its segment's bytes in the file.
    pub(crate) fn bytes_from<'a>(&self, bytes: &'a [u8], vaddr: u64) -> Option<&'a [u8]> {
        let segment = self.segment_of(vaddr)?;
        let into = vaddr - segment.vaddr;
        slice(
            bytes,
            segment.offset.checked_add(into)?,
            segment.file_bytes - into,
        )
    }

    /// A word as the file has it, relocations not applied.
    pub(crate) fn word_on_disk(&self, bytes: &[u8], vaddr: u64) -> Option<u64> {
        u64_at(self.bytes_from(bytes, vaddr)?, 0)
    }

    /// `N` words from `vaddr` as the program sees them before it starts (minus
    /// the load bias): on-disk values with RELATIVE relocations applied.
    pub(crate) fn words<const N: usize>(&self, bytes: &[u8], vaddr: u64) -> Option<[u64; N]> {
        let on_disk = self.bytes_from(bytes, vaddr)?;
        let mut words = [0; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = u64_at(on_disk, i as u64 * 8)?;
        }
        for (at, value) in self.relative_relocations(bytes) {
            let into = at.wrapping_sub(vaddr);
            if let Some(word) = words.get_mut((into / 8) as usize)
                && into % 8 == 0
            {
                *word = value;
            }
        }
        Some(words)
    }

    /// `(address, value)` of each RELATIVE relocation. In a PIE file the linker may
    /// leave the words themselves zero.
    pub(crate) fn relative_relocations<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let table = self
            .relocations
            .and_then(|(offset, len)| slice(bytes, offset, len))
            .unwrap_or_default();
        table.chunks_exact(RELA_BYTES as usize).filter_map(|entry| {
            (u32_at(entry, 8)? == R_X86_64_RELATIVE).then_some(())?;
            Some((u64_at(entry, 0)?, u64_at(entry, 16)?))
        })
    }

    pub(crate) fn section(&self, bytes: &[u8], name: &str) -> Option<Section> {
        let mut named = self.sections.iter().filter(|s| s.kind != SHT_NOBITS);
        named
            .find(|s| c_str_is(bytes, self.section_names.saturating_add(u64::from(s.name)), name))
            .copied()
    }

    /// Address of a symbol; `None` if the file is stripped or has no such symbol.
    pub(crate) fn symbol(&self, bytes: &[u8], name: &str) -> Option<u64> {
        let table = self.sections.iter().find(|s| s.kind == SHT_SYMTAB)?;
        let strings = self.sections.get(table.link as usize)?.offset;
        let symbols = slice(bytes, table.offset, table.bytes)?;
        symbols.chunks_exact(SYMBOL_BYTES as usize).find_map(|symbol| {
            let at = strings.checked_add(u64::from(u32_at(symbol, 0)?))?;
            if c_str_is(bytes, at, name) {
                u64_at(symbol, 8)
            } else {
                None
            }
        })
    }

    /// The GNU build id as hexadecimal, else the Go build id as written.
    pub(crate) fn build_id(&self, bytes: &[u8]) -> Option<String> {
        let ranges = || {
            let sections = self
                .sections
                .iter()
                .filter(|s| s.kind == SHT_NOTE)
                .map(|s| (s.offset, s.bytes));
            self.notes.iter().copied().chain(sections).take(MAX_NOTE_RANGES)
        };
        let note = |owner: &[u8], kind| {
            ranges().find_map(|(offset, len)| find_note(slice(bytes, offset, len)?, owner, kind))
        };
        if let Some(id) = note(b"GNU\0", NOTE_GNU_BUILD_ID) {
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        let id = note(b"Go\0\0", NOTE_GO_BUILD_ID)?;
        Some(String::from_utf8_lossy(id).into_owned())
    }

    fn segment_of(&self, vaddr: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|s| vaddr.checked_sub(s.vaddr).is_some_and(|into| into < s.file_bytes))
    }

    fn read_sections(&mut self, bytes: &[u8]) {
        let (Some(table), Some(entry_bytes), Some(count), Some(names_index)) = (
            u64_at(bytes, 40),
            u16_at(bytes, 58),
            u16_at(bytes, 60),
            u16_at(bytes, 62),
        ) else {
            return;
        };
        let Some(headers) = slice(bytes, table, u64::from(entry_bytes) * u64::from(count)) else {
            return;
        };
        if table == 0 || entry_bytes < 64 {
            return;
        }
        for header in headers.chunks_exact(usize::from(entry_bytes)) {
            let (Some(name), Some(kind), Some(vaddr), Some(offset), Some(len), Some(link)) = (
                u32_at(header, 0),
                u32_at(header, 4),
                u64_at(header, 16),
                u64_at(header, 24),
                u64_at(header, 32),
                u32_at(header, 40),
            ) else {
                continue;
            };
            self.sections.push(Section {
                name,
                kind,
                link,
                vaddr,
                offset,
                bytes: len,
            });
        }
        self.section_names = self
            .sections
            .get(usize::from(names_index))
            .map_or(0, |s| s.offset);
    }

    fn find_relocations(&self, bytes: &[u8], (offset, len): (u64, u64)) -> Option<(u64, u64)> {
        let (mut vaddr, mut table_bytes) = (None, None);
        for entry in slice(bytes, offset, len)?.chunks_exact(16) {
            match u64_at(entry, 0)? {
                DT_RELA => vaddr = u64_at(entry, 8),
                DT_RELASZ => table_bytes = u64_at(entry, 8),
                _ => {}
            }
        }
        Some((self.file_offset(vaddr?)?, table_bytes?))
    }
}

/// Checks the identification; true if position-independent.
fn check_header(bytes: &[u8]) -> Result<bool, SymbolError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(SymbolError::NotElf {
            found: bytes.iter().take(4).copied().collect(),
        });
    }
    let corrupt = SymbolError::Corrupt {
        what: "ELF header",
        offset: 0,
        len: bytes.len() as u64,
    };
    let ident = bytes.get(..16).ok_or(corrupt.clone())?;
    for (field, at, expected) in [("class", 4, 2), ("byte order", 5, 1)] {
        if ident[at] != expected {
            let (expected, found) = (u16::from(expected), u16::from(ident[at]));
            return Err(SymbolError::UnsupportedElf {
                field,
                expected,
                found,
            });
        }
    }
    let machine = u16_at(bytes, 18).ok_or(corrupt.clone())?;
    if machine != EM_X86_64 {
        return Err(SymbolError::UnsupportedElf {
            field: "machine",
            expected: EM_X86_64,
            found: machine,
        });
    }
    match u16_at(bytes, 16).ok_or(corrupt)? {
        ET_EXEC => Ok(false),
        ET_DYN => Ok(true),
        found => Err(SymbolError::UnsupportedElf {
            field: "type",
            expected: ET_EXEC,
            found,
        }),
    }
}

fn find_note<'a>(mut notes: &'a [u8], owner: &[u8], kind: u32) -> Option<&'a [u8]> {
    loop {
        let name_bytes = u64::from(u32_at(notes, 0)?);
        let value_bytes = u64::from(u32_at(notes, 4)?);
        let value_at = 12 + name_bytes.next_multiple_of(4);
        let value = slice(notes, value_at, value_bytes)?;
        if u32_at(notes, 8)? == kind && slice(notes, 12, name_bytes)? == owner {
            return Some(value);
        }
        notes = tail(notes, value_at + value_bytes.next_multiple_of(4))?;
    }
}
