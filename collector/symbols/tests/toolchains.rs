//! Real Go binaries of every version and way of building, against what Go itself says
//! of them: `go tool nm`, `go tool addr2line`, `runtime.CallersFrames`, DWARF.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows it in test functions; this reaches their helpers"
)]

mod common;
#[path = "toolchains/heap_offsets.rs"]
mod heap_offsets;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use common::{Toolchain, VARIANTS, Variant, has_c_compiler, run};
use heaptide_symbols::{
    Frame, GoBinary, GoVersion, HeapOffsets, PcKind, ProbeInstruction, RuntimeOffsets, RuntimeVars, Support,
    SymbolError, wait_reason,
};
use serde_json::Value;

/// Functions that the collector probes; each must be probed behind its stack check at a PUSH, or before
/// Go 1.21 at the check's jump.
const PROBED: &[&str] = &[
    "runtime.profilealloc",
    "runtime.freeSpecial",
    "runtime.(*gcControllerState).startCycle",
    "runtime.gcMarkTermination",
    "runtime.stopTheWorldWithSema",
    "runtime.startTheWorldWithSema",
    "runtime.newproc",
    "runtime.copystack",
];

type Binary = GoBinary<Vec<u8>>;

#[test]
fn go_1_19() {
    check_version(19);
}
/// No package registry carries this toolchain; `unknown_programs.rs` reads a program that it made.
#[test]
fn go_1_20() {
    if Toolchain::is_set(20) {
        check_version(20);
    }
}
#[test]
fn go_1_21() {
    check_version(21);
}
#[test]
fn go_1_22() {
    check_version(22);
}
#[test]
fn go_1_23() {
    check_version(23);
}
#[test]
fn go_1_24() {
    check_version(24);
}
#[test]
fn go_1_25() {
    check_version(25);
}
#[test]
fn go_1_26() {
    check_version(26);
}
#[test]
fn go_1_27() {
    check_version(27);
}

fn check_version(minor: u32) {
    let Some(toolchain) = Toolchain::find(minor) else {
        return;
    };
    let with_cgo = has_c_compiler();
    for variant in VARIANTS.iter().filter(|v| with_cgo || !v.cgo) {
        let what = format!("go1.{minor} {}", variant.name);
        eprintln!("checking {what}");
        let path = toolchain.build("symbols", variant);
        let binary = GoBinary::parse(fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{what}: {e}"));
        check_identity(&what, &binary, minor, variant);
        check_probe_sites(&what, &binary, minor);
        check_allocators(&what, &binary, minor);
        check_run(&what, &binary, &path, variant);
        if variant.stripped {
            assert_eq!(binary.symbol("runtime.main"), None, "{what}: is not stripped");
            assert!(binary.scan_mbuckets().is_some(), "{what}: mbuckets");
            assert!(binary.scan_allgs().is_some(), "{what}: allgs");
            assert_eq!(
                binary.leak_check_vaddr().is_some(),
                minor >= 27,
                "{what}: the leak detector's switch"
            );
            let found = named(&binary.runtime_vars());
            assert!(found.iter().all(|(_, at)| at.is_some()), "{what}: {found:x?}");
        } else {
            check_symbols(&what, &binary, &toolchain, &path);
            check_lines(&what, &binary, &toolchain, &path);
        }
        if variant.name == "plain" {
            check_never_inlined(&what, &binary);
        }
    }
    offsets_equal_dwarf(&toolchain);
    wait_reasons_equal_the_source(&toolchain);
}

fn check_identity(what: &str, binary: &Binary, minor: u32, variant: &Variant) {
    let version = binary
        .go_version()
        .unwrap_or_else(|| panic!("{what}: no version"));
    assert_eq!((version.major, version.minor), (1, minor), "{what}");
    assert_eq!(binary.support(), Support::Full, "{what}");
    assert_eq!(binary.offsets(), RuntimeOffsets::of(version), "{what}");
    assert!(binary.offsets().is_some(), "{what}");
    assert_eq!(binary.is_position_independent(), variant.pie, "{what}");
    let build = binary.build_info().unwrap();
    assert_eq!(
        build.main_module(),
        Some("heaptide.dev/targets/symbols"),
        "{what}"
    );
    assert_eq!(
        build.main_package(),
        Some("heaptide.dev/targets/symbols"),
        "{what}"
    );
    assert_eq!(
        build.setting("CGO_ENABLED"),
        Some(if variant.cgo { "1" } else { "0" }),
        "{what}"
    );
    assert!(
        binary.build_id().is_some_and(|id| id.len() >= 40),
        "{what}: build id {:?}",
        binary.build_id()
    );
}

/// That each allocation passes one of them, and only one, is what `kernel_exact` shows.
fn check_allocators(what: &str, binary: &Binary, minor: u32) {
    let names = binary.allocators();
    if minor < 27 {
        assert_eq!(names, ["runtime.mallocgc"], "{what}");
    } else {
        assert_eq!(names.len(), 18, "{what}: {names:?}");
        assert!(names.contains(&"runtime.mallocgcLarge"), "{what}: {names:?}");
        assert!(!names.contains(&"runtime.mallocgc"), "{what}: {names:?}");
    }
    for name in names {
        let site = binary.probe_site(name).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(site.instruction.is_emulated(), "{what}: {name} {site:x?}");
        assert_eq!(
            site.instruction.is_conditional(),
            minor < 21,
            "{what}: {name} {site:x?}"
        );
    }
}

fn check_probe_sites(what: &str, binary: &Binary, minor: u32) {
    let code = binary.bytes();
    for name in PROBED {
        let site = binary.probe_site(name).unwrap_or_else(|e| panic!("{what}: {e}"));
        let at = site.file_offset as usize;
        if minor < 21 {
            assert!(site.instruction.is_conditional(), "{what}: {name} {site:x?}");
            let bytes: &[u8] = match site.instruction {
                ProbeInstruction::JumpToMorestack { near: true } => &[0x0f, 0x86],
                _ => &[0x76],
            };
            assert!(code[at..].starts_with(bytes), "{what}: {name} {site:x?}");
        } else {
            assert_eq!(
                site.instruction,
                ProbeInstruction::Push,
                "{what}: {name} {site:x?}"
            );
            assert_eq!(code[at], 0x55, "{what}: {name}");
        }
        // The flags at the site must be those of a stack check.
        assert!(site.offset_in_function > 0, "{what}: {name} has no stack check");
        assert_eq!(
            binary.function_at(site.vaddr).map(|f| f.name),
            Some(*name),
            "{what}"
        );
    }
    // A goroutine's end: `gdestroy` came with Go 1.22.
    let minor = binary.go_version().map_or(0, |version| version.minor);
    let end = if minor < 22 {
        "runtime.goexit0"
    } else {
        "runtime.gdestroy"
    };
    let end = binary.probe_site(end).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(
        end.instruction.is_emulated() && end.offset_in_function > 0,
        "{what}: {end:x?}"
    );
    for (function, callee) in [
        ("runtime.startTheWorldWithSema", "runtime.wakep"),
        ("runtime.newproc.func1", "runtime.runqput"),
    ] {
        let call = binary.call_site(function, callee);
        let call = call.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(call.instruction, ProbeInstruction::CallRel32, "{what}");
        assert_eq!(code[call.file_offset as usize], 0xe8, "{what}");
    }

    let assist = "runtime.gcAssistAlloc1";
    let first = binary.call_site(assist, "runtime.nanotime1");
    let second = binary.call_site_behind(assist, "runtime.gcDrainN", "runtime.nanotime1");
    let (first, second) = match (first, second) {
        (Ok(first), Ok(second)) => (first, second),
        other => panic!("{what}: {other:?}"),
    };
    assert!(first.vaddr < second.vaddr, "{what}: {first:x?} {second:x?}");
    assert_eq!(code[second.file_offset as usize], 0xe8, "{what}");
    let none = binary.call_site_behind(assist, "runtime.gcDrainN", "runtime.gcDrainN");
    assert!(
        matches!(none, Err(SymbolError::NoCall { .. })),
        "{what}: {none:?}"
    );

    let missing = binary.probe_site("runtime.noSuchFunction");
    assert_eq!(
        missing,
        Err(SymbolError::NoFunction {
            name: "runtime.noSuchFunction".to_owned()
        }),
        "{what}"
    );
    let no_call = binary.call_site("runtime.wakep", "runtime.startTheWorldWithSema");
    assert!(
        matches!(no_call, Err(SymbolError::NoCall { .. })),
        "{what}: {no_call:?}"
    );
}

/// Runs the program and compares what it says of itself: frames and the rate's address.
fn check_run(what: &str, binary: &Binary, path: &Path, variant: &Variant) {
    let output = run(path, &[]);
    let mut inlined = 0;
    let stacks: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(stacks.len() >= 12, "{what}: {} stacks", stacks.len());
    for stack in &stacks {
        let number = |key: &str| stack[key].as_u64().unwrap();
        let bias = number("here_pc") - binary.function("main.here").unwrap().entry_vaddr;
        assert_eq!(bias != 0, variant.pie, "{what}: bias {bias:x}");
        assert_eq!(bias % 4096, 0, "{what}: bias {bias:x}");
        let rate = Some(number("mem_profile_rate_address") - bias);
        assert_eq!(binary.scan_mem_profile_rate(), rate, "{what}");
        assert_eq!(binary.mem_profile_rate_vaddr(), rate, "{what}");

        let expected: Vec<GoFrame> = stack["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| GoFrame::new(f, bias))
            .collect();
        inlined += check_stack(&format!("{what}: {}", stack["what"]), binary, &expected);
    }
    assert!(
        inlined >= 20,
        "{what}: only {inlined} inlined frames were compared"
    );
}

struct GoFrame<'a> {
    vaddr: u64,
    function: &'a str,
    file: &'a str,
    line: u64,
}

impl<'a> GoFrame<'a> {
    fn new(frame: &'a Value, bias: u64) -> Self {
        Self {
            vaddr: frame["pc"].as_u64().unwrap() - bias,
            function: frame["function"].as_str().unwrap(),
            file: frame["file"].as_str().unwrap(),
            line: frame["line"].as_u64().unwrap(),
        }
    }

    fn equals(&self, frame: &Frame<'_>) -> bool {
        (self.function, self.file, self.line)
            == (&*frame.printed_function(), frame.file, u64::from(frame.line))
    }
}

/// Expands each physical frame and compares the whole logical stack; says how many
/// inlined frames there were.
fn check_stack(what: &str, binary: &Binary, expected: &[GoFrame<'_>]) -> usize {
    let mut inlined = 0;
    let mut rest = expected;
    while let Some(go) = rest.first() {
        let mut frames = Vec::new();
        assert!(
            binary.resolve(go.vaddr, PcKind::ReturnAddress, &mut frames) > 0,
            "{what}: {:x}",
            go.vaddr
        );
        assert!(
            frames
                .split_last()
                .is_some_and(|(last, init)| !last.inlined && init.iter().all(|f| f.inlined))
        );
        for frame in &frames {
            // runtime.Callers leaves wrappers out.
            if frame.file == Frame::AUTOGENERATED && !rest[0].equals(frame) {
                continue;
            }
            let (next, after) = rest
                .split_first()
                .unwrap_or_else(|| panic!("{what}: {frame:?} is too much"));
            assert!(
                next.equals(frame),
                "{what}: {frame:?}, but Go says {} {}:{}",
                next.function,
                next.file,
                next.line
            );
            check_start_line(what, binary, frame);
            inlined += usize::from(frame.inlined);
            rest = after;
        }
    }
    inlined
}

/// In our own source the start line must be a line with `func`.
fn check_start_line(what: &str, binary: &Binary, frame: &Frame<'_>) {
    // Not recorded before Go 1.20.
    let is_known = frame.start_line > 0 || binary.go_version().is_none_or(|version| version.minor >= 20);
    if is_known && frame.function.starts_with("main.") && frame.file != Frame::AUTOGENERATED {
        let source = fs::read_to_string(frame.file).unwrap();
        let line = source.lines().nth(frame.start_line as usize - 1).unwrap();
        assert!(line.contains("func"), "{what}: {frame:?} starts at {line:?}");
    }
}

fn check_symbols(what: &str, binary: &Binary, toolchain: &Toolchain, path: &Path) {
    let listing = toolchain.tool("nm", &[path.as_os_str()], String::new());
    let mut addresses = HashMap::new();
    let mut code = HashSet::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else {
            continue;
        };
        let name = words.collect::<Vec<_>>().join(" ");
        if kind.eq_ignore_ascii_case("t") {
            // The function table has no ABI suffixes.
            let bare = name
                .strip_suffix(".abi0")
                .or(name.strip_suffix(".abiinternal"))
                .unwrap_or(&name);
            code.insert((bare.replace('·', "."), address));
            // Before 1.20 the table has all type arguments, and lengths of arrays, as [...].
            if let (Some(open), Some(close)) = (bare.find('['), bare.rfind(']'))
                && toolchain.minor < 20
            {
                let short = format!("{}[...]{}", &bare[..open], &bare[close + 1..]);
                code.insert((short.replace('·', "."), address));
            }
        }
        addresses.insert(name, address);
    }
    for (name, symbol, scan) in [
        (
            "runtime.MemProfileRate",
            binary.mem_profile_rate_vaddr(),
            binary.scan_mem_profile_rate(),
        ),
        (
            "runtime.mbuckets",
            binary.mbuckets_vaddr(),
            binary.scan_mbuckets(),
        ),
        ("runtime.allgs", binary.allgs_vaddr(), binary.scan_allgs()),
    ] {
        let truth = addresses.get(name).copied();
        assert!(truth.is_some(), "{what}: nm has no {name}");
        assert_eq!((symbol, scan), (truth, truth), "{what}: {name}");
    }
    // The switch is part of a larger variable, `runtime.work`, which is 1,000 bytes or so.
    let work = addresses["runtime.work"];
    if let Some(switch) = binary.leak_check_vaddr() {
        assert!(
            (work..work + 4096).contains(&switch),
            "{what}: {switch:#x}, work {work:#x}"
        );
    }
    let both = [binary.runtime_vars(), binary.scan_runtime_vars()];
    for (name, found) in both.iter().flat_map(named) {
        assert_eq!(found, addresses.get(name).copied(), "{what}: {name}");
        assert!(found.is_some(), "{what}: {name}");
    }
    let mut compared = 0;
    for function in binary.functions() {
        // Markers without code of their own, which the symbol table does not list.
        if function.name == "go:textfipsstart" || function.name == "go:textfipsend" {
            continue;
        }
        // The symbol table writes the middle dot of local types as a full stop.
        let key = (function.name.replace('·', "."), function.entry_vaddr);
        assert!(code.contains(&key), "{what}: nm does not have {function:x?}");
        compared += 1;
    }
    assert!(compared > 1000, "{what}: only {compared} functions");
}

fn named(vars: &RuntimeVars) -> [(&'static str, Option<u64>); 8] {
    [
        ("runtime.mheap_", vars.mheap),
        ("runtime.memstats", vars.memstats),
        ("runtime.allp", vars.allp),
        ("runtime.allm", vars.allm),
        ("runtime.mbuckets", vars.mbuckets),
        ("runtime.buckhash", vars.buckhash),
        ("runtime.persistentChunks", vars.persistent_chunks),
        ("runtime.gcBitsArenas", vars.gc_bits_arenas),
    ]
}

/// A probed function that is also inlined somewhere would be missed there.
fn check_never_inlined(what: &str, binary: &Binary) {
    let mut frames = Vec::new();
    for function in binary.functions().filter(|f| f.name.starts_with("runtime.")) {
        // No inlined body of these functions could be shorter than this step.
        for vaddr in (function.entry_vaddr..function.end_vaddr).step_by(8) {
            frames.clear();
            binary.resolve(vaddr, PcKind::Instruction, &mut frames);
            let inlined = frames.iter().find(|f| f.inlined && PROBED.contains(&f.function));
            assert!(inlined.is_none(), "{what}: {inlined:?} in {}", function.name);
        }
    }
}

/// Pcs spread over the whole text, against `go tool addr2line`.
fn check_lines(what: &str, binary: &Binary, toolchain: &Toolchain, path: &Path) {
    let functions: Vec<_> = binary.functions().collect();
    let spread = functions.iter().step_by(3).flat_map(|f| {
        let size = f.end_vaddr - f.entry_vaddr;
        [0, size / 3, size / 2].map(|into| f.entry_vaddr + into)
    });
    let pcs: Vec<u64> = spread.collect();
    let input: String = pcs.iter().map(|pc| format!("{pc:#x}\n")).collect();
    // That of old toolchains does not know PIE files.
    let newest = Toolchain::newest().filter(|_| toolchain.minor < 21);
    let reader = newest.as_ref().unwrap_or(toolchain);
    let answer = reader.tool("addr2line", &[path.as_os_str()], input);
    let answers: Vec<&str> = answer.lines().collect();
    assert_eq!(answers.len(), 2 * pcs.len(), "{what}");
    let mut with_line = 0;
    for (pc, answer) in pcs.iter().zip(answers.chunks(2)) {
        let mut frames = Vec::new();
        binary.resolve(*pc, PcKind::Instruction, &mut frames);
        let (Some(leaf), Some(outermost)) = (frames.first(), frames.last()) else {
            panic!("{what}: {pc:x} has no frame, addr2line says {answer:?}");
        };
        assert_eq!(outermost.function, answer[0], "{what}: {pc:x}");
        // In padding behind the code there is no line.
        if answer[1].starts_with(':') || answer[1] == "?:0" {
            assert_eq!((leaf.file, leaf.line), ("?", 0), "{what}: {pc:x} {leaf:?}");
        } else {
            assert_eq!(
                format!("{}:{}", leaf.file, leaf.line),
                answer[1],
                "{what}: {pc:x} {leaf:?}"
            );
            with_line += 1;
        }
    }
    assert!(with_line > 1000, "{what}: only {with_line} lines were compared");
}

/// The words for wait reasons, against the runtime's source.
fn wait_reasons_equal_the_source(toolchain: &Toolchain) {
    let path = toolchain.root().join("src/runtime/runtime2.go");
    let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let block = |from: &str, to: &str| {
        let rest = source.split_once(from).unwrap().1;
        rest.split_once(to).unwrap().0.to_owned()
    };
    let names = block("type waitReason uint8", "\n)");
    let names = names.lines().filter_map(|line| {
        line.split_whitespace()
            .next()
            .filter(|word| word.starts_with("waitReason"))
    });
    let texts = block("var waitReasonStrings = [...]string{", "\n}");
    let texts: HashMap<&str, &str> = texts
        .lines()
        .filter_map(|line| {
            let (name, text) = line.split_once(':')?;
            Some((name.trim(), text.split('"').nth(1)?))
        })
        .collect();
    let version = GoVersion {
        text: String::new(),
        major: 1,
        minor: toolchain.minor,
    };
    let mut count = 0;
    for (number, name) in names.enumerate() {
        assert_eq!(
            wait_reason(&version, number as u8),
            texts[name],
            "go1.{}: {name}",
            toolchain.minor
        );
        count = number + 1;
    }
    assert!(count > 26, "go1.{}: {count} wait reasons", toolchain.minor);
    assert_eq!(wait_reason(&version, count as u8), "unknown wait reason");
}

/// The offsets table, against the DWARF of this version.
fn offsets_equal_dwarf(toolchain: &Toolchain) {
    let Some(newest) = Toolchain::newest() else {
        return;
    };
    let reader = newest.build("symbols/offsets", &VARIANTS[0]);
    let path = toolchain.build("symbols", &VARIANTS[0]);
    let dwarf: Value = serde_json::from_str(&run(&reader, &[path.as_os_str()])).unwrap();
    let at =
        |field: &str| u32::try_from(dwarf[field].as_u64().unwrap_or_else(|| panic!("no {field}"))).unwrap();
    let binary = GoBinary::parse(fs::read(&path).unwrap()).unwrap();
    let o = binary.offsets().unwrap();
    for (field, got, expected) in [
        ("g.stack.lo", o.g_stack_lo, at("g.stack")),
        ("g.stack.hi", o.g_stack_hi, at("g.stack") + 8),
        ("g.stackguard0", o.g_stackguard0, at("g.stackguard0")),
        ("g.m", o.g_m, at("g.m")),
        ("g.sched.sp", o.g_sched_sp, at("g.sched") + at("gobuf.sp")),
        ("g.sched.pc", o.g_sched_pc, at("g.sched") + at("gobuf.pc")),
        ("g.sched.bp", o.g_sched_bp, at("g.sched") + at("gobuf.bp")),
        ("g.atomicstatus", o.g_atomicstatus, at("g.atomicstatus")),
        ("g.goid", o.g_goid, at("g.goid")),
        ("g.waitreason", o.g_waitreason, at("g.waitreason")),
        ("g.gopc", o.g_gopc, at("g.gopc")),
        ("g.startpc", o.g_startpc, at("g.startpc")),
        ("m.g0", o.m_g0, at("m.g0")),
        ("m.procid", o.m_procid, at("m.procid")),
        ("m.gsignal", o.m_gsignal, at("m.gsignal")),
        ("m.curg", o.m_curg, at("m.curg")),
        ("m.p", o.m_p, at("m.p")),
        ("m.id", o.m_id, at("m.id")),
        ("p.id", o.p_id, at("p.id")),
        ("p.mcache", o.p_mcache, at("p.mcache")),
        ("special.kind", o.special_kind, at("special.kind")),
    ] {
        assert_eq!(got, expected, "go1.{}: {field}", toolchain.minor);
    }
    let proc = fs::read_to_string(toolchain.root().join("src/runtime/proc.go")).unwrap();
    assert_eq!(
        o.syscall_saves_bp,
        proc.contains("func save(pc, sp, bp uintptr)"),
        "go1.{}: save",
        toolchain.minor
    );
    let parent = dwarf["g.parentGoid"].as_u64().unwrap_or(0);
    assert_eq!(
        u64::from(o.g_parent_goid),
        parent,
        "go1.{}: g.parentGoid",
        toolchain.minor
    );
    let heap = binary.go_version().and_then(HeapOffsets::of).unwrap();
    heap_offsets::equal_dwarf(toolchain.minor, heap, &at);
}
