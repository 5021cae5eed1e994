//! `.gopclntab`: the function table that every Go binary carries, also a stripped one.
//!
//! Layout since Go 1.18 (magic fffffff0) and 1.20 (fffffff1), from
//! `runtime/symtab.go` `pcHeader` and `runtime/runtime2.go` `_func`:
//! a header with the number of functions and the offsets of five tables; then
//! functab, pairs of u32 (entry offset from the text start, offset of `_func`),
//! ended by one entry offset past the last function.
//!
//! Nothing is decoded ahead: every answer reads the bytes again.

use crate::bytes::{c_str, c_str_is, i32_at, slice, tail, u8_at, u32_at, u64_at, uvarint32};
use crate::elf::Elf;

const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
const HEADER_BYTES: u64 = 72;
const FUNCTAB_ENTRY_BYTES: u64 = 8;
const ALIGN: usize = 8;
/// Steps that one pc-value table is followed; the longest real ones have some 10,000.
const MAX_PCVALUE_STEPS: usize = 1 << 18;

/// Where the tables are; offsets count from the start of the pclntab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pclntab {
    pub(crate) vaddr: u64,
    file_offset: u64,
    file_bytes: u64,
    magic: u32,
    function_count: u64,
    /// Zero since Go 1.26, and not relocated in PIE files before.
    pub(crate) header_text_start: u64,
    pub(crate) names: u64,
    units: u64,
    files: u64,
    pcvalues: u64,
    pub(crate) functions: u64,
}

/// Offsets in `runtime.inlinedCall`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InlinedCall {
    pub(crate) bytes: u64,
    pub(crate) name: u64,
    pub(crate) parent_pc: u64,
    /// Not recorded before Go 1.20.
    pub(crate) start_line: Option<u64>,
}

/// parent, funcID, file, line, func_, parentPc.
const INLINED_CALL_1_18: InlinedCall = InlinedCall {
    bytes: 20,
    name: 12,
    parent_pc: 16,
    start_line: None,
};
/// funcID, nameOff, parentPc, startLine.
const INLINED_CALL_1_20: InlinedCall = InlinedCall {
    bytes: 16,
    name: 4,
    parent_pc: 8,
    start_line: Some(12),
};

/// A `_func` record, as a position in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Func {
    at: u64,
    header_bytes: u64,
}

impl Pclntab {
    pub(crate) fn find(bytes: &[u8], elf: &Elf) -> Option<Self> {
        let sections = [".gopclntab", ".data.rel.ro.gopclntab"];
        let by_name = sections.iter().find_map(|name| {
            let section = elf.section(bytes, name)?;
            Self::read(
                slice(bytes, section.offset, section.bytes)?,
                section.offset,
                section.vaddr,
            )
        });
        // Some PIE layouts have no such section, and sstrip drops all: look for the magic.
        by_name.or_else(|| {
            elf.segments.iter().find_map(|segment| {
                let data = slice(bytes, segment.offset, segment.file_bytes)?;
                data.chunks_exact(ALIGN).enumerate().find_map(|(i, word)| {
                    let is_magic = matches!(word, [0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
                    let into = (i * ALIGN) as u64;
                    is_magic.then(|| {
                        Self::read(
                            tail(data, into)?,
                            segment.offset + into,
                            segment.vaddr.checked_add(into)?,
                        )
                    })?
                })
            })
        })
    }

    fn read(table: &[u8], file_offset: u64, vaddr: u64) -> Option<Self> {
        let magic = u32_at(table, 0)?;
        let plausible = matches!(magic, MAGIC_1_18 | MAGIC_1_20) && slice(table, 4, 4)? == [0, 0, 1, 8];
        let word = |i: u64| u64_at(table, 8 * (i + 1));
        let found = Self {
            vaddr,
            file_offset,
            file_bytes: table.len() as u64,
            magic,
            function_count: word(0)?,
            header_text_start: word(2)?,
            names: word(3)?,
            units: word(4)?,
            files: word(5)?,
            pcvalues: word(6)?,
            functions: word(7)?,
        };
        let tables = [
            HEADER_BYTES,
            found.names,
            found.units,
            found.files,
            found.pcvalues,
            found.functions,
        ];
        let functab_bytes = found
            .function_count
            .checked_mul(FUNCTAB_ENTRY_BYTES)?
            .checked_add(4)?;
        let end = found.functions.checked_add(functab_bytes)?;
        (plausible && tables.is_sorted() && found.function_count > 0 && end <= found.file_bytes)
            .then_some(found)
    }

    /// The table's bytes in the file that it was found in.
    pub(crate) fn bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        slice(file, self.file_offset, self.file_bytes).unwrap_or_default()
    }

    pub(crate) fn function_count(&self) -> u64 {
        self.function_count
    }

    /// Entry of a function as offset from the text start; `index` may be the count,
    /// which gives the end of the last function.
    pub(crate) fn entry(&self, table: &[u8], index: u64) -> Option<u64> {
        u32_at(table, self.functions + index * FUNCTAB_ENTRY_BYTES).map(u64::from)
    }

    pub(crate) fn func(&self, table: &[u8], index: u64) -> Option<Func> {
        let into = u32_at(table, self.functions + index * FUNCTAB_ENTRY_BYTES + 4)?;
        let header_bytes = if self.magic == MAGIC_1_18 { 40 } else { 44 };
        Some(Func {
            at: self.functions + u64::from(into),
            header_bytes,
        })
    }

    /// Index of the function that holds this offset from the text start.
    pub(crate) fn index_at(&self, table: &[u8], text_offset: u64) -> Option<u64> {
        if text_offset >= self.entry(table, self.function_count)? || text_offset < self.entry(table, 0)? {
            return None;
        }
        // Invariant: entry(low) <= text_offset < entry(high).
        let (mut low, mut high) = (0, self.function_count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(table, middle)? <= text_offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    pub(crate) fn name<'a>(&self, table: &'a [u8], name_offset: i32) -> Option<&'a str> {
        c_str(table, self.names + u64::try_from(name_offset).ok()?)
    }

    pub(crate) fn func_is_named(&self, table: &[u8], func: Func, name: &str) -> bool {
        let offset = func
            .name_offset(table)
            .and_then(|offset| u64::try_from(offset).ok());
        offset.is_some_and(|offset| c_str_is(table, self.names + offset, name))
    }

    /// Source file of a pc, which is `pc_offset` past the function's entry.
    pub(crate) fn file<'a>(&self, table: &'a [u8], func: Func, pc_offset: u64) -> Option<&'a str> {
        let number = self.pcvalue(table, u32_at(table, func.at + 20)?, pc_offset)?;
        let in_unit = u64::from(u32_at(table, func.at + 32)?) + u64::try_from(number).ok()?;
        let file = u32_at(table, self.units + 4 * in_unit).filter(|&file| file != u32::MAX)?;
        c_str(table, self.files + u64::from(file))
    }

    pub(crate) fn line(&self, table: &[u8], func: Func, pc_offset: u64) -> Option<u32> {
        u32::try_from(self.pcvalue(table, u32_at(table, func.at + 24)?, pc_offset)?).ok()
    }

    /// Value of a numbered pcdata table at a pc; `None` where the table has none.
    pub(crate) fn pcdata(&self, table: &[u8], func: Func, number: u32, pc_offset: u64) -> Option<i32> {
        if number >= func.pcdata_count(table)? {
            return None;
        }
        let offset = u32_at(table, func.at + func.header_bytes + 4 * u64::from(number))?;
        if offset == 0 {
            None
        } else {
            self.pcvalue(table, offset, pc_offset)
        }
    }

    /// Follows a pc-value table: pairs of varints (zigzag value step, pc step), the
    /// value from -1, the pc from the entry. Source: `runtime.pcvalue`, `runtime.step`.
    fn pcvalue(&self, table: &[u8], offset: u32, pc_offset: u64) -> Option<i32> {
        let mut rest = tail(table, self.pcvalues + u64::from(offset))?;
        let (mut value, mut pc) = (-1_i32, 0_u64);
        for step in 0..MAX_PCVALUE_STEPS {
            let zigzag = uvarint32(&mut rest)?;
            if zigzag == 0 && step > 0 {
                return None;
            }
            value = value.wrapping_add((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32));
            pc += u64::from(uvarint32(&mut rest)?);
            if pc_offset < pc {
                return Some(value);
            }
        }
        None
    }

    /// How an entry of the inline trees is laid out.
    pub(crate) fn inlined_call(&self) -> InlinedCall {
        if self.magic == MAGIC_1_18 {
            INLINED_CALL_1_18
        } else {
            INLINED_CALL_1_20
        }
    }
}

impl Func {
    pub(crate) fn name_offset(self, table: &[u8]) -> Option<i32> {
        i32_at(table, self.at + 4)
    }

    /// Line of the `func` keyword; not recorded before Go 1.20.
    pub(crate) fn start_line(self, table: &[u8]) -> u32 {
        let line = (self.header_bytes == 44)
            .then(|| i32_at(table, self.at + 36))
            .flatten();
        line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
    }

    /// A numbered funcdata entry: an offset into `go:func.*`.
    pub(crate) fn funcdata(self, table: &[u8], number: u8) -> Option<u32> {
        if number >= u8_at(table, self.at + self.header_bytes - 1)? {
            return None;
        }
        let at = self.at + self.header_bytes + 4 * (u64::from(self.pcdata_count(table)?) + u64::from(number));
        u32_at(table, at).filter(|&offset| offset != u32::MAX)
    }

    fn pcdata_count(self, table: &[u8]) -> Option<u32> {
        u32_at(table, self.at + 28)
    }
}
