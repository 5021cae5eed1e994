//! Builds the Go target of these tests with every Go toolchain that the environment
//! names: `HEAPTIDE_GO_<major>_<minor>` is the path of a `go` binary. A missing one is
//! skipped loudly, or fails the test if `HEAPTIDE_REQUIRE_ALL=1` and setup brings it: two releases by
//! default, all of them with `HEAPTIDE_FULL=1`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles its own copy and uses a part"
)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ways to build, and what they change in the file.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    pub flags: &'static [&'static str],
    pub stripped: bool,
    pub pie: bool,
    pub cgo: bool,
}

/// The releases of a plain `cargo xtask setup`.
const DEFAULT_MINORS: [u32; 2] = [22, 27];

/// Two tests of a process may build the same at the same time.
static PARTS: AtomicU32 = AtomicU32::new(0);

const STRIP: &str = "-ldflags=-s -w";
const PIE: &str = "-buildmode=pie";

pub const VARIANTS: &[Variant] = &[
    Variant {
        name: "plain",
        flags: &[],
        stripped: false,
        pie: false,
        cgo: false,
    },
    Variant {
        name: "stripped",
        flags: &[STRIP],
        stripped: true,
        pie: false,
        cgo: false,
    },
    Variant {
        name: "pie",
        flags: &[PIE],
        stripped: false,
        pie: true,
        cgo: false,
    },
    Variant {
        name: "pie-stripped",
        flags: &[PIE, STRIP],
        stripped: true,
        pie: true,
        cgo: false,
    },
    Variant {
        name: "cgo",
        flags: &["-tags=withcgo"],
        stripped: false,
        pie: false,
        cgo: true,
    },
    Variant {
        name: "cgo-stripped",
        flags: &["-tags=withcgo", STRIP],
        stripped: true,
        pie: false,
        cgo: true,
    },
    Variant {
        name: "cgo-pie",
        flags: &["-tags=withcgo", PIE],
        stripped: false,
        pie: true,
        cgo: true,
    },
    Variant {
        name: "cgo-pie-stripped",
        flags: &["-tags=withcgo", PIE, STRIP],
        stripped: true,
        pie: true,
        cgo: true,
    },
];

#[derive(Debug, Clone)]
pub struct Toolchain {
    go: PathBuf,
    pub minor: u32,
}

impl Toolchain {
    /// The toolchain for Go 1.`minor`, or a skip.
    pub fn find(minor: u32) -> Option<Self> {
        let name = format!("HEAPTIDE_GO_1_{minor}");
        let Some(go) = env::var_os(&name) else {
            let why = format!("{name} is not set; it should be the path of a go1.{minor} binary");
            skip_unless_wanted(DEFAULT_MINORS.contains(&minor), &why);
            return None;
        };
        Some(Self { go: go.into(), minor })
    }

    /// Whether the environment names that toolchain.
    pub fn is_set(minor: u32) -> bool {
        env::var_os(format!("HEAPTIDE_GO_1_{minor}")).is_some()
    }

    /// The newest one that there is.
    pub fn newest() -> Option<Self> {
        let minors = (19..=27)
            .rev()
            .filter(|minor| env::var_os(format!("HEAPTIDE_GO_1_{minor}")).is_some());
        let found = minors.map(Self::find).next().flatten();
        if found.is_none() {
            skip("none of HEAPTIDE_GO_1_19 to HEAPTIDE_GO_1_27 is set");
        }
        found
    }

    /// Builds `e2e/targets/<target>`, or takes it from the cache.
    pub fn build(&self, target: &str, variant: &Variant) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../e2e/targets")
            .join(target);
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-targets");
        fs::create_dir_all(&cache).unwrap();
        let key = self.cache_key(&source, variant);
        let name = format!(
            "{}-{}-{}-{key:016x}",
            target.replace('/', "-"),
            self.minor,
            variant.name
        );
        let output = cache.join(&name);
        if output.exists() {
            return output;
        }
        // Renamed when whole, so that a build that was broken off is not taken for one.
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = cache.join(format!("{name}.{}.{number}", std::process::id()));
        let mut build = self.command(&["build", "-o"]);
        build.arg(&part).args(variant.flags).arg(".").current_dir(&source);
        build.env("CGO_ENABLED", if variant.cgo { "1" } else { "0" });
        let done = build
            .output()
            .unwrap_or_else(|e| panic!("cannot run {}: {e}", self.go.display()));
        assert!(
            done.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        fs::rename(&part, &output).unwrap();
        output
    }

    /// `go tool <name> <arguments>` with `input` on stdin.
    pub fn tool(&self, name: &str, arguments: &[&OsStr], input: String) -> String {
        let mut tool = self.command(&["tool", name]);
        let child = tool
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let done = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(
            done.status.success(),
            "go tool {name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    /// `GOROOT`.
    pub fn root(&self) -> PathBuf {
        let done = self.command(&["env", "GOROOT"]).output().unwrap();
        PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.go);
        command.args(arguments);
        // Exactly this toolchain, and nothing from the network or from user settings.
        for (key, value) in [
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", "-mod=mod"),
            ("GOPROXY", "off"),
            ("GOWORK", "off"),
        ] {
            command.env(key, value);
        }
        command
    }

    fn cache_key(&self, source: &Path, variant: &Variant) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut files: Vec<PathBuf> = fs::read_dir(source).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.is_file()) {
            file.file_name().hash(&mut hasher);
            fs::read(file).unwrap().hash(&mut hasher);
        }
        self.go.hash(&mut hasher);
        variant.flags.hash(&mut hasher);
        hasher.finish()
    }
}

/// True if cgo can be used.
pub fn has_c_compiler() -> bool {
    let found = Command::new("gcc")
        .arg("--version")
        .output()
        .is_ok_and(|done| done.status.success());
    if !found {
        skip("no gcc: cgo variants are not built");
    }
    found
}

pub fn run(program: &Path, arguments: &[&OsStr]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{}: {}",
        program.display(),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// What a plain setup doesn't bring is required by a full one only.
pub fn skip_unless_wanted(is_default: bool, why: &str) {
    let is_full = env::var_os("HEAPTIDE_FULL").is_some_and(|v| v == "1");
    if is_default || is_full {
        skip(why);
    } else {
        say_skipped(why);
    }
}

fn skip(why: &str) {
    assert!(
        env::var_os("HEAPTIDE_REQUIRE_ALL").is_none_or(|v| v != "1"),
        "HEAPTIDE_REQUIRE_ALL=1, but {why}"
    );
    say_skipped(why);
}

fn say_skipped(why: &str) {
    // Not eprintln!, which the test harness swallows when the test passes.
    std::io::stderr()
        .write_all(format!("SKIP: {why}\n").as_bytes())
        .unwrap();
}
