//! Exact windows against `bpftrace` (Debian's package) that counts the same allocators with their stacks, on
//! one process, in turns.
//!
//! Both stand at the same instruction of each function, at which the kernel emulates. bpftrace attaches to
//! symbols only, so the program's own are moved there first; at the functions' entries it would be
//! single-stepped, and much slower still.

use crate::process::Process;
use crate::report::{Figure, Goal, Report, short};
use crate::stats::median_interval;
use crate::tools::{go_target_with_symbols, pass, variable};
use anyhow::{Context as _, Result, bail};
use heaptide_collector::linux::bpf::{ExactOptions, ExactPlan, ExactSession, ProbeSource};
use heaptide_symbols::GoBinary;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Calls between `main` and the allocation: a shallow service and a deep one.
const DEPTHS: [u32; 2] = [8, 40];
/// bpftrace says that it attaches, not that it has.
const SETTLE: Duration = Duration::from_secs(2);

/// bpftrace detaches before it prints, site by site.
const FAREWELL: Duration = Duration::from_secs(90);

/// A program, whole and with its symbols moved.
struct Target {
    path: PathBuf,
    names: Vec<String>,
    plan: ExactPlan,
}

/// What one round of allocations cost, and how many of them were counted.
struct Round {
    ns_per_object: f64,
    mallocs: u64,
}

#[derive(Default)]
struct Rounds {
    /// Cost above that of nobody watching, ours and bpftrace's.
    ours_ns: Vec<f64>,
    peer_ns: Vec<f64>,
    ours_seen: Vec<f64>,
    peer_seen: Vec<f64>,
}

pub(crate) fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let (count, objects) = if quick { (2, 50_000) } else { (5, 200_000) };
    let folder = tempfile::tempdir()?;
    let target = prepare(folder.path())?;
    let object = std::fs::read(variable("HEAPTIDE_BPF_OBJECT")?)?;
    if Command::new("bpftrace").arg("--version").output().is_err() {
        bail!("no bpftrace to compare with: `apt-get install bpftrace`");
    }
    let mut all = Vec::new();
    for depth in DEPTHS {
        let mut command = Command::new(&target.path);
        command.args(["-depth", &depth.to_string(), "-objects", &objects.to_string()]);
        let mut program = Process::start(command.env("GOMAXPROCS", "1"))?;
        program.prints("ready")?;
        round(&mut program)?;
        let mut rounds = Rounds::default();
        for number in 0..count {
            let alone = round(&mut program)?.ns_per_object;
            // Which comes first alternates, so that a slow drift cancels out.
            let (ours, peer) = if number % 2 == 0 {
                let ours = with_window(&mut program, &target, &object)?;
                (ours, with_bpftrace(&mut program, &target)?)
            } else {
                let peer = with_bpftrace(&mut program, &target)?;
                (with_window(&mut program, &target, &object)?, peer)
            };
            rounds.ours_ns.push(ours.0.ns_per_object - alone);
            rounds.peer_ns.push(peer.0.ns_per_object - alone);
            rounds.ours_seen.push(ours.1 / ours.0.mallocs as f64);
            rounds.peer_seen.push(peer.1 / peer.0.mallocs as f64);
            eprint!(".");
        }
        all.push((depth, rounds));
    }
    eprintln!();
    add(&all, &target, report);
    Ok(())
}

fn add(all: &[(u32, Rounds)], target: &Target, report: &mut Report) {
    let mut names = ["exact.cost.shallow", "exact.cost.deep"].into_iter();
    for (depth, rounds) in all {
        let ratios: Vec<f64> = rounds
            .ours_ns
            .iter()
            .zip(&rounds.peer_ns)
            .map(|(ours, peer)| ours / peer)
            .collect();
        let mean = |values: &[f64]| short(values.iter().sum::<f64>() / values.len() as f64);
        let method = format!(
            "CPU per allocation above that of the program alone, {depth} calls deep: an exact window ({} ns) against \
             bpftrace with `@[ustack] = count()` ({} ns) at the same {} sites, same process, in turns",
            mean(&rounds.ours_ns),
            mean(&rounds.peer_ns),
            target.names.len(),
        );
        let name = names.next().unwrap_or("exact.cost");
        report.add(
            Figure::new(name, "ratio", &ratios, &method)
                .interval(median_interval(&ratios))
                .goal(Goal::AtMost(1.0)),
        );
    }
    let joined = |of: fn(&Rounds) -> &Vec<f64>| -> Vec<f64> {
        all.iter().flat_map(|(_, rounds)| of(rounds).clone()).collect()
    };
    report.add(
        Figure::new(
            "exact.seen",
            "share",
            &joined(|rounds| &rounds.ours_seen),
            "allocations counted by the exact window, of those in MemStats.Mallocs (a few more happen around them)",
        )
        .goal(Goal::AtLeast(0.9999)),
    );
    report.add(Figure::new(
        "exact.seen_by_bpftrace",
        "share",
        &joined(|rounds| &rounds.peer_seen),
        "the same of bpftrace",
    ));
}

fn with_window(program: &mut Process, target: &Target, object: &[u8]) -> Result<(Round, f64)> {
    let options = ExactOptions::default();
    let source = ProbeSource::here(program.pid(), None)?;
    let mut session = ExactSession::attach(object, &source, &target.plan, false, &options)?;
    session.open()?;
    let round = round(program)?;
    session.close()?;
    session.detach();
    Ok((round, session.read()?.counts.seen as f64))
}

fn with_bpftrace(program: &mut Process, target: &Target) -> Result<(Round, f64)> {
    let path = target.path.display();
    let probes: Vec<String> = target
        .names
        .iter()
        .map(|name| format!("uprobe:{path}:\"{name}\""))
        .collect();
    let script = format!("{} {{ @[ustack] = count(); }}", probes.join(","));
    let mut command = Command::new("bpftrace");
    command
        .args(["-p", &program.pid().to_string(), "-e", &script])
        // As many stacks as we keep.
        .env("BPFTRACE_MAP_KEYS_MAX", "16384");
    let tracer = Process::start(&mut command)?;
    tracer.prints("Attaching")?;
    pass(SETTLE);
    let round = round(program)?;
    tracer.interrupt();
    let mut seen = 0.0;
    // One line per stack ends in its count; the last is followed by the end of the output.
    while let Ok(line) = tracer.out.recv_timeout(FAREWELL) {
        if let Some((_, count)) = line.rsplit_once("]: ") {
            seen += count.trim().parse::<f64>().unwrap_or(0.0);
        }
    }
    Ok((round, seen))
}

fn round(program: &mut Process) -> Result<Round> {
    program.say("go")?;
    let line = program.prints("\"objects\"")?;
    let line: Value = serde_json::from_str(&line)?;
    let number = |name: &str| {
        line[name]
            .as_u64()
            .with_context(|| format!("no {name} in {line}"))
    };
    Ok(Round {
        ns_per_object: number("cpu_ns")? as f64 / number("objects")?.max(1) as f64,
        mallocs: number("mallocs")?,
    })
}

/// Builds the program and moves the symbol of each allocator to the instruction that we probe.
fn prepare(folder: &Path) -> Result<Target> {
    let path = go_target_with_symbols("allocs", folder)?;
    let mut bytes = std::fs::read(&path)?;
    let binary = GoBinary::parse(bytes.as_slice())?;
    let plan = ExactPlan::find(&binary).map_err(anyhow::Error::msg)?;
    let names: Vec<String> = binary.allocators().into_iter().map(str::to_owned).collect();
    let mut moves = Vec::new();
    for name in &names {
        let site = binary.probe_site(name)?;
        moves.push((site.vaddr - site.offset_in_function, site.offset_in_function));
    }
    move_symbols(&mut bytes, &moves).context("no symbol table in the program")?;
    std::fs::write(&path, bytes)?;
    Ok(Target { path, names, plan })
}

/// Adds to the value of each symbol at one of these addresses; ELF64, System V gABI, chapter 4.
fn move_symbols(bytes: &mut [u8], moves: &[(u64, u64)]) -> Option<()> {
    const SHT_SYMTAB: u64 = 2;
    let word = |bytes: &[u8], at: u64, size: usize| {
        let at = usize::try_from(at).ok()?;
        let mut raw = [0; 8];
        raw.get_mut(..size)?.copy_from_slice(bytes.get(at..at + size)?);
        Some(u64::from_le_bytes(raw))
    };
    let (headers, size, count) = (word(bytes, 40, 8)?, word(bytes, 58, 2)?, word(bytes, 60, 2)?);
    let header = (0..count)
        .map(|number| headers + number * size)
        .find(|at| word(bytes, at + 4, 4) == Some(SHT_SYMTAB))?;
    let (table, len) = (word(bytes, header + 24, 8)?, word(bytes, header + 32, 8)?);
    for symbol in (table..table + len).step_by(24) {
        let value = word(bytes, symbol + 8, 8)?;
        let length = word(bytes, symbol + 16, 8)?;
        if let Some((_, by)) = moves.iter().find(|(address, _)| *address == value) {
            let at = usize::try_from(symbol).ok()?;
            bytes
                .get_mut(at + 8..at + 16)?
                .copy_from_slice(&(value + by).to_le_bytes());
            bytes
                .get_mut(at + 16..at + 24)?
                .copy_from_slice(&length.saturating_sub(*by).to_le_bytes());
        }
    }
    Some(())
}
