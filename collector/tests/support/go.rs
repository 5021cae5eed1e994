//! A Go toolchain, a binary that it built, and the sites in it.
//!
//! Sites are found by `go tool nm` and the prologue's bytes: a second, independent way beside
//! `heaptide-symbols`, which reads the binary itself.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use heaptide_collector::linux::bpf::{GoOffsets, Instruction, ProbePoint, Program};

/// Minor versions of Go 1 that the tests look for, as `HEAPTIDE_GO_1_NN=/path/to/go`.
pub(crate) const VERSIONS: [u32; 7] = [21, 22, 23, 24, 25, 26, 27];

/// A Go toolchain.
#[derive(Debug, Clone)]
pub(crate) struct Go {
    pub(crate) minor: u32,
    pub(crate) path: PathBuf,
}

impl Go {
    /// Those that the environment names.
    pub(crate) fn all() -> Vec<Self> {
        VERSIONS
            .iter()
            .filter_map(|&minor| {
                let path = std::env::var_os(format!("HEAPTIDE_GO_1_{minor}"))?;
                Some(Self {
                    minor,
                    path: path.into(),
                })
            })
            .collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (name, value) in [
            ("GOFLAGS", "-mod=mod"),
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
            ("CGO_ENABLED", "0"),
        ] {
            command.env(name, value);
        }
        command
    }

    /// Builds the program in `source` (a folder with a `go.mod`) to `binary`.
    pub(crate) fn build(&self, source: &Path, binary: &Path) {
        let status = self
            .command()
            .current_dir(source)
            .args(["build", "-o"])
            .arg(binary)
            .arg(".")
            .status();
        assert!(status.expect("run go build").success(), "go build with {self:?}");
    }

    pub(crate) fn kind_special_profile(&self) -> u8 {
        match self.minor {
            ..=22 => 2,
            23 | 24 => 3,
            _ => 4,
        }
    }

    pub(crate) fn offsets(&self) -> GoOffsets {
        let (g_goid, m_curg) = match self.minor {
            ..=22 => (152, 192),
            23 | 24 => (160, 192),
            _ => (152, 184),
        };
        let special_kind = if self.minor <= 23 { 10 } else { 16 };
        GoOffsets {
            g_goid,
            g_m: 48,
            m_curg,
            special_kind,
        }
    }
}

/// A function's address and bytes.
struct Function {
    address: u64,
    bytes: Vec<u8>,
}

/// An unstripped Go binary.
pub(crate) struct Binary {
    image: Vec<u8>,
    symbols: HashMap<String, Vec<(u64, usize)>>,
}

impl Binary {
    pub(crate) fn read(go: &Go, path: &Path) -> Self {
        let nm = go
            .command()
            .args(["tool", "nm", "-size"])
            .arg(path)
            .output()
            .expect("run go tool nm");
        assert!(nm.status.success(), "go tool nm {}", path.display());
        let mut symbols: HashMap<String, Vec<(u64, usize)>> = HashMap::new();
        for line in String::from_utf8(nm.stdout).expect("names in UTF-8").lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(size), Some("T" | "t"), Some(name)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            if let (Ok(address), Ok(size)) = (u64::from_str_radix(address, 16), size.parse()) {
                symbols.entry(name.to_owned()).or_default().push((address, size));
            }
        }
        Self {
            image: std::fs::read(path).expect("read the binary"),
            symbols,
        }
    }

    /// Where a program goes in this binary.
    pub(crate) fn site(&self, program: Program) -> ProbePoint {
        let functions = self.functions(program.symbol());
        let found = match program {
            Program::StwEndWakep => functions.iter().find_map(|function| {
                Some((
                    function.address + self.call_of(function, "runtime.wakep")?,
                    Instruction::Call,
                ))
            }),
            _ => functions.iter().find_map(|function| {
                Some((function.address + push_bp(&function.bytes)?, Instruction::PushBp))
            }),
        };
        let (address, instruction) =
            found.unwrap_or_else(|| panic!("no site for {program:?} in {}", program.symbol()));
        ProbePoint {
            program,
            file_offset: self.file_offset(address),
            instruction,
        }
    }

    pub(crate) fn all_sites(&self) -> Vec<ProbePoint> {
        Program::ALL.iter().map(|&program| self.site(program)).collect()
    }

    /// Whether a program counter is in a function.
    pub(crate) fn contains(&self, symbol: &str, pc: u64) -> bool {
        self.symbols.get(symbol).is_some_and(|all| {
            all.iter()
                .any(|&(address, size)| (address..address + size as u64).contains(&pc))
        })
    }

    fn functions(&self, symbol: &str) -> Vec<Function> {
        let all = self
            .symbols
            .get(symbol)
            .unwrap_or_else(|| panic!("no symbol {symbol}"));
        all.iter()
            .map(|&(address, size)| {
                let start = self.file_offset(address) as usize;
                Function {
                    address,
                    bytes: self.image[start..start + size].to_vec(),
                }
            })
            .collect()
    }

    /// Offset in the function of its `CALL rel32` to `callee`.
    fn call_of(&self, function: &Function, callee: &str) -> Option<u64> {
        let targets = &self.symbols[callee];
        function.bytes.windows(5).enumerate().find_map(|(offset, bytes)| {
            let [0xe8, rel @ ..] = bytes else {
                return None;
            };
            let rel = i32::from_le_bytes(rel.try_into().ok()?);
            let target = (function.address + offset as u64 + 5).wrapping_add_signed(rel.into());
            targets
                .iter()
                .any(|&(address, _)| address == target)
                .then_some(offset as u64)
        })
    }

    /// By the ELF program headers: 64-bit little-endian, `PT_LOAD` segments.
    fn file_offset(&self, address: u64) -> u64 {
        let word = |at: usize| u64::from_le_bytes(self.image[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u16::from_le_bytes([self.image[at], self.image[at + 1]]);
        let (table, entry, count) = (word(32) as usize, usize::from(half(54)), usize::from(half(56)));
        (0..count)
            .map(|index| table + index * entry)
            .filter(|&at| half(at) == 1)
            .map(|at| (word(at + 8), word(at + 16), word(at + 32)))
            .find(|&(_, start, size)| (start..start + size).contains(&address))
            .map(|(offset, start, _)| offset + address - start)
            .unwrap_or_else(|| panic!("address {address:#x} in no segment"))
    }
}

/// Offset of `PUSHQ BP` after Go's stack check: [LEAQ ..(SP), R12;] CMPQ ..,16(R14); JBE; PUSHQ BP.
fn push_bp(code: &[u8]) -> Option<u64> {
    let rest = match code {
        [0x55, ..] => return Some(0),
        [0x4c, 0x8d, 0x64, 0x24, _, rest @ ..] | [0x4c, 0x8d, 0xa4, 0x24, _, _, _, _, rest @ ..] => rest,
        rest => rest,
    };
    let rest = match rest {
        [0x49 | 0x4d, 0x3b, 0x66, 0x10 | 0x18, rest @ ..] => rest,
        _ => return None,
    };
    let rest = match rest {
        [0x76, _, rest @ ..] | [0x0f, 0x86, _, _, _, _, rest @ ..] => rest,
        _ => return None,
    };
    matches!(rest, [0x55, ..]).then(|| (code.len() - rest.len()) as u64)
}
