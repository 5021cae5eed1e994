//! [`GoBinary`]: the door to everything that this crate knows of a file.

use std::fmt;

use crate::buildinfo::BuildInfo;
use crate::bytes::tail;
use crate::elf::Elf;
use crate::error::SymbolError;
use crate::globals::{
    BUILD_VERSION_WRITER, MBUCKETS_READER, MEM_PROFILE_RATE_READERS, OnlyOne, add_build_version_lengths,
    add_loads_of_zeroed, add_mem_profile_rates, add_rates_set_at_start,
};
use crate::moduledata::ModuleData;
use crate::offsets::RuntimeOffsets;
use crate::pclntab::Pclntab;
use crate::probe::{ProbeInstruction, ProbeSite, call_in, is_abi_internal, site_in};
use crate::resolve::{Frame, PcKind, Resolver};
use crate::version::{GoVersion, Support};

/// A parsed Go binary over bytes that it owns or borrows.
pub struct GoBinary<B> {
    bytes: B,
    pub(crate) elf: Elf,
    build: Option<BuildInfo>,
    version: Option<GoVersion>,
    tables: Option<(Pclntab, ModuleData)>,
}

/// A function of the Go part of a binary. Addresses are as the file has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function<'a> {
    /// Package-qualified name, with type arguments as the compiler shaped them.
    pub name: &'a str,
    /// First instruction.
    pub entry_vaddr: u64,
    /// Entry of the next function: padding is included.
    pub end_vaddr: u64,
    /// Line of the `func` keyword; 0 if unknown.
    pub start_line: u32,
}

impl<B: AsRef<[u8]>> GoBinary<B> {
    /// Parses an amd64 Linux ELF file made by Go.
    ///
    /// A Go version outside the table is no error: see [`Self::support`]. Neither is an
    /// unreadable function table, as long as there is build information; then the
    /// functions below answer [`SymbolError::NoFunctionTable`] or nothing.
    ///
    /// # Errors
    /// [`SymbolError::NotElf`], [`SymbolError::UnsupportedElf`], [`SymbolError::Corrupt`],
    /// [`SymbolError::NotGo`].
    pub fn parse(bytes: B) -> Result<Self, SymbolError> {
        let file = bytes.as_ref();
        let elf = Elf::parse(file)?;
        let build = BuildInfo::find(file, &elf);
        let table = Pclntab::find(file, &elf);
        if build.is_none() && table.is_none() {
            return Err(SymbolError::NotGo);
        }
        let version = build.as_ref().and_then(BuildInfo::version);
        let tables = table.and_then(|table| with_module(file, &elf, table, version.as_ref()));
        let mut binary = Self {
            bytes,
            elf,
            build,
            version,
            tables,
        };
        if binary.version.is_none()
            && let Some(version) = binary.scan_build_version()
        {
            let table = binary.tables.map(|(table, _)| table);
            binary.tables =
                table.and_then(|table| with_module(binary.bytes(), &binary.elf, table, Some(&version)));
            binary.version = Some(version);
        }
        Ok(binary)
    }

    /// The version that `runtime.Version` returns, for files without build information (some programs
    /// are shipped so; their linker leaves `.go.buildinfo` out).
    fn scan_build_version(&self) -> Option<GoVersion> {
        const LONGEST_BYTES: u64 = 128;
        let function = self.function(BUILD_VERSION_WRITER)?;
        let mut found = OnlyOne::default();
        add_build_version_lengths(&mut found, self.code(&function)?, function.entry_vaddr);
        let [text, len] = self.elf.words::<2>(self.bytes(), found.get()?.checked_sub(8)?)?;
        let len = usize::try_from(Some(len).filter(|&len| len <= LONGEST_BYTES)?).ok()?;
        let text = self.elf.bytes_from(self.bytes(), text)?.get(..len)?;
        GoVersion::parse(std::str::from_utf8(text).ok()?)
    }

    /// The bytes that were parsed.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// True if the file is loaded at a random address (PIE): addresses in a running
    /// process are then those of this file plus a load bias.
    pub fn is_position_independent(&self) -> bool {
        self.elf.position_independent
    }

    /// Version of the toolchain that made it, from the build information, else from what
    /// `runtime.Version` would say.
    pub fn go_version(&self) -> Option<&GoVersion> {
        self.version.as_ref()
    }

    /// Main package, modules and build settings.
    pub fn build_info(&self) -> Option<&BuildInfo> {
        self.build.as_ref()
    }

    /// The GNU build id in hexadecimal, else the Go build id.
    pub fn build_id(&self) -> Option<String> {
        self.elf.build_id(self.bytes())
    }

    /// Whether the Go version is one that the tables of this crate cover.
    pub fn support(&self) -> Support {
        Support::of(self.version.as_ref())
    }

    /// Offsets of the runtime's structures; `None` outside the table.
    pub fn offsets(&self) -> Option<&'static RuntimeOffsets> {
        RuntimeOffsets::of(self.version.as_ref()?)
    }

    /// All Go functions in the order of their addresses, read as they are asked for.
    /// Walking them touches most pages of the function table.
    pub fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        let count = self
            .tables
            .as_ref()
            .map_or(0, |(table, _)| table.function_count());
        (0..count).filter_map(|index| self.function_number(index))
    }

    /// The function of that name. Where two share it, the one that Go code calls
    /// (ABIInternal), not the wrapper for assembly (ABI0).
    pub fn function(&self, name: &str) -> Option<Function<'_>> {
        let mut first = None;
        for function in self.functions_named(name) {
            if self.code(&function).is_some_and(is_abi_internal) {
                return Some(function);
            }
            first = first.or(Some(function));
        }
        first
    }

    /// The function that holds an address.
    pub fn function_at(&self, vaddr: u64) -> Option<Function<'_>> {
        let (table, module) = self.tables.as_ref()?;
        self.function_number(table.index_at(table.bytes(self.bytes()), vaddr.checked_sub(module.text)?)?)
    }

    /// Where to put a uprobe that hits once for each call of a function: behind its
    /// stack check, at `PUSHQ BP`, or at the entry of a function without a check. Look
    /// at [`ProbeSite::instruction`] before use.
    ///
    /// # Errors
    /// [`SymbolError::NoFunctionTable`], [`SymbolError::NoFunction`], [`SymbolError::Corrupt`].
    pub fn probe_site(&self, name: &str) -> Result<ProbeSite, SymbolError> {
        let function = self.require(name)?;
        let code = self
            .code(&function)
            .ok_or_else(|| self.outside("code of a function", function.entry_vaddr))?;
        let (offset, instruction) = site_in(code);
        self.site(&function, offset, instruction)
    }

    /// The first direct CALL of `callee` inside a function, as a probe site.
    ///
    /// # Errors
    /// [`SymbolError::NoCall`] beside those of [`Self::probe_site`].
    pub fn call_site(&self, in_function: &str, callee: &str) -> Result<ProbeSite, SymbolError> {
        let function = self.require(in_function)?;
        let offset = self.call_from(&function, 0, callee)?;
        self.site(&function, offset, ProbeInstruction::CallRel32)
    }

    /// The first direct CALL of `callee` behind the first one of `after`, in order of addresses.
    ///
    /// # Errors
    /// [`SymbolError::NoCall`] beside those of [`Self::probe_site`].
    pub fn call_site_behind(
        &self,
        in_function: &str,
        after: &str,
        callee: &str,
    ) -> Result<ProbeSite, SymbolError> {
        let function = self.require(in_function)?;
        let first = self.call_from(&function, 0, after)?;
        let offset = self.call_from(&function, first + 1, callee)?;
        self.site(&function, offset, ProbeInstruction::CallRel32)
    }

    /// Offset of the first CALL of `callee` at `from` or behind it.
    fn call_from(&self, function: &Function<'_>, from: u64, callee: &str) -> Result<u64, SymbolError> {
        self.require(callee)?;
        let targets: Vec<u64> = self
            .functions_named(callee)
            .take(4)
            .map(|f| f.entry_vaddr)
            .collect();
        let code = self
            .code(function)
            .ok_or_else(|| self.outside("code of a function", function.entry_vaddr))?;
        tail(code, from)
            .and_then(|code| call_in(code, function.entry_vaddr + from, &targets))
            .map(|offset| from + offset)
            .ok_or_else(|| SymbolError::NoCall {
                function: function.name.to_owned(),
                callee: callee.to_owned(),
            })
    }

    /// Address of `runtime.MemProfileRate` (an int): from the symbol table, else from the
    /// code that reads it. `None` unless there is exactly one candidate.
    pub fn mem_profile_rate_vaddr(&self) -> Option<u64> {
        self.symbol("runtime.MemProfileRate")
            .or_else(|| self.scan_mem_profile_rate())
    }

    /// [`Self::mem_profile_rate_vaddr`] by code alone, as in a stripped binary.
    pub fn scan_mem_profile_rate(&self) -> Option<u64> {
        let (mut found, mut at_start) = (OnlyOne::default(), OnlyOne::default());
        for function in MEM_PROFILE_RATE_READERS
            .iter()
            .filter_map(|name| self.function(name))
        {
            let code = self.code(&function)?;
            add_mem_profile_rates(&mut found, self.bytes(), &self.elf, code, function.entry_vaddr);
            // `mallocgc` also compares other things with 1.
            if function.name == MEM_PROFILE_RATE_READERS[0] {
                add_rates_set_at_start(&mut at_start, &self.elf, code, function.entry_vaddr);
            }
        }
        // From 1.20 on the value is on disk.
        if self.version.as_ref().is_some_and(|version| version.minor < 20) {
            at_start.get()
        } else {
            found.get()
        }
    }

    /// Address of `runtime.mbuckets`, the head of the heap profile's bucket list: from the
    /// symbol table, else from the code that reads it. `None` unless there is exactly one
    /// candidate.
    pub fn mbuckets_vaddr(&self) -> Option<u64> {
        self.symbol("runtime.mbuckets").or_else(|| self.scan_mbuckets())
    }

    /// [`Self::mbuckets_vaddr`] by code alone, as in a stripped binary.
    pub fn scan_mbuckets(&self) -> Option<u64> {
        let function = self.function(MBUCKETS_READER)?;
        let mut found = OnlyOne::default();
        add_loads_of_zeroed(&mut found, &self.elf, self.code(&function)?, function.entry_vaddr);
        found.get()
    }

    /// Address of a symbol of the ELF symbol table; `None` in stripped files.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.elf.symbol(self.bytes(), name)
    }

    /// Appends the frames of an address to `frames`, leaf first, inlined calls expanded,
    /// and says how many. An address outside the Go functions gives none.
    pub fn resolve<'a>(&'a self, vaddr: u64, kind: PcKind, frames: &mut Vec<Frame<'a>>) -> usize {
        let Some((table, module)) = &self.tables else {
            return 0;
        };
        Resolver {
            bytes: self.bytes(),
            elf: &self.elf,
            table,
            module,
        }
        .resolve(vaddr, kind, frames)
    }

    pub(crate) fn types_of(&self) -> Option<(&Elf, &ModuleData)> {
        let (_, module) = self.tables.as_ref()?;
        Some((&self.elf, module))
    }

    fn function_number(&self, index: u64) -> Option<Function<'_>> {
        let (table, module) = self.tables.as_ref()?;
        let bytes = table.bytes(self.bytes());
        let func = table.func(bytes, index)?;
        Some(Function {
            name: table.name(bytes, func.name_offset(bytes)?)?,
            entry_vaddr: module.text.checked_add(table.entry(bytes, index)?)?,
            end_vaddr: module.text.checked_add(table.entry(bytes, index + 1)?)?,
            start_line: func.start_line(bytes),
        })
    }

    fn functions_named<'a>(&'a self, name: &str) -> impl Iterator<Item = Function<'a>> {
        let count = self
            .tables
            .as_ref()
            .map_or(0, |(table, _)| table.function_count());
        (0..count).filter_map(move |index| {
            let (table, _) = self.tables.as_ref()?;
            let bytes = table.bytes(self.bytes());
            let func = table.func(bytes, index)?;
            if table.func_is_named(bytes, func, name) {
                self.function_number(index)
            } else {
                None
            }
        })
    }

    fn require(&self, name: &str) -> Result<Function<'_>, SymbolError> {
        if self.tables.is_none() {
            return Err(SymbolError::NoFunctionTable);
        }
        self.function(name).ok_or_else(|| SymbolError::NoFunction {
            name: name.to_owned(),
        })
    }

    pub(crate) fn code(&self, function: &Function<'_>) -> Option<&[u8]> {
        self.elf.code_offset(function.entry_vaddr)?;
        let rest = self.elf.bytes_from(self.bytes(), function.entry_vaddr)?;
        let len = usize::try_from(function.end_vaddr.checked_sub(function.entry_vaddr)?).ok()?;
        Some(rest.get(..len).unwrap_or(rest))
    }

    fn site(
        &self,
        function: &Function<'_>,
        offset_in_function: u64,
        instruction: ProbeInstruction,
    ) -> Result<ProbeSite, SymbolError> {
        let vaddr = function.entry_vaddr.saturating_add(offset_in_function);
        let file_offset = self
            .elf
            .code_offset(vaddr)
            .ok_or_else(|| self.outside("probe site", vaddr))?;
        Ok(ProbeSite {
            vaddr,
            file_offset,
            offset_in_function,
            instruction,
        })
    }

    fn outside(&self, what: &'static str, vaddr: u64) -> SymbolError {
        let len = self.bytes().len() as u64;
        SymbolError::Corrupt {
            what,
            offset: self.elf.file_offset(vaddr).unwrap_or(vaddr),
            len,
        }
    }
}

fn with_module(
    file: &[u8],
    elf: &Elf,
    table: Pclntab,
    version: Option<&GoVersion>,
) -> Option<(Pclntab, ModuleData)> {
    let minor = version.map(|version| version.minor);
    let module = ModuleData::find(file, elf, &table, minor).or_else(|| {
        // Before 1.26 the header says where the text starts, except in PIE files.
        let text = Some(table.header_text_start).filter(|&text| elf.code_offset(text).is_some())?;
        Some(ModuleData {
            text,
            gofunc: None,
            types: None,
        })
    })?;
    Some((table, module))
}

impl<B> fmt::Debug for GoBinary<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are the whole file.
        f.debug_struct("GoBinary")
            .field("elf", &self.elf)
            .field("version", &self.version)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}
