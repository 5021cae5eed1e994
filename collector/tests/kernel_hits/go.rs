//! Go toolchains and the binaries that they build.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use heaptide_collector::linux::bpf::{ProbePoint, Program};
use heaptide_symbols::GoBinary;

/// Minor versions of Go 1 that the tests look for, as `HEAPTIDE_GO_1_NN=/path/to/go`.
const VERSIONS: [u32; 9] = [19, 20, 21, 22, 23, 24, 25, 26, 27];

/// A Go toolchain.
#[derive(Debug, Clone)]
pub(crate) struct Go {
    pub(crate) minor: u32,
    path: PathBuf,
}

impl Go {
    /// Those that the environment names, the oldest first.
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

    /// Builds the program in `source` (a folder with a `go.mod`) to `path`, with further `flags`.
    pub(crate) fn build(&self, source: &Path, flags: &[&str], path: PathBuf) -> Binary {
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
        let status = command
            .current_dir(source)
            .args(["build", "-buildvcs=false"])
            .args(flags)
            .arg("-o")
            .arg(&path)
            .arg(".")
            .status()
            .expect("run go build");
        assert!(status.success(), "go build {flags:?} with {self:?}");
        let bytes = std::fs::read(&path).expect("read the binary");
        let go = GoBinary::parse(bytes).expect("a Go binary");
        Binary { path, go }
    }
}

/// A binary on disk and what is known of it.
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    pub(crate) go: GoBinary<Vec<u8>>,
}

impl Binary {
    pub(crate) fn site(&self, program: Program) -> ProbePoint {
        ProbePoint::find(&self.go, program).unwrap_or_else(|error| panic!("{program:?}: {error}"))
    }

    pub(crate) fn all_sites(&self) -> Vec<ProbePoint> {
        Program::ALL.iter().map(|&program| self.site(program)).collect()
    }
}

/// The code and types of a binary in a process.
pub(crate) struct Code<'a> {
    binary: &'a Binary,
    bias: u64,
}

impl<'a> Code<'a> {
    pub(crate) fn of(binary: &'a Binary, pid: u32) -> Self {
        // Where the kernel says that execution began, less where the file says so.
        const AT_ENTRY: u64 = 9;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let auxv = std::fs::read(format!("/proc/{pid}/auxv")).expect("read auxv");
        let entry = auxv
            .chunks_exact(16)
            .find(|pair| word(&pair[..8]) == AT_ENTRY)
            .expect("an entry");
        let bias = word(&entry[8..]) - word(&binary.go.bytes()[24..32]);
        Self { binary, bias }
    }

    /// Whether a program counter is in a function of this name.
    pub(crate) fn contains(&self, name: &str, pc: u64) -> bool {
        let function = pc
            .checked_sub(self.bias)
            .and_then(|vaddr| self.binary.go.function_at(vaddr));
        function.is_some_and(|function| function.name == name)
    }
    /// Name of the type whose descriptor is at an address in the process; empty for none.
    pub(crate) fn type_name(&self, address: u64) -> String {
        if address == 0 {
            return String::new();
        }
        let name = self.binary.go.type_name(address.wrapping_sub(self.bias));
        name.map_or_else(|| "(type made at run time)".to_owned(), |name| name.into_owned())
    }
}
