//! Go toolchains and the targets that they build. Each variant is built once per run of a test binary.

use crate::machine;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A Go release that the tests use, by the variable that names its `go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Go {
    V1_22,
    V1_27,
}

/// How a target is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Build {
    /// With symbols and DWARF, `runtime/pprof` linked: memory profiling is on.
    Plain,
    /// `-s -w` and without `runtime/pprof`, so that the linker turns memory profiling off.
    Stripped,
}

impl Go {
    pub const ALL: [Self; 2] = [Self::V1_22, Self::V1_27];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_22 => "1.22",
            Self::V1_27 => "1.27",
        }
    }

    /// The target `sites`, built; `None` after a loud skip.
    ///
    /// # Panics
    /// When it can't be built.
    #[must_use]
    pub fn sites(self, test: &str, build: Build) -> Option<PathBuf> {
        self.target(test, build, "e2e/targets/sites")
    }

    /// The program in a folder of this repository, built; `None` after a loud skip.
    ///
    /// # Panics
    /// When it can't be built.
    #[must_use]
    pub fn target(self, test: &str, build: Build, source: &'static str) -> Option<PathBuf> {
        type Built = BTreeMap<(Go, Build, &'static str), PathBuf>;
        static BUILT: Mutex<Built> = Mutex::new(BTreeMap::new());
        let variable = format!("HEAPTIDE_GO_{}", self.name().replace('.', "_"));
        let Some(go) = std::env::var_os(&variable) else {
            machine::skip(
                test,
                &format!("{variable} names no Go: `cargo xtask setup` installs it"),
            );
            return None;
        };
        let mut built = crate::wait::lock(&BUILT);
        let path = built
            .entry((self, build, source))
            .or_insert_with(|| compile(Path::new(&go), self, build, source));
        Some(path.clone())
    }
}

fn compile(go: &Path, version: Go, build: Build, source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(source);
    let name = source
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = output_folder();
    std::fs::create_dir_all(&folder).expect("a folder for built targets");
    let target = folder.join(format!("{name}-{}-{build:?}", version.name()).to_lowercase());
    let flags: &[&str] = match build {
        Build::Plain => &["-tags=pprof"],
        Build::Stripped => &["-ldflags=-s -w"],
    };
    let status = Command::new(go)
        .envs([
            ("GOFLAGS", "-mod=mod"),
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
            ("CGO_ENABLED", "0"),
        ])
        .current_dir(source)
        .args(["build", "-buildvcs=false", "-trimpath"])
        .args(flags)
        .arg("-o")
        .arg(&target)
        .arg(".")
        .status()
        .expect("run go build");
    assert!(status.success(), "go build of {name} with Go {}", version.name());
    target
}

/// A copy of a program that says it was built with another Go, whose name is as long.
///
/// # Panics
/// When the version is not in it, or it can't be written.
pub fn copy_with_version(program: &Path, to: &Path, from: &str, version: &str) {
    assert_eq!(from.len(), version.len(), "nothing in the file may move");
    let mut bytes = std::fs::read(program).expect("read the program");
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .windows(from.len())
        .position(|part| part == from.as_bytes())
    {
        at += found;
        bytes[at..at + from.len()].copy_from_slice(version.as_bytes());
    }
    assert!(at > 0, "the version is not in the program");
    std::fs::write(to, bytes).expect("write the copy");
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("make it executable");
}

/// Beside the test binaries, in the target folder.
fn output_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the test binary's path");
    own.parent().unwrap_or(Path::new(".")).join("../e2e-targets")
}
