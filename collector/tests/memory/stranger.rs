//! A program of Go 1.20, for which nobody here can build one: esbuild 0.19.4 as its makers ship it, stripped. It
//! has no statistics of its own to compare with, so what is read from three places is compared with each other
//! and with the kernel: counters of the heap, spans, resident pages.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use heaptide_collector::linux::memory::heap_stats::HeapStats;
use heaptide_collector::linux::memory::layout::HeapLayout;
use heaptide_collector::linux::{GoTarget, Process, ledger, monotonic_ns};
use heaptide_protocol::ledger::LedgerKind;

use crate::{line, program::skip};

#[test]
fn a_program_of_go_1_20_is_read() {
    let folder = std::env::var_os("HEAPTIDE_STRANGERS").unwrap_or_default();
    let esbuild = std::path::Path::new(&folder).join("esbuild-0.19.4/package/bin/esbuild");
    if !esbuild.is_file() {
        if std::env::var_os("HEAPTIDE_FULL").is_some() {
            skip("esbuild-0.19.4 is not in HEAPTIDE_STRANGERS; `cargo xtask setup --full` unpacks it");
        }
        return;
    }
    let work = tempfile::tempdir().expect("a folder");
    let text: String = (0..50_000)
        .map(|at| format!("export const a{at} = {{ b: [{at}] }};\n"))
        .collect();
    std::fs::write(work.path().join("in.js"), text).expect("write");
    // It ends with its standard input.
    let mut child = Command::new(&esbuild)
        .current_dir(work.path())
        .args(["in.js", "--bundle", "--watch", "--format=esm", "--outfile=out.js"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start esbuild");
    let stdin = child.stdin.take();
    let messages = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = messages.lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| line.contains("build finished")), "no build");

    let process = Process::open(child.id()).expect("open");
    let go = GoTarget::load(&process).expect("load");
    let (_, _, version) = go.goroutines().expect("the list of goroutines");
    assert_eq!(version.minor, 20, "{version:?}");
    let layout = HeapLayout::of(&go).expect("a layout");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stop");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("stat");
    while !stat().contains(") T ") {
        std::thread::yield_now();
    }
    let stats = HeapStats::read(&process, &layout).expect("read");
    let books = ledger::read(&process, &layout, &monotonic_ns).expect("read");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("go on");
    drop(stdin);
    child.wait().expect("wait");

    const MIB: u64 = 1 << 20;
    let books = &books.ledger;
    assert!(stats.settled, "{stats:?}");
    // Each of the 50,000 lines is some objects.
    assert!(
        stats.allocated_objects > 100_000 && stats.allocated_bytes > 8 * MIB,
        "{stats:?}"
    );
    let live = stats.allocated_bytes - stats.freed_bytes;
    assert!(live > MIB && live <= stats.in_use_bytes, "{stats:?}");
    assert!(stats.freed_objects < stats.allocated_objects, "{stats:?}");
    assert_eq!(books.remainder_bytes, 0, "{books:?}");
    let in_use = line(books, LedgerKind::GO_HEAP_IN_USE);
    // The bundler's buffers are large, and not each is touched to its end.
    assert!(
        in_use <= stats.in_use_bytes && in_use >= stats.in_use_bytes / 16 * 15,
        "{in_use} resident: {stats:?} {books:?}"
    );
    let runtime = line(books, LedgerKind::GO_RUNTIME);
    assert!(
        runtime > 100 << 10 && runtime <= stats.metadata_bytes + MIB,
        "{runtime}: {stats:?} {books:?}"
    );
    // Nothing of Go's is taken for somebody else's.
    assert!(line(books, LedgerKind::NATIVE) < MIB, "{books:?}");
}
