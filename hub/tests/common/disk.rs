//! A disk that fails or is slow when it is told to, for a hub in a process of its own: `disk.c`, compiled here and
//! preloaded there.
//!
//! Left out: a failed read. What the hub calls on files goes through the C library, so that it can be stood in for;
//! that of a statically linked hub could not.

#![allow(clippy::print_stderr, reason = "what can't be tested here is said")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("disk.c");
const CONTROL: &str = "HEAPTIDE_TEST_DISK_CONTROL";
const FOLDER: &str = "HEAPTIDE_TEST_DISK_FOLDER";
/// The words of `struct control`.
const WORDS: usize = 9;

/// What the disk does from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    pub writes_fail: bool,
    pub syncs_fail: bool,
    pub write_ms: u32,
    pub sync_ms: u32,
    /// So many calls that are to fail still work.
    pub spared: u32,
}

/// What the disk has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    pub failed_writes: u32,
    pub failed_syncs: u32,
    /// Writes of which only the first half came to the disk.
    pub torn_writes: u32,
    /// Written, not yet synced, and dropped by a failed sync.
    pub dropped_bytes: u32,
    pub slow_calls: u32,
}

pub struct Disk {
    library: PathBuf,
    control: File,
    /// Holds both.
    place: tempfile::TempDir,
}

impl Order {
    pub const FINE: Self = Self {
        writes_fail: false,
        syncs_fail: false,
        write_ms: 0,
        sync_ms: 0,
        spared: 0,
    };
    pub const WRITES_FAIL: Self = Self {
        writes_fail: true,
        ..Self::FINE
    };
    pub const SYNCS_FAIL: Self = Self {
        syncs_fail: true,
        ..Self::FINE
    };
    pub const ALL_FAILS: Self = Self {
        writes_fail: true,
        syncs_fail: true,
        ..Self::FINE
    };
}

impl Disk {
    /// One that works; `None`, said loudly, where there is no C compiler.
    pub fn make(test: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let (source, library) = (place.path().join("disk.c"), place.path().join("disk.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        compiler.arg(&library).arg(&source).arg("-ldl");
        let compiled = match compiler.output() {
            Ok(compiled) => compiled,
            Err(error) => {
                skip(test, &format!("there is no C compiler ({error}): install cc"));
                return None;
            }
        };
        let complaints = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{complaints}");
        let path = place.path().join("control");
        std::fs::write(&path, [0; WORDS * 4]).unwrap();
        let control = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Some(Self {
            library,
            control,
            place,
        })
    }

    /// For a process whose files below a folder, which is made, are to be on this disk.
    pub fn environment(&self, folder: &Path) -> Vec<(&'static str, OsString)> {
        let control = self.place.path().join("control");
        std::fs::create_dir_all(folder).unwrap();
        // As the kernel names what is open.
        let folder = folder.canonicalize().unwrap();
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            (CONTROL, control.into()),
            (FOLDER, folder.into()),
        ]
    }

    pub fn set(&self, order: Order) {
        let fails = u32::from(order.writes_fail) | u32::from(order.syncs_fail) << 1;
        // How it fails comes last, and first it works, so that no half of an order is obeyed.
        self.put(0, 0);
        self.put(3, order.spared);
        self.put(1, order.write_ms);
        self.put(2, order.sync_ms);
        self.put(0, fails);
    }

    pub fn told(&self) -> Told {
        Told {
            failed_writes: self.word(4),
            failed_syncs: self.word(5),
            torn_writes: self.word(6),
            dropped_bytes: self.word(7),
            slow_calls: self.word(8),
        }
    }

    fn put(&self, word: u64, value: u32) {
        self.control.write_all_at(&value.to_ne_bytes(), word * 4).unwrap();
    }

    fn word(&self, word: u64) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, word * 4).unwrap();
        u32::from_ne_bytes(bytes)
    }
}

/// Says that a test could not do its work here, or fails if everything is required.
fn skip(test: &str, why: &str) {
    let required = std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "HEAPTIDE_REQUIRE_ALL=1, yet {test} can't run: {why}");
    eprintln!("SKIP {test}: {why}");
    if let Some(path) = std::env::var_os("HEAPTIDE_SKIP_FILE") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}
